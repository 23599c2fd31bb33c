"""From texts to token ids: the tokenizer that belongs to a text tower."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
from torch import Tensor

from emoclip_clinical.core.hub import quiet_hub, require_hub
from emoclip_clinical.records import InputError

TOKENIZER_FOLDER = "tokenizer"
MOST_KNOWN_WORDS = 20_000
NEEDS_TRANSFORMERS = (
    "the texts of this tower are cut into tokens by the package transformers, which is not "
    "installed: pip install transformers"
)


class Tokenizer:
    """Texts to token ids, by CLIP's own vocabulary or by one from the Hugging Face hub.

    It is made on the first call: a model that only embeds clips needs no vocabulary from the hub.

    Parameters
    ----------
    text_config : mapping
        The part `text_cfg` of an open_clip model configuration.
    folder : Path or None
        Where the files of a hub tokenizer lie, in a model folder; None asks the hub's cache, and
        then the hub.
    """

    def __init__(self, text_config: Mapping[str, Any], *, folder: Path | None = None) -> None:
        self._config = dict(text_config)
        self._folder = folder
        self._made: Any = None

    @property
    def hub_name(self) -> str:
        """Repository of the vocabulary on the hub, or empty for CLIP's own."""
        return str(self._config.get("hf_tokenizer_name") or "")

    @property
    def context_length(self) -> int:
        """Tokens of a text; what is longer is cut off."""
        return int(self._config.get("context_length") or open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)

    def at(self, folder: Path) -> Tokenizer:
        """Return this tokenizer with its files looked for in `folder` first."""
        return Tokenizer(self._config, folder=folder)

    def describe(self) -> dict[str, Any]:
        """Return what model.json says of the tokenizer."""
        return {
            "vocabulary": self.hub_name or "CLIP byte pairs",
            "context_length": self.context_length,
            **dict(self._config.get("tokenizer_kwargs") or {}),
        }

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return token ids, an int64 Tensor of shape (n_texts, context_length).

        Raises
        ------
        InputError
            If the vocabulary can not be had.
        """
        if self._made is None:
            self._made = self._make()
        tokens: Tensor = self._made(list(texts))
        return tokens

    def save(self, folder: Path) -> None:
        """Write the files of a hub tokenizer into `folder`, where it was loaded; else nothing.

        CLIP's own vocabulary comes with open_clip.
        """
        if self.hub_name and self._made is not None:
            self._made.save_pretrained(str(folder))

    def _make(self) -> Any:
        if not self.hub_name:
            options = dict(self._config.get("tokenizer_kwargs") or {})
            made = open_clip.SimpleTokenizer(context_length=self.context_length, **options)
            made.cache = _KnownWords(made.cache)
            return made
        if importlib.util.find_spec("transformers") is None:
            raise InputError(NEEDS_TRANSFORMERS)
        if self._folder is not None and self._folder.is_dir():
            return self._from_hub_files(str(self._folder), local=True)
        try:
            return self._from_hub_files(self.hub_name, local=True)
        except InputError:
            require_hub(f"the files of the vocabulary {self.hub_name!r}")
        return self._from_hub_files(self.hub_name, local=False)

    def _from_hub_files(self, source: str, *, local: bool) -> Any:
        try:
            with quiet_hub():
                return open_clip.tokenizer.HFTokenizer(
                    source,
                    context_length=self.context_length,
                    tokenizer_mode=self._config.get("tokenizer_mode"),
                    local_files_only=local,
                    **dict(self._config.get("tokenizer_kwargs") or {}),
                )
        except (OSError, ValueError, ImportError) as error:
            raise InputError(
                f"the vocabulary {self.hub_name!r} of the text tower can not be loaded: "
                f"{(str(error).splitlines() or [type(error).__name__])[0]}"
            ) from error


class _KnownWords(dict[str, str]):
    """Words and their parts, up to a number: open_clip keeps every word that it ever met."""

    def __setitem__(self, word: str, parts: str) -> None:
        if len(self) < MOST_KNOWN_WORDS:
            super().__setitem__(word, parts)
