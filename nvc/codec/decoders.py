"""The kinds of image decoder behind one interface. A weight file says which it holds (metadata `decoder`)."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nvc.networks.image_float import FloatDecoder
from nvc.networks.image_integer import ImageDecoder


class PictureSynthesis(Protocol):
    """A decoder made ready to make pixels."""

    def picture(self, latents: NDArray[np.int16], height: int, width: int) -> NDArray[np.uint8]:
        """(h, w, M) latents of `dequantise` -> (height, width, 3) uint8."""


class PictureDecoder(Protocol):
    """What the codec asks of a decoder. Latents are (M, h, w), M channels, one position for 16x16 pixels."""

    @property
    def levels(self) -> int:
        """Qualities 1.0..levels; tables exist for each whole one."""

    @property
    def rdoq_passes(self) -> int:
        """The most passes of nvc.codec.rdoq that can be asked for."""

    @property
    def unit(self) -> float:
        """Latent units in one unit of what the analysis gives."""

    def quantise(self, latents: NDArray[np.float32], quality_code: int) -> NDArray[np.float32]:
        """(M, h, w) latents in latent units -> symbols as whole floats, not clamped."""

    def dequantise(self, symbols: NDArray[np.int32], quality_code: int) -> NDArray[np.int16]:
        """(M, h, w) symbols, |symbol| <= 32767 -> (h, w, M) int16, what the synthesis takes."""

    def prepare(self) -> PictureSynthesis:
        """The synthesis on the best engine here; may load torch."""


class DecoderKind(Protocol):
    """A class of decoders: what is known of it before its tensors are read, and how to read them."""

    @property
    def levels(self) -> int: ...

    @property
    def rdoq_passes(self) -> int: ...

    def from_tensors(self, tensors: dict[str, NDArray[Any]]) -> PictureDecoder:
        """KeyError or ValueError unless the tensors are a sound decoder of this kind."""


# "integer": the same pixels on every machine. "float": published checkpoints (nvc-train import).
DECODERS: Mapping[str, DecoderKind] = {"integer": ImageDecoder, "float": FloatDecoder}
