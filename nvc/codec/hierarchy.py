"""Qualities within a hierarchy of frames: P and B frames say how far from the file's quality they are coded."""

from collections.abc import Mapping, Sequence

from nvc.bitstream.container import FrameType
from nvc.codec.integer_video import IntegerVideoBackend
from nvc.codec.video_backend import Place
from nvc.networks.steps import STEP_ONE

LEVEL_BITS, START_BITS = 4, 2
LEVEL_STEP = STEP_ONE // 4  # of quality: frames are coded so many quarters of a level away from the file's quality
RAISED = {FrameType.P: 8, FrameType.B: 0}  # quarters of a level that a frame is coded above it with a choice of 0
DROPS = (3, 5, 6, 7, 7)  # quarters of a level below it, of B frames by temporal level from 1
ANCHORS = (8, 4, 4, 4, 4, 4)  # what P frames choose, by the binary logarithm of the distance to the anchor before


class HierarchicalBackend(IntegerVideoBackend):
    """Choices: how far below; start of the search for motion between the references (B frames)."""

    choice_bits: Mapping[FrameType, tuple[int, ...]] = {
        FrameType.P: (LEVEL_BITS,),
        FrameType.B: (LEVEL_BITS, START_BITS),
    }
    drops: Sequence[int] = DROPS
    anchors: Sequence[int] = ANCHORS

    def frame_quality(self, kind: FrameType, choices: Sequence[int], quality_code: int) -> int:
        """See VideoBackend."""
        return quality_code + (RAISED[kind] - choices[0]) * LEVEL_STEP if choices else quality_code

    def _drop(self, place: Place) -> int:
        """The first choice of a P or B frame."""
        if place.kind == FrameType.P:
            distance = -place.distances[0]
            return self.anchors[min(distance.bit_length(), len(self.anchors)) - 1]
        return self.drops[min(place.depth, len(self.drops)) - 1]
