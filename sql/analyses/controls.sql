-- Does a medical concept show more than the controls do at the same layer? Each value is taken over its own null first,
-- for labellings with many small labels have another level by chance.
--
-- Grain: one row a model, medical concept, labelling and layer
-- Parameters:
--   metric text = 'silhouette_cosine': The metric.
-- Columns:
--   model: The model's slug.
--   concept: The medical concept.
--   labelling: Its labelling.
--   layer: The layer; -1 is the embedding output.
--   value: The metric.
--   over_null: The value minus the mean under permuted labels.
--   control_over_null: The same for the control concepts: the mean over their labellings; null if there are none.
--   excess: What the medical concept shows over the controls.
WITH over_nulls AS (
    SELECT
        model,
        concept,
        role,
        labelling,
        layer,
        value,
        value - null_mean AS over_null
    FROM asking_profiles
    WHERE metric = $metric AND null_mean IS NOT NULL
),

control_levels AS (
    SELECT
        model,
        layer,
        avg(over_null) AS over_null
    FROM over_nulls
    WHERE role = 'control'
    GROUP BY
        model,
        layer
)

SELECT
    over_nulls.model,
    over_nulls.concept,
    over_nulls.labelling,
    over_nulls.layer,
    over_nulls.value,
    over_nulls.over_null,
    control_levels.over_null AS control_over_null,
    over_nulls.over_null - control_levels.over_null AS excess
FROM over_nulls
LEFT JOIN control_levels
    ON over_nulls.model = control_levels.model AND over_nulls.layer = control_levels.layer
WHERE over_nulls.role = 'medical'
ORDER BY
    over_nulls.model,
    over_nulls.concept,
    over_nulls.labelling,
    over_nulls.layer
