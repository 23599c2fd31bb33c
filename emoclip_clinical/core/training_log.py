"""The curves of a training: JSON lines that repeat to the byte, and TensorBoard by choice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from emoclip_clinical.records import InputError

LOG_FILE = "training.jsonl"
SPEED_FILE = "speed.jsonl"


class TrainingLog:
    """Writes `training.jsonl`: a line a step and a line an epoch.

    A step's line has `stage, epoch, step, training_loss, learning_rate, scale`; an epoch's has
    `stage, epoch, training_loss, validation_loss, score`. What differs between runs of the same
    training, the speed, goes into `speed.jsonl` beside it.

    Parameters
    ----------
    folder : Path
        Where the files are written while the training runs.
    writes : bool
        False on all processes but the first: then nothing is written.
    tensorboard : bool
        Also write event files to `folder/tensorboard`.
    n_bytes : int
        Length of the log at the state that a training is resumed from; what an interrupted run
        wrote after that is cut off, for it will be written again.

    Raises
    ------
    InputError
        If TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, writes: bool, tensorboard: bool, n_bytes: int = 0) -> None:
        self._folder = folder
        self._writes = writes
        self._board: Any = _board(folder / "tensorboard") if writes and tensorboard else None
        self._steps: dict[str, int] = {}
        self._n_bytes = n_bytes
        if writes:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / LOG_FILE).open("ab") as file:
                file.truncate(n_bytes)

    @property
    def n_bytes(self) -> int:
        """Length of the log so far."""
        return self._n_bytes

    def step(
        self,
        *,
        stage: str,
        epoch: int,
        step: int,
        training_loss: float,
        learning_rate: float,
        scale: float,
    ) -> None:
        """Write the line of a step; `epoch` and `step` count from 1."""
        self._write(
            {
                "stage": stage,
                "epoch": epoch,
                "step": step,
                "training_loss": training_loss,
                "learning_rate": learning_rate,
                "scale": scale,
            }
        )
        if self._board is not None:
            self._board.add_scalar(f"{stage}/loss", training_loss, step)
            self._board.add_scalar(f"{stage}/learning_rate", learning_rate, step)
            self._board.add_scalar(f"{stage}/scale", scale, step)

    def epoch(self, line: dict[str, Any], *, clips_per_second: float) -> None:
        """Write the line of an epoch, and how fast it was into the file beside."""
        self._write(line)
        if not self._writes:
            return
        speed = {k: line[k] for k in ("stage", "epoch")} | {"clips_per_second": clips_per_second}
        with (self._folder / SPEED_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(speed) + "\n")
        if self._board is not None:
            for key in ("training_loss", "validation_loss", "score"):
                if line[key] is not None:
                    self._board.add_scalar(f"{line['stage']}/epoch_{key}", line[key], line["epoch"])
            self._board.flush()

    def finish(self, model_folder: Path) -> None:
        """Put the log into the model folder."""
        if self._board is not None:
            self._board.close()
        if self._writes:
            part = model_folder / (LOG_FILE + ".part")
            shutil.copyfile(self._folder / LOG_FILE, part)
            part.replace(model_folder / LOG_FILE)
            (self._folder / LOG_FILE).unlink()

    def _write(self, line: dict[str, Any]) -> None:
        if self._writes:
            text = json.dumps(line) + "\n"
            with (self._folder / LOG_FILE).open("a", encoding="utf-8") as file:
                file.write(text)
            self._n_bytes += len(text.encode())


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "tensorboard: true needs TensorBoard: pip install 'emoclip-clinical[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder))
