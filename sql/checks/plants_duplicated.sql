-- Plants that are recorded more than once, and plants in layers that the model does not have.
--
-- Grain: one row a plant at fault
-- Table: plants
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The labelling.
--   layer: The planted layer.
--   times: How often it is recorded.
--   layers: Decoder layers of the model; null if the model is not recorded.
SELECT
    plants.model,
    plants.concept,
    plants.labelling,
    plants.layer,
    count(*) AS times,
    any_value(models.layers) AS layers
FROM plants
LEFT JOIN models
    ON plants.model = models.model
GROUP BY
    plants.model,
    plants.concept,
    plants.labelling,
    plants.layer
HAVING
    count(*) > 1
    OR any_value(models.layers) IS NULL
    OR plants.layer >= any_value(models.layers)
ORDER BY ALL
