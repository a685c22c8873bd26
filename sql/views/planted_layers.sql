-- Where knowledge is known to sit, as one list a labelling: what a profile's layer is compared with.
--
-- Grain: one row a model, concept and labelling that was planted
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The labelling.
--   layers: The planted layers, in order.
CREATE VIEW planted_layers AS
SELECT
    model,
    concept,
    labelling,
    list(layer ORDER BY layer) AS layers
FROM plants
GROUP BY
    model,
    concept,
    labelling
