-- Do drugs cluster better by specialty or by mechanism? Two labellings of one concept side by side, at the last token.
-- Mind that the two are asked for by different templates; neutral prompts are the same for both.
--
-- Grain: one row a model, template kind and layer
-- Parameters:
--   concept text = 'drugs': The concept.
--   first text = 'specialty': The first labelling.
--   second text = 'mechanism': The second labelling.
--   metric text = 'silhouette_cosine': The metric.
-- Columns:
--   model: The model's slug.
--   template_kind: Which templates were read.
--   layer: The layer; -1 is the embedding output.
--   first_value: The metric by the first labelling.
--   first_low: Lower end of its 95% interval.
--   first_high: Upper end of its 95% interval.
--   second_value: The metric by the second labelling.
--   second_low: Lower end of its 95% interval.
--   second_high: Upper end of its 95% interval.
--   difference: First minus second.
--   intervals_apart: Whether the two intervals don't overlap.
WITH compared AS (
    SELECT
        model,
        template_kind,
        layer,
        labelling,
        value,
        low,
        high
    FROM profiles
    WHERE
        concept = $concept
        AND metric = $metric
        AND position = 'last'
        AND variant = ''
)

SELECT
    one.model,
    one.template_kind,
    one.layer,
    one.value AS first_value,
    one.low AS first_low,
    one.high AS first_high,
    other.value AS second_value,
    other.low AS second_low,
    other.high AS second_high,
    one.value - other.value AS difference,
    one.low > other.high OR other.low > one.high AS intervals_apart
FROM compared AS one
INNER JOIN compared AS other
    ON
        one.model = other.model
        AND one.template_kind = other.template_kind
        AND one.layer = other.layer
WHERE one.labelling = $first AND other.labelling = $second
ORDER BY
    one.model,
    one.template_kind,
    one.layer
