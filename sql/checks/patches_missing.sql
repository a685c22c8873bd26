-- Pairs that lack a patch at some layer, at the last token or at the term's, at a site that other layers have.
--
-- Grain: one row a model, site, position, token and pair at fault
-- Table: patches
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   site: What was patched.
--   position: Where it was patched.
--   token: Index of the patched token.
--   template: The template.
--   term: The term of the clean prompt.
--   corrupting_term: The term of the corrupted prompt.
--   expected: Layers that there should be.
--   found: Layers that are there.
SELECT
    patches.model,
    patches.concept,
    patches.site,
    patches.position,
    patches.token,
    patches.template,
    patches.term,
    patches.corrupting_term,
    any_value(model_layers.layers) AS expected,
    count(*) AS found
FROM patches
INNER JOIN model_layers
    ON patches.model = model_layers.model
WHERE patches.position <> 'token'
GROUP BY
    patches.model,
    patches.concept,
    patches.site,
    patches.position,
    patches.token,
    patches.template,
    patches.term,
    patches.corrupting_term
HAVING count(*) <> any_value(model_layers.layers)
ORDER BY ALL
