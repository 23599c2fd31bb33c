"""The state of an unfinished training, kept on disk for `resume`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emoclip_clinical.records import InputError


@dataclass(frozen=True)
class TrainingState:
    """Where the state is kept, and for which training.

    Attributes
    ----------
    path : Path
        The file; its folder is made when it is first written.
    fingerprint : str
        Settings, seed and clips; a state of another fingerprint is refused.
    writes : bool
        False on all processes but the first: then nothing is written or removed.
    """

    path: Path
    fingerprint: str
    writes: bool = True

    def save(self, payload: dict[str, Any]) -> None:
        """Replace the state; a reader sees the old one or the new one, never half."""
        if not self.writes:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        with part.open("wb") as file:
            torch.save({"fingerprint": self.fingerprint, **payload}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.path)

    def load(self) -> dict[str, Any] | None:
        """Return the state, or None where there is none.

        Raises
        ------
        InputError
            If it belongs to a training with other settings, seed, clips or number of processes, or
            can not be read.
        """
        if not self.path.is_file():
            return None
        try:
            payload: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            fingerprint = payload["fingerprint"]
        except Exception as error:
            # A damaged file can fail in its reader in as many ways as it has bytes.
            raise InputError(
                f"the state of the interrupted training can not be read ({type(error).__name__}): "
                "start again without --resume"
            ) from error
        if fingerprint != self.fingerprint:
            raise InputError(
                "the interrupted training used other settings, seed or clips than this one, or "
                "another number of processes: start again without --resume"
            )
        return payload

    def load_if_it_fits(self) -> dict[str, Any] | None:
        """Return the state, or None where there is none that this training can go on with."""
        try:
            return self.load()
        except InputError:
            return None

    def remove(self) -> None:
        """Forget the state, once the model folder is written."""
        if self.writes:
            self.path.unlink(missing_ok=True)
