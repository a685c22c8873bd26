-- Whether a model is an untrained twin, by its slug: what others are read against, left out where models are listed.
--
-- Grain: one value a model
-- Columns:
--   is_twin: Whether it is.
CREATE MACRO is_twin(model) AS
    ends_with(model, '.untrained')
