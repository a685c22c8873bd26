-- First tokens that are not those of the tokenized prompts, for a model that has activations of their concept.
-- Encoders have none: what their first token holds differs from prompt to prompt.
--
-- Grain: one row a model, concept and first token at fault
-- Table: first_tokens
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   first_token: Vocabulary index of the token.
--   expected: Tokenized prompts that begin so.
--   found: Prompts that do according to `first_tokens`.
WITH extracted AS (
    SELECT DISTINCT
        activations.model,
        activations.concept
    FROM activations
    ANTI JOIN unmeasured
        ON activations.model = unmeasured.model AND unmeasured.table_name = 'first_tokens'
),

expected AS (
    SELECT
        tokens.model,
        tokens.concept,
        tokens.first_token,
        count(*) AS prompts
    FROM tokens
    SEMI JOIN extracted
        ON tokens.model = extracted.model AND tokens.concept = extracted.concept
    GROUP BY
        tokens.model,
        tokens.concept,
        tokens.first_token
),

found AS (
    SELECT
        model,
        concept,
        first_token,
        any_value(prompts) AS prompts
    FROM first_tokens
    GROUP BY
        model,
        concept,
        first_token
)

SELECT
    coalesce(expected.model, found.model) AS model,
    coalesce(expected.concept, found.concept) AS concept,
    coalesce(expected.first_token, found.first_token) AS first_token,
    coalesce(expected.prompts, 0) AS expected,
    coalesce(found.prompts, 0) AS found
FROM expected
FULL JOIN found
    ON
        expected.model = found.model
        AND expected.concept = found.concept
        AND expected.first_token = found.first_token
WHERE expected.prompts IS DISTINCT FROM found.prompts
ORDER BY ALL
