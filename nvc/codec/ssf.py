"""The backend of our scale-space flow model: integer networks, and the encoder's float analysis."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Content, Latents
from nvc.codec.video_backend import Place, Reference, Shapes
from nvc.frames import Frame420
from nvc.networks import steps
from nvc.networks.hyper_integer import MEAN_ONE
from nvc.networks.planes import crop_planes, pad_planes
from nvc.networks.ssf_integer import Information, add_residual, flow_and_scale, main_shape, predict, side_shape

if TYPE_CHECKING:
    from nvc.networks.ssf_analysis import SsfAnalysis

SYMBOL_LIMIT = 32767
PROBED_SCALES = (0, 32)  # 1/16 pyramid level: those of nvc.networks.ssf.PROBED
INFORMATIONS: Mapping[FrameType, tuple[str, ...]] = {
    FrameType.I: ("intra",),
    FrameType.P: ("motion", "residual"),
}


class SsfBackend:
    """See nvc.codec.video_backend.VideoBackend."""

    levels = steps.LEVELS
    informations = INFORMATIONS
    choice_bits: ClassVar[Mapping[FrameType, tuple[int, ...]]] = {}

    def __init__(self, tensors: dict[str, NDArray[Any]], analysis: Callable[[], "SsfAnalysis"]) -> None:
        """tensors: `decoder.` of the weight file, cut off. KeyError or ValueError unless sound and proven exact.

        analysis: makes the float networks when the first frame is encoded.
        """
        self._parts = {
            name: Information(
                name, {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
            )
            for name in ("intra", "motion", "residual")
        }
        self._make_analysis = analysis

    @cached_property
    def _analysis(self) -> "SsfAnalysis":
        return self._make_analysis()

    def shapes(self, information: str, height: int, width: int) -> Shapes:
        """See VideoBackend."""
        hyper = self._parts[information].hyper
        return Shapes((hyper.side, *side_shape(height, width)), (hyper.latents, *main_shape(height, width)))

    def parameters(
        self, information: str, z: NDArray[np.int32], quality_code: int, shape: tuple[int, int, int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        """See VideoBackend."""
        return self._parts[information].parameters(z, quality_code, *shape[1:])

    def frame_quality(self, kind: FrameType, choices: Sequence[int], quality_code: int) -> int:
        """See VideoBackend."""
        return quality_code

    def encode(self, frame: Frame420, place: Place, quality_code: int) -> tuple[Content, Reference]:
        """See VideoBackend."""
        planes = pad_planes(frame)
        if place.kind == FrameType.I:
            latents = self._quantise("intra", self._analysis.intra(planes), quality_code)
            decoded = self._intra(latents, quality_code, frame.height, frame.width)
            return Content({"intra": latents}), Reference(decoded)
        (reference,) = place.references
        motion = self._quantise("motion", self._analyse_motion(frame, reference.frame), quality_code)
        prediction = self._predict(motion, reference.frame, quality_code)
        y = self._analysis.residual(planes, pad_planes(prediction))
        residual = self._quantise("residual", y, quality_code)
        decoded = self._add(prediction, residual, quality_code)
        return Content({"motion": motion, "residual": residual}), Reference(decoded)

    def decode(self, content: Content, place: Place, quality_code: int, height: int, width: int) -> Reference:
        """See VideoBackend."""
        latents = content.latents
        if place.kind == FrameType.I:
            return Reference(self._intra(latents["intra"], quality_code, height, width))
        (reference,) = place.references
        prediction = self._predict(latents["motion"], reference.frame, quality_code)
        return Reference(self._add(prediction, latents["residual"], quality_code))

    def _intra(self, latents: Latents, code: int, height: int, width: int) -> Frame420:
        planes = self._parts["intra"].samples(latents.symbols, latents.mean, code, residual=False)
        return crop_planes(planes, height, width)

    def _predict(self, motion: Latents, reference: Frame420, code: int) -> Frame420:
        samples = self._parts["motion"].samples(motion.symbols, motion.mean, code, residual=True)
        return predict(reference, *flow_and_scale(samples))

    def _add(self, prediction: Frame420, residual: Latents, code: int) -> Frame420:
        samples = self._parts["residual"].samples(residual.symbols, residual.mean, code, residual=True)
        return add_residual(prediction, samples)

    def _quantise(self, name: str, y: NDArray[np.float32], code: int) -> Latents:
        part = self._parts[name]
        mantissa, shift = steps.steps(part.decoder.log_step, code)
        scaled = y * (part.unit * 2.0**shift / mantissa).astype(np.float32)[:, None, None]
        z = np.clip(self._analysis.side(name, scaled), -SYMBOL_LIMIT, SYMBOL_LIMIT)
        index, mean = part.parameters(z, code, *y.shape[1:])
        symbols = np.rint(scaled - mean.astype(np.float32) / MEAN_ONE)
        return Latents(z, np.clip(symbols, -SYMBOL_LIMIT, SYMBOL_LIMIT).astype(np.int32), index, mean)

    def _analyse_motion(self, frame: Frame420, reference: Frame420) -> NDArray[np.float32]:
        from nvc.networks.motion_search import estimate

        flow = estimate(frame, reference)
        return self._analysis.motion(flow, prediction_errors(frame, reference, flow))


def prediction_errors(frame: Frame420, reference: Frame420, flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean absolute luma error 0..1 of each 8x8 block, predicted at the PROBED scales: (2, 2h, 2w)."""
    vectors = np.clip(np.rint(flow * 16), -4095, 4095).astype(np.int16)
    errors = []
    for scale in PROBED_SCALES:
        prediction = predict(reference, vectors, np.full(vectors.shape[1:], scale, np.uint8))
        difference = np.abs(prediction.y.astype(np.int16) - frame.y)
        rows, columns = (8 * n for n in vectors.shape[1:])
        padded = np.zeros((rows, columns), np.int16)
        padded[: frame.height, : frame.width] = difference
        errors.append(padded.reshape(rows // 8, 8, columns // 8, 8).mean((1, 3), dtype=np.float32) / 255)
    return np.stack(errors)
