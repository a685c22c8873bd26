-- Is age a straight line, and how much of that do the numbers' spellings already give? R² and local anisotropy by
-- layer, with the gain over the embedding output, apart for numerals and for numbers that are spelled out.
--
-- Grain: one row a model, labelling, template kind, variant and layer
-- Parameters:
--   concept text = 'age': The concept.
--   position text = 'last': Where prompts are read: last, term or mean.
-- Columns:
--   model: The model's slug.
--   labelling: The continuous labelling.
--   template_kind: Which templates were read.
--   variant: Empty for main terms, else the control spelling.
--   layer: The layer; -1 is the embedding output.
--   r2: R² of a cross-validated linear fit of the number on the vectors; below 0 means worse than the mean.
--   r2_low: Lower end of its 95% interval.
--   r2_high: Upper end of its 95% interval.
--   r2_over_embeddings: R² minus R² at the embedding output.
--   anisotropy: Mean local anisotropy, 0 to 1; 1 means that neighbours lie on a line.
--   anisotropy_low: Lower end of its 95% interval.
--   anisotropy_high: Upper end of its 95% interval.
WITH measured AS (
    SELECT
        model,
        labelling,
        template_kind,
        variant,
        layer,
        max(value) FILTER (WHERE metric = 'r2_ridge') AS r2,
        max(low) FILTER (WHERE metric = 'r2_ridge') AS r2_low,
        max(high) FILTER (WHERE metric = 'r2_ridge') AS r2_high,
        max(value) FILTER (WHERE metric = 'local_anisotropy') AS anisotropy,
        max(low) FILTER (WHERE metric = 'local_anisotropy') AS anisotropy_low,
        max(high) FILTER (WHERE metric = 'local_anisotropy') AS anisotropy_high
    FROM profiles
    WHERE
        concept = $concept
        AND position = $position
        AND metric IN ('r2_ridge', 'local_anisotropy')
    GROUP BY
        model,
        labelling,
        template_kind,
        variant,
        layer
)

SELECT
    model,
    labelling,
    template_kind,
    variant,
    layer,
    r2,
    r2_low,
    r2_high,
    r2 - max(r2) FILTER (WHERE layer = -1) OVER (
        PARTITION BY model, labelling, template_kind, variant
    ) AS r2_over_embeddings,
    anisotropy,
    anisotropy_low,
    anisotropy_high
FROM measured
ORDER BY
    model,
    labelling,
    template_kind,
    variant,
    layer
