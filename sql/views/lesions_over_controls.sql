-- How much more the loss of a layer costs a concept than it costs the controls: shares of `lesion_effects`, less the
-- mean share of the controls (each labelling of each other control concept, over main terms). Above 0: more than them.
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
--   controls: Control labellings that it is compared with.
--   accuracy: Share of right answers lost, less the controls'; null where either has too few to lose.
--   log_probability: Share of the largest drop of the log-probability, less the controls'.
--   kl: Share of the largest KL, less the controls'.
CREATE VIEW lesions_over_controls AS
SELECT
    here.model,
    here.concept,
    here.role,
    here.labelling,
    here.variant,
    here.lesion,
    here.part,
    here.layer,
    count(*) AS controls,
    any_value(here.accuracy_share) - avg(control.accuracy_share) AS accuracy,
    any_value(here.log_probability_share) - avg(control.log_probability_share) AS log_probability,
    any_value(here.kl_share) - avg(control.kl_share) AS kl
FROM lesion_effects AS here
INNER JOIN lesion_effects AS control
    ON
        here.model = control.model
        AND here.concept <> control.concept
        AND here.lesion = control.lesion
        AND here.part = control.part
        AND here.layer = control.layer
WHERE control.role = 'control' AND control.variant = ''
GROUP BY
    here.model,
    here.concept,
    here.role,
    here.labelling,
    here.variant,
    here.lesion,
    here.part,
    here.layer
