-- Labels of terms that are not in the library.
--
-- Grain: one row a label at fault
-- Table: labels
-- Columns:
--   concept: The concept.
--   labelling: The labelling.
--   term: The unknown term.
SELECT
    labels.concept,
    labels.labelling,
    labels.term
FROM labels
ANTI JOIN terms
    ON labels.concept = terms.concept AND labels.term = terms.term
ORDER BY ALL
