-- What the loss of each layer does to the answers of a concept: means over terms, a term's prompts averaged first.
-- Raw effects don't compare between concepts: a share is a part of what these prompts have to lose.
--
-- Grain: one row a model, concept, labelling, variant, lesion, part and layer
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control; null if the concept is not in the library.
--   labelling: The labelling that the prompts ask for.
--   variant: Empty for main terms, else the control spelling.
--   lesion: What took the place of the layer's work.
--   part: How much of the layer was lesioned.
--   layer: The layer.
--   terms: Terms behind the means.
--   intact_accuracy: Share of prompts that the intact model answers rightly.
--   accuracy_drop: Intact accuracy minus that under the lesion.
--   log_probability_drop: Intact log-probability of the answer minus that under the lesion, in nats.
--   kl: KL(intact || lesioned) over the vocabulary, in nats.
--   accuracy_share: Drop over the intact accuracy; null where that is under a tenth.
--   log_probability_share: Drop over the largest magnitude of the drop over the layers.
--   kl_share: KL over the largest KL over the layers.
CREATE VIEW lesion_effects AS
WITH by_term AS (
    SELECT
        lesions.model,
        lesions.concept,
        asked_prompts.role,
        asked_prompts.labelling,
        asked_prompts.variant,
        lesions.lesion,
        lesions.part,
        lesions.layer,
        lesions.term,
        avg(CAST(lesions.intact_correct AS INTEGER)) AS intact_accuracy,
        avg(CAST(lesions.intact_correct AS INTEGER) - CAST(lesions.correct AS INTEGER)) AS accuracy_drop,
        avg(lesions.intact_log_probability - lesions.log_probability) AS log_probability_drop,
        avg(lesions.kl) AS kl
    FROM lesions
    INNER JOIN asked_prompts
        ON
            lesions.concept = asked_prompts.concept
            AND lesions.template = asked_prompts.template
            AND lesions.term = asked_prompts.term
    GROUP BY
        lesions.model,
        lesions.concept,
        asked_prompts.role,
        asked_prompts.labelling,
        asked_prompts.variant,
        lesions.lesion,
        lesions.part,
        lesions.layer,
        lesions.term
),

means AS (
    SELECT
        model,
        concept,
        role,
        labelling,
        variant,
        lesion,
        part,
        layer,
        count(*) AS terms,
        avg(intact_accuracy) AS intact_accuracy,
        avg(accuracy_drop) AS accuracy_drop,
        avg(log_probability_drop) AS log_probability_drop,
        avg(kl) AS kl
    FROM by_term
    GROUP BY
        model,
        concept,
        role,
        labelling,
        variant,
        lesion,
        part,
        layer
)

SELECT
    model,
    concept,
    role,
    labelling,
    variant,
    lesion,
    part,
    layer,
    terms,
    intact_accuracy,
    accuracy_drop,
    log_probability_drop,
    kl,
    CASE WHEN intact_accuracy >= 0.1 THEN accuracy_drop / intact_accuracy END AS accuracy_share,
    log_probability_drop / nullif(max(abs(log_probability_drop)) OVER profile, 0) AS log_probability_share,
    kl / nullif(max(abs(kl)) OVER profile, 0) AS kl_share
FROM means
WINDOW profile AS (PARTITION BY model, concept, labelling, variant, lesion, part)
