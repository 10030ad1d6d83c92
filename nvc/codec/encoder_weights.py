"""The analysis in a weight file: network weights of 8 bits with a scale for each output channel, the rest in 16 bits.

Latents are rounded to steps of the quantiser, far coarser than the error of such weights; linear paths (`l_a`), which
carry the range, and biases keep float16. The encoder is not part of the model id: another packing keeps it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]
SHRINKS = np.linspace(0.8, 1.0, 21)  # of a channel's largest weight, which becomes 127: the outliers may be cut


def pack(tensors: Tensors, bits: int = 8) -> Tensors:
    """State of an analysis -> what a weight file holds under `encoder.`.

    A weight (O, I, kh, kw) of a network becomes int8, and (O,) float32 named after it with `.scale`.
    bits: that its numbers take, 2 to 8: with fewer the file is smaller, compressed.
    """
    packed: Tensors = {}
    for name, value in tensors.items():
        if value.ndim == 4 and "l_a" not in name.split("."):
            packed[name], packed[f"{name}.scale"] = _quantise(value.astype(np.float64), (1 << bits - 1) - 1)
        else:
            packed[name] = np.ascontiguousarray(value, np.float16)
    return packed


def expand(tensors: Tensors) -> Tensors:
    """The inverse of `pack`, in float32. ValueError where a scale does not fit. Weights that are not packed stay."""
    expanded: Tensors = {}
    scales = {f"{name}.scale" for name, value in tensors.items() if value.dtype == np.int8}
    for name, value in tensors.items():
        if name in scales:
            continue
        if value.dtype == np.int8:
            scale = tensors[f"{name}.scale"]
            if scale.shape != value.shape[:1]:
                raise ValueError(f"{name} has {value.shape[0]} channels, its scale {scale.shape}")
            value = value * scale.astype(np.float32).reshape(-1, *[1] * (value.ndim - 1))
        expanded[name] = value.astype(np.float32, copy=False)
    return expanded


def _quantise(weight: NDArray[np.float64], top: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Of each output channel the scale with the least squared error; numbers within ±top."""
    rows = weight.reshape(len(weight), -1)
    largest = np.maximum(np.abs(rows).max(axis=1), 1e-12)
    scale, least = largest / top, np.full(len(rows), np.inf)
    for shrink in SHRINKS:
        tried = shrink * largest / top
        error = np.square(np.clip(np.rint(rows / tried[:, None]), -top, top) * tried[:, None] - rows).sum(axis=1)
        scale, least = np.where(error < least, tried, scale), np.minimum(error, least)
    scale = scale.astype(np.float32).astype(np.float64)
    whole = np.clip(np.rint(rows / scale[:, None]), -top, top)
    return whole.astype(np.int8).reshape(weight.shape), scale.astype(np.float32)
