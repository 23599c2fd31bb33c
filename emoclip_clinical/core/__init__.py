"""The model: towers, temporal transformer, training, checkpoints, and the Embedder."""
