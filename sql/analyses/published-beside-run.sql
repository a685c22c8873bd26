-- How do our runs compare with the paper's Table 1? Each published figure with the best layer of each run by the same
-- metric, at the last token: in UMAP's space as in the paper, and in the original space. Depths compare, layers don't.
--
-- Grain: one row a published figure, model of ours and metric of ours
-- Parameters:
--   template_kind text = 'asking': Which of our prompts are read.
--   model text = NULL: Only this model of ours; all of them if left out.
-- Columns:
--   concept: The concept.
--   metric: The metric, as the paper names it.
--   published_model: The model, as the paper names it.
--   value: The published best value over layers.
--   layer: The layer of that value.
--   depth: That layer over the model's last one.
--   run_metric: Our metric.
--   model: Our model's slug.
--   run_value: The best value over its layers.
--   run_low: Lower end of its 95% interval.
--   run_high: Upper end of its 95% interval.
--   run_layer: The layer of that value, the lowest of them if there are several.
--   run_depth: That layer over the model's last one.
WITH counterparts (concept, metric, labelling, run_metric) AS (
    VALUES
        ('age', 'R² linearity', 'years', 'r2_umap'),
        ('age', 'R² linearity', 'years', 'r2_ridge'),
        ('symptoms', 'silhouette', 'system', 'silhouette_umap'),
        ('symptoms', 'silhouette', 'system', 'silhouette_cosine'),
        ('diseases', 'silhouette', 'category', 'silhouette_umap'),
        ('diseases', 'silhouette', 'category', 'silhouette_cosine'),
        ('drugs', 'silhouette, mechanism', 'mechanism', 'silhouette_umap'),
        ('drugs', 'silhouette, mechanism', 'mechanism', 'silhouette_cosine'),
        ('drugs', 'silhouette, specialty', 'specialty', 'silhouette_umap'),
        ('drugs', 'silhouette, specialty', 'specialty', 'silhouette_cosine'),
        ('dosage', 'patching P', 'verdict', 'resid_restored')
),

best AS (
    SELECT
        profiles.model,
        profiles.concept,
        profiles.labelling,
        profiles.metric,
        profiles.value,
        profiles.low,
        profiles.high,
        profiles.layer,
        profiles.layer / nullif(models.layers - 1, 0) AS depth
    FROM profiles
    INNER JOIN models
        ON profiles.model = models.model
    WHERE
        profiles.template_kind = $template_kind
        AND profiles.position = 'last'
        AND profiles.variant = ''
        AND profiles.layer >= 0
        AND NOT is_twin(profiles.model)
        AND ($model IS NULL OR profiles.model = $model)
    QUALIFY
        row_number() OVER (
            PARTITION BY profiles.model, profiles.concept, profiles.labelling, profiles.metric
            ORDER BY profiles.value DESC, profiles.layer
        ) = 1
)

SELECT
    published.concept,
    published.metric,
    published.published_model,
    published.value,
    published.layer,
    published.depth,
    counterparts.run_metric,
    best.model,
    best.value AS run_value,
    best.low AS run_low,
    best.high AS run_high,
    best.layer AS run_layer,
    best.depth AS run_depth
FROM published
INNER JOIN counterparts
    ON published.concept = counterparts.concept AND published.metric = counterparts.metric
INNER JOIN best
    ON
        counterparts.concept = best.concept
        AND counterparts.labelling = best.labelling
        AND counterparts.run_metric = best.metric
ORDER BY
    published.concept,
    published.metric,
    published.published_model,
    best.model,
    counterparts.run_metric
