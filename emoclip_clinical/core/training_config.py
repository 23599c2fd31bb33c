"""Settings of training, with their defaults; no torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from emoclip_clinical.core.augmentation_config import AugmentationConfig
from emoclip_clinical.core.config import Settings

Captions = Literal["both", "context", "expression", "shuffled", "class_descriptions", "class_names"]
Selection = Literal["last", "validation_loss", "validation_uar", "test_war"]

WITHOUT_INFLUENCE = (
    "memory_megabytes",
    "cache_gigabytes",
    "decode_threads",
    "save_every_steps",
    "tensorboard",
)
"""Settings that change how fast a training is or what it tells, and no weight."""


class OptimiserConfig(Settings):
    """How weights are updated in one stage of training."""

    name: Literal["adamw", "sgd"] = Field("adamw", description="Rule of the updates")
    learning_rate: float = Field(1e-3, gt=0, description="Highest, after the warm-up")
    tower_learning_rate: float | None = Field(
        None, gt=0, description="Of the towers' own tensors; none: `learning_rate`"
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Factor on a tower's rate for each layer further from its output",
    )
    weight_decay: float = Field(0.01, ge=0, description="Decoupled with AdamW, L2 with SGD")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of SGD; AdamW does not use it")
    schedule: Literal["cosine", "constant", "steps"] = Field(
        "cosine", description="Course of the rate after the warm-up"
    )
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="Share of the steps")
    step_epochs: tuple[int, ...] = Field(
        (15, 35, 50), description="Epochs after which `steps` multiplies the rate by 0.1"
    )
    clip_gradient_norm: float | None = Field(
        1.0, gt=0, description="Longest gradient over all tensors; none: never shortened"
    )


class TrainingConfig(Settings):
    """Contrastive training on captioned clips, in one or two stages.

    Stage `frames` (off by default) trains both towers on single frames and their clips'
    captions. Stage `clips` trains the temporal transformer on whole clips, with the towers
    frozen (the paper's recipe), trained along, or trained along through low-rank adapters.

    `faithful` keeps the faults of the official training code that define its published figures:

    1. the epoch is chosen by the accuracy (WAR) on *test* clips, unless `select` says otherwise;
    2. each process takes negatives from its own part of the batch only;
    3. clips with equal texts in a batch are one another's negatives;
    4. trained towers are stored in half precision where CLIP's code stores them so, and updates
       below its resolution are lost;
    5. a trained text tower keeps its embeddings, its last norm and its projection;
    6. weight decay also pulls norms, biases and the factor on the cosines.

    Rates, schedule and number of epochs are settings like all others; the recipe of each
    published run is a protocol. How clips are sampled is not training's to say.
    """

    frame_epochs: int = Field(0, ge=0, description="Epochs of stage `frames`")
    frame_window: float = Field(
        0.5, gt=0, le=1, description="Middle share of a clip from which its single frame is drawn"
    )
    frame_optimiser: OptimiserConfig = Field(OptimiserConfig(), description="Of stage `frames`")
    epochs: int = Field(30, ge=0, description="Epochs of stage `clips`")
    towers: Literal["frozen", "trained", "lora"] = Field("frozen", description="In stage `clips`")
    lora_rank: int = Field(8, ge=1, description="Of the adapters when `towers` is `lora`")
    lora_alpha: float = Field(16.0, gt=0, description="The adapters' factor is alpha / rank")
    optimiser: OptimiserConfig = Field(OptimiserConfig(), description="Of stage `clips`")
    batch_clips: int = Field(64, ge=2, description="Over all processes together")
    chunk_clips: int | None = Field(
        None,
        ge=1,
        description="Most clips of a process that pass through the model at once; gradients are "
        "those of the whole batch (gradient caching). None: all of them",
    )
    captions: Captions = Field(
        "both",
        description="What a clip is paired with: its caption, one part of it, another clip's, or "
        "what its class is called or described by",
    )
    match_caption_length: bool = Field(
        False,
        description="Cut texts so that context, expression, both and shuffled captions of a clip "
        "have equally many words, and leave out clips that lack a part",
    )
    class_name_template: str = Field(
        "an expression of {name}", pattern=r"\{name\}", description="Of captions `class_names`"
    )
    augmentation: AugmentationConfig = Field(
        AugmentationConfig(), description="How training clips are varied"
    )
    augmentation_views: int = Field(
        4, ge=1, description="Augmented versions of a clip that are encoded when towers are frozen"
    )
    cache_frame_vectors: bool = Field(
        True,
        description="With frozen towers, encode each frame once a view; false: in every epoch",
    )
    cache_gigabytes: float = Field(50.0, gt=0, description="Largest cache of frame vectors on disk")
    validation_fraction: float = Field(
        0.0, ge=0, lt=1, description="Share of the training clips that is cut off for validation"
    )
    select: Selection | None = Field(
        None,
        description="Whose weights are kept: those of the last epoch, or of the best on validation "
        "clips; `test_war` needs `faithful`. None: `last`, or `test_war` when faithful",
    )
    patience_epochs: int | None = Field(
        None, ge=1, description="Stop after so many epochs without a better one; none: never"
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="Of the arithmetic in the model; weights and loss are always float32"
    )
    compile: bool = Field(False, description="Compile what is trained with torch.compile")
    faithful: bool = Field(
        False, description="Keep the faults of the official code that define its figures"
    )
    save_every_steps: int | None = Field(
        None, ge=1, description="Keep the state within epochs too, for --resume; none: after each"
    )
    tensorboard: bool = Field(False, description="Write the curves for TensorBoard as well")
    memory_megabytes: int = Field(
        2048, ge=0, description="Decoded frames that are kept; the rest is decoded again"
    )
    decode_threads: int = Field(2, ge=1, description="Clips that are decoded at once")
    threads: int | None = Field(None, ge=1, description="Of torch on the CPU; none: torch's own")

    @property
    def selection(self) -> Selection:
        """The rule by which the epoch is chosen."""
        return self.select or ("test_war" if self.faithful else "last")

    @property
    def last_stage(self) -> str:
        """The stage that `select` and `patience_epochs` are about."""
        return "clips" if self.epochs else "frames"

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingConfig:
        faults = []
        if self.select == "test_war" and not self.faithful:
            faults.append("select: test_war lets test clips choose, which only faithful: true may")
        if self.patience_epochs is not None and self.selection == "last":
            faults.append("patience_epochs needs select: validation_loss or validation_uar")
        by_class = self.captions in ("class_descriptions", "class_names")
        if self.match_caption_length and by_class:
            faults.append(f"match_caption_length has no meaning with captions: {self.captions}")
        if faults:
            raise ValueError("; ".join(faults))
        return self
