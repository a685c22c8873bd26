-- In which layers does a labelling stand out from permuted labels, at the last token of asking prompts?
-- Layers are counted one by one: at 0.05, one layer in twenty passes by chance.
--
-- Grain: one row a model, concept and labelling
-- Parameters:
--   metric text = 'silhouette_cosine': The metric that is compared with its null.
--   probability real = 0.05: The largest share of permutations that may do as well.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control.
--   labelling: The labelling.
--   layers_measured: Layers with a null, the embedding output included.
--   layers_standing_out: How many of them stand out.
--   first_layer: The lowest that does; null if none.
--   last_layer: The highest that does; null if none.
SELECT
    model,
    concept,
    role,
    labelling,
    count(*) AS layers_measured,
    count(*) FILTER (WHERE null_p <= $probability) AS layers_standing_out,
    min(layer) FILTER (WHERE null_p <= $probability) AS first_layer,
    max(layer) FILTER (WHERE null_p <= $probability) AS last_layer
FROM asking_profiles
WHERE metric = $metric AND null_p IS NOT NULL
GROUP BY
    model,
    concept,
    role,
    labelling
ORDER BY
    model,
    concept,
    labelling
