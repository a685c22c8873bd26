-- Jumps that lack a layer, of -1 to L-1.
--
-- Grain: one row a course at fault
-- Table: jumps
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The continuous labelling.
--   template_kind: Which templates were read.
--   position: Where prompts are read.
--   variant: The control spelling, empty for main terms.
--   layers: Decoder layers of the model; null if the model is not recorded.
--   found: The layers that are there.
WITH found AS (
    SELECT
        model,
        concept,
        labelling,
        template_kind,
        position,
        variant,
        layers_found(layer) AS layers
    FROM jumps
    GROUP BY
        model,
        concept,
        labelling,
        template_kind,
        position,
        variant
)

SELECT
    found.model,
    found.concept,
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
    OR found.layers <> model_layers.with_embeddings
ORDER BY ALL
