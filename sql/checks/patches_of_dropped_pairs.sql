-- Patches of pairs that the tokenizer had dropped, or that are not among the model's pairs at all.
--
-- Grain: one row a model and pair at fault
-- Table: patches
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term of the clean prompt.
--   corrupting_term: The term of the corrupted prompt.
--   fault: Why the pair was dropped, or that it is unknown.
--   patches: Rows at fault.
SELECT
    patches.model,
    patches.concept,
    patches.template,
    patches.term,
    patches.corrupting_term,
    coalesce(pair_tokens.dropped, 'unknown pair') AS fault,
    count(*) AS patches
FROM patches
LEFT JOIN pair_tokens
    ON
        patches.model = pair_tokens.model
        AND patches.concept = pair_tokens.concept
        AND patches.template = pair_tokens.template
        AND patches.term = pair_tokens.term
        AND patches.corrupting_term = pair_tokens.corrupting_term
WHERE
    pair_tokens.term IS NULL
    OR pair_tokens.dropped IS NOT NULL
GROUP BY
    patches.model,
    patches.concept,
    patches.template,
    patches.term,
    patches.corrupting_term,
    coalesce(pair_tokens.dropped, 'unknown pair')
ORDER BY ALL
