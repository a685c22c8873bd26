-- Could the number of tokens give a label away? How much of the spread of terms' token counts the labels explain.
-- A label with longer names than the others can cluster for that reason alone.
--
-- Grain: one row a model, concept and labelling with labels
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The labelling.
--   terms: Labelled terms.
--   labels: Labels.
--   mean_tokens: Mean tokens of a term; a term's count is averaged over its prompts.
--   eta_squared: Share of the variance between terms that lies between labels, 0 to 1; null if all counts are equal.
--   chance_eta_squared: The share that labels explain on average when they mean nothing.
--   shortest_label: The label of the shortest terms.
--   shortest_mean_tokens: Mean tokens of its terms.
--   longest_label: The label of the longest terms.
--   longest_mean_tokens: Mean tokens of its terms.
WITH lengths AS (
    SELECT
        model,
        concept,
        term,
        avg(term_tokens) AS tokens
    FROM tokens
    GROUP BY
        model,
        concept,
        term
),

labelled_lengths AS (
    SELECT
        lengths.model,
        lengths.concept,
        labelled_terms.labelling,
        labelled_terms.label,
        lengths.tokens
    FROM lengths
    INNER JOIN labelled_terms
        ON lengths.concept = labelled_terms.concept AND lengths.term = labelled_terms.term
    WHERE labelled_terms.label IS NOT NULL
),

by_label AS (
    SELECT
        model,
        concept,
        labelling,
        label,
        avg(tokens) AS mean_tokens,
        var_pop(tokens) * count(*) AS squares_within
    FROM labelled_lengths
    GROUP BY
        model,
        concept,
        labelling,
        label
),

within_labels AS (
    SELECT
        model,
        concept,
        labelling,
        sum(squares_within) AS squares,
        arg_min(label, (mean_tokens, label)) AS shortest_label,
        min(mean_tokens) AS shortest_mean_tokens,
        arg_max(label, (mean_tokens, label)) AS longest_label,
        max(mean_tokens) AS longest_mean_tokens
    FROM by_label
    GROUP BY
        model,
        concept,
        labelling
),

overall AS (
    SELECT
        model,
        concept,
        labelling,
        count(*) AS terms,
        count(DISTINCT label) AS labels,
        avg(tokens) AS mean_tokens,
        var_pop(tokens) * count(*) AS squares
    FROM labelled_lengths
    GROUP BY
        model,
        concept,
        labelling
)

SELECT
    overall.model,
    overall.concept,
    overall.labelling,
    overall.terms,
    overall.labels,
    overall.mean_tokens,
    1 - within_labels.squares / nullif(overall.squares, 0) AS eta_squared,
    (overall.labels - 1) / nullif(overall.terms - 1, 0) AS chance_eta_squared,
    within_labels.shortest_label,
    within_labels.shortest_mean_tokens,
    within_labels.longest_label,
    within_labels.longest_mean_tokens
FROM overall
INNER JOIN within_labels
    ON
        overall.model = within_labels.model
        AND overall.concept = within_labels.concept
        AND overall.labelling = within_labels.labelling
ORDER BY
    overall.model,
    overall.concept,
    overall.labelling
