-- What happens to the answers about each term: when a layer's work is lost to another prompt's (the resample lesion of
-- the whole layer), and when the clean run's last token is patched in after it. A few prompts and pairs are behind each
-- number: `lesion_effects` and `patch_effects` have the concept's.
--
-- Grain: one row a model, concept, labelling, variant, layer and term
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The labelling that the prompts ask for.
--   variant: Empty for main terms, else the control spelling.
--   layer: The layer.
--   term: The term that the prompts are about; of a pair, the clean prompt's.
--   lesion_drop: Intact log-probability of the answer minus that under the lesion, in nats, a mean over prompts; null
--     if none was lesioned.
--   prompts: Prompts behind it.
--   patch_restored: P of its pairs (`restored`); null if none of them has something to restore.
--   pairs: Pairs behind it.
--   pairs_left_out: Pairs whose two runs don't differ enough, or the wrong way (`differs`).
CREATE VIEW term_effects AS
WITH lesioned AS (
    SELECT
        lesions.model,
        lesions.concept,
        asked_prompts.labelling,
        asked_prompts.variant,
        lesions.layer,
        lesions.term,
        avg(lesions.intact_log_probability - lesions.log_probability) AS lesion_drop,
        count(*) AS prompts
    FROM lesions
    INNER JOIN asked_prompts
        ON
            lesions.concept = asked_prompts.concept
            AND lesions.template = asked_prompts.template
            AND lesions.term = asked_prompts.term
    WHERE lesions.lesion = 'resample' AND lesions.part = 'layer'
    GROUP BY
        lesions.model,
        lesions.concept,
        asked_prompts.labelling,
        asked_prompts.variant,
        lesions.layer,
        lesions.term
),

patched AS (
    SELECT
        patches.model,
        patches.concept,
        asked_prompts.labelling,
        asked_prompts.variant,
        patches.layer,
        patches.term,
        restored(patches.ld_clean, patches.ld_corrupted, patches.ld_patched) AS patch_restored,
        count(*) FILTER (WHERE differs(patches.ld_clean, patches.ld_corrupted)) AS pairs,
        count(*) FILTER (WHERE NOT differs(patches.ld_clean, patches.ld_corrupted)) AS pairs_left_out
    FROM patches
    INNER JOIN asked_prompts
        ON
            patches.concept = asked_prompts.concept
            AND patches.template = asked_prompts.template
            AND patches.term = asked_prompts.term
    WHERE patches.site = 'resid' AND patches.position = 'last'
    GROUP BY
        patches.model,
        patches.concept,
        asked_prompts.labelling,
        asked_prompts.variant,
        patches.layer,
        patches.term
)

SELECT
    model,
    concept,
    labelling,
    variant,
    layer,
    term,
    lesioned.lesion_drop,
    coalesce(lesioned.prompts, 0) AS prompts,
    patched.patch_restored,
    coalesce(patched.pairs, 0) AS pairs,
    coalesce(patched.pairs_left_out, 0) AS pairs_left_out
FROM lesioned
FULL JOIN patched
    USING (model, concept, labelling, variant, layer, term)
