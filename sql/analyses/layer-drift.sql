-- How much does each layer change what is there? The cosine between a prompt's vectors before and after the layer.
-- It reads every vector at the position: narrow it down for large models.
--
-- Grain: one row a model, concept and layer
-- Parameters:
--   position text = 'last': Where prompts are read: last, term or mean.
--   model text = NULL: Only this model; all of them if left out.
--   concept text = NULL: Only this concept; all of them if left out.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   layer: The layer, compared with the layer below it (layer 0: with the embedding output).
--   prompts: Prompts behind the means.
--   mean_cosine: Mean cosine; 1 means that only the length changed.
--   mean_growth: Mean ratio of the vectors' lengths, after to before.
WITH vectors AS (
    SELECT
        model,
        concept,
        layer,
        template,
        term,
        vector
    FROM activations
    WHERE
        position = $position
        AND ($model IS NULL OR model = $model)
        AND ($concept IS NULL OR concept = $concept)
)

SELECT
    after.model,
    after.concept,
    after.layer,
    count(*) AS prompts,
    avg(list_cosine_similarity(before.vector, after.vector)) AS mean_cosine,
    avg(magnitude(after.vector) / nullif(magnitude(before.vector), 0)) AS mean_growth
FROM vectors AS after
INNER JOIN vectors AS before
    ON
        after.model = before.model
        AND after.concept = before.concept
        AND after.template = before.template
        AND after.term = before.term
        AND after.layer = before.layer + 1
GROUP BY
    after.model,
    after.concept,
    after.layer
ORDER BY
    after.model,
    after.concept,
    after.layer
