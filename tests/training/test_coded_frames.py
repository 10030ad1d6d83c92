"""Frames as an encoder codes them: types, references and distances of each codec's groups, closed loop."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Content
from nvc.codec.video_backend import Place, Reference
from nvc.frames import Frame420
from nvc.networks.planes import pad_planes
from nvc.networks.steps import STEP_ONE
from nvc.training.clips import Clip
from nvc.training.coded_frames import GROUPS, coded_frames, frames_of

I, P, B = FrameType.I, FrameType.P, FrameType.B  # noqa: E741  # the field's own names
LOW_DELAY = (I, P)
HIERARCHICAL = (I, P, B)


def clip_of(frames: list[Frame420]) -> Clip:
    return Clip(np.stack([pad_planes(frame).transpose(2, 0, 1) for frame in frames]), np.zeros(0, np.int16))


@pytest.fixture
def clip(moving: Callable[..., list[Frame420]]) -> Clip:
    return clip_of(moving("sign", 64, 96, (1, 2), 9))


class Recorder:
    """A backend that darkens frames, and keeps what it was asked for."""

    def __init__(self, types: tuple[FrameType, ...]) -> None:
        self.informations = dict.fromkeys(types, ("intra",))
        self.asked: list[tuple[Frame420, Place, int]] = []

    def encode(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Content, Reference]:
        self.asked.append((frame, place, quality_code))
        latents: Any = {"number": len(self.asked)}
        return Content(latents), Reference(Frame420(*(plane // 2 for plane in frame.planes)))


def coded(clip: Clip, types: tuple[FrameType, ...], level: int = 3, frames: int = 9) -> tuple[Recorder, list[Any]]:
    backend: Any = Recorder(types)
    return backend, list(coded_frames(backend, clip, level, frames))


def test_frames_of_a_clip(moving: Callable[..., list[Frame420]]) -> None:
    source = moving("sign", 64, 96, (1, 2), 4)
    found = list(frames_of(clip_of(source), 3))
    assert len(found) == 3
    for frame, want in zip(found, source, strict=False):
        assert all(np.array_equal(a, b) for a, b in zip(frame.planes, want.planes, strict=True))


def displays(backend: Recorder, clip: Clip) -> list[int]:
    """Which frame each one was."""
    sources = [frame.y.tobytes() for frame in frames_of(clip, 99)]
    return [sources.index(frame.y.tobytes()) for frame, _, _ in backend.asked]


def test_low_delay(clip: Clip) -> None:
    """An I frame and P frames, each from the one before as it was decoded."""
    backend, latents = coded(clip, LOW_DELAY, frames=4)
    assert [entry["number"] for entry in latents] == [1, 2, 3, 4]
    assert displays(backend, clip) == [0, 1, 2, 3]
    assert [place.kind for _, place, _ in backend.asked] == [I, P, P, P]
    for (before, _, _), (_, place, code) in zip(backend.asked, backend.asked[1:], strict=False):
        (reference,) = place.references
        assert np.array_equal(reference.frame.y, before.y // 2)
        assert list(place.distances) == [-1]
        assert code == 3 * STEP_ONE


def take_turn(clip: Clip, turn: int) -> None:
    """A clip whose first frame chooses these groups."""
    clip.planes[0, 0, 0, 0] = 0
    clip.planes[0, 0, 0, 0] = (turn - int(clip.planes[0].sum(dtype=np.int64))) % len(GROUPS)


@pytest.mark.parametrize("turn", [0, 1])
def test_a_group(turn: int, clip: Clip) -> None:
    """One group of B frames over all frames; its far end is an I frame in every other of such clips, else a P frame."""
    take_turn(clip, turn)
    backend, latents = coded(clip, HIERARCHICAL)
    assert len(latents) == 9
    assert displays(backend, clip) == [0, 8, 4, 2, 1, 3, 6, 5, 7]
    places = [place for _, place, _ in backend.asked]
    assert [place.kind for place in places] == [I, P if turn else I, *[B] * 7]
    assert [place.depth for place in places] == [0, 0, 1, 2, 3, 3, 2, 3, 3]
    assert [tuple(place.distances) for place in places[2:]] == [
        (-4, 4), (-2, 2), (-1, 1), (-1, 1), (-2, 2), (-1, 1), (-1, 1)
    ]  # fmt: skip
    halves = [frame.y // 2 for frame in frames_of(clip, 9)]
    for display, place in zip(displays(backend, clip), places, strict=True):
        for reference, distance in zip(place.references, place.distances, strict=True):
            assert np.array_equal(reference.frame.y, halves[display + distance])


@pytest.mark.parametrize(
    ("turn", "order", "kinds"),
    [(2, [0, 4, 2, 1, 3, 8, 6, 5, 7], "IPBBBPBBB"), (3, [0, 2, 1, 4, 3, 5, 6, 7, 8], "IPBPBPPPP")],
)
def test_shorter_groups(turn: int, order: list[int], kinds: str, clip: Clip) -> None:
    """Anchors at all distances, down to P frames with no B frame before them; the nearest frames are references."""
    take_turn(clip, turn)
    backend, _ = coded(clip, HIERARCHICAL)
    assert displays(backend, clip) == order
    assert "".join(place.kind.name for _, place, _ in backend.asked) == kinds
    halves, anchor = [frame.y // 2 for frame in frames_of(clip, 9)], 0
    for display, (_, place, _) in zip(order, backend.asked, strict=True):
        for reference, distance in zip(place.references, place.distances, strict=True):
            assert np.array_equal(reference.frame.y, halves[display + distance])
        if place.kind == P:
            assert display + place.distances[0] == anchor
        anchor = display if place.kind == P else anchor


@pytest.mark.parametrize(
    ("turn", "count", "order"),
    [
        *((turn, count, list(range(count))) for turn in range(4) for count in (1, 2)),
        (0, 4, [0, 3, 1, 2]), (1, 6, [0, 5, 2, 1, 3, 4]), (2, 4, [0, 3, 1, 2]), (2, 6, [0, 4, 2, 1, 3, 5]),
        (2, 7, [0, 4, 2, 1, 3, 6, 5]), (3, 4, [0, 2, 1, 3]), (3, 6, [0, 2, 1, 4, 3, 5]),
    ],
)  # fmt: skip
def test_short_clips(turn: int, count: int, order: list[int], clip: Clip) -> None:
    take_turn(clip, turn)
    for backend in (coded(clip, HIERARCHICAL, frames=count)[0], coded(_cut(clip, count), HIERARCHICAL)[0]):
        assert displays(backend, clip) == order


def _cut(clip: Clip, count: int) -> Clip:
    return Clip(clip.planes[:count], clip.flows)
