"""The backend of our scale-space flow model: integer networks, and the encoder's float analysis."""

from collections.abc import Mapping
from typing import ClassVar

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Content
from nvc.codec.predicted import PredictedVideoBackend
from nvc.codec.video_backend import Place, Reference
from nvc.frames import Frame420
from nvc.networks.ssf_integer import KINDS


class SsfBackend(PredictedVideoBackend):
    """See nvc.codec.video_backend.VideoBackend."""

    informations: ClassVar[Mapping[FrameType, tuple[str, ...]]] = {
        FrameType.I: ("intra",),
        FrameType.P: ("motion", "residual"),
    }
    kinds = KINDS

    def encode(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Content, Reference]:
        """See VideoBackend."""
        if place.kind == FrameType.I:
            return self._encode_intra(frame, quality_code)
        (reference,) = place.references
        return self._encode_predicted(frame, reference.frame, quality_code)

    def decode(self, content: Content, place: Place, quality_code: int, height: int, width: int) -> Reference:
        """See VideoBackend."""
        if place.kind == FrameType.I:
            return self._decode_intra(content.latents["intra"], quality_code, height, width)
        (reference,) = place.references
        return self._decode_predicted(content, reference.frame, quality_code)
