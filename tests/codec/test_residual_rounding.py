"""Refined symbols of what a prediction lacks: slopes against frames decoded, cost before and after."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import B, I, P, clip  # noqa: E402

from nvc.codec import residual_rounding  # noqa: E402
from nvc.codec.aivc import CODEC, AivcBackend  # noqa: E402
from nvc.codec.latents import Latents  # noqa: E402
from nvc.codec.residual_rounding import Refinement, _squares  # noqa: E402
from nvc.codec.video_backend import Place, Reference  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.entropy_coding.coder import Estimator  # noqa: E402
from nvc.entropy_models.hyperprior import code_main  # noqa: E402

CODE = 14000


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return VideoModel(TESTS / "data" / "tiny_aivc.safetensors")


def seen(kind, model: VideoModel, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Every refinement of a frame, with the latents and the frame that it was given."""
    found: list[tuple[Refinement, Latents, Reference]] = []

    def keep(self, coded, decoded):  # type: ignore[no-untyped-def]
        found.append((self, coded, decoded))
        return coded, decoded

    monkeypatch.setattr(Refinement, "__call__", keep)
    frames = clip(48, 80, 5, motion=(1, 2))
    ends = [Reference(frames[0]), Reference(frames[4])]
    place = {I: Place(I), P: Place(P, ends[:1], [-2]), B: Place(B, ends, [-2, 2], 1)}[kind]
    assert isinstance(model.backend, AivcBackend)
    model.backend.encode(frames[2], place, CODE)
    monkeypatch.undo()
    ((refinement, coded, decoded),) = found
    assert refinement.part is model.backend._parts[CODEC[kind]]
    return refinement, coded, decoded


def bits(refinement: Refinement, latents: Latents) -> float:
    estimator = Estimator()
    code_main(estimator, refinement.tables.main, latents.index, latents.symbols, refinement.tables.context)
    return estimator.bits


@pytest.mark.parametrize("kind", [I, P, B])
def test_slopes(kind, model: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """To first order through the linear path: one symbol up, far from any other change."""
    refinement, coded, decoded = seen(kind, model, monkeypatch)
    refinement = replace(refinement, share=np.full_like(refinement.share, 64))
    error = refinement._error(decoded)
    slopes = refinement._slopes(error)
    assert slopes.shape == coded.symbols.shape
    basis = refinement.part.linear.reshape(len(slopes), -1) * refinement._step[:, None]
    positions = error.reshape(*slopes.shape[1:], -1)
    for channel, row, column in ((0, 0, 0), (3, 1, 2), (len(slopes) - 1, 2, 4)):
        here = positions[row, column]
        up, down = (_squares((here + way * basis[channel])[None])[0] for way in (1, -1))
        assert slopes[channel, row, column] == pytest.approx((up - down) / 2, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("kind", [I, P])
@pytest.mark.parametrize("worth", [0.3, 3.0])
def test_cost_falls(kind, worth: float, model: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Bits as coded, contexts included, and squared errors of the frame as decoded."""
    refinement, coded, decoded = seen(kind, model, monkeypatch)
    refinement = replace(refinement, worth=worth * refinement.worth)
    found, made = refinement(coded, decoded)
    again = refinement.decode(found)
    for one, two in zip(made.frame.planes, again.frame.planes, strict=True):
        np.testing.assert_array_equal(one, two)
    moved = found.symbols - coded.symbols
    assert moved.any()
    assert np.abs(moved).max() == 1
    paid = residual_rounding.WORTH * refinement.worth

    def cost(latents: Latents, reference: Reference) -> float:
        return bits(refinement, latents) + paid * float(_squares(refinement._error(reference)).sum())

    assert cost(found, made) < cost(coded, decoded)
    np.testing.assert_array_equal(found.z, coded.z)


def test_nothing_where_nothing_counts(model: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipped blocks stay skipped: no symbol of 0 is moved where its share is 0."""
    refinement, coded, _ = seen(P, model, monkeypatch)
    share = refinement.share.copy()
    share[:2] = 0
    none = replace(coded, symbols=np.zeros_like(coded.symbols))
    found, _ = replace(refinement, share=share)(none, refinement.decode(none))
    assert not found.symbols[:, 0].any()
    assert found.symbols[:, 1:].any()
