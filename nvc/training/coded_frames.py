"""Frames of training clips as an encoder codes them, closed loop, in the order of a codec's own groups."""

from collections.abc import Iterator, Mapping

import numpy as np

from nvc.bitstream.container import FrameType
from nvc.codec.gop import FramePlan, Gop
from nvc.codec.latents import Latents
from nvc.codec.video_backend import Place, Reference, VideoBackend
from nvc.frames import Frame420
from nvc.networks.planes import crop_planes
from nvc.networks.steps import STEP_ONE
from nvc.training.clips import Clip


def frames_of(clip: Clip, count: int) -> Iterator[Frame420]:
    """The first frames of a clip."""
    for planes in clip.planes[:count]:
        h, w = planes.shape[1:]
        yield crop_planes(np.ascontiguousarray(planes.transpose(1, 2, 0)), 2 * h, 2 * w)


def coded_frames(backend: VideoBackend, clip: Clip, level: int, frames: int) -> Iterator[Mapping[str, Latents]]:
    """Latents of the first frames of a clip at level 0..7; see `video_tables.Coded`.

    With B frames one group: its last frame is an I frame in every other clip, else a P frame.
    """
    sources = list(frames_of(clip, frames))
    decoded: dict[int, Reference] = {}
    for plan in _plans(backend, len(sources), intra=int(clip.planes[0, 0, 0, 0]) % 2 == 0):
        references = [decoded[display] for display in plan.references]
        place = Place(plan.type, references, [display - plan.display for display in plan.references], plan.level)
        content, decoded[plan.display] = backend.encode(sources[plan.display], place, level * STEP_ONE)
        yield content.latents


def _plans(backend: VideoBackend, count: int, intra: bool) -> Iterator[FramePlan]:
    if FrameType.B in backend.informations:
        yield FramePlan(0, FrameType.I)
        if count > 1:
            yield from Gop(32, 0).group(count - 1, 0, intra)
    else:
        for display in range(count):
            yield from Gop(1, 0).group(display, display - 1, display == 0)
