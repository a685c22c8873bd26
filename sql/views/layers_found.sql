-- The distinct layers of some rows, in order: an aggregate to compare with the lists of `model_layers`.
--
-- Grain: one list a group of rows
-- Columns:
--   layers_found: The layers.
CREATE MACRO layers_found(layer) AS
    list_sort(list(DISTINCT CAST(layer AS BIGINT)))
