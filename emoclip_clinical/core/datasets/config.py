"""Which labelled clips to load, and how their files are laid out; no torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from emoclip_clinical.core.clips import FOLDER_FPS
from emoclip_clinical.core.config import Settings
from emoclip_clinical.core.datasets.conventions import LABEL_ORDERS

Layout = Literal[
    "manifest",
    "mafw_official",
    "mafw_folds",
    "dfew",
    "ferv39k",
    "afew",
    "list",
    "crema_d",
    "ravdess",
]
Split = Literal["train", "validation", "test"]

WITH_CAPTIONS = ("manifest", "mafw_official", "mafw_folds")
WITH_SPLITS = ("manifest", "mafw_folds", "dfew", "ferv39k", "afew")


class ClipSource(Settings):
    """A data set of labelled clips.

    The short form is `{layout: dfew, root: /data/DFEW, fold: 1}`: the files are then looked for
    where the data set's own distribution has them.
    """

    layout: Layout = Field(description="In which data set's own form the clips lie")
    root: str = Field(".", description="The data set's folder, from the study's folder")
    annotations: str | None = Field(
        None,
        description="File or folder of labels, below `root`; none: the layout's own. A `list` "
        "needs one, and may have {fold} and {split} in it",
    )
    media: str | None = Field(
        None, description="Folder of videos or of frame folders, below `root`; none: the layout's"
    )
    label_order: str | tuple[str, ...] | None = Field(
        None,
        description=f"Names of the classes in the order of their numbers: "
        f"{', '.join(LABEL_ORDERS)}, or the names themselves; none: the layout's own",
    )
    kind: Literal["single", "multiple"] = Field(
        "single", description="MAFW's single or multiple (compound) expressions"
    )
    captions: bool = Field(
        False, description="Only clips with a caption (MAFW); a manifest always has captions"
    )
    fold: int | None = Field(None, ge=1, description="Which of the data set's folds")
    split: Split | None = Field(
        None, description="Of all clips, where the layout has no splits of its own"
    )
    encoding: str | None = Field(None, description="Of the text files; none: UTF-8")
    folder_fps: float = Field(
        FOLDER_FPS, gt=0, le=1000, description="Pictures a second in folders of frames"
    )
    missing_media: Literal["refuse", "leave_out"] = Field(
        "refuse", description="What is done about labelled clips of which there is no file"
    )
    expected_clips: dict[Split, int] = Field(
        default_factory=dict, description="Known sizes of the splits; others are warned of"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ClipSource:
        faults = []
        if isinstance(self.label_order, str) and self.label_order not in LABEL_ORDERS:
            faults.append(
                f"label_order must be one of {', '.join(LABEL_ORDERS)} or a list of class names, "
                f"got {self.label_order!r}"
            )
        if isinstance(self.label_order, tuple) and len(set(self.label_order)) < max(
            2, len(self.label_order)
        ):
            faults.append(
                f"label_order must name two or more classes once each, got {list(self.label_order)}"
            )
        if self.layout == "list" and (self.annotations is None or self.label_order is None):
            faults.append(
                "layout list needs `annotations` (its file) and `label_order` (which class each "
                "number is), since its files do not say"
            )
        if self.captions and self.layout not in WITH_CAPTIONS:
            faults.append(f"layout {self.layout} has no captions: set captions: false")
        if self.kind == "multiple" and not self.layout.startswith("mafw"):
            faults.append(f"kind: multiple is of MAFW's layouts, got layout {self.layout}")
        if self.split is not None and self._has_splits:
            faults.append(f"layout {self.layout} has splits of its own: leave out split")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def _has_splits(self) -> bool:
        return self.layout in WITH_SPLITS or "{split}" in (self.annotations or "")
