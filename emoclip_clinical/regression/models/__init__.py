"""Estimators of ratings: each a named pipeline that is fitted inside the training fold."""
