"""What a video codec is to the sequence coder: networks that turn frames into latents and back.

A backend knows frames, references and latents; it knows nothing of files, entropy coding or the order of frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Latents
from nvc.frames import Frame420


@dataclass(frozen=True, eq=False)
class Reference:
    """A decoded frame. state: what else later frames refer to, where that is not the 8-bit picture itself."""

    frame: Frame420
    state: Any = None


@dataclass(frozen=True)
class Shapes:
    """Shapes of one information: side = (N, hz, wz), main = (M, h, w)."""

    side: tuple[int, int, int]
    main: tuple[int, int, int]


class VideoBackend(Protocol):
    """See above. quality_code: quality = 1 + quality_code / 4096. Sizes are those of the frame in luma pixels."""

    @property
    def levels(self) -> int:
        """Qualities 1.0..levels; tables exist for each whole one."""

    @property
    def informations(self) -> Mapping[FrameType, tuple[str, ...]]:
        """What a frame of each type sends, in coding order."""

    def shapes(self, information: str, height: int, width: int) -> Shapes:
        """Of the latents of a frame."""

    def parameters(
        self, information: str, z: NDArray[np.int32], quality_code: int, shape: tuple[int, int, int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        """Scale indexes 0..63 and means in 1/16 symbol of y, both of `shape`, from decoded side latents."""

    def encode(
        self, kind: FrameType, frame: Frame420, references: Sequence[Reference], quality_code: int
    ) -> tuple[dict[str, Latents], Reference]:
        """Latents of each information, and exactly what `decode` will make of them.

        references: as the frame's plan has them (nvc.codec.gop).
        """

    def decode(
        self, kind: FrameType, latents: Mapping[str, Latents], references: Sequence[Reference], quality_code: int,
        height: int, width: int,
    ) -> Reference:  # fmt: skip
        """The frame."""
