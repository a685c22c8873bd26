-- Where is each concept kept, if anywhere? The verdict of the map, its layers, how much hangs on the surest of them,
-- how deep the weight lies, and where the knowledge was planted, if it was. An empty labelling is the whole concept.
--
-- Grain: one row a model, concept and labelling
-- Parameters:
--   mode text = 'consensus': Which map: consensus or paper.
--   model text = NULL: Only this model; all of them if left out.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control.
--   labelling: The labelling; empty for the concept as a whole.
--   verdict: Localised, not localised, not known or not measured.
--   places: The layers of its regions.
--   confidence: The largest confidence of any layer.
--   surest_layer: The layer of the largest confidence, of what is localised.
--   lost_answers: Share of the right answers that is lost without it, less what controls lose; of what is localised.
--   lost_low: Lower end of its 95% interval.
--   lost_high: Upper end of its 95% interval.
--   first_half_share: Share of the weight in the first half of the layers.
--   first_half_low: Lower end of its 95% interval.
--   first_half_high: Upper end of its 95% interval.
--   planted_layers: Layers that the knowledge was planted in; null where nothing was planted.
--   sentence: The same in plain words.
SELECT
    localisations.model,
    localisations.concept,
    concepts.role,
    localisations.labelling,
    localisations.verdict,
    localisations.places,
    localisations.confidence,
    localisations.surest_layer,
    localisations.lost_answers,
    localisations.lost_low,
    localisations.lost_high,
    localisations.first_half_share,
    localisations.first_half_low,
    localisations.first_half_high,
    planted_layers.layers AS planted_layers,
    localisations.sentence
FROM localisations
LEFT JOIN concepts
    ON localisations.concept = concepts.concept
LEFT JOIN planted_layers
    ON
        localisations.model = planted_layers.model
        AND localisations.concept = planted_layers.concept
        AND localisations.labelling = planted_layers.labelling
WHERE
    localisations.mode = $mode
    AND ($model IS NULL OR localisations.model = $model)
ORDER BY
    localisations.model,
    localisations.concept,
    localisations.labelling
