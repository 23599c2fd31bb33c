"""Answers that are the same but for rounding: what shares a batch with others may differ by it."""

from __future__ import annotations

from typing import Any

import pytest


def assert_near(found: Any, expected: Any) -> None:
    """Compare what was read from JSON."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_near(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_near(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    else:
        assert found == expected
