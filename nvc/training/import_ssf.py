"""A state dict of compressai's ScaleSpaceFlow (`ssf2020`) to a weight file (`nvc-train import ssf2020`).

The pictures stay float; the hyper-synthesis becomes integers (nvc.networks.hyper_exact), by arithmetic that gives the
same integers, and so the same model id, on every machine. compressai is not needed.

A weight file holds, for each information (intra, motion, residual):
    decoder.NAME.{synthesis.*, hyper_mean.*, hyper_scale.*, median, thresholds}, and decoder.flow_crop
    tables.NAME.main.*, tables.NAME.1.side.*   tables of y, by scale index, and of z, by channel
    encoder.NAME.{analysis.*, hyper_analysis.*}
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nvc.codec.models import Tensors, model_id
from nvc.codec.weight_files import serialize
from nvc.entropy_coding import gaussian
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.errors import InputError
from nvc.networks.hyper_exact import (
    LAYERS,
    MEAN_BITS,
    MEAN_RANGE,
    OUTPUT_BITS,
    SCALE_BITS,
    SCALE_RANGE,
    SHIFT_MAX,
    SIDE_BITS,
    SIDE_MAX,
    THRESHOLDS,
    ExactDeconv,
    ExactHyperSynthesis,
)
from nvc.networks.scale_space_flow import FlowConfig
from nvc.networks.ssf_float import SsfFloatDecoder
from nvc.training.bottleneck import FactorisedDensity, stored_tables
from nvc.training.importer import read_state_dict

NAMES = {"intra": "img", "motion": "motion", "residual": "res"}  # ours, theirs


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The networks of a published state dict under our names, in float32."""
    parts: dict[str, str] = {}
    for ours, theirs in NAMES.items():
        hyper = f"{theirs}_hyperprior."
        parts |= {
            f"{theirs}_encoder.": f"{ours}.analysis.",
            f"{theirs}_decoder.": f"{ours}.synthesis.",
            f"{hyper}hyper_encoder.": f"{ours}.hyper_analysis.",
            f"{hyper}hyper_decoder_mean.": f"{ours}.hyper_mean.",
        }
        parts |= {f"{hyper}hyper_decoder_scale.deconv{i + 1}.": f"{ours}.hyper_scale.{2 * i}." for i in range(LAYERS)}
    found = {}
    for name, value in state.items():
        for theirs, ours in parts.items():
            if name.startswith(theirs):
                found[ours + name.removeprefix(theirs)] = value.float()
    return found


def quantise_layer(
    weight: NDArray[np.float32], bias: NDArray[np.float32], bits_in: int, bits_out: int, largest: int
) -> ExactDeconv:
    """A transposed convolution (I, O, 5, 5) in integers, inputs and outputs with so many fraction bits.

    Each channel gets the finest power of two for which its weights fit into int16 and its bias stays below 2^50.
    ValueError where weights are not finite or too large, or sums of inputs up to `largest` could not be exact.
    """
    if weight.ndim != 4 or weight.shape[2:] != (5, 5) or bias.shape != weight.shape[1:2]:
        raise ValueError(f"a hyper layer has weights of shape {weight.shape} and biases of {bias.shape}")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ValueError("a hyper layer is not finite")
    exact, offset = weight.astype(np.float64), bias.astype(np.float64)
    # Powers of two only, found without logarithms: frexp gives |x| < 2^exponent.
    _, reach = np.frexp(np.abs(exact).max(axis=(0, 2, 3)))
    fine = np.minimum(15 - reach, SHIFT_MAX + bits_out - bits_in).astype(np.int64)  # fraction bits of the weights
    _, bias_reach = np.frexp(offset)
    fine = np.minimum(fine, 50 - bits_in - bias_reach)  # |bias| < 2^50
    if (fine + bits_in < bits_out).any():
        raise ValueError(f"a hyper layer has weights up to {np.abs(exact).max():g}, too large for 16 bits")
    scaled = np.rint(np.ldexp(exact, fine[None, :, None, None]))
    layer = ExactDeconv(
        np.clip(scaled, -32767, 32767).astype(np.int16),  # 32767.5 and more round to 32768
        np.rint(np.ldexp(offset, fine + bits_in)).astype(np.int64),
        (fine + bits_in - bits_out).astype(np.int8),
    )
    layer.prove(largest)
    return layer


def quantise_hyper(
    layers: dict[str, NDArray[np.float32]], median: NDArray[np.float32], scales: NDArray[np.float32]
) -> ExactHyperSynthesis:
    """hyper_mean.* and hyper_scale.* of one information, medians (N,) of z, scales (64,) of the tables -> integers."""
    paths = []
    for path, inside, out, limit in (
        ("mean", MEAN_BITS, OUTPUT_BITS, MEAN_RANGE), ("scale", SCALE_BITS, SCALE_BITS, SCALE_RANGE)
    ):  # fmt: skip
        bits = [SIDE_BITS, *[inside] * (LAYERS - 1), out]
        paths.append(tuple(
            quantise_layer(
                layers[f"hyper_{path}.{2 * i}.weight"], layers[f"hyper_{path}.{2 * i}.bias"],
                bits[i], bits[i + 1], limit[1] if i else SIDE_MAX,
            )
            for i in range(LAYERS)
        ))  # fmt: skip
    if not np.isfinite(median).all() or np.abs(median).max() > 1 << 14:
        raise ValueError("a median of z is beyond 16384")
    thresholds = np.floor(np.ldexp(scales[:THRESHOLDS].astype(np.float64), SCALE_BITS))
    mean, scale = paths
    hyper = ExactHyperSynthesis(
        np.rint(np.ldexp(median.astype(np.float64), SIDE_BITS)).astype(np.int32), mean, scale,
        thresholds.astype(np.int32),
    )  # fmt: skip
    hyper.prove()
    return hyper


def main_tables(state: dict[str, Tensor]) -> tuple[TableSet, NDArray[np.float32]]:
    """Tables of y and the scales they stand for, from a `gaussian_conditional` part; the published ones if empty."""
    stored = stored_tables(state)
    scales = state.get("scale_table")
    if stored is None or scales is None or scales.numel() == 0:
        return gaussian.published_tables(), gaussian.scales()
    values = scales.float().numpy()
    if values.shape != (THRESHOLDS + 1,) or len(stored) != len(values):
        raise ValueError(f"it has {len(stored)} tables of scales, not {THRESHOLDS + 1}")
    rises = values[0] > 0 and (np.diff(values) > 0).all()
    if not rises or values[-2] > SCALE_RANGE[1] >> SCALE_BITS:
        raise ValueError("the scales of its tables do not rise from 0 to 255")
    return stored, values


def below(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    """What is named `prefix` and more, without the prefix."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def convert(state: dict[str, Tensor], name: str, flow_crop: int = 0) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a weight file. ValueError or KeyError unless the state dict is a ScaleSpaceFlow.

    flow_crop: see nvc.networks.scale_space_flow.FlowConfig.
    """
    networks = {n: np.ascontiguousarray(value.numpy()) for n, value in rename(state).items()}
    decoder: Tensors = {"flow_crop": np.array([flow_crop], np.int32)}
    tensors: Tensors = {}
    for ours, theirs in NAMES.items():
        inside = below(networks, f"{ours}.")
        prior = below(state, f"{theirs}_hyperprior.")
        bottleneck = below(prior, "entropy_bottleneck.")
        density = FactorisedDensity.from_state(bottleneck)
        main, scales = main_tables(below(prior, "gaussian_conditional."))
        side = stored_tables(bottleneck) or density.tables()
        if len(side) != len(density.quantiles):
            raise ValueError(f"it has {len(side)} tables of z for {len(density.quantiles)} channels")
        hyper = quantise_hyper(inside, density.quantiles[:, 1].numpy(), scales)
        decoder |= {f"{ours}.{n}": value for n, value in hyper.tensors().items()}
        tables = HyperpriorTables.with_candidates(side, main, len(side), len(main)).tensors()
        tensors |= {f"tables.{ours}.{n}": value for n, value in tables.items() if n.startswith("main.")}
        tensors |= {f"tables.{ours}.1.{n}": value for n, value in tables.items() if n.startswith("side.")}
        decoder |= {f"{ours}.{n}": value for n, value in inside.items() if n.startswith("synthesis.")}
        analysis = {n: value for n, value in inside.items() if n.startswith(("analysis.", "hyper_analysis."))}
        tensors |= {f"encoder.{ours}.{n}": value for n, value in analysis.items()}
    sound = SsfFloatDecoder.from_tensors(decoder)
    sound.prepare(below(tensors, "encoder."))  # ValueError unless the encoder fits
    if not all(np.isfinite(value).all() for n, value in tensors.items() if n.startswith("encoder.")):
        raise ValueError("an encoder tensor is not finite")
    tensors |= {f"decoder.{n}": value for n, value in sound.tensors().items()}
    metadata = {
        "codec": "ssf",
        "decoder": "float",
        "name": name,
        "id": model_id(tensors).hex(),
        "config": json.dumps(asdict(FlowConfig(*sound.widths, flow_crop))),
    }
    return tensors, metadata


def import_ssf(path: Path, name: str, flow_crop: int = 0) -> tuple[bytes, str]:
    """A checkpoint as the bytes of a weight file, and its model id. Raises InputError."""
    try:
        tensors, metadata = convert(read_state_dict(path), name, flow_crop)
    except KeyError as exc:
        raise InputError(f"{path}: holds no {exc.args[0]}, as ScaleSpaceFlow has") from exc
    except ValueError as exc:
        raise InputError(f"{path}: {exc}") from exc
    return serialize(tensors, metadata), metadata["id"]
