"""First layer and linear path of latents that are mostly 0: what every engine makes, bit for bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nvc.codec.video_model import VideoModel
from nvc.networks import sparse_latents
from nvc.networks.block_synthesis import Synthesis
from nvc.networks.integer import ENGINES, IntConv, NumpyEngine, choose_engine
from nvc.networks.sparse_latents import SparseLatents, SparseLayer

DATA = Path(__file__).resolve().parents[1] / "data"
PARTS = [("tiny_aivc", "codec_b"), ("tiny_aivc", "mode_p"), ("tiny_lhbdc", "biresidual"), ("tiny_lhbdc", "intra")]


def latents(shape: tuple[int, ...], share: float, seed: int = 4) -> np.ndarray:
    """Of the whole range, and as many not 0."""
    rng = np.random.default_rng(seed)
    size = rng.choice([3, 300, 32767], shape)
    return (rng.integers(-size - 1, size + 1) * (rng.random(shape) < share)).astype(np.int16)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("share", [0.0, 0.02])
@pytest.mark.parametrize(("model", "name"), PARTS)
def test_as_every_engine(model: str, name: str, share: float, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of real decoders, with parts of a picture side by side."""
    backend = VideoModel(DATA / f"{model}.safetensors").backend
    decoder = backend._parts[name].decoder
    values = latents((7, 9, len(decoder.linear)), share)
    given, finer = None, decoder.finer
    if decoder.shortcut:
        kind = np.int16 if decoder.wide else np.uint8
        given = np.random.default_rng(1).integers(0, 256, (finer * 7, finer * 9, decoder.seen)).astype(kind)
    synthesis = Synthesis(decoder, choose_engine(list(decoder.convs), engine))
    monkeypatch.setattr(sparse_latents, "DENSITY", 1.0)
    found = synthesis.residual(values, given)
    monkeypatch.setattr(sparse_latents, "DENSITY", -1.0)
    np.testing.assert_array_equal(found, synthesis.residual(values, given))
    assert share == 0 or np.unique(found).size > 10


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (6, 7)])
def test_layer_at_borders(size: tuple[int, int]) -> None:
    """Against the definition, for pictures of few positions; shifts of 0 too."""
    rng = np.random.default_rng(2)
    conv = IntConv(
        rng.integers(-127, 128, (16, 12, 3, 3)).astype(np.int8), rng.integers(-9999, 9999, 16).astype(np.int32),
        rng.integers(0, 22, 16).astype(np.int8), wide=True,
    )  # fmt: skip
    conv.prove()
    layer, values = SparseLayer.of(conv), latents((*size, 12), 0.5)
    assert layer is not None
    found = SparseLatents(values, np.count_nonzero(values)).convolve(layer)
    np.testing.assert_array_equal(found, NumpyEngine().convolve(values[None].astype(np.int64), conv))


def test_what_is_left_to_engines() -> None:
    """Dense latents; layers whose sums may leave 32 bits."""
    assert SparseLatents.of(latents((4, 4, 32), 0.5)) is None
    assert SparseLatents.of(latents((4, 4, 32), 0.01)) is not None
    weight = np.full((1, 58, 3, 3), 127, np.int8)
    conv = IntConv(weight[:, :57], np.zeros(1, np.int32), np.zeros(1, np.int8), wide=True)
    assert SparseLayer.of(conv) is not None
    assert SparseLayer.of(replace(conv, raw=True)) is None
    assert SparseLayer.of(replace(conv, weight=weight)) is None
