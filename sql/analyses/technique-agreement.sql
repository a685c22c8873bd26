-- Do the techniques name the same layer? The layer of the largest value of each technique's contrasted or differenced
-- profile, the raw lesion beside them, how many of them name about the same layer, and for planted models the truth.
--
-- Grain: one row a model, concept, labelling and metric
-- Parameters:
--   tolerance integer = 0: How many layers apart two metrics may be and still agree.
--   model text = NULL: Only this model; all of them if left out.
--   concept text = NULL: Only this concept; all of them if left out.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control.
--   labelling: The labelling.
--   technique: The technique.
--   metric: The metric.
--   layer: The layer of its largest value, the lowest of them if there are several.
--   value: The value there.
--   low: Lower end of its 95% interval.
--   high: Upper end of its 95% interval.
--   others: Other metrics here that were measured.
--   others_agreeing: How many of them name that layer, or one within the tolerance.
--   planted_layers: Layers that the knowledge was planted in; null where nothing was planted.
--   is_planted: Whether the layer is one of them; null where nothing was planted.
WITH largest AS (
    SELECT
        model,
        concept,
        role,
        labelling,
        technique,
        metric,
        layer,
        value,
        low,
        high
    FROM asking_profiles
    WHERE
        metric IN (
            'silhouette_cosine_step',
            'identity_log_probability_drop',
            'identity_accuracy_drop_over_controls',
            'mean_log_probability_drop_over_controls',
            'resample_log_probability_drop_over_controls',
            'resid_restored_step',
            'delta_restored',
            'logit_difference_first_order_effect'
        )
        AND ($model IS NULL OR model = $model)
        AND ($concept IS NULL OR concept = $concept)
    QUALIFY
        row_number() OVER (
            PARTITION BY model, concept, labelling, technique, metric
            ORDER BY value DESC, layer
        ) = 1
)

SELECT
    largest.model,
    largest.concept,
    largest.role,
    largest.labelling,
    largest.technique,
    largest.metric,
    largest.layer,
    largest.value,
    largest.low,
    largest.high,
    count(other.metric) AS others,
    count(other.metric) FILTER (WHERE abs(other.layer - largest.layer) <= $tolerance) AS others_agreeing,
    any_value(planted_layers.layers) AS planted_layers,
    list_contains(any_value(planted_layers.layers), largest.layer) AS is_planted
FROM largest
LEFT JOIN largest AS other
    ON
        largest.model = other.model
        AND largest.concept = other.concept
        AND largest.labelling = other.labelling
        AND largest.metric <> other.metric
LEFT JOIN planted_layers
    ON
        largest.model = planted_layers.model
        AND largest.concept = planted_layers.concept
        AND largest.labelling = planted_layers.labelling
GROUP BY
    largest.model,
    largest.concept,
    largest.role,
    largest.labelling,
    largest.technique,
    largest.metric,
    largest.layer,
    largest.value,
    largest.low,
    largest.high
ORDER BY
    largest.model,
    largest.concept,
    largest.labelling,
    largest.technique,
    largest.metric
