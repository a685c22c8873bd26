-- Pairs whose clean or corrupted run is not the same in all rows: both are run without a patch, whatever is patched
-- later.
--
-- Grain: one row a model and pair at fault
-- Table: patches
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term of the clean prompt.
--   corrupting_term: The term of the corrupted prompt.
--   clean: Different logit differences of the clean run.
--   corrupted: Different logit differences of the corrupted run.
SELECT
    model,
    concept,
    template,
    term,
    corrupting_term,
    count(DISTINCT ld_clean) AS clean,
    count(DISTINCT ld_corrupted) AS corrupted
FROM patches
GROUP BY
    model,
    concept,
    template,
    term,
    corrupting_term
HAVING
    count(DISTINCT ld_clean) > 1
    OR count(DISTINCT ld_corrupted) > 1
ORDER BY ALL
