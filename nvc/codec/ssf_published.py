"""The backend of published scale-space flow (nvc-train import ssf2020): exact parse, float pictures.

The networks see RGB as compressai's examples/codec.py makes it of 8-bit 4:2:0: BT.709 weights on the codes as they
are, full range, chroma up by bicubic and down by the mean of four. What the stream says of its colours does not
matter: the way back is the inverse. Our frames are rounded, theirs are cut off.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Content, Latents
from nvc.codec.video_backend import Place, Reference, Shapes
from nvc.entropy_models.predicted_blocks import Counts
from nvc.frames import Frame420
from nvc.networks import ssf_float
from nvc.networks.ssf_float import DecodedPicture, SsfFloat, SsfFloatDecoder
from nvc.networks.steps import QualityCode

INFORMATIONS: Mapping[FrameType, tuple[str, ...]] = {
    FrameType.I: ssf_float.INFORMATIONS["I"],
    FrameType.P: ssf_float.INFORMATIONS["P"],
}
RED, GREEN, BLUE = 0.2126, 0.7152, 0.0722  # in luma


class PublishedSsfBackend:
    """See nvc.codec.video_backend.VideoBackend. One rate: the quality code is not looked at.

    Means are int32 in 1/256 symbol. The state of a Reference is the float picture that later frames refer to.
    """

    levels = SsfFloatDecoder.levels
    informations = INFORMATIONS
    choice_bits: ClassVar[Mapping[FrameType, tuple[int, ...]]] = {}

    def __init__(self, tensors: dict[str, NDArray[Any]], encoder: Callable[[], Mapping[str, NDArray[Any]]]) -> None:
        """tensors: `decoder.` of the weight file, cut off. KeyError or ValueError unless sound and proven exact.

        encoder: reads the tensors of `encoder.` when the first frame is encoded.
        """
        self._decoder = SsfFloatDecoder.from_tensors(tensors)
        self._read_encoder = encoder

    @cached_property
    def _networks(self) -> SsfFloat:
        return self._decoder.prepare()

    @cached_property
    def _encoder(self) -> SsfFloat:
        self._networks = networks = self._decoder.prepare(self._read_encoder())
        return networks

    def shapes(self, information: str, height: int, width: int) -> Shapes:
        """See VideoBackend."""
        return Shapes(*self._decoder.shapes(information, height, width))

    def parameters(
        self, information: str, z: NDArray[np.int32], quality_code: QualityCode, shape: tuple[int, int, int],
        before: Mapping[str, Latents] | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[Any]]:  # fmt: skip
        """See VideoBackend."""
        return self._decoder.hyper[information](z)

    def sent(self, kind: FrameType, choices: Sequence[int]) -> tuple[str, ...]:
        """See VideoBackend."""
        return self.informations[kind]

    @property
    def predictors(self) -> Counts:
        """See VideoBackend."""
        return 0, 0, 0

    def chances(self, kind: FrameType, choices: Sequence[int], level: int) -> None:
        """See VideoBackend."""

    def frame_quality(self, kind: FrameType, choices: Sequence[int], quality_code: int) -> int:
        """See VideoBackend."""
        return quality_code

    def latent_quality(self, information: str, choices: Sequence[int], quality_code: int) -> QualityCode:
        """See VideoBackend."""
        return quality_code

    def quick(self) -> Self:
        """See VideoBackend."""
        return self

    def encode(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Content, Reference]:
        """See VideoBackend."""
        rgb = to_rgb(frame)
        if place.kind == FrameType.I:
            coded, picture = self._encoder.analyse_intra(rgb)
        else:
            coded, picture = self._encoder.analyse_inter(rgb, place.references[0].state)
        return Content({part.information: _plain(part) for part in coded}), _reference(picture)

    def networks_alone(self) -> "PublishedSsfBackend":
        """See VideoBackend."""
        return self

    def decode(self, content: Content, place: Place, quality_code: int, height: int, width: int) -> Reference:
        """See VideoBackend."""
        coded = [_named(name, content.latents[name]) for name in INFORMATIONS[place.kind]]
        state = None if place.kind == FrameType.I else place.references[0].state
        return _reference(self._networks.reconstruct(coded, height, width, state))


def _plain(part: ssf_float.Latents) -> Latents:
    mean: NDArray[Any] = part.mean
    return Latents(part.z, part.symbols, part.index, mean)


def _named(name: str, part: Latents) -> ssf_float.Latents:
    mean: NDArray[Any] = part.mean
    return ssf_float.Latents(name, part.z, part.symbols, part.index, mean)


def _reference(picture: DecodedPicture) -> Reference:
    return Reference(to_frame(picture.rgb()), picture)


def to_rgb(frame: Frame420) -> NDArray[np.float32]:
    """(H, W, 3) float32, about 0..1: codes that are no colour are not clamped."""
    import torch
    from torch.nn import functional as F

    chroma = torch.from_numpy(np.stack([frame.u, frame.v])[None]).float() / 255 - 0.5
    fine = F.interpolate(chroma, scale_factor=2, mode="bicubic", align_corners=False)[0].numpy()
    cb, cr = fine[:, : frame.height, : frame.width]
    y = frame.y.astype(np.float32) / np.float32(255)
    red = y + np.float32(2 - 2 * RED) * cr
    blue = y + np.float32(2 - 2 * BLUE) * cb
    green = (y - np.float32(RED) * red - np.float32(BLUE) * blue) / np.float32(GREEN)
    return np.stack([red, green, blue], -1)


def to_frame(rgb: NDArray[np.float32]) -> Frame420:
    """(H, W, 3) float32 in 0..1 -> 8 bits, rounded half to even. One operation at a time: the same on every machine."""
    red, green, blue = (rgb[..., i] for i in range(3))
    y = np.float32(RED) * red + np.float32(GREEN) * green + np.float32(BLUE) * blue
    planes = [y]
    for colour, weight in ((blue, BLUE), (red, RED)):
        fine = (colour - y) * np.float32(0.5 / (1 - weight)) + np.float32(0.5)
        even = np.pad(fine, [(0, n % 2) for n in fine.shape], mode="edge")
        rows = even[::2] + even[1::2]
        planes.append((rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25))
    return Frame420(*(np.clip(np.rint(plane * np.float32(255)), 0, 255).astype(np.uint8) for plane in planes))
