-- At which layer does a labelling appear? The layer of the largest rise over the layer below, and for planted models
-- where the knowledge was planted.
--
-- Grain: one row a model, concept and labelling
-- Parameters:
--   metric text = 'silhouette_cosine_step': The metric of the rise.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control.
--   labelling: The labelling.
--   layer: The layer of the largest rise, the lowest of them if there are several.
--   step: The rise there.
--   low: Lower end of its 95% interval.
--   high: Upper end of its 95% interval.
--   null_p: How often permuted labels rise as much.
--   planted_layers: Layers that the knowledge was planted in; null where nothing was planted.
--   is_planted: Whether the layer is one of them; null where nothing was planted.
WITH largest AS (
    SELECT
        model,
        concept,
        role,
        labelling,
        layer,
        value AS step,
        low,
        high,
        null_p
    FROM asking_profiles
    WHERE metric = $metric AND layer >= 0
    QUALIFY
        row_number() OVER (
            PARTITION BY model, concept, labelling
            ORDER BY value DESC, layer
        ) = 1
)

SELECT
    largest.model,
    largest.concept,
    largest.role,
    largest.labelling,
    largest.layer,
    largest.step,
    largest.low,
    largest.high,
    largest.null_p,
    planted_layers.layers AS planted_layers,
    list_contains(planted_layers.layers, largest.layer) AS is_planted
FROM largest
LEFT JOIN planted_layers
    ON
        largest.model = planted_layers.model
        AND largest.concept = planted_layers.concept
        AND largest.labelling = planted_layers.labelling
ORDER BY
    largest.model,
    largest.concept,
    largest.labelling
