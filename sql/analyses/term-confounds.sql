-- Could the number of tokens, or how frequent terms are, give a label away? How much of the spread of that number the
-- labels explain. A label whose names are longer, or more familiar, than the others can cluster for that reason alone.
--
-- Grain: one row a model, concept, labelling with labels, and number
-- Parameters:
--   number text = NULL: `token_count` or `frequency`; both if left out.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The labelling.
--   number: `token_count`: a term's tokens, averaged over its prompts; `frequency`: its frequency in English, log10 of
--     uses in 10⁹ words.
--   terms: Labelled terms.
--   labels: Labels.
--   mean: Mean of the number over terms.
--   eta_squared: Share of the variance between terms that lies between labels, 0 to 1; null if all are the same.
--   chance_eta_squared: The share that labels explain on average when they mean nothing.
--   lowest_label: The label of the shortest, or rarest, terms.
--   lowest_mean: Mean over its terms.
--   highest_label: The label of the longest, or most frequent, terms.
--   highest_mean: Mean over its terms.
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

numbers AS (
    SELECT
        model,
        concept,
        term,
        'token_count' AS number,
        tokens AS value
    FROM lengths
    UNION ALL
    SELECT
        lengths.model,
        lengths.concept,
        lengths.term,
        'frequency' AS number,
        frequencies.zipf_frequency AS value
    FROM lengths
    INNER JOIN frequencies
        ON lengths.concept = frequencies.concept AND lengths.term = frequencies.term
),

labelled_numbers AS (
    SELECT
        numbers.model,
        numbers.concept,
        labelled_terms.labelling,
        numbers.number,
        labelled_terms.label,
        numbers.value
    FROM numbers
    INNER JOIN labelled_terms
        ON numbers.concept = labelled_terms.concept AND numbers.term = labelled_terms.term
    WHERE labelled_terms.label IS NOT NULL AND ($number IS NULL OR numbers.number = $number)
),

by_label AS (
    SELECT
        model,
        concept,
        labelling,
        number,
        label,
        avg(value) AS mean,
        var_pop(value) * count(*) AS squares_within
    FROM labelled_numbers
    GROUP BY
        model,
        concept,
        labelling,
        number,
        label
),

within_labels AS (
    SELECT
        model,
        concept,
        labelling,
        number,
        sum(squares_within) AS squares,
        arg_min(label, (mean, label)) AS lowest_label,
        min(mean) AS lowest_mean,
        arg_max(label, (mean, label)) AS highest_label,
        max(mean) AS highest_mean
    FROM by_label
    GROUP BY
        model,
        concept,
        labelling,
        number
),

overall AS (
    SELECT
        model,
        concept,
        labelling,
        number,
        count(*) AS terms,
        count(DISTINCT label) AS labels,
        avg(value) AS mean,
        var_pop(value) * count(*) AS squares
    FROM labelled_numbers
    GROUP BY
        model,
        concept,
        labelling,
        number
)

SELECT
    model,
    concept,
    labelling,
    number,
    overall.terms,
    overall.labels,
    overall.mean,
    1 - within_labels.squares / nullif(overall.squares, 0) AS eta_squared,
    (overall.labels - 1) / nullif(overall.terms - 1, 0) AS chance_eta_squared,
    within_labels.lowest_label,
    within_labels.lowest_mean,
    within_labels.highest_label,
    within_labels.highest_mean
FROM overall
INNER JOIN within_labels
    USING (model, concept, labelling, number)
ORDER BY
    model,
    concept,
    labelling,
    number
