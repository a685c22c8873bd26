-- A profile, layer by layer, with all that it is to be read against: interval, permuted labels, the controls at the
-- same layer, the step from the layer below, and for planted models the truth.
--
-- Grain: one row a labelling and layer
-- Parameters:
--   model text: The model's slug.
--   concept text: The concept.
--   labelling text = NULL: Only this labelling; all that have the metric if left out.
--   metric text = 'silhouette_cosine': What was measured; `docs/techniques.md` defines each.
--   template_kind text = 'asking': Which templates were read: asking or neutral.
--   position text = 'last': Where prompts were read: last, term or mean.
--   variant text = '': A control spelling instead of main terms.
-- Columns:
--   labelling: The labelling.
--   layer: The decoder layer; -1 is the embedding output.
--   depth: The layer over the model's last one: 0 is the first layer, 1 the last; null for the embedding output.
--   value: The estimate.
--   low: Lower end of the 95% bootstrap interval.
--   high: Upper end of the 95% bootstrap interval.
--   null_mean: Mean under permuted labels.
--   null_high: 95th percentile under permuted labels.
--   null_p: Fraction of permutations at least as large.
--   step: The value minus that of the layer below.
--   control: Mean of the same metric over the labellings of the control concepts at this layer, main terms.
--   layer_rank: 1 for the layer of the largest value; the embedding output has no rank.
--   planted: Whether the knowledge was planted in this layer; null for what was not planted.
--   n: Terms behind the number.
CREATE MACRO layer_profile(
    model,
    concept,
    labelling := NULL,
    metric := 'silhouette_cosine',
    template_kind := 'asking',
    position := 'last',
    variant := ''
) AS TABLE
WITH controls AS (
    SELECT
        profiles.layer AS of_layer,
        avg(profiles.value) AS mean_value
    FROM profiles
    INNER JOIN concepts
        ON profiles.concept = concepts.concept
    WHERE
        profiles.model = model
        AND profiles.concept <> concept
        AND concepts.role = 'control'
        AND profiles.metric = metric
        AND profiles.template_kind = template_kind
        AND profiles.position = position
        AND profiles.variant = ''
    GROUP BY profiles.layer
),

here AS (
    SELECT
        profiles.model AS of_model,
        profiles.concept AS of_concept,
        profiles.labelling AS of_labelling,
        profiles.layer AS of_layer,
        profiles.value,
        profiles.low,
        profiles.high,
        profiles.null_mean,
        profiles.null_high,
        profiles.null_p,
        profiles.n
    FROM profiles
    WHERE
        profiles.model = model
        AND profiles.concept = concept
        AND profiles.metric = metric
        AND profiles.template_kind = template_kind
        AND profiles.position = position
        AND profiles.variant = variant
        AND (labelling IS NULL OR profiles.labelling = labelling)
)

SELECT
    here.of_labelling AS labelling,
    here.of_layer AS layer,
    CASE WHEN here.of_layer >= 0 THEN here.of_layer / nullif(models.layers - 1, 0) END AS depth,
    here.value,
    here.low,
    here.high,
    here.null_mean,
    here.null_high,
    here.null_p,
    here.value - lag(here.value) OVER (PARTITION BY here.of_labelling ORDER BY here.of_layer) AS step,
    controls.mean_value AS control,
    CASE
        WHEN here.of_layer >= 0
            THEN rank() OVER (PARTITION BY here.of_labelling, here.of_layer >= 0 ORDER BY here.value DESC)
    END AS layer_rank,
    list_contains(planted_layers.layers, here.of_layer) AS planted,
    here.n
FROM here
INNER JOIN models
    ON here.of_model = models.model
LEFT JOIN controls
    ON here.of_layer = controls.of_layer
LEFT JOIN planted_layers
    ON
        here.of_model = planted_layers.model
        AND here.of_concept = planted_layers.concept
        AND here.of_labelling = planted_layers.labelling
ORDER BY
    here.of_labelling,
    here.of_layer
