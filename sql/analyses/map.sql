-- The knowledge map as rows: how sure it is that a layer holds a concept, how many techniques mark it, whether maps
-- made otherwise agree, and for planted models whether the knowledge was planted there.
--
-- Grain: one row a model, concept, labelling and layer
-- Parameters:
--   mode text = 'consensus': Which map: consensus or paper.
--   model text = NULL: Only this model; all of them if left out.
--   concept text = NULL: Only this concept; all of them if left out.
--   least real = 0.0: Only layers of at least this confidence.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control.
--   labelling: The labelling; empty for the concept as a whole.
--   layer: The layer.
--   confidence: How sure it is that the layer holds the concept.
--   agreement: Share of the maps made otherwise that say the same of this cell.
--   contrasts: Contrasts of techniques that were read for this labelling.
--   contrasts_marking: How many of them mark the layer in half of the resamples or more.
--   is_planted: Whether the knowledge was planted here; null where nothing was planted.
WITH marking AS (
    SELECT
        model,
        concept,
        mode,
        labelling,
        layer,
        count(*) AS contrasts,
        count(*) FILTER (WHERE marked >= 0.5) AS contrasts_marking
    FROM marks
    GROUP BY
        model,
        concept,
        mode,
        labelling,
        layer
)

SELECT
    knowledge_map.model,
    knowledge_map.concept,
    concepts.role,
    knowledge_map.labelling,
    knowledge_map.layer,
    knowledge_map.confidence,
    knowledge_map.agreement,
    marking.contrasts,
    marking.contrasts_marking,
    list_contains(planted_layers.layers, knowledge_map.layer) AS is_planted
FROM knowledge_map
LEFT JOIN concepts
    ON knowledge_map.concept = concepts.concept
LEFT JOIN marking
    ON
        knowledge_map.model = marking.model
        AND knowledge_map.concept = marking.concept
        AND knowledge_map.mode = marking.mode
        AND knowledge_map.labelling = marking.labelling
        AND knowledge_map.layer = marking.layer
LEFT JOIN planted_layers
    ON
        knowledge_map.model = planted_layers.model
        AND knowledge_map.concept = planted_layers.concept
        AND knowledge_map.labelling = planted_layers.labelling
WHERE
    knowledge_map.mode = $mode
    AND knowledge_map.confidence >= $least
    AND ($model IS NULL OR knowledge_map.model = $model)
    AND ($concept IS NULL OR knowledge_map.concept = $concept)
ORDER BY
    knowledge_map.model,
    knowledge_map.concept,
    knowledge_map.labelling,
    knowledge_map.layer
