-- Neighbours that lack a layer of 0 to L-1 of their model, or are of a layer that it hasn't. The embedding output may
-- be missing: where all prompts are the same, there are no neighbours.
--
-- Grain: one row a model, concept, template kind, position and variant at fault
-- Table: neighbours
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template_kind: Which templates were read.
--   position: Where prompts are read.
--   variant: The control spelling, empty for main terms.
--   layers: Decoder layers of the model; null if the model is not recorded.
--   found: The layers that are there.
WITH found AS (
    SELECT
        model,
        concept,
        template_kind,
        position,
        variant,
        layers_found(layer) AS layers
    FROM neighbours
    GROUP BY
        model,
        concept,
        template_kind,
        position,
        variant
)

SELECT
    found.model,
    found.concept,
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
    OR (found.layers <> model_layers.with_embeddings AND found.layers <> model_layers.blocks)
ORDER BY ALL
