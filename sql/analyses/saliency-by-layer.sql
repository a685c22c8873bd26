-- Which layers' weights push the answer? Σ g·w of the layer, of its attention and of its MLP, and the mean of |g|,
-- which is largest in the first layers whatever is asked.
--
-- Grain: one row a model, concept, labelling and layer
-- Parameters:
--   target text = 'logit_difference': What was differentiated: loss or logit_difference.
--   model text = NULL: Only this model; all of them if left out.
--   concept text = NULL: Only this concept; all of them if left out.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control.
--   labelling: The labelling that the prompts ask for.
--   layer: The layer.
--   first_order_effect: Σ g·w over the layer's weights: above 0 they raise the target.
--   low: Lower end of its 95% interval; null if the profile is not there.
--   high: Upper end of its 95% interval.
--   attention: Σ g·w over the weights of the attention.
--   mlp: Σ g·w over the weights of the MLP.
--   mean_abs_gradient: Mean of |g| over the layer's weights.
--   is_planted: Whether the knowledge was planted in this layer; null where nothing was planted.
WITH by_layer AS (
    SELECT
        model,
        concept,
        role,
        labelling,
        layer,
        max(first_order_effect) FILTER (WHERE part = 'layer') AS first_order_effect,
        max(first_order_effect) FILTER (WHERE part = 'attention') AS attention,
        max(first_order_effect) FILTER (WHERE part = 'mlp') AS mlp,
        max(mean_abs_gradient) FILTER (WHERE part = 'layer') AS mean_abs_gradient
    FROM saliency_effects
    WHERE
        target = $target
        AND variant = ''
        AND ($model IS NULL OR model = $model)
        AND ($concept IS NULL OR concept = $concept)
    GROUP BY
        model,
        concept,
        role,
        labelling,
        layer
)

SELECT
    by_layer.model,
    by_layer.concept,
    by_layer.role,
    by_layer.labelling,
    by_layer.layer,
    by_layer.first_order_effect,
    asking_profiles.low,
    asking_profiles.high,
    by_layer.attention,
    by_layer.mlp,
    by_layer.mean_abs_gradient,
    list_contains(planted_layers.layers, by_layer.layer) AS is_planted
FROM by_layer
LEFT JOIN asking_profiles
    ON
        by_layer.model = asking_profiles.model
        AND by_layer.concept = asking_profiles.concept
        AND by_layer.labelling = asking_profiles.labelling
        AND by_layer.layer = asking_profiles.layer
        AND asking_profiles.technique = 'saliency'
        AND asking_profiles.metric = $target || '_first_order_effect'
LEFT JOIN planted_layers
    ON
        by_layer.model = planted_layers.model
        AND by_layer.concept = planted_layers.concept
        AND by_layer.labelling = planted_layers.labelling
ORDER BY
    by_layer.model,
    by_layer.concept,
    by_layer.labelling,
    by_layer.layer
