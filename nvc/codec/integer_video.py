"""What the backends of our own video codecs share: integer networks of each information, and the float analysis.

I frames are the same in all of them, and so is what becomes of a prediction: coded residual, sum, clamp.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Content, Latents
from nvc.codec.rate_rounding import rounded
from nvc.codec.video_backend import Place, Reference, Shapes
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.entropy_models.predicted_blocks import Counts
from nvc.frames import Frame420
from nvc.networks import steps
from nvc.networks.block_synthesis import BlockDecoder
from nvc.networks.hyper_integer import MEAN_ONE
from nvc.networks.planes import crop_planes, pad_planes
from nvc.networks.ssf_integer import Information, add_residual, main_shape, side_shape
from nvc.threads import spread

if TYPE_CHECKING:
    from nvc.networks.video_analysis import VideoAnalysis

SYMBOL_LIMIT = 32767
_CHANNELS = 16  # by one thread at a time

# Tables of an information at a level 1..8, which encoders may look at; None: not known yet.
TablesIfAny = Callable[[str, int], HyperpriorTables | None]


def no_tables(information: str, level: int) -> None:
    """As for a model that has none yet."""


class IntegerVideoBackend(ABC):
    """Most of a nvc.codec.video_backend.VideoBackend; a codec adds what it does with references.

    kinds: of the synthesis of each information; shrinkage: of its side latents, see VideoAnalysis.side, 0 if left out;
    refines: whether its encoder looks at tables; written: further tensors of weight files that are made now.
    """

    levels = steps.LEVELS
    informations: ClassVar[Mapping[FrameType, tuple[str, ...]]]
    choice_bits: Mapping[FrameType, tuple[int, ...]] = MappingProxyType({})
    kinds: ClassVar[Mapping[str, type[BlockDecoder]]]
    shrinkage: ClassVar[Mapping[str, float]] = {}
    refines: ClassVar[bool] = False
    written: ClassVar[Mapping[str, NDArray[Any]]] = {}

    def __init__(
        self, tensors: dict[str, NDArray[Any]], analysis: Callable[[], "VideoAnalysis"], tables: TablesIfAny = no_tables
    ) -> None:
        """tensors: `decoder.` of the weight file, cut off. KeyError or ValueError unless sound and proven exact.

        analysis: makes the float networks when the first frame is encoded; tables: for encoders, too.
        """
        self._parts = {
            name: Information(
                kind, {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
            )
            for name, kind in self.kinds.items()
        }
        self._make_analysis = analysis
        self._tables = tables

    @cached_property
    def _analysis(self) -> "VideoAnalysis":
        return self._make_analysis()

    def sent(self, kind: FrameType, choices: Sequence[int]) -> tuple[str, ...]:
        """See VideoBackend."""
        return self.informations[kind]

    def chances(self, kind: FrameType, choices: Sequence[int], level: int) -> NDArray[np.uint16] | None:
        """See VideoBackend."""
        return None

    @property
    def predictors(self) -> Counts:
        """See VideoBackend."""
        return 0, 0, 0

    def frame_quality(self, kind: FrameType, choices: Sequence[int], quality_code: int) -> int:
        """See VideoBackend."""
        return quality_code

    def latent_quality(self, information: str, choices: Sequence[int], quality_code: int) -> steps.QualityCode:
        """See VideoBackend."""
        return quality_code

    def shapes(self, information: str, height: int, width: int) -> Shapes:
        """See VideoBackend."""
        hyper = self._parts[information].hyper
        return Shapes((hyper.side, *side_shape(height, width)), (hyper.latents, *main_shape(height, width)))

    def parameters(
        self, information: str, z: NDArray[np.int32], quality_code: steps.QualityCode, shape: tuple[int, int, int],
        before: Mapping[str, Latents] | None = None,
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:  # fmt: skip
        """See VideoBackend."""
        return self._parts[information].parameters(z, quality_code, *shape[1:])

    @abstractmethod
    def encode(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Content, Reference]:
        """See VideoBackend."""

    def quick(self) -> "IntegerVideoBackend":
        """See VideoBackend: without what looks at tables."""
        if not self.refines:
            return self
        made = copy.copy(self)
        made._tables, made._make_analysis = no_tables, lambda: self._analysis
        return made

    def networks_alone(self) -> "IntegerVideoBackend":
        """See VideoBackend."""
        return self

    @abstractmethod
    def decode(self, content: Content, place: Place, quality_code: int, height: int, width: int) -> Reference:
        """See VideoBackend."""

    def _encode_intra(self, frame: Frame420, code: int) -> tuple[Content, Reference]:
        latents = self._quantise("intra", self._analysis.intra(pad_planes(frame)), code)
        return Content({"intra": latents}), self._decode_intra(latents, code, frame.height, frame.width)

    def _decode_intra(self, latents: Latents, code: int, height: int, width: int) -> Reference:
        planes = self._parts["intra"].samples(latents.symbols, latents.mean, code, residual=False)
        return Reference(crop_planes(planes, height, width))

    def _encode_residual(
        self, frame: Frame420, prediction: Frame420, code: int, name: str = "residual"
    ) -> tuple[Latents, Reference]:
        y = self._analysis.residual(pad_planes(frame), pad_planes(prediction), name)
        latents = self._quantise(name, y, code)
        return latents, self._decode_residual(latents, prediction, code, name)

    def _decode_residual(self, latents: Latents, prediction: Frame420, code: int, name: str = "residual") -> Reference:
        samples = self._parts[name].samples(latents.symbols, latents.mean, code, residual=True)
        return Reference(add_residual(prediction, samples))

    def _tables_at(self, name: str, code: int) -> HyperpriorTables | None:
        """Those that code the frames of a file of this quality code, or may."""
        return self._tables(name, max(1, min(code // steps.STEP_ONE + 1, self.levels)))

    def _quantise(
        self, name: str, y: NDArray[np.float32], code: steps.QualityCode, before: Mapping[str, Latents] | None = None,
        worth: float = 0.0,
    ) -> Latents:  # fmt: skip
        """before: see `parameters`; worth: bits that a squared grey level of (6Y + U + V)/8 is worth; 0: plain."""
        part = self._parts[name]
        mantissa, shift = steps.steps(part.decoder.log_step, code)
        scaled = y * (part.unit * 2.0**shift / mantissa).astype(np.float32)[:, None, None]
        z = self._analysis.side(name, scaled, self.shrinkage.get(name, 0.0)).clip(-SYMBOL_LIMIT, SYMBOL_LIMIT)
        m, h, w = y.shape
        index, mean = self.parameters(name, z, code, (m, h, w), before)
        if worth:
            energy = (worth * part.energy * np.square(mantissa / 2.0**shift)).astype(np.float32)
        symbols = np.empty(y.shape, np.int32)

        def some(first: int) -> None:
            few = slice(first, first + _CHANNELS)
            centred = np.clip(scaled[few] - mean[few] / np.float32(MEAN_ONE), -SYMBOL_LIMIT, SYMBOL_LIMIT)
            symbols[few] = rounded(centred, index[few], energy[few]) if worth else np.rint(centred)

        spread(some, range(0, m, _CHANNELS))
        return Latents(z, symbols, index, mean)
