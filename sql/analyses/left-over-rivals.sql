-- What is left of a labelling's clusters (or of a fit) over what spelling, token counts, frequency and embeddings give
-- alone, over the controls and over an untrained model? At the layer of the largest value, of main terms. Everything
-- `over` is taken over its own mean under permuted labels first, so it is not the difference of two values. Untrained
-- twins are left out.
--
-- Grain: one row a model, concept and labelling
-- Parameters:
--   metric text = 'silhouette_cosine': The metric; `r2_ridge` for numbers.
--   template_kind text = 'asking': Which templates were read.
--   position text = 'last': Where prompts are read.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control; null if the concept is not in the library.
--   labelling: The labelling.
--   layer: The layer of the largest value, the lowest of them if there are several; -1 is the embedding output.
--   value: The metric there.
--   spelling: The same metric on the character trigrams of the terms.
--   token_count: The same metric on the number of their tokens.
--   frequency: The same metric on how frequent they are in English.
--   embeddings: The same metric at layer -1, at the term's last token.
--   strongest_rival: The one of the four that is farthest above its own mean under permuted labels.
--   over_rivals: What is left over the strongest of the four.
--   over_rivals_low: Lower end of its 95% interval.
--   over_rivals_high: Upper end of its 95% interval.
--   is_left: Whether that interval lies above 0.
--   over_controls: What is left over the control concepts; null if there are none.
--   over_controls_low: Lower end of its 95% interval.
--   over_controls_high: Upper end of its 95% interval.
--   over_untrained: What is left over an untrained model of the same shape; null if there is none.
--   over_untrained_low: Lower end of its 95% interval.
--   over_untrained_high: Upper end of its 95% interval.
WITH read_profiles AS (
    SELECT
        model,
        concept,
        labelling,
        metric,
        layer,
        value,
        low,
        high
    FROM profiles
    WHERE
        technique = 'activations'
        AND template_kind = $template_kind
        AND position = $position
        AND variant = ''
        AND NOT is_twin(model)
),

best AS (
    SELECT
        model,
        concept,
        labelling,
        layer,
        value
    FROM read_profiles
    WHERE metric = $metric
    QUALIFY row_number() OVER (PARTITION BY model, concept, labelling ORDER BY value DESC, layer) = 1
),

by_rival AS (
    SELECT
        model,
        concept,
        labelling,
        max(value) FILTER (WHERE rival = 'spelling') AS spelling,
        max(value) FILTER (WHERE rival = 'token_count') AS token_count,
        max(value) FILTER (WHERE rival = 'frequency') AS frequency,
        max(value) FILTER (WHERE rival = 'embeddings') AS embeddings,
        arg_max(rival, value - coalesce(null_mean, 0)) AS strongest_rival
    FROM rivals
    WHERE metric = $metric AND template_kind = $template_kind AND variant = ''
    GROUP BY
        model,
        concept,
        labelling
)

SELECT
    best.model,
    best.concept,
    concepts.role,
    best.labelling,
    best.layer,
    best.value,
    by_rival.spelling,
    by_rival.token_count,
    by_rival.frequency,
    by_rival.embeddings,
    by_rival.strongest_rival,
    over_rivals.value AS over_rivals,
    over_rivals.low AS over_rivals_low,
    over_rivals.high AS over_rivals_high,
    over_rivals.low > 0 AS is_left,
    over_controls.value AS over_controls,
    over_controls.low AS over_controls_low,
    over_controls.high AS over_controls_high,
    over_untrained.value AS over_untrained,
    over_untrained.low AS over_untrained_low,
    over_untrained.high AS over_untrained_high
FROM best
LEFT JOIN concepts
    ON best.concept = concepts.concept
LEFT JOIN by_rival
    ON best.model = by_rival.model AND best.concept = by_rival.concept AND best.labelling = by_rival.labelling
LEFT JOIN read_profiles AS over_rivals
    ON
        best.model = over_rivals.model
        AND best.concept = over_rivals.concept
        AND best.labelling = over_rivals.labelling
        AND best.layer = over_rivals.layer
        AND over_rivals.metric = $metric || '_over_rivals'
LEFT JOIN read_profiles AS over_controls
    ON
        best.model = over_controls.model
        AND best.concept = over_controls.concept
        AND best.labelling = over_controls.labelling
        AND best.layer = over_controls.layer
        AND over_controls.metric = $metric || '_over_controls'
LEFT JOIN read_profiles AS over_untrained
    ON
        best.model = over_untrained.model
        AND best.concept = over_untrained.concept
        AND best.labelling = over_untrained.labelling
        AND best.layer = over_untrained.layer
        AND over_untrained.metric = $metric || '_over_untrained'
ORDER BY
    best.model,
    best.concept,
    best.labelling
