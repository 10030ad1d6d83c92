"""Motion symbols by trying, and vectors by matching blocks: what they may and may not do."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from video_streams import clip

from nvc.codec import motion_moves
from nvc.codec.block_matching import match
from nvc.codec.motion_moves import SQUARE, Field, Pictures, descend
from nvc.codec.motion_rounding import Response
from nvc.codec.phases import BORDER, phases
from nvc.entropy_coding.coder import Estimator
from nvc.entropy_coding.gaussian import published_tables
from nvc.entropy_models.hyperprior import HyperpriorTables, code_main
from nvc.entropy_models.main_context import MainContext
from nvc.frames import Frame420
from nvc.networks.overlap import predict_overlapped
from nvc.networks.warp import grid_shape

HEIGHT, WIDTH, STEP = 80, 112, 4.0  # a symbol moves its four cells by a quarter of a pixel
WORTH = 0.02


@pytest.fixture(scope="module")
def frames() -> list[Frame420]:
    """The right half moves otherwise than the left one, by more than what is round it would tell."""
    first, second = clip(HEIGHT, WIDTH, 2, motion=(1, 2))
    other = clip(HEIGHT, WIDTH, 2, motion=(5, 0))[1]
    luma = second.y.copy()
    luma[:, WIDTH // 2 :] = other.y[:, WIDTH // 2 :]
    return [Frame420(luma, second.u, second.v), first]


def respond(count: int = 2) -> Response:
    numbers = np.zeros((2, 2, 2, 5))
    context = replace(MainContext.neutral(2), predict=np.tile(np.array([16, 16, 0, 0]), (2, 1)))
    tables = HyperpriorTables.with_candidates(published_tables(), published_tables(), 0, 0, context)
    index = np.full((2, *(n // 2 for n in grid_shape(HEIGHT, WIDTH))), 16, np.uint8)
    return Response(np.arange(count), numbers, index, tables)


def field_of(symbols: NDArray[np.int32]) -> Field:
    """Of a P frame: symbols are its flow, x and y."""
    response = np.zeros((2, 2, 2, 2), np.float32)
    response[0, :, :, 0] = response[1, :, :, 1] = STEP
    return Field((STEP * symbols).repeat(2, 1).repeat(2, 2).astype(np.float32), response)


def predicted(symbols: NDArray[np.int32], frames: list[Frame420]) -> NDArray[np.uint8]:
    return predict_overlapped(frames[1], field_of(symbols).numbers.astype(np.int16)).y


def cost(symbols: NDArray[np.int32], frames: list[Frame420]) -> float:
    """What `descend` lowers: by the prediction itself, and by real bits."""
    off = np.square(predicted(symbols, frames).astype(float) - frames[0].y)
    squares = np.pad(off, 4)[: HEIGHT + 8, : WIDTH + 8].reshape(HEIGHT // 8 + 1, 8, WIDTH // 8 + 1, 8).sum((1, 3))
    estimator, response = Estimator(), respond()
    code_main(estimator, response.tables.main, response.index, symbols, response.tables.context)
    return float(SQUARE * np.log1p(WORTH / SQUARE * squares).sum() + estimator.bits)


def start() -> NDArray[np.int32]:
    symbols = np.zeros((2, HEIGHT // 16, WIDTH // 16), np.int32)
    symbols[0], symbols[1] = 7, 3  # near what the left half does
    return symbols


def moved(frames: list[Frame420], **given: object) -> NDArray[np.int32]:
    pictures = Pictures(frames[0].y, [frames[1].y])
    others: list[NDArray[np.int32]] = given.pop("others", [])  # type: ignore[assignment]
    return descend(start(), respond(int(str(given.pop("count", 2)))), field_of(start()), pictures, WORTH, others)


def test_the_cost_falls(frames: list[Frame420]) -> None:
    found = moved(frames)
    assert cost(found, frames) < 0.8 * cost(start(), frames)
    assert (found[:, 1:-1, 1] == [[8], [4]]).all()  # the motion of the left half


def test_what_others_know_is_taken(frames: list[Frame420]) -> None:
    """Of the right half, which single steps do not come to."""
    other = start()
    other[0], other[1] = 0, 20
    found = moved(frames, others=[other])
    assert np.abs(found[:, 1:-1, -2] - [[0], [20]]).max() <= 1
    assert cost(found, frames) < cost(moved(frames), frames)


def test_channels_left_out_stay(frames: list[Frame420]) -> None:
    found = moved(frames, count=1)
    np.testing.assert_array_equal(found[1], start()[1])
    assert (found[0] != start()[0]).any()


def test_half_the_size_is_near(frames: list[Frame420], monkeypatch: pytest.MonkeyPatch) -> None:
    """As for large pictures, half a pixel at a time: what is less stays, for `motion_rounding`."""
    other = start()
    other[0], other[1] = 0, 20
    monkeypatch.setattr(motion_moves, "LARGE", 0)
    found = moved(frames, others=[other])
    assert np.median(np.abs(found[:, 1:-1, -2] - [[0], [20]])) <= 2  # not all: a block may come to another end
    assert cost(found, frames) < 0.8 * min(cost(start(), frames), cost(moved(frames), frames))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads: int, frames: list[Frame420], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion_moves, "_STRIP", 1)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            found.append(moved(frames))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_phases_are_predictions(frames: list[Frame420]) -> None:
    """Each phase against overlapped prediction by the same vector everywhere."""
    planes = phases([frames[1].y])[0]
    for y, x in ((0, 0), (0, 2), (1, 3), (3, 1)):
        flow = np.empty((2, *grid_shape(HEIGHT, WIDTH)), np.int16)
        flow[0], flow[1] = 4 * x, 4 * y
        seen = planes[4 * y + x, BORDER:-BORDER, BORDER:-BORDER].astype(int)
        assert np.abs(seen - predict_overlapped(frames[1], flow).y).max() <= 1


@pytest.mark.parametrize("threads", [1, 3])
def test_matching_finds_what_moves_otherwise(threads: int, frames: list[Frame420]) -> None:
    pictures, before = Pictures(frames[0].y, [frames[1].y]), torch.get_num_threads()
    nothing = np.zeros((2, *grid_shape(HEIGHT, WIDTH)), np.int32)
    try:
        torch.set_num_threads(threads)
        found = match(pictures.luma, pictures.phases[0], nothing.copy(), pictures.cell, WORTH)
    finally:
        torch.set_num_threads(before)
    inside = found[:, 2:-2]
    assert (inside[:, :, 2 : WIDTH // 16 - 2] == np.array([8, 4])[:, None, None]).mean() > 0.9
    assert (inside[:, :, WIDTH // 16 + 2 : -2] == np.array([0, 20])[:, None, None]).mean() > 0.9


def test_matching_leaves_what_stands_still() -> None:
    still = clip(48, 64, 1)[0]
    pictures = Pictures(still.y, [still.y])
    nothing = np.zeros((2, *grid_shape(48, 64)), np.int32)
    assert not match(pictures.luma, pictures.phases[0], nothing.copy(), pictures.cell, WORTH).any()
