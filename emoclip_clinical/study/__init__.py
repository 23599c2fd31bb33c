"""The study as a whole: protocol, runner, provenance, report and the synthetic cohort."""
