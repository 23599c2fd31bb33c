"""Time the extraction of one long interview against the official way and against what is possible.

The interview is made here: a real video of a face (`--face-video`), or a drawn one, over and over,
1280 by 720 pixels at 25 frames a second. The model is ViT-B/32 with random weights, which are as
fast as trained ones. Segments overlap by half.

1. *The official way*, re-created plainly from its description: every frame of the video becomes a
   JPEG file; each segment loads its frames with PIL, prepares them, and encodes them one by one in
   float32, with open_clip's own tower; what two segments share is encoded twice.
   `--official-minutes` says for how much of the interview this is done, half of it before *ours*
   and half after (a machine's speed drifts); the rest is extrapolated, JPEG files in proportion to
   the length and encoding in proportion to the number of segments.
2. *Ours*: `extract` with its default settings (or another `--precision`) and whole frames; the
   cosine of each segment's embedding to the official one is stated.
3. *The lower bound*: bare decoding, preparing and encoding of the frames that are needed, each
   measured alone on one core just before *ours* and again just after it (the mean counts),
   summed and divided by the number of cores; on a GPU, the slower of decoding (over the cores)
   and encoding.

Run it alone on the machine: ``python benchmarks/extract_speed.py``; ``--minutes 1`` for a check.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from emoclip_clinical.core.checkpoint import load_checkpoint, save_checkpoint
from emoclip_clinical.core.config import ModelConfig, TowerConfig
from emoclip_clinical.core.embedder import Embedder
from emoclip_clinical.core.model import BuiltModel, build_model
from emoclip_clinical.core.preprocessing import normalise
from emoclip_clinical.core.threads import each_thread_alone, usable_cores
from emoclip_clinical.features.config import ExtractionConfig, Precision
from emoclip_clinical.features.decoding import VideoSampler
from emoclip_clinical.features.extract import extract
from emoclip_clinical.records import PromptSet

WIDTH, HEIGHT, FPS = 1280, 720, 25
PROMPTS = PromptSet(name="two", classes={"smile": ("a smile",), "frown": ("a frown",)})
PEAK_BF16_TFLOPS = {"NVIDIA H200": 989.0}
GFLOP_PER_FRAME = 8.8


def make_video(path: Path, *, minutes: float, source: Path | None) -> Path:
    pictures = _pictures(source)
    n_frames = round(minutes * 60 * FPS)
    # One round is encoded, its packets are repeated: encoding an hour would take long.
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.options = {"crf": "23", "preset": "veryfast"}
        for i in range(n_frames):
            frame = pictures[i % len(pictures)]
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def _pictures(source: Path | None) -> list[av.VideoFrame]:
    if source is None:
        rng = np.random.default_rng(0)
        small = rng.integers(0, 255, size=(60, 18, 32, 3), dtype=np.uint8)
        drawn = [
            Image.fromarray(s).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC) for s in small
        ]
        frames = [av.VideoFrame.from_image(image) for image in drawn]
    else:
        with av.open(str(source)) as video:
            frames = [f for _, f in zip(range(500), video.decode(video=0), strict=False)]
    return [f.reformat(width=WIDTH, height=HEIGHT, format="yuv420p") for f in frames]


def official_way(
    video: Path,
    embedder: Embedder,
    built: BuiltModel,
    *,
    minutes: float,
    sample_fps: float,
    window: int,
    stride: int,
) -> tuple[float, float, np.ndarray]:
    """Return the seconds of files and of segments, and embeddings, of the first minutes."""
    tower = built.model.to(embedder.device)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, av.open(str(video)) as container:
        times = []
        for i, frame in enumerate(container.decode(video=0)):
            if frame.time >= minutes * 60:
                break
            frame.to_image().save(f"{folder}/{i:06d}.jpg", quality=95)
            times.append(frame.time)
        of_files = time.perf_counter() - began
        wanted = np.arange(0, minutes * 60, 1 / sample_fps)
        chosen = [int(np.argmin(np.abs(np.array(times) - t))) for t in wanted]
        embeddings = []
        for first in range(0, len(chosen) - window + 1, stride):
            vectors = []
            for i in chosen[first : first + window]:
                picture = np.array(Image.open(f"{folder}/{i:06d}.jpg").convert("RGB"))
                prepared = torch.from_numpy(embedder.prepare(picture)[None]).to(embedder.device)
                with torch.inference_mode():
                    # Not by the embedder, which leaves out what open_clip computes for nothing.
                    vector = tower.encode_frames(normalise(prepared, built.preprocessing))
                vectors.append(vector[0].cpu().numpy())
            stacked = np.stack(vectors)[None]
            embeddings.append(embedder.encode_sequences(stacked, np.ones((1, window), bool))[0])
    return of_files, time.perf_counter() - began - of_files, np.stack(embeddings)


def lower_bound(
    video: Path, embedder: Embedder, *, sample_fps: float, batch: int, part_seconds: float
) -> dict[str, float]:
    """Measure decoding, preparing and encoding alone, one core each, in ms a sampled frame."""
    with each_thread_alone():
        began = time.perf_counter()
        with VideoSampler(video, sample_fps=sample_fps, stop_seconds=part_seconds) as frames:
            images = []
            decoded = 0
            for frame in frames:
                decoded += 1
                if len(images) < 4 * batch:
                    images.append(frame.image)
        decode = (time.perf_counter() - began) / decoded
        began = time.perf_counter()
        prepared = np.stack([embedder.prepare(image) for image in images])
        crop = (time.perf_counter() - began) / len(images)
        embedder.encode_prepared(prepared[:batch])
        began = time.perf_counter()
        for first in range(0, len(prepared), batch):
            embedder.encode_prepared(prepared[first : first + batch])
        encode = (time.perf_counter() - began) / len(prepared)
    return {"decode_ms": 1e3 * decode, "crop_ms": 1e3 * crop, "encode_ms": 1e3 * encode}


def peak_memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--official-minutes", type=float, default=1.0)
    parser.add_argument("--face-video", type=Path)
    parser.add_argument("--precision", default="auto", choices=get_args(Precision))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--videos", type=int, default=0, help="copies; 0: 1, or 16 on a GPU")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), arguments), indent=2))


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    video = make_video(folder / "sub-0.mp4", minutes=arguments.minutes, source=arguments.face_video)
    config = ModelConfig(name="speed", tower=TowerConfig(name="ViT-B-32", pretrained="none"))
    built = build_model(config, seed=0)
    save_checkpoint(folder / "model", built=built, config=config, card={})
    exact = Embedder(load_checkpoint(folder / "model"), device=arguments.device)
    fps, window = exact.sample_fps, exact.frames_per_clip
    official_minutes = min(arguments.official_minutes, arguments.minutes)
    plainly = partial(
        official_way,
        video,
        exact,
        built,
        minutes=official_minutes / 2,
        sample_fps=fps,
        window=window,
        stride=window // 2,
    )
    measured = [plainly()]
    expected = measured[0][2]
    on_gpu = exact.device.type == "cuda"
    n_videos = arguments.videos or (16 if on_gpu else 1)
    paths = [video]
    for k in range(1, n_videos):
        paths.append(folder / f"sub-{k}.mp4")
        paths[-1].symlink_to(video)
    settings = ExtractionConfig(
        face="whole_frame",
        stride_seconds=window // 2 / fps,
        precision=arguments.precision,
        batch_frames=256 if on_gpu else 32,
    )
    precision = arguments.precision
    if precision == "auto":
        precision = "bfloat16" if exact.has_fast_bfloat16 else "float32"
    # A model of its own: *ours* makes its int8 network itself, within its time.
    alone = Embedder(load_checkpoint(folder / "model"), device=arguments.device)
    variant = alone.variant(precision=precision)
    part = min(60.0, 60 * arguments.minutes)
    batch = settings.batch_frames
    before = lower_bound(video, variant, sample_fps=fps, batch=batch, part_seconds=part)
    loaded = peak_memory_mib()
    began, cpu_began = time.perf_counter(), time.process_time()
    extract(
        paths,
        embedder=exact,
        config=settings,
        prompt_sets=[PROMPTS],
        output=folder / "features",
    )
    ours, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    memory = peak_memory_mib()
    described = json.loads((folder / "features" / "features.json").read_text())
    if described["model"]["precision"] != precision:
        raise SystemExit(f"expected {precision}: {described['precision_check']['reason']}")
    after = lower_bound(video, variant, sample_fps=fps, batch=batch, part_seconds=part)
    per_frame = {name: (before[name] + after[name]) / 2 for name in before}
    measured.append(plainly())
    n_frames = arguments.minutes * 60 * fps * n_videos
    cores = usable_cores()
    if on_gpu:
        least_ms = max(
            (per_frame["decode_ms"] + per_frame["crop_ms"]) / cores, per_frame["encode_ms"]
        )
    else:
        least_ms = sum(per_frame.values()) / cores
    bound = n_frames * least_ms / 1e3
    table = pq.read_table(folder / "features" / "embeddings.parquet").to_pandas()
    of_files, of_segments = (sum(times) for times in list(zip(*measured, strict=True))[:2])
    extrapolated = of_files * arguments.minutes / official_minutes * n_videos + of_segments * len(
        table
    ) / (2 * len(expected))
    found = np.stack(table[table["interview"] == "sub-0"]["embedding"])[: len(expected)]
    cosines = (found * expected[: len(found)]).sum(axis=1)
    result: dict[str, object] = {
        "minutes": arguments.minutes,
        "videos": n_videos,
        "device": torch.cuda.get_device_name() if on_gpu else f"{cores} cores",
        "precision": precision,
        "precision_check": described["precision_check"],
        "official_seconds": round(extrapolated, 1),
        "official_seconds_measured": [
            {"files": round(files, 1), "segments": round(segments, 1)}
            for files, segments, _ in measured
        ],
        "official_measured_minutes": official_minutes,
        "ours_seconds": round(ours, 1),
        "times_faster": round(extrapolated / ours, 2),
        "ours_cpu_seconds": round(cpu, 1),
        "one_core_ms_per_frame": {
            name: [round(before[name], 2), round(after[name], 2)] for name in per_frame
        },
        "lower_bound_seconds": round(bound, 1),
        "share_of_bound": round(bound / ours, 3),
        "cosine_mean": float(cosines.mean()),
        "cosine_smallest": float(cosines.min()),
        "segments_compared": len(cosines),
        "memory_mib_model_loaded": round(loaded),
        "memory_mib_peak": round(memory),
    }
    if on_gpu:
        result |= _on_gpu(n_frames / ours, per_frame["encode_ms"])
    return result


def _on_gpu(end_to_end_fps: float, encode_ms: float) -> dict[str, object]:
    name = torch.cuda.get_device_name()
    encoder_fps = 1e3 / encode_ms
    peak = PEAK_BF16_TFLOPS.get(name)
    return {
        "frames_per_second": round(end_to_end_fps),
        "encoder_frames_per_second": round(encoder_fps),
        "share_of_peak": None
        if peak is None
        else round(encoder_fps * GFLOP_PER_FRAME / 1e3 / peak, 3),
        "bottleneck": "encoding" if end_to_end_fps > 0.7 * encoder_fps else "decoding and cropping",
    }


if __name__ == "__main__":
    main()
