"""Writing an evaluation: figures, predictions, confusion as table and picture."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.core.evaluation.confusion_picture import draw_confusion
from emoclip_clinical.core.evaluation.predictions import Predictions
from emoclip_clinical.core.evaluation.result import Evaluation, Variant, metrics_record


def prediction_table(variant: Variant) -> pd.DataFrame:
    """Return a row a clip: `variant, fold, clip, group, observed, predicted`, then the scores.

    `clip` is the clip's position in its source, from 0; a score column is `score_<class>`.
    """
    found = variant.predictions
    names = np.array(found.classes, dtype=object)
    table = pd.DataFrame(
        {
            "variant": variant.name,
            "fold": list(found.folds),
            "clip": found.clips,
            "group": list(found.groups),
            "observed": names[found.observed],
            "predicted": names[found.predicted],
        }
    )
    scores = pd.DataFrame(found.scores, columns=[f"score_{name}" for name in found.classes])
    return pd.concat([table, scores], axis=1)


def confusion_table(variant: Variant) -> pd.DataFrame:
    """Return counts of clips: `variant, observed`, then a column each predicted class."""
    found = variant.predictions
    counts = pd.DataFrame(found.confusion.astype(np.int64), columns=list(found.classes))
    counts.insert(0, "observed", list(found.classes))
    counts.insert(0, "variant", variant.name)
    return counts


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write an evaluation, each file whole or not at all.

    Writes ``metrics.json``, ``predictions.csv`` and ``confusion.csv`` over all variants,
    ``confusion.png`` of the first variant, and ``confusion_<variant>.png`` of the others. Classes
    that a variant does not have are empty cells of its rows.

    Parameters
    ----------
    evaluation : Evaluation
        The result.
    folder : Path
        Of the task; made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    predictions = pd.concat([prediction_table(v) for v in evaluation.variants])
    confusion = pd.concat([confusion_table(v) for v in evaluation.variants])
    counts = [c for c in confusion.columns if c not in ("variant", "observed")]
    confusion[counts] = confusion[counts].astype("Int64")
    _write(folder / "predictions.csv", _csv(predictions))
    _write(folder / "confusion.csv", _csv(confusion))
    for i, variant in enumerate(evaluation.variants):
        name = "confusion.png" if i == 0 else f"confusion_{_file_name(variant.name)}.png"
        _write(
            folder / name, draw_confusion(variant.predictions, title=_title(evaluation, variant))
        )
    record = json.dumps(metrics_record(evaluation), indent=2, ensure_ascii=False, allow_nan=False)
    _write(folder / "metrics.json", (record + "\n").encode())


def _title(evaluation: Evaluation, variant: Variant) -> str:
    found: Predictions = variant.predictions
    return (
        f"{evaluation.task.replace('_', ' ')}, {variant.name}: "
        f"UAR {100 * found.uar:.1f} %, WAR {100 * found.war:.1f} %, {len(found.observed)} clips"
    )


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name)


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)
