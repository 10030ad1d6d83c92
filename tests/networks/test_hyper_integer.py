"""The hyper-synthesis in integers: one result for all tiles, threads and engines; weight files that are not sound."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nvc.codec.models import read_tensors
from nvc.networks import hyper_integer
from nvc.networks.hyper_integer import HyperDecoder, HyperSynthesis
from nvc.networks.integer import ENGINES, NumpyEngine, choose_engine
from nvc.networks.steps import STEP_ONE

Ints = NDArray[np.int32]


@pytest.fixture(scope="module")
def decoder(tiny_video_model: Path) -> HyperDecoder:
    return HyperDecoder.from_tensors(read_tensors(tiny_video_model, "decoder.residual.hyper."))


@pytest.fixture(scope="module")
def side(decoder: HyperDecoder) -> Ints:
    """Of a frame of 37 x 45 main positions: small values, and those that no frame holds but a legal stream can."""
    random = np.random.default_rng(4)
    values = np.rint(random.laplace(0, 3, (decoder.side, 10, 12))).astype(np.int32)
    values[:, 3, 4], values[:, 9, 11], values[::2, 0] = 32767, -32767, 32767
    return values


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("tile", [1, 2, 5, 100])
def test_tiles_and_threads(
    tile: int, threads: int, decoder: HyperDecoder, side: Ints, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = HyperSynthesis(decoder, NumpyEngine()).parameters(side, 9000, 37, 45)
    monkeypatch.setattr(hyper_integer, "TILE", tile)
    got = decoder.prepare().parameters(side, 9000, 37, 45)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])
    assert len(np.unique(want[0])) > 3
    assert np.abs(want[1]).max() > 16


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in ("numpy", "onednn")])
def test_engines(name: str, decoder: HyperDecoder, side: Ints) -> None:
    code = 7 * STEP_ONE
    want = HyperSynthesis(decoder, NumpyEngine()).parameters(side, code, 40, 48)
    got = HyperSynthesis(decoder, choose_engine(list(decoder.convs), name)).parameters(side, code, 40, 48)
    assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


def test_unsound_tensors_are_refused(decoder: HyperDecoder) -> None:
    first, last = decoder.convs
    shifted = last.shift.copy()
    shifted[-1] -= 1
    wrong = {
        "type": (replace(first, bias=first.bias.astype(np.float32)), last),
        "shifts": (first, replace(last, shift=shifted)),
        "fit": (first, replace(last, weight=last.weight[:, :4])),
        "float32 is exact": (first, replace(last, bias=last.bias + (1 << 24))),
    }
    for match, convs in wrong.items():
        with pytest.raises(ValueError, match=match):
            replace(decoder, convs=convs).prove()
    for offset in (decoder.offset[:7], decoder.offset.astype(np.int64), decoder.offset[0]):
        with pytest.raises(ValueError, match="offsets"):
            replace(decoder, offset=offset).prove()
