-- The Euclidean length of a vector.
--
-- Grain: one value a vector
-- Columns:
--   magnitude: The square root of the sum of squares.
CREATE MACRO magnitude(vector) AS
    sqrt(list_inner_product(vector, vector))
