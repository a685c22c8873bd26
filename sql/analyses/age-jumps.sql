-- At which ages does the model jump? Steps from one age to the next that are larger than their neighbours lead to
-- expect, apart for numerals and spelled-out numbers, and whether the spelling changes there. The step to `number` is
-- shown in any case.
--
-- Grain: one row a model, concept, labelling, variant, layer and number
-- Parameters:
--   model text = NULL: Only this model; all of them if left out.
--   layer integer = NULL: Only this layer; all of them if left out.
--   template_kind text = 'asking': Which templates are read: neutral or asking.
--   position text = 'last': Where prompts are read: last, term or mean.
--   number real = 18: A step that is shown however small it is, by the age that it leads to.
--   false_share real = 0.05: Share of false jumps that is put up with.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The continuous labelling.
--   variant: Empty for main terms, else the control spelling.
--   layer: The layer; -1 is the embedding output.
--   number: The age that the step leads to.
--   size: The step, over the mean step.
--   expected: The step that its neighbours lead to expect.
--   times: How many times as large it is; null where nothing moves.
--   null_p: How often a step of a smooth course stands out as much.
--   q: The same, corrected over all ages.
--   is_jump: Whether it is a jump at that share of false ones.
--   token_split: Whether the number of tokens changes there.
--   decade: Whether the tens digit changes there.
SELECT
    model,
    concept,
    labelling,
    variant,
    layer,
    number,
    size,
    null_mean AS expected,
    size / nullif(null_mean, 0) AS times,
    null_p,
    q,
    q <= $false_share AS is_jump,
    token_split,
    decade
FROM jumps
WHERE
    template_kind = $template_kind
    AND position = $position
    AND ($model IS NULL OR model = $model)
    AND ($layer IS NULL OR layer = $layer)
    AND (q <= $false_share OR number = $number)
ORDER BY
    model,
    concept,
    labelling,
    variant,
    layer,
    number
