-- P, the share of the answer that a patch restores, at the last token and at the term's: a ratio of sums over pairs.
-- The full grid over tokens is in `patches` (`position = 'token'`) and in the query `patch-grid`.
--
-- Grain: one row a model, concept, labelling, variant, site, position and layer
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control; null if the concept is not in the library.
--   labelling: The labelling that the prompts ask for.
--   variant: Empty for main terms, else the control spelling.
--   site: What was patched.
--   position: Where: last or term.
--   layer: The layer.
--   restored: P; null if no pair has something to restore.
--   pairs: Pairs behind it.
--   pairs_left_out: Pairs whose two runs don't differ enough, or the wrong way (`differs`).
CREATE VIEW patch_effects AS
SELECT
    patches.model,
    patches.concept,
    asked_prompts.role,
    asked_prompts.labelling,
    asked_prompts.variant,
    patches.site,
    patches.position,
    patches.layer,
    restored(patches.ld_clean, patches.ld_corrupted, patches.ld_patched) AS restored,
    count(*) FILTER (WHERE differs(patches.ld_clean, patches.ld_corrupted)) AS pairs,
    count(*) FILTER (WHERE NOT differs(patches.ld_clean, patches.ld_corrupted)) AS pairs_left_out
FROM patches
INNER JOIN asked_prompts
    ON
        patches.concept = asked_prompts.concept
        AND patches.template = asked_prompts.template
        AND patches.term = asked_prompts.term
WHERE patches.position <> 'token'
GROUP BY
    patches.model,
    patches.concept,
    asked_prompts.role,
    asked_prompts.labelling,
    asked_prompts.variant,
    patches.site,
    patches.position,
    patches.layer
