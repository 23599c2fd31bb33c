"""Studies: protocols, the steps from videos to a report, provenance, the synthetic cohort."""
