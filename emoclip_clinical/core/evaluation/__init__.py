"""Judging a model on labelled clips: metrics, tasks, compositions of compound emotions."""
