"""Time an epoch of training: cached, uncached, and the way the published code goes about it.

Run where the project is installed: ``python benchmarks/training_speed.py``. All is timed in one
run on the same clips with random weights of ViT-B-32-quickgelu and the paper's frozen recipe.
On a machine with a GPU a second table follows: clips a second at 32 frames, frozen and cached,
frozen and not cached, and fine-tuned, in bfloat16, with the share of the measured peak of matrix
products. Ends with 1 when the cache is not at least ten times faster.

The plain way is written from the description of the published loop: JPEG frames read one by one
with PIL, turned to floats, normalised, resized with bicubic interpolation on floats, then the
image tower on every frame of every epoch, in float32 on the CPU (float16 autocast on a GPU).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.config import ModelConfig, TowerConfig
from emoclip_clinical.core.loss import contrastive_loss
from emoclip_clinical.core.model import build_model
from emoclip_clinical.core.training import train
from emoclip_clinical.core.training_config import OptimiserConfig, TrainingConfig

WANTED_RATIO = 10.0
SGD = OptimiserConfig(name="sgd", learning_rate=1e-3, weight_decay=5e-4, schedule="constant",
                      warmup_fraction=0.0, clip_gradient_norm=None)  # fmt: skip
GFLOP_A_FRAME = 8.8
"""Forward through ViT-B/32 at 224 pixels; an update takes about three times as much."""


@dataclass(frozen=True)
class Timed:
    """Seconds of the first epoch, filling of the cache included, and median of the later ones."""

    first_seconds: float
    later_seconds: float
    loss: float


def write_clips(folder: Path, *, n_clips: int, n_frames: int) -> list[Clip]:
    """Write clips of moving noise at 25 frames a second, as videos and as folders of JPEGs."""
    rng = np.random.default_rng(0)
    clips = []
    for i in range(n_clips):
        base = rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)
        path = folder / f"{i}.mp4"
        jpegs = folder / f"{i}"
        jpegs.mkdir()
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for k in range(n_frames):
                picture = Image.fromarray(np.roll(base, k, axis=1)).resize((320, 240))
                picture.save(jpegs / f"{k:05d}.jpg")
                for packet in stream.encode(av.VideoFrame.from_image(picture)):
                    container.mux(packet)
            container.mux(stream.encode())
        clips.append(
            Clip(path, f"Person {i} talks. The raised brow number {i}.", "", "", "", f"{i}")
        )
    return clips


def ours(
    clips: list[Clip], model: ModelConfig, *, device: str, epochs: int, cache: Path | None,
    **settings: object,
) -> Timed:  # fmt: skip
    """Train with the toolkit and time its epochs by its own progress."""
    training = TrainingConfig.model_validate(
        {"epochs": epochs, "batch_clips": len(clips) // 2, "optimiser": SGD.model_dump(),
         "memory_megabytes": 8192, "decode_threads": 8 if device != "cpu" else 2}
        | settings
    )  # fmt: skip
    ends: list[float] = []

    def note(task: str, done: int, total: int) -> None:
        if task == "train clips" and done * epochs % total == 0:
            synchronise(device)
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        trained = train(
            clips, model=model, training=training, folder=Path(name) / "model",
            state_folder=Path(name) / "state", seed=0, device=device, cache_folder=cache,
            progress=note,
        )  # fmt: skip
    later = np.diff(ends)
    return Timed(ends[0] - started, float(np.median(later)), trained.epochs[-1].training_loss)


def plain_way(clips: list[Clip], config: ModelConfig, *, device: str, epochs: int) -> Timed:
    """Train as the published code does: every frame decoded, resized and encoded every epoch."""
    built = build_model(config, seed=0)
    model = built.model.to(device).train()
    model.clip.requires_grad_(False).eval()
    model.log_scale.requires_grad_(True)
    optimiser = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], lr=1e-3, momentum=0.9, weight_decay=5e-4
    )
    times, loss_value = [], 0.0
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        started = time.perf_counter()
        for batch in batches(rng.permutation(len(clips)), len(clips) // 2):
            frames = torch.stack([plain_frames(clips[i].path, config) for i in batch]).to(device)
            with torch.autocast(device, torch.float16, enabled=device != "cpu"), torch.no_grad():
                vectors = model.encode_frames(frames.flatten(0, 1)).view(*frames.shape[:2], -1)
                texts = model.encode_text(
                    built.tokenizer([clips[i].caption for i in batch]).to(device)
                )
            valid = torch.ones(vectors.shape[:2], dtype=torch.bool, device=device)
            loss = contrastive_loss(
                model.encode_sequences(vectors.float(), valid), texts.float(),
                model.log_scale.exp(), torch.eye(len(batch), dtype=torch.bool, device=device),
            )  # fmt: skip
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss_value = float(loss.detach())
        synchronise(device)
        times.append(time.perf_counter() - started)
    return Timed(times[0], float(np.median(times[1:] or times)), loss_value)


def plain_frames(video: Path, config: ModelConfig) -> torch.Tensor:
    """Read JPEG frames as the published code does: float, normalise, resize without antialias."""
    mean = torch.tensor([0.4815, 0.4578, 0.4082]).view(3, 1, 1)
    std = torch.tensor([0.2686, 0.2613, 0.2758]).view(3, 1, 1)
    paths = sorted(video.with_suffix("").glob("*.jpg"))[::4][: config.frames_per_clip]
    pictures = []
    for path in paths:
        picture = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
        normal = (picture.float() / 255 - mean) / std
        resized = functional.interpolate(normal[None], (224, 298), mode="bicubic")
        pictures.append(resized[0, :, :, 37:261])
    return torch.stack(pictures)


def batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Cut an order into whole batches."""
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def synchronise(device: str) -> None:
    """Wait for the GPU, where there is one."""
    if device != "cpu":
        torch.cuda.synchronize()


def peak_tflops(dtype: torch.dtype) -> float:
    """Return the measured rate of large matrix products on the GPU, in 10^12 FLOP a second."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - started) / 1e12


def on_cpu(clips: list[Clip], config: ModelConfig, *, threads: int) -> float:
    """Print the table of the CPU and return how much faster the cache is."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        cold = ours(clips, config, device="cpu", epochs=4, cache=cache, threads=threads)
        warm = ours(clips, config, device="cpu", epochs=4, cache=cache, threads=threads)
    uncached = ours(
        clips,
        config,
        device="cpu",
        epochs=3,
        cache=None,
        threads=threads,
        cache_frame_vectors=False,
    )
    plain = plain_way(clips, config, device="cpu", epochs=2)
    title = f"{len(clips)} clips of {config.frames_per_clip} frames, CPU, {threads} thread(s)"
    table = Table(
        "way", "first epoch (s)", "later epochs (s)", "clips/s", "times faster", title=title
    )
    for way, timed in {
        "plain way (as published)": plain,
        "uncached": uncached,
        "cached, cold cache": cold,
        "cached, warm cache": warm,
    }.items():
        table.add_row(
            way, f"{timed.first_seconds:.1f}", f"{timed.later_seconds:.2f}",
            f"{len(clips) / timed.later_seconds:.2f}",
            f"{uncached.later_seconds / timed.later_seconds:.1f}",
        )  # fmt: skip
    Console(width=100).print(table)
    return uncached.later_seconds / cold.later_seconds


def on_gpu(clips: list[Clip], config: ModelConfig) -> None:
    """Print the table of the GPU."""
    peak = peak_tflops(torch.bfloat16)
    with tempfile.TemporaryDirectory() as name:
        common = {"device": "cuda", "epochs": 5, "precision": "bf16"}
        found = {
            "frozen, cached": (ours(clips, config, cache=Path(name), **common), 0.0),  # type: ignore[arg-type]
            "frozen, uncached": (
                ours(clips, config, cache=None, cache_frame_vectors=False, **common), 1.0),  # type: ignore[arg-type]
            "fine-tuned": (ours(clips, config, cache=None, towers="trained", **common), 3.0),  # type: ignore[arg-type]
        }  # fmt: skip
    plain = plain_way(clips, config, device="cuda", epochs=2)
    title = f"GPU, bf16, {config.frames_per_clip} frames, peak {peak:.0f} TFLOP/s"
    table = Table("way", "clips/s", "share of peak", "times the plain way", title=title)
    for way, (timed, passes) in found.items():
        rate = len(clips) / timed.later_seconds
        tflops = rate * config.frames_per_clip * passes * GFLOP_A_FRAME / 1000
        share = f"{tflops / peak:.1%}" if passes else "tower not used"
        table.add_row(way, f"{rate:.0f}", share, f"{plain.later_seconds / timed.later_seconds:.1f}")
    table.add_row("plain way", f"{len(clips) / plain.later_seconds:.0f}", "", "1.0")
    Console(width=100).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=8, help="sampled frames a clip, on the CPU")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gpu-clips", type=int, default=128)
    arguments = parser.parse_args()
    tower = TowerConfig(name="ViT-B-32-quickgelu", pretrained="none")
    folder = Path(tempfile.mkdtemp())
    try:
        small = ModelConfig(tower=tower, frames_per_clip=arguments.frames)
        clips = write_clips(folder, n_clips=arguments.clips, n_frames=4 * arguments.frames)
        ratio = on_cpu(clips, small, threads=arguments.threads)
        if torch.cuda.is_available():
            more = folder / "more"
            more.mkdir()
            clips = write_clips(more, n_clips=arguments.gpu_clips, n_frames=128)
            on_gpu(clips, ModelConfig(tower=tower))
        else:
            print("no GPU on this machine: its table is left out")
    finally:
        shutil.rmtree(folder)
    print(f"the cache makes an epoch {ratio:.1f} times faster (wanted: {WANTED_RATIO:.0f})")
    return 0 if ratio >= WANTED_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main())
