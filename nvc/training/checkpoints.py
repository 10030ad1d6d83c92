"""Checkpoints of training runs: tensors and plain values in torch's file format, whole or the weights alone."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nvc.codec import weight_files
from nvc.errors import InputError
from nvc.networks.ssf import SsfConfig

MODULES = ("net", "prior")  # what may be in a checkpoint of weights; a prior of pictures alone
WHOLE = {"optimizer", "generator", "step"}


def read_tensor_file(path: Path) -> Any:
    """What torch.save wrote, on the CPU; tensors and plain values only, no code is run. Raises InputError."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as exc:  # the unpickler raises what it likes on bytes that are no pickle
        reason = getattr(exc, "strerror", None) or "not a PyTorch file of tensors and plain values alone"
        raise InputError(f"{path}: {reason}") from exc


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A whole checkpoint (`Trainer.state`), on the CPU, to resume from. Raises InputError."""
    state = _checked(read_tensor_file(path), path)
    if not state.keys() >= WHOLE:
        raise InputError(f"{path}: not a checkpoint of nvc-train fit to resume from; --start takes its weights")
    return state


def read_weights(path: Path) -> dict[str, Any]:
    """codec, config (a dict), net and, of pictures, prior: of a checkpoint, whole or `slim`, or of a weight file.

    In float32. Raises InputError. {"net": …} alone is taken for a video network of the default widths.
    """
    if weight_files.is_named(path):
        from nvc.training.dequantize import float_weights

        return float_weights(path)
    state = _checked(read_tensor_file(path), path)
    modules = {name: {k: v.float() for k, v in state[name].items()} for name in MODULES if name in state}
    return {"codec": state["codec"], "config": state["config"]} | modules


def _checked(state: Any, path: Path) -> dict[str, Any]:
    """With codec and config filled in where an older one lacks them."""
    wrong = InputError(f"{path}: not a checkpoint of nvc-train fit")
    if not isinstance(state, dict) or not isinstance(state.get("net"), dict):
        raise wrong
    if "config" not in state and any(name.startswith("residual.") for name in state["net"]):
        state |= {"codec": "ssf", "config": asdict(SsfConfig())}
    state.setdefault("codec", "image")  # the first checkpoints, all of pictures, did not say
    if "config" not in state or (state["codec"] == "image" and "prior" not in state):
        raise wrong
    return state


def slim(checkpoint: Path, output: Path) -> None:
    """The weights alone, in float16: a seventh of the size, enough to start another run from, and to export."""
    weights = read_weights(checkpoint)
    halves = {name: {k: v.half() for k, v in weights[name].items()} for name in MODULES if name in weights}
    save({"codec": weights["codec"], "config": weights["config"]} | halves, output)


def save(state: dict[str, Any], path: Path) -> None:
    """Write beside, then rename: an interrupted save leaves the old file."""
    temporary = path.with_name(f".{path.name}.tmp")
    torch.save(state, temporary)
    temporary.replace(path)
