-- Terms without their control spellings: what every analysis is about unless it says otherwise.
--
-- Grain: one row a concept and term
-- Columns:
--   concept: The concept.
--   term: The term.
--   spelling: What a template's slot is filled with.
--   source: Where the facts can be looked up.
CREATE VIEW main_terms AS
SELECT
    terms.concept,
    terms.term,
    terms.spelling,
    terms.source
FROM terms
WHERE terms.variant = ''
