-- Profile numbers without an interval, or whose interval is upside down.
--
-- Grain: one row a number at fault
-- Table: profiles
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   technique: The technique.
--   metric: The metric.
--   labelling: The labelling.
--   template_kind: Which templates were read.
--   position: Where prompts are read.
--   variant: The control spelling, empty for main terms.
--   layer: The layer.
--   low: Lower end of the interval.
--   high: Upper end of the interval.
SELECT
    model,
    concept,
    technique,
    metric,
    labelling,
    template_kind,
    position,
    variant,
    layer,
    low,
    high
FROM profiles
WHERE
    low IS NULL
    OR high IS NULL
    OR low > high
ORDER BY ALL
