"""Ratings, scales, cross-validated models and their inference; without torch or video."""
