"""Settings of evaluation, with their defaults; no torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from emoclip_clinical.core.config import Settings
from emoclip_clinical.core.datasets.config import ClipSource

Task = Literal["zero_shot", "supervised", "leave_one_class_out", "compound", "out_of_vocabulary"]
CompositionName = Literal[
    "mean", "weighted", "slerp", "similarity_product", "concatenated_prompt", "learned"
]


def _kind_of_clips(value: Any) -> str:
    return "manifest" if isinstance(value, str) else "source"


ClipsFrom = Annotated[
    Annotated[str, Tag("manifest")] | Annotated[ClipSource, Tag("source")],
    Discriminator(_kind_of_clips),
]
"""Where labelled clips come from: the path of a manifest, or a data set in a layout of its own."""


class CompositionConfig(Settings):
    """One way to represent a compound emotion by its components."""

    name: CompositionName = Field(description="How components become one vector")
    weights: Mapping[str, float] | None = Field(
        None,
        description="Of `weighted` and `slerp`: weight by class, above 0, classes that are not "
        "named have 1. None: `weighted` weighs a component by how far its text lies from those of "
        "the other classes, `slerp` weighs all alike",
    )

    @model_validator(mode="after")
    def _weights_belong(self) -> CompositionConfig:
        if self.weights is not None:
            if self.name not in ("weighted", "slerp"):
                raise ValueError(f"weights belong to weighted and slerp, not to {self.name}")
            if bad := {k: v for k, v in self.weights.items() if not v > 0}:
                raise ValueError(f"weights must be above 0, got {bad}")
        return self


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class ComposerConfig(Settings):
    """The learned composition: a small permutation-invariant network."""

    width: int = Field(64, ge=1, description="Of its hidden layer")
    epochs: int = Field(200, ge=1, description="Steps over all training clips")
    learning_rate: float = Field(1e-3, gt=0, description="Of AdamW")
    weight_decay: float = Field(0.1, ge=0, description="Of AdamW")
    combination_folds: int = Field(
        5, ge=2, description="Parts of the combinations; each is composed by a network that saw "
        "no clip of it"
    )  # fmt: skip


class ProbeConfig(Settings):
    """Logistic regression on the embeddings of a frozen model."""

    regularisation: tuple[float, ...] = Field(
        (0.01, 0.1, 1.0, 10.0, 100.0),
        min_length=1,
        description="Values of C that are tried, on validation clips or inner folds",
    )
    inner_folds: int = Field(
        5, ge=2, description="By person, where the source has no validation clips"
    )
    max_iterations: int = Field(1000, ge=1, description="Of the solver")


class BootstrapConfig(Settings):
    """Intervals, over people where they are known."""

    resamples: int = Field(2000, ge=0, description="0 leaves the intervals out")
    confidence: float = Field(0.95, gt=0, lt=1, description="Level of the intervals")


class PublishedConfig(Settings):
    """A published result that is shown beside ours."""

    uar: float | None = Field(None, ge=0, le=100, description="Per cent")
    war: float | None = Field(None, ge=0, le=100, description="Per cent")
    source: str = Field(min_length=1, description="Where it was published")


class EvaluationConfig(Settings):
    """What a model is judged on, and how."""

    task: Task = Field("zero_shot", description="What the model is judged on")
    data: ClipsFrom | None = Field(
        None, description="Labelled clips; none: those that the model is trained on (data.clips)"
    )
    folds: tuple[int, ...] | None = Field(
        None, description="Of a source with folds; none: all that it has"
    )
    train_each_fold: bool = Field(
        False,
        description="A model for each fold, trained on that fold of data.clips; else one model "
        "for all. `supervised` by class descriptions and `leave_one_class_out` always train",
    )
    prompts: tuple[str, ...] = Field(
        (), description="Prompt sets, compared in one run; empty: the extraction's"
    )
    method: Literal["class_descriptions", "linear_probe"] = Field(
        "class_descriptions", description="Of task `supervised`"
    )
    held_out: tuple[str, ...] = Field(
        (), description="Of `leave_one_class_out`: classes, one training each; empty: every class"
    )
    compositions: tuple[Annotated[CompositionConfig, BeforeValidator(_by_name)], ...] = Field(
        (CompositionConfig(name="mean"),),
        min_length=1,
        description="Of task `compound`, compared in one run; the first is the reference",
    )
    composer: ComposerConfig = Field(ComposerConfig(), description="Of composition `learned`")
    probe: ProbeConfig = Field(ProbeConfig(), description="Of method `linear_probe`")
    unknown_classes: tuple[str, ...] = Field(
        (),
        description="Of `out_of_vocabulary`: classes that the model must call none of these; "
        "empty: every label that the prompt set does not describe",
    )
    confidence_score: Literal["cosine", "softmax"] = Field(
        "cosine", description="Of `out_of_vocabulary`: the highest cosine, or softmax share"
    )
    known_kept: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="Of `out_of_vocabulary`: share of the known validation clips above the "
        "threshold",
    )
    views: int = Field(
        1, ge=1, le=64, description="Windows of a clip whose embeddings are averaged"
    )
    bootstrap: BootstrapConfig = Field(BootstrapConfig(), description="Intervals of the figures")
    published: PublishedConfig | None = Field(
        None, description="A published result to show beside ours"
    )
    faithful: bool = Field(
        False,
        description="Also report the official per-run UAR of leave_one_class_out, under its name",
    )

    @model_validator(mode="after")
    def _compositions_differ(self) -> EvaluationConfig:
        names = [c.name for c in self.compositions]
        if repeated := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"a composition may stand once, got {', '.join(repeated)} twice")
        return self


def trains_its_own(config: EvaluationConfig) -> bool:
    """Say whether an evaluation trains models of its own, so that the study's is not needed."""
    return config.train_each_fold or trains_on_judged_source(config)


def trains_on_judged_source(config: EvaluationConfig) -> bool:
    """Say whether a task's models are trained on the training clips of the source they judge."""
    by_description = config.task == "supervised" and config.method == "class_descriptions"
    return by_description or config.task == "leave_one_class_out"
