-- Which layers rank first for a concept? Each layer's rank in the profile of each contrast that the consensus map
-- reads, and over all of them.
--
-- Grain: one row a model, concept, labelling and layer
-- Parameters:
--   model text = NULL: Only this model; all of them if left out.
--   concept text = NULL: Only this concept; all of them if left out.
--   most integer = 3: How many layers of each labelling are listed.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control.
--   labelling: The labelling.
--   overall_rank: The layer's place by its mean rank.
--   layer: The layer; the lower one first where mean ranks are equal.
--   mean_rank: Mean of its ranks over contrasts; 1 is the best.
--   first_in: How many contrasts rank it first.
--   contrasts: How many contrasts were measured.
--   ranks: Its rank by metric.
--   confidence: How sure the consensus map is of the layer; null where no map was drawn.
WITH ranked AS (
    SELECT
        layer_rankings.model,
        layer_rankings.concept,
        layer_rankings.role,
        layer_rankings.labelling,
        layer_rankings.layer,
        avg(layer_rankings.layer_rank) AS mean_rank,
        count(*) FILTER (WHERE layer_rankings.layer_rank = 1) AS first_in,
        count(*) AS contrasts,
        map_from_entries(
            list((layer_rankings.metric, layer_rankings.layer_rank) ORDER BY layer_rankings.metric)
        ) AS ranks
    FROM layer_rankings
    SEMI JOIN marks
        ON
            layer_rankings.model = marks.model
            AND layer_rankings.concept = marks.concept
            AND layer_rankings.technique = marks.technique
            AND layer_rankings.metric = marks.metric
            AND layer_rankings.labelling = marks.labelling
            AND layer_rankings.position = marks.position
            AND marks.mode = 'consensus'
    WHERE
        layer_rankings.template_kind = 'asking'
        AND ($model IS NULL OR layer_rankings.model = $model)
        AND ($concept IS NULL OR layer_rankings.concept = $concept)
    GROUP BY
        layer_rankings.model,
        layer_rankings.concept,
        layer_rankings.role,
        layer_rankings.labelling,
        layer_rankings.layer
)

SELECT
    ranked.model,
    ranked.concept,
    ranked.role,
    ranked.labelling,
    row_number() OVER (
        PARTITION BY ranked.model, ranked.concept, ranked.labelling
        ORDER BY ranked.mean_rank, ranked.layer
    ) AS overall_rank,
    ranked.layer,
    ranked.mean_rank,
    ranked.first_in,
    ranked.contrasts,
    ranked.ranks,
    knowledge_map.confidence
FROM ranked
LEFT JOIN knowledge_map
    ON
        ranked.model = knowledge_map.model
        AND ranked.concept = knowledge_map.concept
        AND ranked.labelling = knowledge_map.labelling
        AND ranked.layer = knowledge_map.layer
        AND knowledge_map.mode = 'consensus'
QUALIFY overall_rank <= $most
ORDER BY
    ranked.model,
    ranked.concept,
    ranked.labelling,
    overall_rank
