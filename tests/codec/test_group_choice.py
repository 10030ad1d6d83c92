"""Lengths of groups: on a codec that costs what its prediction misses, where the best is known."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from nvc.bitstream.container import FrameType
from nvc.codec.gop import Gop
from nvc.codec.group_choice import GroupChooser, _cheapest, smaller
from nvc.codec.latents import Content
from nvc.codec.video_backend import Place, Reference
from nvc.frames import Frame420

SIDE = 64
FIXED = 4.0  # what a B frame costs at least, a P frame twice, an I frame 25 times


class Differences:
    """Codes without loss, for the mean squared difference from the mean of the references. `cost` is the backend's."""

    def __init__(self) -> None:
        self.coded: list[tuple[FrameType, tuple[int, ...]]] = []

    def quick(self) -> "Differences":
        return self

    def encode(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Any, Reference]:
        self.coded.append((place.kind, tuple(place.distances)))
        missed = 25 * FIXED
        if place.references:
            seen = np.mean([reference.frame.y.astype(float) for reference in place.references], axis=0)
            missed = float(np.square(seen - frame.y).mean()) + FIXED * (1 + (place.kind == FrameType.P))
        return Content({}, (int(1000 * missed),)), Reference(frame)

    @staticmethod
    def cost(kind: FrameType, content: Content) -> float:
        return content.choices[0] / 1000


def frame_of(level: float) -> Frame420:
    return Frame420(np.full((SIDE, SIDE), level, np.uint8), *np.full((2, SIDE // 2, SIDE // 2), 128, np.uint8))


def chosen(frames: Sequence[Frame420], gop: int = 16, intra: bool = False) -> list[int]:
    """Lengths behind an anchor, the first frame."""
    backend: Any = Differences()
    chooser = GroupChooser(backend, Gop(gop, 0), 4096, backend.cost)
    assert chooser.lengths(frames[:1], True) == [1]
    return chooser.lengths(frames[1:], intra)


def restless(count: int, start: Frame420) -> list[Frame420]:
    """Each is the one before it and noise: what comes later is of no help, and the further back, the worse."""
    rng, luma, found = np.random.default_rng(count), start.y.astype(float), []
    for _ in range(count):
        luma = luma + rng.normal(0, 8, luma.shape)
        found.append(Frame420(np.clip(luma, 0, 255).astype(np.uint8), start.u, start.v))
    return found


@pytest.mark.parametrize("gop", [2, 4, 16, 32])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 11, 16, 32])
@pytest.mark.parametrize("intra", [False, True])
def test_they_add_up(gop: int, count: int, intra: bool) -> None:
    count = min(count, gop)
    levels = np.random.default_rng(count).integers(0, 256, count + 1)
    lengths = chosen([frame_of(level) for level in levels], gop, intra)
    assert sum(lengths) == count
    assert min(lengths) >= 1


@pytest.mark.parametrize("gop", [8, 16])
def test_what_stands_still_is_one_group(gop: int) -> None:
    assert chosen([frame_of(100)] * (gop + 1), gop) == [gop]


def test_what_moves_steadily_is_one_group() -> None:
    """The mean of both neighbours misses nothing, wherever they are: only the anchor costs more when it is far."""
    assert chosen([frame_of(level) for level in np.linspace(100, 102, 17)]) == [16]


def test_what_is_restless_is_coded_frame_by_frame() -> None:
    assert chosen([frame_of(128), *restless(8, frame_of(128))], 8) == [1] * 8


def test_groups_of_different_lengths() -> None:
    """Still at first, then restless."""
    lengths = chosen([frame_of(128)] * 9 + restless(8, frame_of(128)))
    assert lengths[0] >= 4
    assert lengths[-7:] == [1] * 7


def test_the_next_group_begins_where_the_last_ended() -> None:
    backend: Any = Differences()
    chooser = GroupChooser(backend, Gop(4, 0), 4096, backend.cost)
    chooser.lengths([frame_of(10)], True)
    for level in (20, 30):
        chooser.lengths([frame_of(level)] * 4, False)
    anchors = [distances for kind, distances in backend.coded if kind == FrameType.P]
    assert set(anchors) == {(-4,), (-2,), (-1,)}
    assert [kind for kind, _ in backend.coded].count(FrameType.I) == 1


@pytest.mark.parametrize(
    ("edges", "want"),
    [
        ({(0, 4): 10.0}, [4]),
        ({(0, 4): 10.0, (0, 2): 4.0, (2, 4): 5.0}, [2, 2]),
        ({(0, 4): 10.0, (0, 2): 4.0, (2, 4): 9.0, (2, 3): 1.0, (3, 4): 1.0}, [2, 1, 1]),
        ({(0, 4): 8.0, (4, 5): 1.0, (0, 2): 1.0, (2, 4): 8.0}, [4, 1]),
    ],
)
def test_the_cheapest_path(edges: dict[tuple[int, int], float], want: list[int]) -> None:
    assert _cheapest(edges, max(end for _, end in edges)) == want


@pytest.mark.parametrize(
    ("size", "want"),
    [
        ((1920, 1080), (480, 270)), ((448, 256), (224, 128)), ((175, 143), (86, 70)), ((65, 65), (32, 32)),
        ((40, 300), (40, 300)),
    ],
)  # fmt: skip
def test_smaller(size: tuple[int, int], want: tuple[int, int]) -> None:
    """Means of squares, both of whose sides are even."""
    width, height = size
    rng = np.random.default_rng(1)
    chroma = (-(-height // 2), -(-width // 2))
    frame = Frame420(rng.integers(0, 256, (height, width)).astype(np.uint8), *np.full((2, *chroma), 77, np.uint8))
    small = smaller(frame)
    assert (small.width, small.height) == want
    assert set(np.unique(small.u)) == {77}
    if want != size:
        factor = width // want[0]
        assert small.y[1, 2] == int(frame.y[factor : 2 * factor, 2 * factor : 3 * factor].mean() + 0.5)


@pytest.mark.parametrize("slow", [2, 8])
@pytest.mark.parametrize("count", [9, 10, 18])
def test_whichever_is_ready_first(count: int, slow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lengths are tried side by side, and have the last groups in common: the same choice, and the same anchor."""
    frames = restless(count + 1, frame_of(128))
    alone = chosen(frames)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    whole, seen = GroupChooser._code_groups, []

    def late(self: GroupChooser, small: Any, lengths: Sequence[int], intra: bool) -> Any:
        seen.append(lengths[0])
        time.sleep(0.2 * (lengths[0] == slow))
        costs, last = whole(self, small, lengths, intra)
        return [cost + 1000 * lengths[0] * (length <= 2) for cost, length in zip(costs, lengths, strict=True)], last

    def with_threads(threads: int) -> list[int]:
        torch.set_num_threads(threads)
        return chosen(frames)

    monkeypatch.setattr(GroupChooser, "_code_groups", late)
    try:
        assert with_threads(2) == with_threads(1)
    finally:
        torch.set_num_threads(before)
    assert sum(alone) == count
    assert {2, 4, 8} <= set(seen)
