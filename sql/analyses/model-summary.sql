-- Which models are here, how large are they, and what was measured on them?
--
-- Grain: one row a model
-- Columns:
--   model: The model's slug.
--   architecture: The class that the model's config names.
--   layers: Decoder layers.
--   width: Width of the residual stream.
--   parameters: Weights, tied ones counted once.
--   dtype: The type that the weights were run in.
--   concepts: Concepts with activations.
--   vectors: Activation vectors.
--   profiles: Numbers in profiles.
--   planted_layers: Layers that knowledge was planted in; null for other models.
--   landed_at: When the model was first recorded.
WITH vector_counts AS (
    SELECT
        model,
        count(DISTINCT concept) AS concepts,
        count(*) AS vectors
    FROM activations
    GROUP BY model
),

profile_counts AS (
    SELECT
        model,
        count(*) AS profiles
    FROM profiles
    GROUP BY model
),

planted AS (
    SELECT
        model,
        list(DISTINCT layer ORDER BY layer) AS planted_layers
    FROM plants
    WHERE kind <> 'spread'
    GROUP BY model
)

SELECT
    models.model,
    models.architecture,
    models.layers,
    models.width,
    models.parameters,
    models.dtype,
    coalesce(vector_counts.concepts, 0) AS concepts,
    coalesce(vector_counts.vectors, 0) AS vectors,
    coalesce(profile_counts.profiles, 0) AS profiles,
    planted.planted_layers,
    models.landed_at
FROM models
LEFT JOIN vector_counts
    ON models.model = vector_counts.model
LEFT JOIN profile_counts
    ON models.model = profile_counts.model
LEFT JOIN planted
    ON models.model = planted.model
ORDER BY models.model
