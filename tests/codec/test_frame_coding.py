"""Frames to streams and back where some are left out."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from video_streams import B, I, P, any_coefficients, choosing, content_of, random_latents

from nvc.codec.frame_coding import FrameCoder
from nvc.codec.predictors import Blocks
from nvc.codec.transform import Layers
from nvc.codec.video_model import VideoModel
from nvc.networks.filters import Filter

SIZE = 160, 192
KINDS = [I, B, B, P, B, I, B, B, P, B, P]  # coding order: B frames between an I frame and the anchor behind it lead it
LEFT_OUT = range(6, 8)
LEVEL, CODE = 4, 3 * 4096


TINY = ["tiny_lhbdc", "tiny_aivc", "tiny_fine", "tiny_layers", "tiny_filters", "tiny_blocks"]


@pytest.fixture(scope="module", params=TINY)
def model(request: pytest.FixtureRequest) -> VideoModel:
    return VideoModel(Path(__file__).parents[1] / "data" / f"{request.param}.safetensors")


def test_a_decoder_may_begin_at_any_i_frame(model: VideoModel) -> None:
    """And leave out the B frames that lead it: nothing behind them depends on the tables that they replaced."""
    random, backend = np.random.default_rng(7), model.backend
    coder, contents, payloads = FrameCoder(backend, model.tables), [], []
    for kind in KINDS:
        choices = tuple(range(len(backend.choice_bits.get(kind, ()))))
        choices = choosing(
            model, kind, choices, blocks=int(Blocks.SMOOTHED), layers=int(Layers.BOTH), filter=int(Filter.EIGHT)
        )
        given = random_latents(model, kind, SIZE, random, [0.2, 1.0, 4.0])
        coefficients = any_coefficients(model, kind, choices, SIZE, random)
        contents.append(replace(content_of(model, kind, given, choices, CODE), coefficients=coefficients))
        payloads.append(coder.encode(kind, contents[-1], LEVEL))
    assert all(payload.reparameterised for payload in payloads[6:])  # else this test would show nothing
    decoder = FrameCoder(backend, model.tables)
    for number in (n for n in range(5, len(KINDS)) if n not in LEFT_OUT):
        payload = payloads[number]
        found = decoder.decode(KINDS[number], payload.data, payload.reparameterised, LEVEL, CODE, SIZE)
        for name, latents in contents[number].latents.items():
            np.testing.assert_array_equal(found.latents[name].z, latents.z)
            np.testing.assert_array_equal(found.latents[name].symbols, latents.symbols)
        coefficients = contents[number].coefficients
        assert (found.coefficients is None) == (coefficients is None)
        if coefficients is not None and found.coefficients is not None:
            np.testing.assert_array_equal(found.coefficients.blocks, coefficients.blocks)
            if KINDS[number] == I:
                np.testing.assert_array_equal(found.coefficients.predictors, coefficients.predictors)
