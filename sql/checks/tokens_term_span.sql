-- Terms whose tokens don't lie inside their prompt, or are not as many as the span says.
--
-- Grain: one row a model and prompt at fault
-- Table: tokens
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term.
--   tokens: Tokens of the prompt.
--   term_first: Index of the term's first token.
--   term_last: Index of the term's last token.
--   term_tokens: Tokens that the term covers.
SELECT
    model,
    concept,
    template,
    term,
    tokens,
    term_first,
    term_last,
    term_tokens
FROM tokens
WHERE
    term_last >= tokens
    OR term_last - term_first + 1 <> term_tokens
ORDER BY ALL
