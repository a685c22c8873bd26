-- Main terms with what they are under each labelling; terms that a labelling leaves out are not here.
--
-- Grain: one row a concept, labelling and term
-- Columns:
--   concept: The concept.
--   labelling: The labelling.
--   kind: What sort of labelling it is: categorical, ordinal or continuous.
--   term: The term.
--   label: The label; null for a continuous labelling.
--   ordinal: The label's place in the order, for an ordinal labelling.
--   number: The value, for a continuous labelling.
CREATE VIEW labelled_terms AS
SELECT
    labels.concept,
    labels.labelling,
    labels.kind,
    labels.term,
    labels.label,
    labels.ordinal,
    labels.number
FROM labels
INNER JOIN main_terms
    ON labels.concept = main_terms.concept AND labels.term = main_terms.term
WHERE labels.label IS NOT NULL OR labels.number IS NOT NULL
