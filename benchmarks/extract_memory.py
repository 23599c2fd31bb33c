"""Peak memory of extracting a long interview and one six times as long, each in its own process.

The videos are made here, small in pictures and long in time; faces are followed, so that all that
grows with a video's length is there. ``--face-video`` gives the face that is shown over and over.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av

SIZE, FPS = (320, 240), 12.5


def make_video(path: Path, *, minutes: float, source: Path) -> None:
    with av.open(str(source)) as video:
        pictures = [f for _, f in zip(range(250), video.decode(video=0), strict=False)]
    small = [f.reformat(width=SIZE[0], height=SIZE[1], format="yuv420p") for f in pictures]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.options = {"preset": "ultrafast", "threads": "1"}
        for i in range(round(minutes * 60 * FPS)):
            frame = small[i % len(small)]
            # Every second picture of 25 a second.
            frame.pts, frame.time_base = 2 * i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def extract_here(video: Path, output: Path) -> None:
    """Extract with a small model and print the peak beside the weights, in MiB."""
    from emoclip_clinical.core.checkpoint import load_checkpoint, save_checkpoint
    from emoclip_clinical.core.config import ModelConfig, TowerConfig
    from emoclip_clinical.core.embedder import Embedder
    from emoclip_clinical.core.model import build_model
    from emoclip_clinical.features.config import ExtractionConfig
    from emoclip_clinical.features.extract import extract
    from emoclip_clinical.records import PromptSet

    definition = {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 24, "width": 32, "heads": 2, "layers": 1},
    }
    config = ModelConfig(
        name="small", tower=TowerConfig(name="vit", definition=definition, pretrained="none")
    )
    save_checkpoint(output / "model", built=build_model(config, seed=0), config=config, card={})
    embedder = Embedder(load_checkpoint(output / "model"), device="cpu")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = extract(
        [video],
        embedder=embedder,
        config=ExtractionConfig(stride_seconds=2.56),
        prompt_sets=[PromptSet(name="two", classes={"a": ("a smile",), "b": ("a frown",)})],
        output=output / "features",
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "segments": result.interviews[0].n_ok,
                "model_loaded_mib": round(before),
                "peak_mib": round(peak),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--face-video", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs=2, default=(10.0, 60.0))
    parser.add_argument("--extract", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.extract is not None:
        extract_here(arguments.extract, arguments.extract.parent)
        return
    peaks = []
    for minutes in arguments.minutes:
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder) / "sub-1.mp4"
            make_video(video, minutes=minutes, source=arguments.face_video)
            found = json.loads(
                subprocess.run(
                    [sys.executable, __file__, "--face-video", "-", "--extract", str(video)],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
        peaks.append(found["peak_mib"])
        print(json.dumps({"minutes": minutes, **found}), flush=True)
    print(json.dumps({"longer_over_shorter": round(peaks[1] / peaks[0], 3)}))


if __name__ == "__main__":
    main()
