-- Prompts whose term does not stand where the offsets say.
--
-- Grain: one row a prompt at fault
-- Table: prompts
-- Columns:
--   concept: The concept.
--   template: The template.
--   term: The term.
--   spelling: What should stand there.
--   found: What stands there.
WITH spans AS (
    SELECT
        prompts.concept,
        prompts.template,
        prompts.term,
        terms.spelling,
        substring(prompts.text, prompts.term_start + 1, prompts.term_end - prompts.term_start) AS found
    FROM prompts
    INNER JOIN terms
        ON prompts.concept = terms.concept AND prompts.term = terms.term
)

SELECT
    concept,
    template,
    term,
    spelling,
    found
FROM spans
WHERE found <> spelling
ORDER BY ALL
