-- Where knowledge is known to sit, as one list a labelling: what a profile's layer is compared with. Plants that are
-- spread over all layers are left out: no layer is the right answer there.
--
-- Grain: one row a model, concept and labelling that was planted in known layers
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The labelling.
--   layers: The planted layers, in order.
CREATE VIEW planted_layers AS
SELECT
    plants.model,
    plants.concept,
    plants.labelling,
    list(plants.layer ORDER BY plants.layer) AS layers
FROM plants
WHERE plants.kind != 'spread'
GROUP BY
    plants.model,
    plants.concept,
    plants.labelling
