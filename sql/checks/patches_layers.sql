-- Patches that lack a layer of 0 to L-1 of their model.
--
-- Grain: one row a model, concept, site and position at fault
-- Table: patches
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   site: What was patched.
--   position: Where it was patched.
--   layers: Decoder layers of the model; null if the model is not recorded.
--   found: The layers that are there.
WITH found AS (
    SELECT
        model,
        concept,
        site,
        position,
        layers_found(layer) AS layers
    FROM patches
    GROUP BY
        model,
        concept,
        site,
        position
)

SELECT
    found.model,
    found.concept,
    found.site,
    found.position,
    model_layers.layers,
    found.layers AS found
FROM found
LEFT JOIN model_layers
    ON found.model = model_layers.model
WHERE
    model_layers.layers IS NULL
    OR found.layers <> model_layers.blocks
ORDER BY ALL
