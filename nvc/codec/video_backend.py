"""What a video codec is to the sequence coder: networks that turn frames into latents and back.

A backend knows frames, references and latents; it knows nothing of files, entropy coding or the order of frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Content, Latents
from nvc.entropy_models.predicted_blocks import Counts
from nvc.frames import Frame420
from nvc.networks.steps import QualityCode


@dataclass(frozen=True, eq=False)
class Reference:
    """A decoded frame. state: what else later frames refer to, where that is not the 8-bit picture itself."""

    frame: Frame420
    state: Any = None


@dataclass(frozen=True, eq=False)
class Place:
    """Where a frame stands among others.

    references: as its plan has them (nvc.codec.gop); distances: how many frames later than it each is shown
    depth: temporal level, 0 for anchors. The encoder's alone: a decoder leaves it at 0.
    """

    kind: FrameType
    references: Sequence[Reference] = ()
    distances: Sequence[int] = ()
    depth: int = 0


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
        """What a frame of each type sends, in coding order; some leave out one (`sent`)."""

    @property
    def choice_bits(self) -> Mapping[FrameType, tuple[int, ...]]:
        """Widths of the small numbers that a frame of a type sends before its latents; none for types left out."""

    def sent(self, kind: FrameType, choices: Sequence[int]) -> tuple[str, ...]:
        """Those of a frame with these choices. Raises BadStream for choices that say nothing."""

    def chances(self, kind: FrameType, choices: Sequence[int], level: int) -> NDArray[np.uint16] | None:
        """At the beginning, for coefficients that such a frame sends behind its latents; None: it sends none.

        level: of its tables. Those of I frames are predicted blocks.
        """

    @property
    def predictors(self) -> Counts:
        """How many there are of each kind, for frames that are predicted blocks."""

    def frame_quality(self, kind: FrameType, choices: Sequence[int], quality_code: int) -> int:
        """The quality code that a frame with these choices is coded at, from that of the file; may be negative."""

    def latent_quality(self, information: str, choices: Sequence[int], quality_code: int) -> QualityCode:
        """What the tables of latents are read at, one code for all channels or (M,). quality_code: of the frame."""

    def shapes(self, information: str, height: int, width: int) -> Shapes:
        """Of the latents of a frame."""

    def parameters(
        self, information: str, z: NDArray[np.int32], quality_code: QualityCode, shape: tuple[int, int, int],
        before: Mapping[str, Latents] | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:  # fmt: skip
        """Scale indexes 0..63 and means in 1/16 symbol of y, both of `shape`, from decoded side latents.

        quality_code: see `latent_quality`; before: the informations that the frame sends before this one, None: none
        of them.
        """

    def encode(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Content, Reference]:
        """What a frame sends, and exactly what `decode` will make of it. quality_code: of the file."""

    def quick(self) -> "VideoBackend":
        """One that encodes faster and not as well, to compare structures of a sequence with; or this one."""

    def networks_alone(self) -> "VideoBackend":
        """One that encodes I frames by networks where they could also be predicted blocks; or this one."""

    def decode(self, content: Content, place: Place, quality_code: int, height: int, width: int) -> Reference:
        """The frame. quality_code: of the file."""
