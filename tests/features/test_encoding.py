"""Batches of one size: who shares them, what comes back, what stops."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from emoclip_clinical.features.encoding import EncodingStopped, FrameEncoder, rows_are_independent


class SumEmbedder:
    """Gives each picture its sum, and notes every batch."""

    image_size_pixels = 4

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()

    def encode_prepared(self, frames):
        self.gate.wait()
        self.batches.append(frames.copy())
        return frames.reshape(len(frames), -1).sum(axis=1, keepdims=True).astype(np.float32)


class PlaceEmbedder(SumEmbedder):
    """A device whose last bits depend on the row, as some GPU kernels' do."""

    def encode_prepared(self, frames):
        return super().encode_prepared(frames) + np.arange(len(frames))[:, None] * 1e-3


def pictures(count, *, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(1, 256, size=(count, 3, 4, 4), dtype=np.uint8)


def encoder(embedders, **changes):
    settings = {
        "batch_frames": 4,
        "threads_per_embedder": 2,
        "n_lanes": 2,
        "shared_batches": True,
        **changes,
    }
    return FrameEncoder(embedders, **settings)


def read(lane, images):
    """Hand in and collect as the reader does: never more on the way than the lane takes."""
    tickets, vectors = [], []
    for image in images:
        tickets.append(lane.submit(image))
        while lane.is_full:
            vectors.append(lane.collect(tickets.pop(0)))
    lane.flush()
    return [*vectors, *(lane.collect(ticket) for ticket in tickets)]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 57])
def test_every_picture_gets_its_own_vector(count, shared):
    images = pictures(count, seed=count)
    with encoder([SumEmbedder(), SumEmbedder()], shared_batches=shared) as running:
        vectors = read(running.lane(), images)
    assert [float(v[0]) for v in vectors] == [float(image.sum()) for image in images]


def test_batches_are_of_one_size_and_filled_across_interviews():
    embedder = SumEmbedder()
    embedder.gate.clear()
    with encoder([embedder], threads_per_embedder=1) as running:
        first, second = running.lane(), running.lane()
        tickets = [lane.submit(p) for lane in (first, second) for p in pictures(3, seed=1)]
        first.flush()
        second.flush()
        embedder.gate.set()
        for ticket in tickets:
            ticket.vector()
    assert [len(batch) for batch in embedder.batches] == [4, 4]
    assert [int(b.any(axis=(1, 2, 3)).sum()) for b in embedder.batches] == [4, 2]


def test_lanes_of_their_own_give_the_same_whatever_else_is_read():
    images = pictures(30, seed=0)
    results = []
    for company in (0, 50):
        with encoder([PlaceEmbedder()], shared_batches=False) as running:
            other = threading.Thread(target=read, args=(running.lane(), pictures(company, seed=9)))
            other.start()
            results.append(np.stack(read(running.lane(), images)))
            other.join()
    np.testing.assert_array_equal(*results)


def test_a_device_is_asked_whether_rows_are_independent():
    assert rows_are_independent(SumEmbedder(), batch_frames=8)
    assert not rows_are_independent(PlaceEmbedder(), batch_frames=8)


def test_an_error_reaches_who_waits_and_stopping_frees_everyone():
    class Broken(SumEmbedder):
        def encode_prepared(self, frames):
            raise MemoryError("no memory left")

    with encoder([Broken()]) as running, pytest.raises(MemoryError):
        read(running.lane(), pictures(3, seed=0))
    with encoder([SumEmbedder()]) as running:
        ticket = running.lane().submit(pictures(1, seed=0)[0])
        running.stop()
        with pytest.raises(EncodingStopped):
            ticket.vector()
        with pytest.raises(EncodingStopped):
            running.lane().submit(pictures(1, seed=0)[0])


def test_what_waits_is_bounded_and_always_moves_on():
    with encoder([SumEmbedder()], batch_frames=4, n_lanes=1) as running:
        lane = running.lane()
        on_the_way = 0
        tickets = []
        for image in pictures(200, seed=3):
            tickets.append(lane.submit(image))
            on_the_way = max(on_the_way, len(tickets))
            while lane.is_full:
                lane.collect(tickets.pop(0))
        assert on_the_way <= running.frames_ahead
        assert running.frames_ahead == 4 * 5
