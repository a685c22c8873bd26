-- Where does the answer arrive? What a patch of the last token restores, layer by layer, and its step from the layer
-- below: where the step is large, the answer has come to the last token. `delta` patches a layer's own contribution.
--
-- Grain: one row a model, concept, labelling and layer
-- Parameters:
--   site text = 'resid': What is patched: resid, delta, attn_out or mlp_out.
--   position text = 'last': Where: last or term.
--   model text = NULL: Only this model; all of them if left out.
--   concept text = NULL: Only this concept; all of them if left out.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control.
--   labelling: The labelling that the prompts ask for.
--   layer: The patched layer.
--   restored: P, the share of the answer that comes back.
--   low: Lower end of its 95% interval.
--   high: Upper end of its 95% interval.
--   step: P minus that of the layer below; null for other sites than resid, and where that is not known.
--   step_low: Lower end of its 95% interval.
--   step_high: Upper end of its 95% interval.
--   pairs: Pairs behind the numbers.
--   pairs_left_out: Pairs whose clean and corrupted runs hardly differ, or the wrong way.
--   is_planted: Whether the knowledge was planted in this layer; null where nothing was planted.
WITH patch_profiles AS (
    SELECT
        model,
        concept,
        labelling,
        layer,
        metric,
        value,
        low,
        high
    FROM profiles
    WHERE
        technique = 'patches'
        AND template_kind = 'asking'
        AND position = $position
        AND variant = ''
)

SELECT
    patch_effects.model,
    patch_effects.concept,
    patch_effects.role,
    patch_effects.labelling,
    patch_effects.layer,
    patch_effects.restored,
    whole.low,
    whole.high,
    steps.value AS step,
    steps.low AS step_low,
    steps.high AS step_high,
    patch_effects.pairs,
    patch_effects.pairs_left_out,
    list_contains(planted_layers.layers, patch_effects.layer) AS is_planted
FROM patch_effects
LEFT JOIN patch_profiles AS whole
    ON
        patch_effects.model = whole.model
        AND patch_effects.concept = whole.concept
        AND patch_effects.labelling = whole.labelling
        AND patch_effects.layer = whole.layer
        AND patch_effects.site || '_restored' = whole.metric
LEFT JOIN patch_profiles AS steps
    ON
        patch_effects.model = steps.model
        AND patch_effects.concept = steps.concept
        AND patch_effects.labelling = steps.labelling
        AND patch_effects.layer = steps.layer
        AND patch_effects.site || '_restored_step' = steps.metric
LEFT JOIN planted_layers
    ON
        patch_effects.model = planted_layers.model
        AND patch_effects.concept = planted_layers.concept
        AND patch_effects.labelling = planted_layers.labelling
WHERE
    patch_effects.site = $site
    AND patch_effects.position = $position
    AND patch_effects.variant = ''
    AND ($model IS NULL OR patch_effects.model = $model)
    AND ($concept IS NULL OR patch_effects.concept = $concept)
ORDER BY
    patch_effects.model,
    patch_effects.concept,
    patch_effects.labelling,
    patch_effects.layer
