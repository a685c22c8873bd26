-- Terms without a frequency: what is left over how frequent they are can't be told.
--
-- Grain: one row a term at fault
-- Table: frequencies
-- Columns:
--   concept: The concept.
--   term: The term.
SELECT
    terms.concept,
    terms.term
FROM terms
ANTI JOIN frequencies
    ON terms.concept = frequencies.concept AND terms.term = frequencies.term
ORDER BY ALL
