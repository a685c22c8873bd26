-- Profiles as they are usually read: at the last token of asking prompts, over main terms, with the concept's role.
-- Untrained twins are left out: their profiles are in `profiles`.
--
-- Grain: one row a model, concept, technique, metric, labelling and layer
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control; null if the concept is not in the library.
--   technique: The technique that the number comes from.
--   metric: What was measured.
--   labelling: The labelling.
--   layer: The decoder layer; -1 is the embedding output.
--   value: The estimate.
--   low: Lower end of the 95% bootstrap interval.
--   high: Upper end of the 95% bootstrap interval.
--   null_mean: Mean under permuted labels.
--   null_high: 95th percentile under permuted labels.
--   null_p: Fraction of permutations at least as large.
--   n: Terms behind the number.
CREATE VIEW asking_profiles AS
SELECT
    profiles.model,
    profiles.concept,
    concepts.role,
    profiles.technique,
    profiles.metric,
    profiles.labelling,
    profiles.layer,
    profiles.value,
    profiles.low,
    profiles.high,
    profiles.null_mean,
    profiles.null_high,
    profiles.null_p,
    profiles.n
FROM profiles
LEFT JOIN concepts
    ON profiles.concept = concepts.concept
WHERE
    profiles.template_kind = 'asking'
    AND profiles.position = 'last'
    AND profiles.variant = ''
    AND NOT is_twin(profiles.model)
