"""The backend of our hierarchical bi-directional model: integer networks, and the encoder's float analysis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.integer_video import IntegerVideoBackend
from nvc.codec.latents import Content
from nvc.codec.video_backend import Place, Reference
from nvc.frames import Frame420
from nvc.networks.blend import WEIGHT_ONE, blend
from nvc.networks.block_synthesis import BlockDecoder
from nvc.networks.ssf_integer import FLOW_UNIT, KINDS, predict
from nvc.networks.steps import STEP_ONE, interpolate
from nvc.networks.symmetric import motion_between, steadiest, towards
from nvc.networks.warp import FLOW_LIMIT

DROP_BITS, START_BITS = 4, 2
DROP_ONE = STEP_ONE // 4  # of quality: frames are coded so many quarters of a level below the file's quality
DROPS = (0, 3, 5, 7, 8, 8)  # quarters of a level, by temporal level


@dataclass(frozen=True, eq=False)
class BidirectionalDecoder(BlockDecoder):
    """Differences of the flows to both references in 1/16 luma pixel, and the weight in 1/128, on the 1/8 grid."""

    upsampling: ClassVar[tuple[bool, ...]] = (False, True)
    planes: ClassVar[int] = 5
    limit: ClassVar[int] = FLOW_LIMIT
    unit: ClassVar[float] = FLOW_UNIT


class LhbdcBackend(IntegerVideoBackend):
    """See nvc.codec.video_backend.VideoBackend. Choices: quarters of a level below; start of the search (B frames)."""

    informations: ClassVar[Mapping[FrameType, tuple[str, ...]]] = {
        FrameType.I: ("intra",),
        FrameType.P: ("motion", "residual"),
        FrameType.B: ("motion", "residual"),
    }
    choice_bits: ClassVar[Mapping[FrameType, tuple[int, ...]]] = {
        FrameType.P: (DROP_BITS,),
        FrameType.B: (DROP_BITS, START_BITS),
    }
    kinds: ClassVar[Mapping[str, type[BlockDecoder]]] = {**KINDS, "motion": BidirectionalDecoder}
    drops: Sequence[int] = DROPS

    def frame_quality(self, kind: FrameType, choices: Sequence[int], quality_code: int) -> int:
        """See VideoBackend."""
        return quality_code - choices[0] * DROP_ONE if choices else quality_code

    def encode(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Content, Reference]:
        """See VideoBackend."""
        if place.kind == FrameType.I:
            return self._encode_intra(frame, quality_code)
        # Here: they load OpenCV and torch, and a decoder does without the one.
        from nvc.codec.lhbdc_analysis import LumaPair, Price
        from nvc.networks.motion_search import estimate

        pair = Pair.of(place)
        drop = self.drops[min(place.depth, len(self.drops) - 1)]
        flows = np.concatenate([estimate(frame, reference.frame) for reference in place.references])
        flows = np.concatenate([flows, flows]) if pair.twice else flows
        start, steady = pair.steadiest(flows)
        choices = (drop,) if pair.twice else (drop, start)
        code = self.frame_quality(place.kind, choices, quality_code)
        lumas, price = LumaPair(frame, pair.frames), Price.at(code, self._motion_step(code))
        numbers, errors = lumas.numbers(flows, steady, pair.signs, price)
        motion = self._quantise("motion", self._analysis.motion(numbers, errors), code)
        samples = self._parts["motion"].samples(motion.symbols, motion.mean, code, residual=True)
        residual, decoded = self._encode_residual(frame, pair.predict(samples, steady), code)
        return Content({"motion": motion, "residual": residual}, choices), decoded

    def decode(self, content: Content, place: Place, quality_code: int, height: int, width: int) -> Reference:
        """See VideoBackend."""
        latents, choices = content.latents, content.choices
        if place.kind == FrameType.I:
            return self._decode_intra(latents["intra"], quality_code, height, width)
        code = self.frame_quality(place.kind, choices, quality_code)
        pair, motion = Pair.of(place), latents["motion"]
        samples = self._parts["motion"].samples(motion.symbols, motion.mean, code, residual=True)
        prediction = pair.predict(samples, pair.steady(0 if pair.twice else choices[1]))
        return self._decode_residual(latents["residual"], prediction, code)

    def _motion_step(self, code: int) -> float:
        """Of the latents that carry the means of flows, luma pixels."""
        part = self._parts["motion"]
        octaves = interpolate(part.decoder.log_step[:, :4], code) / STEP_ONE
        return float(np.exp2(octaves.mean())) / part.unit


@dataclass(frozen=True, eq=False)
class Pair:
    """The two references of a frame, `before` frames earlier and `after` later; of a P frame the same one twice."""

    frames: tuple[Frame420, Frame420]
    before: int
    after: int
    twice: bool

    @classmethod
    def of(cls, place: Place) -> "Pair":
        first, last = place.references[0].frame, place.references[-1].frame
        return cls((first, last), -place.distances[0], place.distances[-1], len(place.references) == 1)

    @property
    def signs(self) -> NDArray[np.int32]:
        """(4, 1, 1): what turns coded numbers into differences of flows, and back."""
        behind = 1 if self.twice else -1
        return np.array([1, 1, behind, behind], np.int32)[:, None, None]

    def steady(self, start: int) -> NDArray[np.int16]:
        """The flows (4, 2h, 2w) to both that a steady motion amounts to, 1/16 luma pixel; zero for a P frame."""
        motion = motion_between(*self.frames, max(self.before, 1), max(self.after, 1), 0 if self.twice else start)
        return np.concatenate(towards(motion, max(self.before, 1), max(self.after, 1)))

    def steadiest(self, flows: NDArray[np.float32]) -> tuple[int, NDArray[np.int16]]:
        """The start of the search that suits flows (4, 2h, 2w) best, and what `steady` gives of it."""
        if self.twice:
            return 0, self.steady(0)
        start, motion = steadiest(*self.frames, self.before, self.after, flows)
        return start, np.concatenate(towards(motion, self.before, self.after))

    def predict(self, samples: NDArray[np.int16], steady: NDArray[np.int16]) -> Frame420:
        """samples: (2h, 2w, 5) of the motion synthesis."""
        numbers = samples.astype(np.int32).transpose(2, 0, 1)
        flows = np.clip(steady + self.signs * numbers[:4], -FLOW_LIMIT, FLOW_LIMIT).astype(np.int16)
        weight = np.clip(WEIGHT_ONE // 2 + ((numbers[4] + 1) >> 1), 0, WEIGHT_ONE).astype(np.uint8)
        before, behind = self._warp(flows)
        return blend(before, behind, weight)

    def _warp(self, flows: NDArray[np.int16]) -> list[Frame420]:
        sharp = np.zeros(flows.shape[1:], np.uint8)
        return [predict(frame, flows[2 * i : 2 * i + 2], sharp) for i, frame in enumerate(self.frames)]
