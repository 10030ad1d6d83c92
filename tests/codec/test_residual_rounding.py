"""Refined symbols of what a prediction lacks: slopes against frames decoded, cost before and after."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import B, I, P, clip  # noqa: E402

from nvc.codec import residual_rounding, step_bits  # noqa: E402
from nvc.codec.aivc import AivcBackend  # noqa: E402
from nvc.codec.aivc_choices import CODEC  # noqa: E402
from nvc.codec.frame_errors import block_errors, coverage, squared  # noqa: E402
from nvc.codec.latents import Latents  # noqa: E402
from nvc.codec.residual_rounding import Refinement  # noqa: E402
from nvc.codec.step_bits import prediction_weights  # noqa: E402
from nvc.codec.video_backend import Place, Reference  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.entropy_coding.coder import Estimator  # noqa: E402
from nvc.entropy_models.hyperprior import code_main  # noqa: E402
from nvc.entropy_models.main_context import SYMBOL_LIMIT, MainContext  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks.ssf_integer import ENERGY  # noqa: E402

CODE = 14000


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return VideoModel(TESTS / "data" / "tiny_aivc.safetensors")


def seen(kind, model: VideoModel, monkeypatch: pytest.MonkeyPatch, size=(43, 70)):  # type: ignore[no-untyped-def]
    """Every refinement of a frame, with the latents and the frame that it was given."""
    found: list[tuple[Refinement, Latents, Reference]] = []

    def keep(self, coded, decoded):  # type: ignore[no-untyped-def]
        found.append((self, coded, decoded))
        return coded, decoded

    monkeypatch.setattr(Refinement, "__call__", keep)
    frames = clip(*size, 5, motion=(1, 2))
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
    """Of the squared error within the frame through the linear path, against one symbol up and down."""
    refinement, coded, decoded = seen(kind, model, monkeypatch)
    refinement = replace(refinement, share=np.full_like(refinement.share, 64))
    error = block_errors(decoded.frame, refinement.frame)
    slopes = refinement._slopes(error)
    assert slopes.shape == coded.symbols.shape
    basis = refinement.part.linear.reshape(len(slopes), -1) * refinement._step[:, None]
    shown = blocks(np.ones_like, refinement.frame)
    for channel, row, column in ((0, 0, 0), (3, 1, 2), (len(slopes) - 1, 2, 4)):
        moved = basis[channel] * shown[row, column]
        up, down = (np.square(error[row, column] + way * moved) @ np.tile(ENERGY, 64) for way in (1, -1))
        assert slopes[channel, row, column] == pytest.approx((up - down) / 2, rel=1e-6, abs=1e-6)


def blocks(what: Callable[[np.ndarray], np.ndarray], frame: Frame420) -> np.ndarray:
    """What is made of the planes, (h, w, 8·8·6) and 0 beyond the frame."""
    h, w = (-(-n // 16) for n in frame.y.shape)
    padded = np.zeros((8 * h, 8 * w, 6))
    for number, plane in enumerate((*(frame.y[k // 2 :: 2, k % 2 :: 2] for k in range(4)), frame.u, frame.v)):
        padded[: plane.shape[0], : plane.shape[1], number] = what(plane)
    return padded.reshape(h, 8, w, 8, 6).swapaxes(1, 2).reshape(h, w, -1)


@pytest.mark.parametrize("size", [(43, 70), (64, 96), (17, 33)])
def test_errors_of_blocks(size: tuple[int, int]) -> None:
    """Against planes put together plainly; beyond the frame there is none."""
    one, two = clip(*size, 2, motion=(3, 5))
    errors = block_errors(two, one)
    expected = blocks(lambda plane: plane.astype(float), two) - blocks(lambda plane: plane.astype(float), one)
    assert errors.any()
    np.testing.assert_array_equal(errors, expected)
    inside = blocks(np.ones_like, one) @ np.tile(ENERGY, 64)
    np.testing.assert_allclose(squared(errors), np.square(expected) @ np.tile(ENERGY, 64), rtol=1e-12)
    np.testing.assert_allclose(coverage(*one.y.shape), inside / (64 * ENERGY.sum()), rtol=1e-12)


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
    assert 1 <= np.abs(moved).max() <= refinement.sweeps
    paid = residual_rounding.WORTH * refinement.worth

    def cost(latents: Latents, reference: Reference) -> float:
        pairs = zip(reference.frame.planes, refinement.frame.planes, (0.75, 0.5, 0.5), strict=True)
        errors = sum(weight * float(np.square(one.astype(float) - two).sum()) for one, two, weight in pairs)
        return bits(refinement, latents) + paid * errors

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


def test_symbols_stay_in_their_range(model: VideoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest are not moved further, however much that would promise."""
    refinement, coded, _ = seen(I, model, monkeypatch)
    largest = replace(coded, symbols=np.full_like(coded.symbols, SYMBOL_LIMIT))
    monkeypatch.setattr(Refinement, "_slopes", lambda self, error: np.full(coded.symbols.shape, -1e9))
    found, _ = refinement(largest, refinement.decode(largest))
    assert found.symbols.max() <= SYMBOL_LIMIT


@pytest.mark.parametrize("context", [True, False])
def test_bits_of_steps(context: bool, model: VideoModel) -> None:
    """With rows as they are: the four that a symbol foretells and itself, against all counted."""
    tables = model.tables("mode_p", 4)
    channels = model.backend.shapes("mode_p", 16, 16).main[0]
    predict = np.tile(np.array([20, 14, -6, 4]), (channels, 1))
    tables = replace(tables, context=replace(MainContext.neutral(channels), predict=predict) if context else None)
    random = np.random.default_rng(3)
    symbols = random.integers(-3, 4, (len(predict), 5, 6)).astype(np.int32)
    index = np.full(symbols.shape, 30, np.uint8)
    weights, main = prediction_weights(tables, len(symbols)), tables.main
    assert weights.any() == context
    _, rows = tables.main_values(index, symbols)
    if not context:
        assert (rows == index).all()

    def all_bits(of: np.ndarray) -> float:
        deviations, _ = tables.main_values(index, of)
        total = np.zeros(of.shape[1:])
        step_bits._add_bits(deviations, rows, main.start, main.size, main.offset, main.bits, total)
        return float(total.sum())

    for channel, i, j in ((0, 0, 0), (3, 2, 3), (5, 4, 5), (7, 3, 0)):
        for way in (-1, 1):
            moved = symbols.copy()
            moved[channel, i, j] += way
            got = step_bits.step_bits(
                symbols[channel], weights[channel], rows[channel], i, j, way, 0.0, main.start, main.size, main.offset,
                main.bits,
            )  # fmt: skip
            assert got == pytest.approx(all_bits(moved) - all_bits(symbols), abs=1e-3)
