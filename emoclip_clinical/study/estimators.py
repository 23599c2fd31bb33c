"""Writing the final estimator of a target, with its card."""

from __future__ import annotations

from pathlib import Path

from emoclip_clinical.regression.analysis import Estimate
from emoclip_clinical.regression.estimator import FinalEstimator, fit_estimator, ridge_fit
from emoclip_clinical.regression.estimator_files import save_estimator
from emoclip_clinical.regression.model_card import model_card
from emoclip_clinical.regression.results import metrics_record

ESTIMATOR_FOLDER, MODEL_CARD = "estimator", "model_card.md"


def write_estimator(made: Estimate, folder: Path) -> FinalEstimator:
    """Fit the model of an estimate to all its subjects and write it with its card.

    Parameters
    ----------
    made : Estimate
        Of ridge.
    folder : Path
        ``results/<target>``.

    Returns
    -------
    FinalEstimator
    """
    config = made.config
    estimator = fit_estimator(
        made.design,
        fit=ridge_fit(config, seed=made.seed),
        kind=config.model,
        level=config.prediction_level,
        impute=config.impute,
        seed=made.seed,
    )
    save_estimator(estimator, folder / ESTIMATOR_FOLDER)
    card = model_card(estimator, metrics_record(made))
    path = folder / ESTIMATOR_FOLDER / MODEL_CARD
    part = path.with_name(path.name + ".part")
    part.write_text(card, encoding="utf-8")
    part.replace(path)
    return estimator
