-- Which terms lie nearest to a term at a layer? By cosine, at the last token of the prompts of one template.
-- A template is chosen because vectors of different templates don't compare; labels are those that it asks for.
--
-- Grain: one row a model, concept and neighbouring term
-- Parameters:
--   term text: The term, as it stands in `terms`.
--   layer integer = NULL: The layer, -1 for the embedding output; the model's last layer if left out.
--   model text = NULL: Only this model; all of them if left out.
--   concept text = NULL: Only this concept; all that have the term if left out.
--   template text = NULL: The template; the concept's alphabetically first asking one that is not held out if left out.
--   neighbours integer = 10: How many neighbours to show.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   layer: The layer.
--   template: The template.
--   term: The term that was asked about.
--   label: Its label under the labelling that the template asks for; null for a neutral template.
--   rank: 1 for the nearest.
--   neighbour: The neighbouring term.
--   neighbour_label: Its label.
--   cosine: Cosine of the two vectors.
WITH templates AS (
    SELECT DISTINCT
        concept,
        template,
        labelling
    FROM prompts
),

first_templates AS (
    SELECT
        concept,
        min(template) AS template
    FROM reading_templates
    GROUP BY concept
),

chosen AS (
    SELECT
        templates.concept,
        templates.template,
        templates.labelling
    FROM templates
    LEFT JOIN first_templates
        ON templates.concept = first_templates.concept
    WHERE
        templates.template = coalesce($template, first_templates.template)
        AND ($concept IS NULL OR templates.concept = $concept)
),

vectors AS (
    SELECT
        activations.model,
        activations.concept,
        activations.layer,
        activations.template,
        activations.term,
        labelled_terms.label,
        activations.vector
    FROM activations
    INNER JOIN models
        ON activations.model = models.model
    INNER JOIN chosen
        ON activations.concept = chosen.concept AND activations.template = chosen.template
    INNER JOIN main_terms
        ON activations.concept = main_terms.concept AND activations.term = main_terms.term
    LEFT JOIN labelled_terms
        ON
            activations.concept = labelled_terms.concept
            AND activations.term = labelled_terms.term
            AND chosen.labelling = labelled_terms.labelling
    WHERE
        activations.position = 'last'
        AND activations.layer = coalesce($layer, models.layers - 1)
        AND ($model IS NULL OR activations.model = $model)
),

compared AS (
    SELECT
        here.model,
        here.concept,
        here.layer,
        here.template,
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
            AND here.term <> there.term
    WHERE here.term = $term
)

SELECT
    model,
    concept,
    layer,
    template,
    term,
    label,
    row_number() OVER nearness AS rank,
    neighbour,
    neighbour_label,
    cosine
FROM compared
WINDOW nearness AS (PARTITION BY model, concept ORDER BY cosine DESC, neighbour)
QUALIFY row_number() OVER nearness <= $neighbours
ORDER BY
    model,
    concept,
    rank
