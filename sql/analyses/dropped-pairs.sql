-- Which pairs can be patched, and why not the others? Counts under each model's tokenizer; and of those that were
-- patched, how many had nothing to restore.
--
-- Grain: one row a model, concept and labelling
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The labelling that the pairs ask for.
--   pairs: Pairs of the library.
--   kept: Pairs that can be patched.
--   lengths_differ: Dropped: the two prompts have other numbers of tokens.
--   answers_begin_alike: Dropped: both answers begin with the same token.
--   no_answer_token: Dropped: an answer has no token of its own.
--   prompts_are_the_same: Dropped: both prompts are the same tokens.
--   patched: Kept pairs that were patched at the last token or the term's, in templates that are not held out.
--   left_out: How many of them P leaves out, because the clean run isn't above the corrupted one.
WITH fates AS (
    SELECT
        model,
        concept,
        labelling,
        CAST(sum(pairs) AS BIGINT) AS pairs,
        CAST(coalesce(sum(pairs) FILTER (WHERE fate = 'kept'), 0) AS BIGINT) AS kept,
        CAST(coalesce(sum(pairs) FILTER (WHERE fate = 'lengths differ'), 0) AS BIGINT) AS lengths_differ,
        CAST(coalesce(sum(pairs) FILTER (WHERE fate = 'answers begin alike'), 0) AS BIGINT) AS answers_begin_alike,
        CAST(coalesce(sum(pairs) FILTER (WHERE fate = 'no answer token'), 0) AS BIGINT) AS no_answer_token,
        CAST(coalesce(sum(pairs) FILTER (WHERE fate = 'prompts are the same'), 0) AS BIGINT) AS prompts_are_the_same
    FROM pair_fates
    GROUP BY
        model,
        concept,
        labelling
),

runs AS (
    SELECT
        patches.model,
        patches.concept,
        asked_prompts.labelling,
        count(DISTINCT (patches.template, patches.term, patches.corrupting_term)) AS patched,
        count(DISTINCT (patches.template, patches.term, patches.corrupting_term)) FILTER (
            WHERE NOT differs(patches.ld_clean, patches.ld_corrupted)
        ) AS left_out
    FROM patches
    INNER JOIN asked_prompts
        ON
            patches.concept = asked_prompts.concept
            AND patches.template = asked_prompts.template
            AND patches.term = asked_prompts.term
    WHERE patches.position <> 'token'
    GROUP BY
        patches.model,
        patches.concept,
        asked_prompts.labelling
)

SELECT
    fates.model,
    fates.concept,
    fates.labelling,
    fates.pairs,
    fates.kept,
    fates.lengths_differ,
    fates.answers_begin_alike,
    fates.no_answer_token,
    fates.prompts_are_the_same,
    coalesce(runs.patched, 0) AS patched,
    coalesce(runs.left_out, 0) AS left_out
FROM fates
LEFT JOIN runs
    ON
        fates.model = runs.model
        AND fates.concept = runs.concept
        AND fates.labelling = runs.labelling
ORDER BY
    fates.model,
    fates.concept,
    fates.labelling
