"""P frames by scale-space flow, with which our codecs code a frame behind another: motion, prediction, residual."""

import numpy as np
from numpy.typing import NDArray

from nvc.codec.integer_video import IntegerVideoBackend
from nvc.codec.latents import Content, Latents
from nvc.codec.video_backend import Reference
from nvc.frames import Frame420
from nvc.networks.ssf_integer import flow_and_scale, predict
from nvc.networks.warp import FLOW_LIMIT

PROBED_SCALES = (0, 32)  # 1/16 pyramid level: those of nvc.networks.ssf.PROBED


class PredictedVideoBackend(IntegerVideoBackend):
    """A backend whose informations of P frames are `motion` and `residual`, in this order."""

    def _encode_predicted(
        self, frame: Frame420, reference: Frame420, code: int, choices: tuple[int, ...] = ()
    ) -> tuple[Content, Reference]:
        motion = self._quantise("motion", self._analyse_motion(frame, reference), code)
        residual, decoded = self._encode_residual(frame, self._predict(motion, reference, code), code)
        return Content({"motion": motion, "residual": residual}, choices), decoded

    def _decode_predicted(self, content: Content, reference: Frame420, code: int) -> Reference:
        prediction = self._predict(content.latents["motion"], reference, code)
        return self._decode_residual(content.latents["residual"], prediction, code)

    def _predict(self, motion: Latents, reference: Frame420, code: int) -> Frame420:
        samples = self._parts["motion"].samples(motion.symbols, motion.mean, code, residual=True)
        return predict(reference, *flow_and_scale(samples))

    def _analyse_motion(self, frame: Frame420, reference: Frame420) -> NDArray[np.float32]:
        from nvc.codec.lhbdc_analysis import cell_errors  # loads torch
        from nvc.networks.motion_search import estimate  # loads OpenCV, which a decoder does without

        flow = estimate(frame, reference)
        vectors = np.clip(np.rint(flow * 16), -FLOW_LIMIT, FLOW_LIMIT).astype(np.int16)
        shape = vectors.shape[1:]
        predictions = [predict(reference, vectors, np.full(shape, scale, np.uint8)) for scale in PROBED_SCALES]
        return self._analysis.motion(flow, np.stack([cell_errors(planes.y, frame.y) for planes in predictions]))
