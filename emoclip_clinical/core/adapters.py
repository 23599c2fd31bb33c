"""Low-rank adapters in the towers (LoRA, Hu et al. 2021), by peft, and out again by merging."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from emoclip_clinical.core.model import EmoCLIP
from emoclip_clinical.records import InputError

_LINEAR_NAMES = ("c_fc", "c_proj", "qkv", "proj", "fc1", "fc2", "query", "key", "value", "dense")
_ATTENTION_NAMES = ("attn",)


def add_adapters(model: EmoCLIP, *, rank: int, alpha: float, seed: int) -> None:
    """Put adapters into the attention and the MLPs of both towers; the model computes as before.

    Parameters
    ----------
    model : EmoCLIP
        Changed in place.
    rank, alpha : int, float
        Of each adapter; its factor is alpha / rank.
    seed : int
        Of the adapters' first values.

    Raises
    ------
    InputError
        If peft is not installed, or the towers have nothing to adapt.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise InputError("towers: lora needs peft: pip install 'emoclip-clinical[lora]'") from error
    targets = [name for name, module in model.clip.named_modules() if _is_target(name, module)]
    if not targets:
        raise InputError(
            "towers: lora found neither attention nor MLPs in the towers; use trained or frozen"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(
            LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets),  # type: ignore[arg-type]
            model.clip,
        )


def _is_target(name: str, module: nn.Module) -> bool:
    last = name.rsplit(".", 1)[-1]
    if isinstance(module, nn.MultiheadAttention):
        return last in _ATTENTION_NAMES
    return isinstance(module, nn.Linear) and last in _LINEAR_NAMES


def merge_adapters(model: EmoCLIP) -> list[str]:
    """Add the adapters to the weights that they adapt, and take them out.

    Returns
    -------
    list of str
        Names of the tensors that they were added to, sorted.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    merged: list[str] = []
    while found := _adapters(model.clip, BaseTunerLayer):
        # The outermost first: the one of an attention holds that of its own output.
        name, layer = found[0]
        if isinstance(layer.get_base_layer(), nn.MultiheadAttention):
            base = layer.unload_and_optionally_merge_module(
                merge=True, safe_merge=False, adapter_names=None
            )
        else:
            layer.merge()
            base = layer.get_base_layer()
        parent = model.clip.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], base)
        merged.append(name)
    if hasattr(model.clip, "peft_config"):
        del model.clip.peft_config
    weights = {
        f"clip.{n}": None
        for n, _ in model.clip.named_parameters()
        if (n.endswith("weight") and n.rpartition(".")[0].removesuffix(".out_proj") in merged)
        or (n.endswith("in_proj_weight") and n.rpartition(".")[0] in merged)
    }
    return sorted(weights)


def _adapters(clip: nn.Module, kind: type) -> list[tuple[str, Any]]:
    return [(name, m) for name, m in clip.named_modules() if isinstance(m, kind)]
