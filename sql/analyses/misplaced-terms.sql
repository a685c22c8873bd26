-- Which terms lie nearer to a term of another label than to any of their own? By cosine, at the last token of the
-- labelling's alphabetically first asking template. Ties don't count, nor do terms that are alone under their label.
-- Every pair of terms is compared at every layer: narrow it down for large models.
--
-- Grain: one row a model, concept, labelling, layer and misplaced term
-- Parameters:
--   model text = NULL: Only this model; all of them if left out.
--   concept text = NULL: Only this concept; all of them if left out.
--   labelling text = NULL: Only this labelling; all of them if left out.
--   layer integer = NULL: Only this layer; all of them if left out.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The labelling.
--   layer: The layer; -1 is the embedding output.
--   term: The term.
--   label: Its label.
--   nearest_term: The term of another label that lies nearest.
--   nearest_label: That term's label.
--   cosine: Cosine of the two vectors.
--   own_cosine: Cosine with the nearest term of its own label.
WITH vectors AS (
    SELECT
        activations.model,
        activations.concept,
        labelled_terms.labelling,
        activations.layer,
        activations.term,
        labelled_terms.label,
        activations.vector
    FROM activations
    INNER JOIN reading_templates
        ON
            activations.concept = reading_templates.concept
            AND activations.template = reading_templates.template
    INNER JOIN labelled_terms
        ON
            activations.concept = labelled_terms.concept
            AND activations.term = labelled_terms.term
            AND reading_templates.labelling = labelled_terms.labelling
    WHERE
        activations.position = 'last'
        AND labelled_terms.label IS NOT NULL
        AND ($model IS NULL OR activations.model = $model)
        AND ($concept IS NULL OR activations.concept = $concept)
        AND ($labelling IS NULL OR labelled_terms.labelling = $labelling)
        AND ($layer IS NULL OR activations.layer = $layer)
),

compared AS (
    SELECT
        here.model,
        here.concept,
        here.labelling,
        here.layer,
        here.term,
        here.label,
        there.term AS neighbour,
        there.label AS neighbour_label,
        list_cosine_similarity(here.vector, there.vector) AS cosine
    FROM vectors AS here
    INNER JOIN vectors AS there
        ON
            here.model = there.model
            AND here.concept = there.concept
            AND here.labelling = there.labelling
            AND here.layer = there.layer
            AND here.term <> there.term
),

nearest AS (
    SELECT
        model,
        concept,
        labelling,
        layer,
        term,
        label,
        arg_max(neighbour, (cosine, neighbour)) FILTER (WHERE neighbour_label <> label) AS nearest_term,
        arg_max(neighbour_label, (cosine, neighbour)) FILTER (WHERE neighbour_label <> label) AS nearest_label,
        max(cosine) FILTER (WHERE neighbour_label <> label) AS cosine,
        max(cosine) FILTER (WHERE neighbour_label = label) AS own_cosine
    FROM compared
    GROUP BY
        model,
        concept,
        labelling,
        layer,
        term,
        label
)

SELECT
    model,
    concept,
    labelling,
    layer,
    term,
    label,
    nearest_term,
    nearest_label,
    cosine,
    own_cosine
FROM nearest
WHERE cosine > own_cosine
ORDER BY
    model,
    concept,
    labelling,
    layer,
    term
