"""Predicted blocks by rate and distortion: what is said of them is so, and they are worth their bits."""

import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import clip  # noqa: E402

from nvc.codec.models import read_tensors  # noqa: E402
from nvc.codec.prediction_choice import choose  # noqa: E402
from nvc.codec.predictors import Prediction, untrained_prediction  # noqa: E402
from nvc.coefficients import Coefficients  # noqa: E402
from nvc.entropy_coding.adaptive import beginning  # noqa: E402
from nvc.entropy_coding.coder import Decoder, Encoder, Estimator  # noqa: E402
from nvc.entropy_models import predicted_blocks  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks.block_prediction import reconstruct  # noqa: E402
from nvc.networks.lambdas import LAMBDAS  # noqa: E402
from nvc.networks.transform import step_sizes  # noqa: E402

SIZES = [(1, 1), (7, 40), (33, 47), (64, 96)]
WEIGHTS = (0.75, 0.5, 0.5)


@pytest.fixture(scope="module")
def tiny() -> Prediction:
    """Chances and steps of no use, different at every level."""
    tensors = read_tensors(TESTS / "data" / "tiny_blocks.safetensors", "decoder.")
    made = Prediction.of({name.removeprefix("decoder."): value for name, value in tensors.items()})
    assert made is not None
    return made


@pytest.fixture(scope="module")
def fair(tiny: Prediction) -> Prediction:
    """The same predictors with chances that know nothing, and steps that suit the worth of errors."""
    return untrained_prediction(tiny.predictors, np.outer(LAMBDAS, WEIGHTS[:2]))


def error(one: Frame420, two: Frame420) -> float:
    """Squared grey levels of (6Y + U + V)/8."""
    return sum(
        w * float(((a.astype(float) - b) ** 2).sum()) for w, a, b in zip(WEIGHTS, one.planes, two.planes, strict=True)
    )


def picked(frame: Frame420, prediction: Prediction, level: int, worth: float) -> tuple[Coefficients, Frame420, float]:
    return choose(frame, prediction, 4096 * level, worth, beginning(prediction.chances[level]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("code", [0, 13000, 28672])
def test_what_is_said_is_what_decoders_make(size: tuple[int, int], code: int, tiny: Prediction) -> None:
    """Frame, bits and chances are those of coding; what is decoded are the same blocks."""
    frame, level = clip(*size, 1)[0], min(code // 4096, 7)
    start = tiny.chances[level]
    chances, others, decoders = (beginning(start) for _ in range(3))
    made, shown, bits = choose(frame, tiny, code, LAMBDAS[level], chances)
    again = reconstruct(made, tiny.predictors, tiny.log_step, code)
    for plane, other in zip(shown.planes, again.planes, strict=True):
        np.testing.assert_array_equal(plane, other)
    estimator, encoder = Estimator(), Encoder()
    predicted_blocks.code(estimator, made, others, tiny.counts)
    assert estimator.bits == pytest.approx(bits)
    np.testing.assert_array_equal(chances, others)
    predicted_blocks.code(encoder, made, beginning(start), tiny.counts)
    decoder = Decoder(encoder.finish())
    found = predicted_blocks.code(decoder, size, decoders, tiny.counts)
    decoder.finish()
    for name in ("blocks", "whole", "predictors"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))


def test_the_more_errors_are_worth_the_fewer_there_are(fair: Prediction) -> None:
    """By worth alone, and by levels, whose steps follow it."""
    frame = clip(64, 96, 1)[0]
    for levels in ([4] * 8, list(range(8))):
        ways = [picked(frame, fair, level, worth) for level, worth in zip(levels, LAMBDAS, strict=True)]
        errors, bits = [error(frame, shown) for _, shown, _ in ways], [bits for *_, bits in ways]
        assert errors == sorted(errors, reverse=True)
        assert bits == sorted(bits)
        assert errors[-1] < 0.2 * errors[0]


@pytest.mark.parametrize("level", [1, 4, 7])
def test_blocks_are_worth_their_bits(level: int, fair: Prediction) -> None:
    """Against any one predictor of each kind alone, no coefficients, or blocks of one size alone."""
    frame = clip(64, 96, 1)[0]
    made, shown, bits = picked(frame, fair, level, LAMBDAS[level])
    cost = LAMBDAS[level] * error(frame, shown) + bits
    assert made.predictors is not None
    assert len(np.unique(made.predictors[made.whole == 0][:, :4])) > 4
    luma_8, luma_16, chroma = fair.predictors
    for n in range(len(luma_8)):
        few = (luma_8[[n, n]], luma_16[[n % 2, n % 2]], chroma[[n % 4, n % 4]])
        other = Prediction(few, fair.log_step, fair.chances)
        _, alone, more = picked(frame, other, level, LAMBDAS[level])
        assert cost < LAMBDAS[level] * error(frame, alone) + more
    empty = Coefficients.predicted(64, 96)
    estimator = Estimator()
    predicted_blocks.code(estimator, empty, beginning(fair.chances[level]), fair.counts)
    nothing = reconstruct(empty, fair.predictors, fair.log_step, 4096 * level)
    assert cost < LAMBDAS[level] * error(frame, nothing) + estimator.bits


@pytest.mark.parametrize("value", [0, 60, 128, 255])
def test_flat_pictures_cost_nearly_nothing(value: int, fair: Prediction) -> None:
    """Large blocks; a coefficient or two at the beginning, for it is predicted to be grey."""
    frame = Frame420(np.full((96, 128), value, np.uint8), *np.full((2, 48, 64), 128, np.uint8))
    made, shown, bits = picked(frame, fair, 4, LAMBDAS[4])
    assert np.count_nonzero(made.blocks.any(2)) <= 1
    assert abs(shown.y.astype(int) - value).max() <= max(1, step_sizes(fair.log_step, 4 * 4096)[0] / 4)
    assert bits < 0.02 * frame.y.size


@pytest.mark.parametrize("upright", [0, 1])
@pytest.mark.parametrize("level", [2, 6])
def test_the_predictor_that_goes_on_with_what_is_there(upright: int, level: int, fair: Prediction) -> None:
    """Of one that continues rows and one that continues columns, on stripes; only where they begin are coefficients."""
    both = []
    for side in (8, 16, 8):
        one, (row, column) = np.zeros((2, 25, side * side), np.int16), np.divmod(np.arange(side * side), side)
        one[0, 17 + row * 8 // side, np.arange(side * side)] = 1024
        one[1, 1 + column * 8 // side, np.arange(side * side)] = 1024
        both.append(one)
    prediction = Prediction((both[0], both[1], both[2]), fair.log_step, fair.chances)
    stripes = np.where(np.arange(64) // 4 % 2, 150, 90).astype(np.uint8) * np.ones((64, 1), np.uint8)
    luma = stripes if upright else stripes.T.copy()
    made, _, _ = picked(Frame420(luma, *np.full((2, 32, 32), 128, np.uint8)), prediction, level, LAMBDAS[level])
    assert made.predictors is not None
    chosen, blocks = made.predictors[..., 0], made.blocks
    if not upright:
        chosen, blocks = chosen.T, blocks.transpose(1, 0, 2)
    assert (chosen[1:] == upright).all()
    assert not blocks[1:].any()
    assert blocks[0].any(1).all()
