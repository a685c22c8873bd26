-- How many of a term's nearest terms at the layer before are still among its nearest: 1 is all, 0 none. A term that has
-- no neighbours at one of the two layers (`neighbours`) has no row there.
--
-- Grain: one row a model, concept, template kind, position, variant, layer and term
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template_kind: Which templates were read.
--   position: Where prompts are read.
--   variant: Empty for main terms, else the control spelling.
--   layer: The layer; the one before it is a number less.
--   term: The term.
--   before: Its neighbours at the layer before.
--   still: How many of them are its neighbours here.
--   kept: Their share.
CREATE VIEW neighbours_kept AS
WITH compared AS (
    SELECT
        below.model,
        below.concept,
        below.template_kind,
        below.position,
        below.variant,
        CAST(below.layer + 1 AS SMALLINT) AS layer,
        below.term,
        below.neighbour,
        here.neighbour IS NOT NULL AS is_kept
    FROM neighbours AS below
    LEFT JOIN neighbours AS here
        ON
            below.model = here.model
            AND below.concept = here.concept
            AND below.template_kind = here.template_kind
            AND below.position = here.position
            AND below.variant = here.variant
            AND below.layer + 1 = here.layer
            AND below.term = here.term
            AND below.neighbour = here.neighbour
)

SELECT
    compared.model,
    compared.concept,
    compared.template_kind,
    compared.position,
    compared.variant,
    compared.layer,
    compared.term,
    count(*) AS before,
    count(*) FILTER (WHERE compared.is_kept) AS still,
    avg(CAST(compared.is_kept AS INTEGER)) AS kept
FROM compared
SEMI JOIN neighbours
    ON
        compared.model = neighbours.model
        AND compared.concept = neighbours.concept
        AND compared.template_kind = neighbours.template_kind
        AND compared.position = neighbours.position
        AND compared.variant = neighbours.variant
        AND compared.layer = neighbours.layer
        AND compared.term = neighbours.term
GROUP BY
    compared.model,
    compared.concept,
    compared.template_kind,
    compared.position,
    compared.variant,
    compared.layer,
    compared.term
