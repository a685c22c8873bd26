-- What is in the concept library? Terms, labellings, prompts and pairs of each concept.
--
-- Grain: one row a concept
-- Columns:
--   concept: The concept.
--   role: Medical or control.
--   terms: Main terms.
--   control_spellings: Terms that are only another spelling of main ones.
--   labellings: Labellings.
--   labels: Distinct labels, over all labellings.
--   neutral_prompts: Neutral prompts.
--   asking_prompts: Asking prompts.
--   held_out_prompts: How many of all prompts are held out.
--   pairs: Candidate pairs for patching.
WITH term_counts AS (
    SELECT
        concept,
        count(*) FILTER (WHERE variant = '') AS terms,
        count(*) FILTER (WHERE variant <> '') AS control_spellings
    FROM terms
    GROUP BY concept
),

label_counts AS (
    SELECT
        concept,
        count(DISTINCT labelling) AS labellings,
        count(DISTINCT (labelling, label)) FILTER (WHERE label IS NOT NULL) AS labels
    FROM labels
    GROUP BY concept
),

prompt_counts AS (
    SELECT
        concept,
        count(*) FILTER (WHERE template_kind = 'neutral') AS neutral_prompts,
        count(*) FILTER (WHERE template_kind = 'asking') AS asking_prompts,
        count(*) FILTER (WHERE held_out) AS held_out_prompts
    FROM prompts
    GROUP BY concept
),

pair_counts AS (
    SELECT
        concept,
        count(*) AS pairs
    FROM pairs
    GROUP BY concept
)

SELECT
    concepts.concept,
    concepts.role,
    coalesce(term_counts.terms, 0) AS terms,
    coalesce(term_counts.control_spellings, 0) AS control_spellings,
    coalesce(label_counts.labellings, 0) AS labellings,
    coalesce(label_counts.labels, 0) AS labels,
    coalesce(prompt_counts.neutral_prompts, 0) AS neutral_prompts,
    coalesce(prompt_counts.asking_prompts, 0) AS asking_prompts,
    coalesce(prompt_counts.held_out_prompts, 0) AS held_out_prompts,
    coalesce(pair_counts.pairs, 0) AS pairs
FROM concepts
LEFT JOIN term_counts
    ON concepts.concept = term_counts.concept
LEFT JOIN label_counts
    ON concepts.concept = label_counts.concept
LEFT JOIN prompt_counts
    ON concepts.concept = prompt_counts.concept
LEFT JOIN pair_counts
    ON concepts.concept = pair_counts.concept
ORDER BY
    concepts.role DESC,
    concepts.concept
