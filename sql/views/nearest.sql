-- The terms that lie nearest to a term at a layer, in the model's own space: the cosine is taken among the prompts of
-- each template and averaged over templates, because vectors of different templates don't compare. Of main terms;
-- held-out templates are left out.
--
-- Grain: one row a neighbouring term
-- Parameters:
--   model text: The model's slug.
--   concept text: The concept that the term is of.
--   layer integer: The decoder layer; -1 for the embedding output.
--   term text: The term, as it stands in `terms`.
--   k integer = 10: How many neighbours to give.
--   position text = 'last': Where prompts are read: last, term or mean.
--   template_kind text = 'asking': Which templates are read: asking or neutral.
--   labelling text = NULL: Its labels are given too, and of asking templates only those that ask for it are read.
--   template text = NULL: Only this template; all of the kind if left out.
-- Columns:
--   rank: 1 for the nearest.
--   neighbour: The neighbouring term.
--   label: The neighbour's label under `labelling`; null if that is left out.
--   same_label: Whether the term that is asked about has the same label.
--   cosine: Mean of the cosines over templates.
--   templates: Templates behind the mean.
CREATE MACRO nearest(
    model,
    concept,
    layer,
    term,
    k := 10,
    position := 'last',
    template_kind := 'asking',
    labelling := NULL,
    template := NULL
) AS TABLE
WITH vectors AS (
    SELECT
        activations.template AS of_template,
        activations.term AS of_term,
        activations.vector
    FROM activations
    INNER JOIN prompts
        ON
            activations.concept = prompts.concept
            AND activations.template = prompts.template
            AND activations.term = prompts.term
    INNER JOIN main_terms
        ON activations.concept = main_terms.concept AND activations.term = main_terms.term
    WHERE
        activations.model = model
        AND activations.concept = concept
        AND activations.layer = layer
        AND activations.position = position
        AND prompts.template_kind = template_kind
        AND NOT prompts.held_out
        AND (labelling IS NULL OR template_kind = 'neutral' OR prompts.labelling = labelling)
        AND (template IS NULL OR prompts.template = template)
),

cosines AS (
    SELECT
        there.of_term AS neighbour,
        avg(list_cosine_similarity(here.vector, there.vector)) AS mean_cosine,
        count(*) AS templates_read
    FROM vectors AS here
    INNER JOIN vectors AS there
        ON here.of_template = there.of_template AND here.of_term <> there.of_term
    WHERE here.of_term = term
    GROUP BY there.of_term
),

known AS (
    SELECT
        labelled_terms.term AS of_term,
        coalesce(labelled_terms.label, CAST(labelled_terms.number AS VARCHAR)) AS of_label
    FROM labelled_terms
    WHERE labelled_terms.concept = concept AND labelled_terms.labelling = labelling
)

SELECT
    row_number() OVER (ORDER BY cosines.mean_cosine DESC, cosines.neighbour) AS rank,
    cosines.neighbour,
    known.of_label AS label,
    known.of_label = (SELECT asked.of_label FROM known AS asked WHERE asked.of_term = term) AS same_label,
    cosines.mean_cosine AS cosine,
    cosines.templates_read AS templates
FROM cosines
LEFT JOIN known
    ON cosines.neighbour = known.of_term
QUALIFY row_number() OVER (ORDER BY cosines.mean_cosine DESC, cosines.neighbour) <= k
ORDER BY rank
