"""The confusion matrix as a picture: rows add up to 100 %, so that rare classes can be read."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emoclip_clinical.core.evaluation import metrics
from emoclip_clinical.core.evaluation.predictions import Predictions

MOST_CELLS_WITH_NUMBERS = 20
"""Classes a side up to which every cell carries its percentage."""


def draw_confusion(predictions: Predictions, *, title: str) -> bytes:
    """Draw the classes that occur (rows) against all that were predicted or occur (columns).

    Parameters
    ----------
    predictions : Predictions
        At least one clip.
    title : str
        Above the picture.

    Returns
    -------
    bytes
        A PNG.
    """
    matrix = predictions.confusion
    rows = np.flatnonzero(matrix.sum(axis=1))
    columns = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    shares = matrix[np.ix_(rows, columns)] / matrix[rows].sum(axis=1, keepdims=True)
    names = [name.replace("_", " ") for name in predictions.classes]
    totals = matrix.sum(axis=1).astype(int)
    recalls = metrics.recalls(matrix)
    many = max(len(rows), len(columns)) > MOST_CELLS_WITH_NUMBERS
    side = 0.26 if many else 0.62
    figure = Figure(
        figsize=(3.2 + side * len(columns), 2.2 + side * len(rows)), layout="constrained", dpi=120
    )
    with mpl.rc_context({"font.size": 7 if many else 9}):
        axes = figure.add_subplot()
        image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, aspect="equal")
        axes.set_xticks(range(len(columns)), [names[k] for k in columns], rotation=45,
                        ha="right", rotation_mode="anchor")  # fmt: skip
        axes.set_yticks(range(len(rows)), [f"{names[k]}  (n {totals[k]})" for k in rows])
        axes.set_xlabel("predicted")
        axes.set_ylabel("observed")
        axes.spines[:].set_visible(False)
        if not many:
            _numbers(axes, shares)
        _recalls(axes, [recalls[k] for k in rows])
        axes.set_title(title, fontsize=10, loc="left", pad=10)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
        bar.set_label("% of the observed class")
        bar.outline.set_visible(False)
        buffer = io.BytesIO()
        # Without the software's version in it, the same result gives the same bytes.
        figure.savefig(buffer, format="png", metadata={"Software": None}, bbox_inches="tight")
    return buffer.getvalue()


def _numbers(axes: Axes, shares: np.ndarray) -> None:
    for (i, j), share in np.ndenumerate(shares):
        if share > 0:
            axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center",
                      color="white" if share > 0.5 else "black")  # fmt: skip


def _recalls(axes: Axes, recalls: list[float]) -> None:
    """Write each row's recall at its right end."""
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(recalls)), [f"{100 * r:.0f} %" for r in recalls])
    right.set_ylabel("recall")
    right.spines[:].set_visible(False)
    right.tick_params(length=0)
