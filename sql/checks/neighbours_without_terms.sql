-- Terms with neighbours, or their neighbours, that are not in the library as terms of that variant; and terms that are
-- their own neighbour.
--
-- Grain: one row a model, concept, variant, term and neighbour at fault
-- Table: neighbours
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   variant: The control spelling, empty for main terms.
--   term: The term.
--   neighbour: Its neighbour.
--   layers: At how many layers.
SELECT
    neighbours.model,
    neighbours.concept,
    neighbours.variant,
    neighbours.term,
    neighbours.neighbour,
    count(*) AS layers
FROM neighbours
LEFT JOIN terms
    ON
        neighbours.concept = terms.concept
        AND neighbours.term = terms.term
        AND neighbours.variant = terms.variant
LEFT JOIN terms AS others
    ON
        neighbours.concept = others.concept
        AND neighbours.neighbour = others.term
        AND neighbours.variant = others.variant
WHERE
    terms.term IS NULL
    OR others.term IS NULL
    OR neighbours.term = neighbours.neighbour
GROUP BY
    neighbours.model,
    neighbours.concept,
    neighbours.variant,
    neighbours.term,
    neighbours.neighbour
ORDER BY ALL
