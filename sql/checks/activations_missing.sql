-- Tokenized prompts that lack vectors at some position or layer, for a model that has activations of their concept.
--
-- Grain: one row a model and prompt at fault
-- Table: activations
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term.
--   expected: Vectors that there should be: one a position and layer, the embedding output included.
--   found: Vectors that are there.
WITH extracted AS (
    SELECT
        activations.model,
        activations.concept,
        count(DISTINCT activations.position) * any_value(models.layers + 1) AS vectors
    FROM activations
    INNER JOIN models
        ON activations.model = models.model
    GROUP BY
        activations.model,
        activations.concept
),

found AS (
    SELECT
        model,
        concept,
        template,
        term,
        count(*) AS vectors
    FROM activations
    GROUP BY
        model,
        concept,
        template,
        term
)

SELECT
    tokens.model,
    tokens.concept,
    tokens.template,
    tokens.term,
    extracted.vectors AS expected,
    coalesce(found.vectors, 0) AS found
FROM tokens
INNER JOIN extracted
    ON tokens.model = extracted.model AND tokens.concept = extracted.concept
LEFT JOIN found
    ON
        tokens.model = found.model
        AND tokens.concept = found.concept
        AND tokens.template = found.template
        AND tokens.term = found.term
WHERE coalesce(found.vectors, 0) <> extracted.vectors
ORDER BY ALL
