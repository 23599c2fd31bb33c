"""A page on this machine alone: the cohort, timelines in step with the videos, marks."""
