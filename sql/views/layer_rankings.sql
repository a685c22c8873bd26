-- The rank of each layer in each profile over main terms: 1 is the layer of the largest value. The embedding output has
-- no rank, untrained twins are left out. Equal values share the better rank.
--
-- Grain: one row a model, concept, technique, metric, labelling, template kind, position and layer
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control; null if the concept is not in the library.
--   technique: The technique that the number comes from.
--   metric: What was measured.
--   labelling: The labelling.
--   template_kind: Which templates were read.
--   position: Where the prompt was read.
--   layer: The decoder layer.
--   layers: Layers that are ranked.
--   value: The estimate.
--   low: Lower end of the 95% bootstrap interval.
--   high: Upper end of the 95% bootstrap interval.
--   layer_rank: The layer's rank in its profile.
--   behind_first: How far the value lies below the largest one.
--   beats_next: Whether its interval lies above the value of the layer that is ranked next.
CREATE VIEW layer_rankings AS
SELECT
    profiles.model,
    profiles.concept,
    concepts.role,
    profiles.technique,
    profiles.metric,
    profiles.labelling,
    profiles.template_kind,
    profiles.position,
    profiles.layer,
    count(*) OVER profile AS layers,
    profiles.value,
    profiles.low,
    profiles.high,
    rank() OVER (profile ORDER BY profiles.value DESC) AS layer_rank,
    max(profiles.value) OVER profile - profiles.value AS behind_first,
    profiles.low > lead(profiles.value) OVER (profile ORDER BY profiles.value DESC, profiles.layer) AS beats_next
FROM profiles
LEFT JOIN concepts
    ON profiles.concept = concepts.concept
WHERE
    profiles.variant = ''
    AND profiles.layer >= 0
    AND NOT is_twin(profiles.model)
WINDOW profile AS (
    PARTITION BY
        profiles.model,
        profiles.concept,
        profiles.technique,
        profiles.metric,
        profiles.labelling,
        profiles.template_kind,
        profiles.position
)
