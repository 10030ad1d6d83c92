"""The backend of our conditional codec: integer networks, and the encoder's float analysis (FORMAT.md 16)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.hierarchy import HierarchicalBackend
from nvc.codec.latents import Content, Latents
from nvc.codec.lhbdc import Pair, motion_step
from nvc.codec.video_backend import Place, Reference
from nvc.frames import Frame420
from nvc.networks.aivc_integer import GREY, SHARE_ONE, CodecDecoder, ModeDecoder, add_shared, skipped
from nvc.networks.block_synthesis import BlockDecoder
from nvc.networks.integer import space_to_depth
from nvc.networks.planes import pad_planes
from nvc.networks.ssf_integer import predict
from nvc.networks.warp import FLOW_LIMIT, grid_shape

if TYPE_CHECKING:
    from nvc.codec.aivc_analysis import Seen

CODEC = {FrameType.I: "codec_i", FrameType.P: "codec_p", FrameType.B: "codec_b"}
MODE = {FrameType.P: "mode_p", FrameType.B: "mode_b"}


class AivcBackend(HierarchicalBackend):
    """See nvc.codec.video_backend.VideoBackend."""

    informations: ClassVar[Mapping[FrameType, tuple[str, ...]]] = {
        kind: (MODE[kind], name) if kind in MODE else (name,) for kind, name in CODEC.items()
    }
    kinds: ClassVar[Mapping[str, type[BlockDecoder]]] = {
        **dict.fromkeys(CODEC.values(), CodecDecoder), **dict.fromkeys(MODE.values(), ModeDecoder),
    }  # fmt: skip

    # Worth of errors in rounding against what it is in training, by frame type; 0: plain rounding.
    rounding: Mapping[FrameType, float] = MappingProxyType({FrameType.I: 0.0, FrameType.P: 1.0, FrameType.B: 1.0})

    def parameters(
        self, information: str, z: NDArray[np.int32], quality_code: int, shape: tuple[int, int, int],
        before: Mapping[str, Latents] | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:  # fmt: skip
        """See VideoBackend: both are 0 where the mode says that nothing is coded."""
        index, mean = super().parameters(information, z, quality_code, shape)
        nothing = self._skipped(before or {}, quality_code, shape[1:])
        index[:, nothing], mean[:, nothing] = 0, 0
        return index, mean

    def encode(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Content, Reference]:
        """See VideoBackend."""
        from nvc.codec.aivc_analysis import behind, between  # they load OpenCV and torch

        if place.kind == FrameType.I:
            return self._encode_behind(frame, place, quality_code, {}, ())
        drop, name = self._drop(place), MODE[place.kind]
        code = self.frame_quality(place.kind, (drop,), quality_code)
        step = motion_step(self._parts[name], code)
        if place.kind == FrameType.P:
            found: Seen = behind(frame, place.references[0].frame, code)
        else:
            found = between(frame, Pair.of(place), code, step)
        motion = self._quantise(name, self._analysis.motion(found.numbers, found.errors, name), code)
        choices = (drop,) if place.kind == FrameType.P else (drop, found.start)
        return self._encode_behind(frame, place, code, {name: motion}, choices)

    def _encode_behind(
        self, frame: Frame420, place: Place, code: int, mode: dict[str, Latents], choices: tuple[int, ...]
    ) -> tuple[Content, Reference]:
        """What comes behind the mode, if the frame has one."""
        from nvc.codec.lhbdc_analysis import squared_error_worth  # loads torch

        name = CODEC[place.kind]
        prediction, share = self._predict(mode, place, code, choices, frame.height, frame.width)
        y = self._analysis.conditional(pad_planes(frame), pad_planes(prediction), name)
        y[:, self._skipped(mode, code, y.shape[1:])] = 0
        worth = self.rounding[place.kind] * squared_error_worth(code)
        coded = self._quantise(name, y, code, mode, worth)
        return Content({**mode, name: coded}, choices), self._add(coded, prediction, share, code, name)

    def decode(self, content: Content, place: Place, quality_code: int, height: int, width: int) -> Reference:
        """See VideoBackend."""
        code = self.frame_quality(place.kind, content.choices, quality_code)
        prediction, share = self._predict(content.latents, place, code, content.choices, height, width)
        name = CODEC[place.kind]
        return self._add(content.latents[name], prediction, share, code, name)

    def _skipped(self, before: Mapping[str, Latents], code: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """(h, w) where the mode, if there is one among these latents, says that nothing is coded."""
        nothing = np.zeros(shape, np.bool_)
        for name, mode in before.items():
            nothing |= skipped(mode.symbols, mode.mean, self._parts[name].decoder.log_step, code)
        return nothing

    def _predict(
        self, latents: Mapping[str, Latents], place: Place, code: int, choices: tuple[int, ...], height: int, width: int
    ) -> tuple[Frame420, NDArray[np.uint8]]:
        """The prediction, and the share of what is coded that counts, (2h, 2w) in 1/64."""
        grid = grid_shape(height, width)
        if place.kind == FrameType.I:
            return _grey(height, width), np.full(grid, SHARE_ONE, np.uint8)
        name = MODE[place.kind]
        mode, reference = latents[name], place.references[0].frame
        pair = Pair.of(place) if place.kind == FrameType.B else None
        steady = pair.steady(choices[1]) if pair else np.zeros((4, *grid), np.int16)
        given = space_to_depth(steady.transpose(1, 2, 0))
        samples = self._parts[name].samples(mode.symbols, mode.mean, code, residual=True, given=given)
        numbers = samples.astype(np.int32).transpose(2, 0, 1)
        share = np.clip(SHARE_ONE + ((numbers[5] + 1) >> 1), 0, SHARE_ONE).astype(np.uint8)
        if pair:
            return pair.predict(samples, steady), share
        flow = np.clip((numbers[:2] + numbers[2:4] + 1) >> 1, -FLOW_LIMIT, FLOW_LIMIT).astype(np.int16)
        return predict(reference, flow, np.zeros(grid, np.uint8)), share

    def _add(self, latents: Latents, prediction: Frame420, share: NDArray[np.uint8], code: int, name: str) -> Reference:
        given = space_to_depth(pad_planes(prediction))
        samples = self._parts[name].samples(latents.symbols, latents.mean, code, residual=True, given=given)
        return Reference(add_shared(prediction, samples, share))


def _grey(height: int, width: int) -> Frame420:
    half = -(-height // 2), -(-width // 2)
    return Frame420(*(np.full(shape, GREY, np.uint8) for shape in ((height, width), half, half)))
