"""Frames of training clips as an encoder codes them, closed loop, in the order of a codec's own groups."""

from collections.abc import Iterator, Mapping
from itertools import chain, repeat

import numpy as np

from nvc.bitstream.container import FrameType
from nvc.codec.gop import FramePlan, Gop
from nvc.codec.latents import Latents
from nvc.codec.video_backend import Place, Reference, VideoBackend
from nvc.frames import Frame420
from nvc.networks.planes import crop_planes
from nvc.networks.steps import STEP_ONE
from nvc.training.clips import Clip

# Frames from anchor to anchor, the last number again and again, and the type of these anchors. An encoder may choose
# groups of any length down to single P frames: tables are to suit them all.
GROUPS = (
    ((32,), FrameType.I),
    ((32,), FrameType.P),
    ((4,), FrameType.P),
    ((2, 2, 1), FrameType.P),
)


def frames_of(clip: Clip, count: int) -> Iterator[Frame420]:
    """The first frames of a clip."""
    for planes in clip.planes[:count]:
        h, w = planes.shape[1:]
        yield crop_planes(np.ascontiguousarray(planes.transpose(1, 2, 0)), 2 * h, 2 * w)


def coded_frames(backend: VideoBackend, clip: Clip, level: int, frames: int) -> Iterator[Mapping[str, Latents]]:
    """Latents of the first frames of a clip at level 0..7; see `video_tables.Coded`.

    With B frames in one of GROUPS, that the sum of the first frame chooses.
    """
    sources = list(frames_of(clip, frames))
    turn = int(clip.planes[0].sum(dtype=np.int64)) % len(GROUPS)
    sizes, anchors = GROUPS[turn] if FrameType.B in backend.informations else ((1,), FrameType.P)
    decoded: dict[int, Reference] = {}
    for plan in plans(len(sources), sizes, anchors):
        references = [decoded[display] for display in plan.references]
        place = Place(plan.type, references, [display - plan.display for display in plan.references], plan.level)
        content, decoded[plan.display] = backend.encode(sources[plan.display], place, level * STEP_ONE)
        yield content.latents


def plans(count: int, sizes: tuple[int, ...], anchors: FrameType) -> Iterator[FramePlan]:
    """Of so many frames, in coding order. sizes, anchors: see GROUPS."""
    yield FramePlan(0, FrameType.I)
    last = 0
    for size in chain(sizes, repeat(sizes[-1])):
        if last == count - 1:
            return
        previous, last = last, min(last + size, count - 1)
        yield from Gop(32, 0).group(last, previous, anchors == FrameType.I)
