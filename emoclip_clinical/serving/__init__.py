"""Embeddings and scores over HTTP."""
