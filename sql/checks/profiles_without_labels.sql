-- Profiles of labellings that the concept does not have; without a labelling stands what is measured of all terms.
--
-- Grain: one row a model, concept and labelling at fault
-- Table: profiles
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The unknown labelling.
SELECT DISTINCT
    profiles.model,
    profiles.concept,
    profiles.labelling
FROM profiles
ANTI JOIN labels
    ON profiles.concept = labels.concept AND profiles.labelling = labels.labelling
WHERE profiles.labelling <> ''
ORDER BY ALL
