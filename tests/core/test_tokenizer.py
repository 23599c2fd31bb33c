"""What the tokenizer keeps of the texts that it has seen."""

from __future__ import annotations

import open_clip
import pytest
import torch

from emoclip_clinical.core import tokenizer
from emoclip_clinical.core.tokenizer import Tokenizer


def test_it_keeps_a_bounded_number_of_words_and_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [f"a strange word number{'x' * i} in text {i}" for i in range(40)]
    wanted = open_clip.SimpleTokenizer(context_length=24)(texts)
    monkeypatch.setattr(tokenizer, "MOST_KNOWN_WORDS", 20)
    ours = Tokenizer({"context_length": 24})
    for _ in range(2):
        assert torch.equal(ours(texts), wanted)
    assert len(ours._made.cache) == 20
