-- At which layer does a concept show best? The layer of the largest value, at the last token of asking prompts.
--
-- Grain: one row a model, concept and labelling
-- Parameters:
--   metric text = 'silhouette_cosine': The metric whose largest value is looked for.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control.
--   labelling: The labelling.
--   layer: The layer of the largest value, the lowest of them if there are several; -1 is the embedding output.
--   layers: Decoder layers of the model, to tell how deep that is.
--   value: The value there.
--   low: Lower end of its 95% interval.
--   high: Upper end of its 95% interval.
--   null_p: How often permuted labels do as well.
SELECT
    asking_profiles.model,
    asking_profiles.concept,
    asking_profiles.role,
    asking_profiles.labelling,
    asking_profiles.layer,
    models.layers,
    asking_profiles.value,
    asking_profiles.low,
    asking_profiles.high,
    asking_profiles.null_p
FROM asking_profiles
LEFT JOIN models
    ON asking_profiles.model = models.model
WHERE asking_profiles.metric = $metric
QUALIFY
    row_number() OVER (
        PARTITION BY asking_profiles.model, asking_profiles.concept, asking_profiles.labelling
        ORDER BY asking_profiles.value DESC, asking_profiles.layer
    ) = 1
ORDER BY
    asking_profiles.model,
    asking_profiles.concept,
    asking_profiles.labelling
