"""What this machine has: decoders, face network, torch, GPU, weights."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes
    ----------
    name : str
        What.
    status : str
        `ok`, `absent` (the toolkit works without it) or `broken` (a command will fail).
    detail : str
        Version, or what is wrong.
    """

    name: str
    status: str
    detail: str


def examine_machine() -> tuple[Finding, ...]:
    """Look at everything that the commands rely on; nothing is fetched.

    Returns
    -------
    tuple of Finding
        In the order in which a study needs them.
    """
    checks: tuple[tuple[str, Callable[[], tuple[str, str]]], ...] = (
        ("python", lambda: ("ok", f"{platform.python_version()}, {os.cpu_count()} CPUs")),
        ("torch", _torch),
        ("GPU", _gpu),
        ("open_clip", _open_clip),
        ("PyAV", _pyav),
        ("decord", _decord),
        ("face network", _face_network),
        ("OpenAI weights", _openai_weights),
    )
    findings = []
    for name, check in checks:
        try:
            status, detail = check()
        except Exception as error:
            # Whatever goes wrong in a foreign library is just what this command is to report.
            status, detail = "broken", f"{type(error).__name__}: {error}"
        findings.append(Finding(name, status, detail))
    return tuple(findings)


def _torch() -> tuple[str, str]:
    import torch

    return "ok", f"{torch.__version__}, {torch.get_num_threads()} threads"


def _gpu() -> tuple[str, str]:
    import torch

    if not torch.cuda.is_available():
        return "absent", "everything runs on the CPU"
    properties = torch.cuda.get_device_properties(0)
    return "ok", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def _open_clip() -> tuple[str, str]:
    import open_clip

    return "ok", f"{open_clip.__version__}, {len(open_clip.list_models())} architectures"


def _pyav() -> tuple[str, str]:
    import av

    wanted = ("h264", "hevc", "vp9", "av1", "mpeg4", "flv", "gif")
    missing = [name for name in wanted if name not in av.codecs_available]
    if missing:
        return "absent", f"{av.__version__}, no decoder for {', '.join(missing)}"
    return "ok", f"{av.__version__}, decodes {', '.join(wanted)}"


def _decord() -> tuple[str, str]:
    import decord

    return "ok", decord.__version__


def _face_network() -> tuple[str, str]:
    import onnxruntime

    from emoclip_clinical.features.centerface import centerface_weights

    centerface_weights()
    return "ok", f"centerface, by onnxruntime {onnxruntime.__version__}"


def _openai_weights() -> tuple[str, str]:
    import open_clip.pretrained
    from huggingface_hub import try_to_load_from_cache

    config = open_clip.pretrained.get_pretrained_cfg("ViT-B-32-quickgelu", "openai")
    repository = str(config.get("hf_hub", "")).rstrip("/")
    for name in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        if repository and isinstance(try_to_load_from_cache(repository, name), str):
            return "ok", "ViT-B-32-quickgelu, in the hub's cache"
    return "absent", "`train` fetches them once; or use --pretrained none, or a file"
