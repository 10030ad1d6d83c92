"""The backend of our hierarchical bi-directional model: integer networks, and the encoder's float analysis."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.hierarchy import HierarchicalBackend
from nvc.codec.latents import Content, Latents
from nvc.codec.predicted import PredictedVideoBackend
from nvc.codec.video_backend import Place, Reference
from nvc.frames import Frame420
from nvc.networks.blend import WEIGHT_ONE, blend
from nvc.networks.block_synthesis import BlockDecoder
from nvc.networks.ssf_integer import FLOW_UNIT, KINDS, Information, ResidualDecoder, predict
from nvc.networks.steps import STEP_ONE, interpolate
from nvc.networks.symmetric import SIGNS, motion_between, steadiest, towards
from nvc.networks.warp import FLOW_LIMIT


@dataclass(frozen=True, eq=False)
class BidirectionalDecoder(BlockDecoder):
    """Differences of the flows to both references in 1/16 luma pixel, and the weight in 1/128, on the 1/8 grid."""

    upsampling: ClassVar[tuple[bool, ...]] = (False, True)
    planes: ClassVar[int] = 5
    limit: ClassVar[int] = FLOW_LIMIT
    unit: ClassVar[float] = FLOW_UNIT


class LhbdcBackend(HierarchicalBackend, PredictedVideoBackend):
    """See nvc.codec.video_backend.VideoBackend."""

    informations: ClassVar[Mapping[FrameType, tuple[str, ...]]] = {
        FrameType.I: ("intra",),
        FrameType.P: ("motion", "residual"),
        FrameType.B: ("bimotion", "biresidual"),
    }
    kinds: ClassVar[Mapping[str, type[BlockDecoder]]] = {
        **KINDS, "bimotion": BidirectionalDecoder, "biresidual": ResidualDecoder,
    }  # fmt: skip

    def encode(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Content, Reference]:
        """See VideoBackend."""
        if place.kind == FrameType.I:
            return self._encode_intra(frame, quality_code)
        if place.kind == FrameType.P:
            (reference,), choices = place.references, (self._drop(place),)
            code = self.frame_quality(place.kind, choices, quality_code)
            return self._encode_predicted(frame, reference.frame, code, choices)
        return self._encode_between(frame, place, quality_code)

    def _encode_between(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Content, Reference]:
        # Here: they load OpenCV and torch, and a decoder does without the one.
        from nvc.codec.lhbdc_analysis import LumaPair, Price
        from nvc.networks.motion_search import estimate

        pair = Pair.of(place)
        flows = np.concatenate([estimate(frame, reference) for reference in pair.frames])
        start, steady = pair.steadiest(flows)
        choices = (self._drop(place), start)
        code = self.frame_quality(place.kind, choices, quality_code)
        lumas, price = LumaPair(frame, pair.frames), Price.at(code, self._motion_step(code))
        numbers, errors, _ = lumas.numbers(flows, steady, price)
        motion = self._quantise("bimotion", self._analysis.motion(numbers, errors, "bimotion"), code)
        residual, decoded = self._encode_residual(
            frame, pair.predict(self._numbers(motion, code), steady), code, "biresidual"
        )
        return Content({"bimotion": motion, "biresidual": residual}, choices), decoded

    def decode(self, content: Content, place: Place, quality_code: int, height: int, width: int) -> Reference:
        """See VideoBackend."""
        latents, choices = content.latents, content.choices
        if place.kind == FrameType.I:
            return self._decode_intra(latents["intra"], quality_code, height, width)
        code = self.frame_quality(place.kind, choices, quality_code)
        if place.kind == FrameType.P:
            (reference,) = place.references
            return self._decode_predicted(content, reference.frame, code)
        pair, motion = Pair.of(place), latents["bimotion"]
        prediction = pair.predict(self._numbers(motion, code), pair.steady(choices[1]))
        return self._decode_residual(latents["biresidual"], prediction, code, "biresidual")

    def _numbers(self, motion: Latents, code: int) -> NDArray[np.int32]:
        """What the motion of a B frame says of every cell, (5, 2h, 2w)."""
        samples = self._parts["bimotion"].samples(motion.symbols, motion.mean, code, residual=True)
        return samples.astype(np.int32).transpose(2, 0, 1)

    def _motion_step(self, code: int) -> float:
        """Of the latents that carry the means of flows, luma pixels."""
        return motion_step(self._parts["bimotion"], code)


def motion_step(part: Information, code: int) -> float:
    """Of the latents that carry the means of flows to two references, luma pixels."""
    octaves = interpolate(part.decoder.log_step[:, :4], code) / STEP_ONE
    return float(np.exp2(octaves.mean())) / part.unit


@dataclass(frozen=True, eq=False)
class Pair:
    """The two references of a B frame, `before` frames earlier and `after` later."""

    frames: tuple[Frame420, Frame420]
    before: int
    after: int

    @classmethod
    def of(cls, place: Place) -> "Pair":
        first, last = place.references
        return cls((first.frame, last.frame), -place.distances[0], place.distances[1])

    def steady(self, start: int) -> NDArray[np.int16]:
        """The flows (4, 2h, 2w) to both that a steady motion amounts to, 1/16 luma pixel."""
        motion = motion_between(*self.frames, self.before, self.after, start)
        return np.concatenate(towards(motion, self.before, self.after))

    def steadiest(self, flows: NDArray[np.float32]) -> tuple[int, NDArray[np.int16]]:
        """The start of the search that suits flows (4, 2h, 2w) best, and what `steady` gives of it."""
        start, motion = steadiest(*self.frames, self.before, self.after, flows)
        return start, np.concatenate(towards(motion, self.before, self.after))

    def predict(self, numbers: NDArray[np.int32], steady: NDArray[np.int16]) -> Frame420:
        """numbers: as decoded, see `flows_and_weight`."""
        flows, weight = flows_and_weight(numbers, steady)
        before, behind = self._warp(flows)
        return blend(before, behind, weight)

    def _warp(self, flows: NDArray[np.int16]) -> list[Frame420]:
        sharp = np.zeros(flows.shape[1:], np.uint8)
        return [predict(frame, flows[2 * i : 2 * i + 2], sharp) for i, frame in enumerate(self.frames)]


def flows_and_weight(
    numbers: NDArray[np.int32], steady: NDArray[np.int16]
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Numbers as decoded (5, 2h, 2w) and steady flows -> flows (4, 2h, 2w) to both references, weight (2h, 2w)."""
    flows = np.clip(steady + SIGNS * numbers[:4], -FLOW_LIMIT, FLOW_LIMIT).astype(np.int16)
    weight = np.clip(WEIGHT_ONE // 2 + ((numbers[4] + 1) >> 1), 0, WEIGHT_ONE).astype(np.uint8)
    return flows, weight
