-- The usual profiles of medical concepts only; the controls to read them against are in `asking_profiles`.
--
-- Grain: one row a model, concept, technique, metric, labelling and layer
-- Columns:
--   model: The model's slug.
--   concept: The concept.
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
CREATE VIEW medical_profiles AS
SELECT * EXCLUDE (role)
FROM asking_profiles
WHERE role = 'medical'
