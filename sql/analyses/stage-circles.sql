-- Do stages lie in order, or does the course of a disease bend back to its beginning? Order, circularity and loops of
-- the stages of each disease by layer, in the original space, beside the paper's measure of the nearest stage.
--
-- Grain: one row a model, concept, labelling, disease, variant and layer
-- Parameters:
--   model text = NULL: Only this model; all of them if left out.
--   layer integer = NULL: Only this layer; all of them if left out.
--   template_kind text = 'asking': Which templates are read: neutral or asking.
--   position text = 'last': Where prompts are read: last, term or mean.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   labelling: The ordinal labelling.
--   staged: The disease; for age groups the sex.
--   variant: Empty for main terms, else the control spelling.
--   layer: The layer; -1 is the embedding output.
--   stages: Stages of the disease.
--   in_order: Rank correlation of the distance of two stages and how many stages they are apart; 1 on a line.
--   in_order_p: How often exchanged stages are as much in order.
--   on_ring: The same with the stages apart counted on a ring.
--   on_ring_p: How often exchanged stages are as much on a ring.
--   circularity: How much nearer the last stage is to the first than to the middle ones; below 0 on a line.
--   circularity_low: Lower end of its 95% interval.
--   circularity_high: Upper end of its 95% interval.
--   circularity_p: How often exchanged stages are as circular.
--   nearest_early: Share of the last stage's terms nearest to the first rather than a middle one: the paper's measure.
--   nearest_early_by_chance: The share with exchanged stages.
--   longest_loop: How long the most persistent loop lasts, over the largest distance; null with 3 or over 10 stages.
--   longest_loop_p: How often a normal cloud of the same spread has such a loop.
--   is_circular: Whether the last stage is nearer to the first than to the middle ones, however stages are worded.
SELECT
    model,
    concept,
    labelling,
    staged,
    variant,
    layer,
    max(stages) AS stages,
    max(value) FILTER (WHERE measure = 'order') AS in_order,
    max(null_p) FILTER (WHERE measure = 'order') AS in_order_p,
    max(value) FILTER (WHERE measure = 'ring') AS on_ring,
    max(null_p) FILTER (WHERE measure = 'ring') AS on_ring_p,
    max(value) FILTER (WHERE measure = 'circularity') AS circularity,
    max(low) FILTER (WHERE measure = 'circularity') AS circularity_low,
    max(high) FILTER (WHERE measure = 'circularity') AS circularity_high,
    max(null_p) FILTER (WHERE measure = 'circularity') AS circularity_p,
    max(value) FILTER (WHERE measure = 'nearest_early') AS nearest_early,
    max(null_mean) FILTER (WHERE measure = 'nearest_early') AS nearest_early_by_chance,
    max(value) FILTER (WHERE measure = 'loop') AS longest_loop,
    max(null_p) FILTER (WHERE measure = 'loop') AS longest_loop_p,
    bool_or(low > 0) FILTER (WHERE measure = 'circularity') AS is_circular
FROM stage_circles
WHERE
    template_kind = $template_kind
    AND position = $position
    AND ($model IS NULL OR model = $model)
    AND ($layer IS NULL OR layer = $layer)
GROUP BY
    model,
    concept,
    labelling,
    staged,
    variant,
    layer
ORDER BY
    model,
    concept,
    labelling,
    staged,
    variant,
    layer
