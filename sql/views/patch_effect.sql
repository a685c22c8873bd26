-- What a patch restores at each layer, and its step from the layer below: the view `patch_effects` for one model and
-- concept, narrowed down to a template or a clean term if wanted. Where the step is large, the answer has arrived.
-- It is computed from the pairs and has no interval: `layer_profile` of the metric `resid_restored` has one.
--
-- Grain: one row a labelling and layer
-- Parameters:
--   model text: The model's slug.
--   concept text: The concept.
--   labelling text = NULL: Only this labelling; all that are asked for if left out.
--   site text = 'resid': What was patched: resid, delta, attn_out or mlp_out.
--   position text = 'last': Where: last or term.
--   term text = NULL: Only pairs with this clean term; all if left out.
--   template text = NULL: Only pairs of this template; all that are not held out if left out.
--   variant text = '': A control spelling instead of main terms.
-- Columns:
--   labelling: The labelling that the prompts ask for.
--   layer: The decoder layer.
--   depth: The layer over the model's last one: 0 is the first layer, 1 the last.
--   restored: P, a ratio of sums over pairs; null if no pair has something to restore.
--   step: P minus that of the layer below; of layer 0 P itself.
--   pairs: Pairs behind it.
--   pairs_left_out: Pairs whose two runs don't differ enough, or the wrong way (`differs`).
CREATE MACRO patch_effect(
    model,
    concept,
    labelling := NULL,
    site := 'resid',
    position := 'last',
    term := NULL,
    template := NULL,
    variant := ''
) AS TABLE
WITH effects AS (
    SELECT
        patches.model AS of_model,
        asked_prompts.labelling AS of_labelling,
        patches.layer AS of_layer,
        restored(patches.ld_clean, patches.ld_corrupted, patches.ld_patched) AS share,
        count(*) FILTER (WHERE differs(patches.ld_clean, patches.ld_corrupted)) AS kept,
        count(*) FILTER (WHERE NOT differs(patches.ld_clean, patches.ld_corrupted)) AS left_out
    FROM patches
    INNER JOIN asked_prompts
        ON
            patches.concept = asked_prompts.concept
            AND patches.template = asked_prompts.template
            AND patches.term = asked_prompts.term
    WHERE
        patches.model = model
        AND patches.concept = concept
        AND patches.site = site
        AND patches.position = position
        AND patches.position <> 'token'
        AND asked_prompts.variant = variant
        AND (labelling IS NULL OR asked_prompts.labelling = labelling)
        AND (term IS NULL OR patches.term = term)
        AND (template IS NULL OR patches.template = template)
    GROUP BY
        patches.model,
        asked_prompts.labelling,
        patches.layer
)

SELECT
    effects.of_labelling AS labelling,
    effects.of_layer AS layer,
    effects.of_layer / nullif(models.layers - 1, 0) AS depth,
    effects.share AS restored,
    CASE
        WHEN effects.of_layer = 0 THEN effects.share
        ELSE effects.share - lag(effects.share) OVER (PARTITION BY effects.of_labelling ORDER BY effects.of_layer)
    END AS step,
    effects.kept AS pairs,
    effects.left_out AS pairs_left_out
FROM effects
INNER JOIN models
    ON effects.of_model = models.model
ORDER BY
    effects.of_labelling,
    effects.of_layer
