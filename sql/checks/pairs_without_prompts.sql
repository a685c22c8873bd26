-- Pairs of which one prompt is missing, and pairs whose two answers are the same.
--
-- Grain: one row a pair at fault
-- Table: pairs
-- Columns:
--   concept: The concept.
--   template: The template.
--   term: The term of the clean prompt.
--   corrupting_term: The term of the corrupted prompt.
--   fault: What is wrong.
SELECT
    pairs.concept,
    pairs.template,
    pairs.term,
    pairs.corrupting_term,
    CASE
        WHEN clean.term IS NULL THEN 'no clean prompt'
        WHEN corrupted.term IS NULL THEN 'no corrupted prompt'
        ELSE 'same answer'
    END AS fault
FROM pairs
LEFT JOIN prompts AS clean
    ON
        pairs.concept = clean.concept
        AND pairs.template = clean.template
        AND pairs.term = clean.term
LEFT JOIN prompts AS corrupted
    ON
        pairs.concept = corrupted.concept
        AND pairs.template = corrupted.template
        AND pairs.corrupting_term = corrupted.term
WHERE
    clean.term IS NULL
    OR corrupted.term IS NULL
    OR pairs.answer = pairs.corrupting_answer
ORDER BY ALL
