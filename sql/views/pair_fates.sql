-- What became of the pairs under each model's tokenizer: how many are kept for patching, and why others were dropped.
--
-- Grain: one row a model, concept, labelling and fate
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The labelling that the pairs ask for.
--   fate: Why the pairs were dropped, or kept.
--   pairs: How many.
--   fraction: Their share of the labelling's pairs.
CREATE VIEW pair_fates AS
SELECT
    pair_tokens.model,
    pair_tokens.concept,
    pairs.labelling,
    coalesce(pair_tokens.dropped, 'kept') AS fate,
    count(*) AS pairs,
    count(*) / sum(count(*)) OVER (PARTITION BY pair_tokens.model, pair_tokens.concept, pairs.labelling) AS fraction
FROM pair_tokens
INNER JOIN pairs
    ON
        pair_tokens.concept = pairs.concept
        AND pair_tokens.template = pairs.template
        AND pair_tokens.term = pairs.term
        AND pair_tokens.corrupting_term = pairs.corrupting_term
GROUP BY
    pair_tokens.model,
    pair_tokens.concept,
    pairs.labelling,
    coalesce(pair_tokens.dropped, 'kept')
