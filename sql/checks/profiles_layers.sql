-- Profiles that lack a layer. Activations are measured at -1 to L-1, effects at 0 to L-1; a step begins a layer later,
-- or at layer 0 where it is known what the embedding output does (patches at the last token: nothing).
--
-- Grain: one row a profile at fault
-- Table: profiles
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   technique: The technique.
--   metric: The metric.
--   labelling: The labelling.
--   template_kind: Which templates were read.
--   position: Where prompts are read.
--   variant: The control spelling, empty for main terms.
--   layers: Decoder layers of the model; null if the model is not recorded.
--   found: The layers that are there.
WITH found AS (
    SELECT
        model,
        concept,
        technique,
        metric,
        labelling,
        template_kind,
        position,
        variant,
        layers_found(layer) AS layers
    FROM profiles
    GROUP BY
        model,
        concept,
        technique,
        metric,
        labelling,
        template_kind,
        position,
        variant
)

SELECT
    found.model,
    found.concept,
    found.technique,
    found.metric,
    found.labelling,
    found.template_kind,
    found.position,
    found.variant,
    model_layers.layers,
    found.layers AS found
FROM found
LEFT JOIN model_layers
    ON found.model = model_layers.model
WHERE
    model_layers.layers IS NULL
    OR CASE
        WHEN found.technique = 'activations' AND ends_with(found.metric, '_step')
            THEN found.layers <> model_layers.blocks
        WHEN found.technique = 'activations' THEN found.layers <> model_layers.with_embeddings
        WHEN ends_with(found.metric, '_step')
            THEN found.layers NOT IN (model_layers.blocks, model_layers.above_first)
        ELSE found.layers <> model_layers.blocks
    END
ORDER BY ALL
