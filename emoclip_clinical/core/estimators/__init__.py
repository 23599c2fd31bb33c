"""Regressors of segment embeddings that need torch; they know no rating scale."""
