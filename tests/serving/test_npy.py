"""npy files: numpy's own writer as the independent side, and headers that lie."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoclip_clinical.records import InputError
from emoclip_clinical.serving.npy import read_frames
from emoclip_clinical.serving.sealed_files import SealedFile


def saved(array: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def headed(header: str, body: bytes = b"") -> bytes:
    text = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def frames_of(content: bytes, **limits: int) -> np.ndarray:
    with SealedFile() as file:
        file.write(content)
        return read_frames(file, **limits)


def faults_of(content: bytes, **limits: int) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        frames_of(content, **limits)
    return caught.value.faults


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (5, 7, 9, 3), (2, 5, 7, 9, 3), (300, 64, 64, 3)])
def test_what_numpy_writes_is_read(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = frames_of(saved(array))
    # The file is closed: the array must live on.
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.uint8


def test_version_two_is_read() -> None:
    array = np.arange(60, dtype=np.uint8).reshape(1, 4, 5, 3)
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(2, 0))
    np.testing.assert_array_equal(frames_of(file.getvalue()), array)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (saved(np.zeros((2, 4, 4, 3), np.float32)), ["must be uint8, got float32"]),
        (saved(np.zeros((2, 4, 4, 3), np.int8)), ["must be uint8, got int8"]),
        (saved(np.zeros((2, 4, 4, 3), "u1,u1")), ["another type"]),
        (saved(np.zeros((2, 4, 4, 3), object), allow_pickle=True), ["must be uint8, got object"]),
        (saved(np.asfortranarray(np.zeros((2, 4, 4, 3), np.uint8))), ["Fortran order"]),
        (saved(np.zeros((4, 4, 3), np.uint8)), ["4 dimensions"]),
        (saved(np.zeros((), np.uint8)), ["4 dimensions"]),
        (saved(np.zeros((2, 4, 4, 1), np.uint8)), ["3 channels"]),
        (saved(np.zeros((2, 0, 4, 3), np.uint8)), ["may be empty"]),
        (saved(np.zeros((2, 1, 33, 3), np.uint8)), ["32 times the other"]),
        (saved(np.zeros((1, 16_385, 1000, 3), np.uint8)), ["16384 pixels"]),
        (saved(np.zeros((2, 4, 4, 3), np.uint8))[:-1], ["take 96 bytes, got 95"]),
        (saved(np.zeros((2, 4, 4, 3), np.uint8)) + b"x", ["take 96 bytes, got 97"]),
        (
            saved(np.asfortranarray(np.zeros((2, 4, 40, 5), np.float64))),
            ["must be uint8, got float64", "Fortran order", "3 channels"],
        ),
    ],
)
def test_every_fault_is_told(content: bytes, said: list[str]) -> None:
    faults = faults_of(content)
    assert len(faults) == len(said)
    for fault, part in zip(faults, said, strict=True):
        assert part in fault


def test_clips_that_are_too_long() -> None:
    content = saved(np.zeros((2, 5, 4, 4, 3), np.uint8))
    assert "at most 4 sampled frames, got 5" in faults_of(content, longest_clip_frames=4)[0]
    assert frames_of(content, longest_clip_frames=5).shape == (2, 5, 4, 4, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"PK\x03\x04" + bytes(100),
        b"\x93NUMPY\x03\x00" + bytes(100),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100),
        headed("{'descr': '|u1', 'fortran_order': False"),
        headed("(" * 4000),
        headed("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2, 3), 'x': 1}"),
        headed("{'descr': '|u1', 'fortran_order': False, 'shape': __import__('os').getcwd()}"),
        headed("{'descr': '|u1', 'fortran_order': 'no', 'shape': (1, 2, 2, 3)}"),
        headed("{'descr': '|u1', 'fortran_order': False, 'shape': [1, 2, 2, 3]}"),
        headed("{'descr': '|O', 'fortran_order': False, 'shape': (1, 2, 2, 3)}"[:30]),
        headed(" " * 5000),
    ],
)
def test_what_is_no_npy_file(content: bytes) -> None:
    (fault,) = faults_of(content)
    assert "npy" in fault


@pytest.mark.parametrize(
    "shape", ["(-1, -96, 1, 3)", "(10**9, 10**9, 4, 3)", f"({2**63}, {2**63}, 16, 3)"]
)
def test_shapes_that_lie(shape: str) -> None:
    shape = str(eval(shape))
    content = headed(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}", bytes(288))
    assert faults_of(content)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer(content: bytes) -> None:
    for start in (b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"):
        with pytest.raises(InputError):
            frames_of(start + content)
