-- Two models' knowledge maps side by side, layer beside layer or depth beside depth. By depth each row is a layer of
-- the deeper model, and the shallower one stands there with its layer of the nearest depth, so that a layer of it may
-- come more than once.
--
-- Grain: one row a concept, labelling and layer (or depth)
-- Parameters:
--   a text: One model's slug.
--   b text: The other's.
--   side text = 'layer': What stands side by side: layer or depth.
--   mode text = 'consensus': How the maps are drawn: consensus or paper.
--   concept text = NULL: Only this concept; all if left out.
--   labelling text = NULL: Only this labelling, '' for the concept as a whole; all if left out.
-- Columns:
--   concept: The concept.
--   labelling: The labelling; empty for the concept as a whole.
--   layer: The layer, or by depth the deeper model's layer.
--   depth: It over the last layer of the deeper model: 0 is the first layer, 1 the last.
--   a_layer: The layer of `a`; null where it has none.
--   b_layer: The layer of `b`; null where it has none.
--   a_confidence: How sure the map of `a` is that its layer holds the concept; null where it was not measured.
--   b_confidence: The same of `b`.
--   difference: Confidence of `b` minus that of `a`; null where either is missing.
--   a_verdict: What the map of `a` says of the concept as a whole; null where there is none.
--   b_verdict: The same of `b`.
CREATE MACRO compare(
    a,
    b,
    side := 'layer',
    mode := 'consensus',
    concept := NULL,
    labelling := NULL
) AS TABLE
WITH depths AS (
    SELECT
        max(models.layers) FILTER (WHERE models.model = a) AS of_a,
        max(models.layers) FILTER (WHERE models.model = b) AS of_b,
        max(models.layers) AS most
    FROM models
    WHERE models.model IN (a, b)
),

steps AS (
    SELECT
        numbers.layer AS place,
        numbers.layer / nullif(depths.most - 1, 0) AS of_depth,
        depths.of_a,
        depths.of_b
    FROM depths
    CROSS JOIN LATERAL unnest(range(0, depths.most)) AS numbers (layer)
    WHERE depths.of_a IS NOT NULL AND depths.of_b IS NOT NULL
),

places AS (
    SELECT
        steps.place,
        steps.of_depth,
        CASE
            WHEN side = 'depth' THEN CAST(round(coalesce(steps.of_depth, 0) * (steps.of_a - 1)) AS BIGINT)
            WHEN steps.place < steps.of_a THEN steps.place
        END AS at_a,
        CASE
            WHEN side = 'depth' THEN CAST(round(coalesce(steps.of_depth, 0) * (steps.of_b - 1)) AS BIGINT)
            WHEN steps.place < steps.of_b THEN steps.place
        END AS at_b
    FROM steps
),

verdicts AS (
    SELECT
        localisations.concept AS of_concept,
        localisations.labelling AS of_labelling,
        max(localisations.verdict) FILTER (WHERE localisations.model = a) AS of_a,
        max(localisations.verdict) FILTER (WHERE localisations.model = b) AS of_b
    FROM localisations
    WHERE
        localisations.model IN (a, b)
        AND localisations.mode = mode
        AND (concept IS NULL OR localisations.concept = concept)
        AND (labelling IS NULL OR localisations.labelling = labelling)
    GROUP BY
        localisations.concept,
        localisations.labelling
),

cells AS (
    SELECT
        knowledge_map.model AS of_model,
        knowledge_map.concept AS of_concept,
        knowledge_map.labelling AS of_labelling,
        knowledge_map.layer AS of_layer,
        knowledge_map.confidence
    FROM knowledge_map
    WHERE knowledge_map.model IN (a, b) AND knowledge_map.mode = mode
)

SELECT
    verdicts.of_concept AS concept,
    verdicts.of_labelling AS labelling,
    places.place AS layer,
    places.of_depth AS depth,
    places.at_a AS a_layer,
    places.at_b AS b_layer,
    cells_a.confidence AS a_confidence,
    cells_b.confidence AS b_confidence,
    cells_b.confidence - cells_a.confidence AS difference,
    verdicts.of_a AS a_verdict,
    verdicts.of_b AS b_verdict
FROM verdicts
CROSS JOIN places
LEFT JOIN cells AS cells_a
    ON
        cells_a.of_model = a
        AND verdicts.of_concept = cells_a.of_concept
        AND verdicts.of_labelling = cells_a.of_labelling
        AND places.at_a = cells_a.of_layer
LEFT JOIN cells AS cells_b
    ON
        cells_b.of_model = b
        AND verdicts.of_concept = cells_b.of_concept
        AND verdicts.of_labelling = cells_b.of_labelling
        AND places.at_b = cells_b.of_layer
ORDER BY
    verdicts.of_concept,
    verdicts.of_labelling,
    places.place
