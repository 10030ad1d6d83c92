"""Chances of coefficients at the beginning, learned from training clips as an encoder codes them (FORMAT.md 17)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.frame_coding import FrameCoder
from nvc.codec.transform import CHANCES, PREFIX
from nvc.codec.video_backend import Place, Reference, VideoBackend
from nvc.entropy_coding.adaptive import LEAST, MOST, Chances
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.networks.steps import STEP_ONE
from nvc.training.clips import Clip
from nvc.training.coded_frames import frames_of, plans

QUALITIES = (1, 3, 5)  # levels 0..7
GROUPS = (1, 8)  # frames from anchor to anchor
FRAMES = 9


def learn(
    backend: VideoBackend, clips: Sequence[Clip], tables: Callable[[str, int], HyperpriorTables]
) -> dict[str, NDArray[np.uint16]]:
    """`decoder.` tensors of chances: the mean of what is in force behind each frame.

    backend: of a model with a transform; tables: that it codes with. Frame types without coefficients are left out.
    """
    found: dict[FrameType, list[Chances]] = {kind: [] for kind in CHANCES}
    for clip in clips:
        for level in QUALITIES:
            for group in GROUPS:
                coder = FrameCoder(backend, tables)
                for kind in _coded(backend, coder, clip, level, group):
                    if kind in coder.learnt:
                        found[kind].append(coder.learnt[kind])
    return {
        f"decoder.{PREFIX}{CHANCES[kind]}": np.rint(np.mean(some, axis=(0, 2))).clip(LEAST, MOST).astype(np.uint16)
        for kind, some in found.items()
        if some
    }


def _coded(backend: VideoBackend, coder: FrameCoder, clip: Clip, level: int, group: int) -> Iterator[FrameType]:
    """Types of the frames, each coded."""
    sources = list(frames_of(clip, FRAMES))
    decoded: dict[int, Reference] = {}
    for plan in plans(len(sources), (group,), FrameType.P):
        references = [decoded[display] for display in plan.references]
        place = Place(plan.type, references, [display - plan.display for display in plan.references], plan.level)
        content, decoded[plan.display] = backend.encode(sources[plan.display], place, level * STEP_ONE)
        coder.encode(plan.type, content, level + 1)
        yield plan.type
