-- Points of terms that are not in the library.
--
-- Grain: one row a model, concept and term at fault
-- Table: projections
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   variant: The control spelling, empty for main terms.
--   term: The unknown term.
--   points: How many points it has.
SELECT
    projections.model,
    projections.concept,
    projections.variant,
    projections.term,
    count(*) AS points
FROM projections
ANTI JOIN terms
    ON
        projections.concept = terms.concept
        AND projections.term = terms.term
        AND projections.variant = terms.variant
GROUP BY
    projections.model,
    projections.concept,
    projections.variant,
    projections.term
ORDER BY ALL
