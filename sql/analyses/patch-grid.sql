-- What does a patch of each token at each layer restore? The full grid, of one pair or of all pairs of a template.
-- Tokens of prompts of other lengths don't line up: each length is a grid of its own.
--
-- Grain: one row a model, concept, template, length of the prompt, token and layer
-- Parameters:
--   model text = NULL: Only this model; all of them if left out.
--   concept text = NULL: Only this concept; all of them if left out.
--   template text = NULL: Only this template; all of them if left out.
--   term text = NULL: Only pairs with this clean term.
--   corrupting_term text = NULL: Only pairs with this corrupting term.
--   site text = 'resid': What is patched: resid, delta, attn_out or mlp_out.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   tokens: Tokens of the prompts.
--   token: Index of the patched token.
--   layer: The patched layer.
--   restored: P; null if no pair has something to restore.
--   pairs: Pairs behind it.
--   pairs_left_out: Pairs whose clean and corrupted runs hardly differ, or the wrong way.
SELECT
    patches.model,
    patches.concept,
    patches.template,
    pair_tokens.tokens,
    patches.token,
    patches.layer,
    restored(patches.ld_clean, patches.ld_corrupted, patches.ld_patched) AS restored,
    count(*) FILTER (WHERE differs(patches.ld_clean, patches.ld_corrupted)) AS pairs,
    count(*) FILTER (WHERE NOT differs(patches.ld_clean, patches.ld_corrupted)) AS pairs_left_out
FROM patches
INNER JOIN pair_tokens
    ON
        patches.model = pair_tokens.model
        AND patches.concept = pair_tokens.concept
        AND patches.template = pair_tokens.template
        AND patches.term = pair_tokens.term
        AND patches.corrupting_term = pair_tokens.corrupting_term
WHERE
    patches.position = 'token'
    AND patches.site = $site
    AND ($model IS NULL OR patches.model = $model)
    AND ($concept IS NULL OR patches.concept = $concept)
    AND ($template IS NULL OR patches.template = $template)
    AND ($term IS NULL OR patches.term = $term)
    AND ($corrupting_term IS NULL OR patches.corrupting_term = $corrupting_term)
GROUP BY
    patches.model,
    patches.concept,
    patches.template,
    pair_tokens.tokens,
    patches.token,
    patches.layer
ORDER BY
    patches.model,
    patches.concept,
    patches.template,
    pair_tokens.tokens,
    patches.token,
    patches.layer
