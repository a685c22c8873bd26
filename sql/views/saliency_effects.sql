-- How the weights of each layer, and of its parts, bear on the answers: means over terms, a term's prompts averaged
-- first.
--
-- Grain: one row a model, concept, labelling, variant, target, part and layer
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   role: Medical or control; null if the concept is not in the library.
--   labelling: The labelling that the prompts ask for.
--   variant: Empty for main terms, else the control spelling.
--   target: What was differentiated: loss or logit_difference.
--   part: The whole layer, or its attention, mlp, norm or other modules.
--   layer: The layer.
--   terms: Terms behind the means.
--   mean_abs_gradient: Mean of |g| over the weights: modules are weighed by how many they have.
--   first_order_effect: Sum of g times w over the modules. Weights that hold the answer up lower the loss and raise the
--     logit difference.
CREATE VIEW saliency_effects AS
WITH by_prompt AS (
    SELECT
        model,
        concept,
        template,
        term,
        target,
        coalesce(part, 'layer') AS part,
        layer,
        sum(mean_abs_gradient * weights) / sum(weights) AS mean_abs_gradient,
        sum(first_order_effect) AS first_order_effect
    FROM saliency
    GROUP BY GROUPING SETS (
        (model, concept, template, term, target, layer),
        (model, concept, template, term, target, layer, part)
    )
),

by_term AS (
    SELECT
        by_prompt.model,
        by_prompt.concept,
        asked_prompts.role,
        asked_prompts.labelling,
        asked_prompts.variant,
        by_prompt.target,
        by_prompt.part,
        by_prompt.layer,
        by_prompt.term,
        avg(by_prompt.mean_abs_gradient) AS mean_abs_gradient,
        avg(by_prompt.first_order_effect) AS first_order_effect
    FROM by_prompt
    INNER JOIN asked_prompts
        ON
            by_prompt.concept = asked_prompts.concept
            AND by_prompt.template = asked_prompts.template
            AND by_prompt.term = asked_prompts.term
    GROUP BY
        by_prompt.model,
        by_prompt.concept,
        asked_prompts.role,
        asked_prompts.labelling,
        asked_prompts.variant,
        by_prompt.target,
        by_prompt.part,
        by_prompt.layer,
        by_prompt.term
)

SELECT
    model,
    concept,
    role,
    labelling,
    variant,
    target,
    part,
    layer,
    count(*) AS terms,
    avg(mean_abs_gradient) AS mean_abs_gradient,
    avg(first_order_effect) AS first_order_effect
FROM by_term
GROUP BY
    model,
    concept,
    role,
    labelling,
    variant,
    target,
    part,
    layer
