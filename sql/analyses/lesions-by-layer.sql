-- Where does the loss of a layer hurt a concept more than it hurts the controls? Each layer with its raw effect, the
-- controls' and what is left, with its interval; for planted models where the knowledge was planted.
--
-- Grain: one row a model, concept, labelling and layer
-- Parameters:
--   lesion text = 'resample': The lesion: identity, mean or resample.
--   part text = 'layer': How much of the layer: layer, attention or mlp.
--   metric text = 'log_probability_drop': log_probability_drop, accuracy_drop or kl.
--   model text = NULL: Only this model; all of them if left out.
--   concept text = NULL: Only this concept; all of them if left out.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control.
--   labelling: The labelling that the prompts ask for.
--   layer: The lesioned layer.
--   effect: The mean effect on this concept's prompts.
--   low: Lower end of its 95% interval.
--   high: Upper end of its 95% interval.
--   over_controls: The scaled effect less that of the controls; null if there are none.
--   over_controls_low: Lower end of its 95% interval.
--   over_controls_high: Upper end of its 95% interval.
--   null_p: How often terms that are dealt out anew to concept and controls show as much.
--   is_planted: Whether the knowledge was planted in this layer; null where nothing was planted.
WITH names AS (
    SELECT $lesion || CASE WHEN $part = 'layer' THEN '' ELSE '_' || $part END || '_' || $metric AS metric
)

SELECT
    here.model,
    here.concept,
    here.role,
    here.labelling,
    here.layer,
    here.value AS effect,
    here.low,
    here.high,
    contrast.value AS over_controls,
    contrast.low AS over_controls_low,
    contrast.high AS over_controls_high,
    contrast.null_p,
    list_contains(planted_layers.layers, here.layer) AS is_planted
FROM asking_profiles AS here
INNER JOIN names
    ON here.metric = names.metric
LEFT JOIN asking_profiles AS contrast
    ON
        here.model = contrast.model
        AND here.concept = contrast.concept
        AND here.labelling = contrast.labelling
        AND here.layer = contrast.layer
        AND contrast.technique = 'lesions'
        AND contrast.metric = names.metric || '_over_controls'
LEFT JOIN planted_layers
    ON
        here.model = planted_layers.model
        AND here.concept = planted_layers.concept
        AND here.labelling = planted_layers.labelling
WHERE
    here.technique = 'lesions'
    AND ($model IS NULL OR here.model = $model)
    AND ($concept IS NULL OR here.concept = $concept)
ORDER BY
    here.model,
    here.concept,
    here.labelling,
    here.layer
