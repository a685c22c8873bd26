-- The layers that a profile, a lesion or a picture of each model must have, as lists to compare with `layers_found`.
--
-- Grain: one row a model
-- Columns:
--   model: The model's slug.
--   layers: Decoder layers.
--   with_embeddings: -1 to L-1: what is read of the residual stream.
--   blocks: 0 to L-1: what is done to a layer, and steps from the embedding output.
--   above_first: 1 to L-1: steps from layer 0.
CREATE VIEW model_layers AS
SELECT
    model,
    layers,
    range(-1, layers) AS with_embeddings,
    range(0, layers) AS blocks,
    range(1, layers) AS above_first
FROM models
