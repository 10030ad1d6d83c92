"""Scale indexes and means of published checkpoints in exact integers: against int64, and beside the float network."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from nvc.entropy_coding import gaussian
from nvc.networks.hyper_exact import (
    MEAN_RANGE,
    OUTPUT_RANGE,
    SCALE_RANGE,
    SIDE_BITS,
    SIDE_MAX,
    SYMBOL_MAX,
    ExactDeconv,
    ExactHyperSynthesis,
)  # fmt: skip
from nvc.networks.integer import round_shift
from nvc.networks.scale_space_flow import FlowConfig, HyperpriorCoder
from nvc.training.import_ssf import quantise_hyper


@pytest.fixture(scope="module")
def part(lively_flow: Callable) -> HyperpriorCoder:
    """24 channels of z and of y."""
    return lively_flow(FlowConfig(4, 24)).motion


def hyper_of(part: HyperpriorCoder) -> ExactHyperSynthesis:
    layers = {name: value.numpy() for name, value in part.state_dict().items()}
    return quantise_hyper(layers, part.median.numpy(), gaussian.scales())


def referee(layer: ExactDeconv, x: np.ndarray) -> np.ndarray:
    """The sums of a layer, every input scattered to its 5x5 outputs, in int64."""
    _, height, width = x.shape
    out = np.zeros((layer.weight.shape[1], 2 * height + 4, 2 * width + 4), np.int64)
    for i in range(height):
        for j in range(width):
            spot = np.tensordot(x[:, i, j], layer.weight.astype(np.int64), 1)
            out[:, 2 * i : 2 * i + 5, 2 * j : 2 * j + 5] += spot
    return out[:, 2:-2, 2:-2] + layer.bias[:, None, None]


def test_referee(part: HyperpriorCoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Float64 against int64, by another route; for strips of any height; escapes as large as they come."""
    hyper = hyper_of(part)
    rng = np.random.default_rng(1)
    z = rng.normal(0, 4, (24, 3, 5)).round().astype(np.int32)
    z[0, 0, 0], z[1, 2, 4], z[5] = 1 << 27, -(1 << 27), SYMBOL_MAX
    index, mean = hyper(z)
    side = np.clip(z, -SYMBOL_MAX, SYMBOL_MAX).astype(np.int64) * 1024 + hyper.median[:, None, None]
    assert np.abs(side).max() <= SIDE_MAX
    outs = []
    for layers, inside, last in (
        (hyper.mean, MEAN_RANGE, OUTPUT_RANGE), (hyper.scale, SCALE_RANGE, SCALE_RANGE)
    ):  # fmt: skip
        x = side
        for i, layer in enumerate(layers):
            rounded = round_shift(referee(layer, x), layer.shift[:, None, None])
            x = np.clip(rounded, *(last if i == 2 else inside))
        outs.append(x)
    assert np.array_equal(mean, outs[0])
    assert np.array_equal(index, (outs[1][..., None] > hyper.thresholds).sum(-1))
    assert (index.dtype, mean.dtype, index.shape) == (np.uint8, np.int32, (24, 24, 40))
    monkeypatch.setattr("nvc.networks.hyper_exact.STRIP", 11)
    assert all(np.array_equal(a, b) for a, b in zip(hyper(z), (index, mean), strict=True))


@torch.no_grad()
def test_loss(part: HyperpriorCoder) -> None:
    """Against float: means within 1/200 symbol; latents drawn from the float model cost 0.1 % more at most."""
    hyper = hyper_of(part)
    rng = np.random.default_rng(2)
    z = rng.normal(0, np.exp(rng.uniform(-1.5, 2, (24, 1, 1))), (24, 6, 8)).round()
    side = torch.from_numpy(z)[None].float() + part.median[:, None, None]
    means, scales = part.hyper_mean(side)[0].numpy(), part.hyper_scale(side)[0].numpy()
    index, mean = hyper(z.astype(np.int32))
    assert np.abs(mean / 256 - means).max() < 1 / 200
    bounds = gaussian.scales()[:63]
    published = np.searchsorted(bounds, scales)
    assert (index != published).mean() < 0.002
    assert len(np.unique(index)) > 30
    y = means + rng.normal(size=means.shape) * np.maximum(scales, 0.02)
    tables = gaussian.published_tables()

    def bits(index: np.ndarray, symbols: np.ndarray) -> float:
        place = np.clip(symbols - tables.offset[index], 0, tables.size[index] - 1).astype(int)
        return float(tables.bits[tables.start[index] + place].sum(dtype=np.float64))

    float_symbols, symbols = np.rint(y - means), np.rint(y - mean / 256)
    assert bits(index, symbols) == pytest.approx(bits(published, float_symbols), rel=1e-3)
    squares = [((y - s - m) ** 2).mean() for s, m in ((float_symbols, means), (symbols, mean / 256))]
    assert squares[1] == pytest.approx(squares[0], rel=1e-3)


def test_proof(part: HyperpriorCoder) -> None:
    """The largest sums that 192 channels of 16-bit weights can make are exact; more are refused."""
    full = ExactDeconv(np.full((192, 4, 5, 5), 32767, np.int16), np.zeros(4, np.int64), np.full(4, 26, np.int8))
    full.prove(MEAN_RANGE[1])
    x = np.full((192, 2, 2), float(MEAN_RANGE[1]))
    want = np.clip(round_shift(referee(full, x.astype(np.int64)), 26), 0, 1 << 40)
    assert np.array_equal(full(x, 0, 1 << 40), want)
    with pytest.raises(ValueError, match=r"exact only below 2\^53"):
        replace(full, weight=np.full((500, 4, 5, 5), 32767, np.int16)).prove(MEAN_RANGE[1])
    with pytest.raises(ValueError, match=r"exact only below 2\^53"):
        replace(full, bias=np.full(4, -(1 << 63))).prove(SIDE_MAX)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("thresholds", lambda t: t[::-1], "do not rise"),
        ("thresholds", lambda t: t[:62], "not 63 thresholds"),
        ("median", lambda t: t.astype(np.int64), "not of int32"),
        ("median", lambda t: t + (1 << 25), "a median is beyond"),
        ("median", lambda t: t[:5], "do not fit together"),
        ("hyper_mean.2.weight", lambda t: t[:5], "do not fit together"),
        ("hyper_mean.4.weight", lambda t: t.astype(np.float32), "weight is float32"),
        ("hyper_mean.0.bias", lambda t: t[:5], "not one bias"),
        ("hyper_mean.0.bias", lambda t: t.astype(np.int32), "not of int64"),
        ("hyper_scale.0.shift", lambda t: t - 100, "shift is outside"),
    ],
)
def test_unsound(part: HyperpriorCoder, name: str, change: object, reason: str) -> None:
    tensors = hyper_of(part).tensors()
    ExactHyperSynthesis.from_tensors(tensors)
    with pytest.raises(ValueError, match=reason):
        ExactHyperSynthesis.from_tensors(tensors | {name: change(tensors[name])})


def test_fixed_point_is_stated() -> None:
    """What FORMAT.md will have to say: changing one changes every file."""
    assert (SIDE_BITS, SIDE_MAX, MEAN_RANGE, OUTPUT_RANGE) == (
        10, 32767 * 1024 + (1 << 24), (0, (1 << 26) - 1), (-32767 * 256, 32767 * 256),
    )  # fmt: skip
