"""Writing the final estimator of a target, with its card."""

from __future__ import annotations

import shutil
from pathlib import Path

from emoclip_clinical.regression.analysis import Estimate
from emoclip_clinical.regression.estimator import FinalEstimator, fit_estimator, ridge_fit
from emoclip_clinical.regression.estimator_files import save_estimator
from emoclip_clinical.regression.model_card import model_card
from emoclip_clinical.regression.models.final import linear_fit, not_saved_reason
from emoclip_clinical.regression.results import metrics_record
from emoclip_clinical.study.cards import MODEL_CARD, write_estimator_statement

ESTIMATOR_FOLDER = "estimator"


def write_estimator(made: Estimate, folder: Path) -> FinalEstimator | None:
    """Fit the model of an estimate to all its subjects and write it with its card.

    Parameters
    ----------
    made : Estimate
    folder : Path
        ``results/<target>``.

    Returns
    -------
    FinalEstimator or None
        None where `not_saved_reason` has a reason; an estimator of an earlier run is removed then.
    """
    config = made.config
    if not_saved_reason(config) is not None:
        shutil.rmtree(folder / ESTIMATOR_FOLDER, ignore_errors=True)
        return None
    fit = ridge_fit if config.model == "ridge" else linear_fit
    estimator = fit_estimator(
        made.design,
        fit=fit(config, seed=made.seed),
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
    write_estimator_statement(made.design, folder / ESTIMATOR_FOLDER)
    return estimator
