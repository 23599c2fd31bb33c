"""The synthetic study: drawn faces, captioned clips, and interviews with a planted trait.

Researchers can use it for power analysis and to test their own pipelines: everything that is
visible and everything that is rated follows from a `SyntheticConfig`.
"""

from .captions import class_prompts
from .clips import Clip, ClipPlan, draw_clip, plan_clips
from .cohort import Cohort, Visit, draw_cohort
from .config import SyntheticConfig
from .faces import render_faces
from .interviews import Expressivity, expressivity_from_latent, render_interview
from .ratings import Calibration, population_correlation
from .study import WrittenStudy, write_study

__all__ = [
    "Calibration",
    "Clip",
    "ClipPlan",
    "Cohort",
    "Expressivity",
    "SyntheticConfig",
    "Visit",
    "WrittenStudy",
    "class_prompts",
    "draw_clip",
    "draw_cohort",
    "expressivity_from_latent",
    "plan_clips",
    "population_correlation",
    "render_faces",
    "render_interview",
    "write_study",
]
