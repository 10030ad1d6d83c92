"""Hierarchical bi-directional coding, our size (Yilmaz and Tekalp 2021; facts/lhbdc): B frames from both sides.

    references ─ symmetric motion search (decoder too) ─ share before, share behind ─ flows that a steady motion gives
    flow estimates - those flows ─ BidirectionalNet ─ + those flows ─ warp(before), warp(behind) ─┐
                                                    └ weight ─────────────────────────────────── blend ─ prediction
    frame - prediction ─ TransformNet ─ + prediction ─ frame

What is coded of motion is how far it is from being steady, and of the two differences their sum and difference: where
the steady motion is off by a little, both are off by the same little, with opposite signs. I and P frames, the anchors,
are those of scale-space flow (nvc.networks.ssf).

Frames are six planes at half resolution (nvc.networks.planes), references are 8-bit pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc.networks.intra import Coded, TransformConfig, TransformNet
from nvc.networks.planes import PLANES, join, luma_of
from nvc.networks.ssf import MotionConfig, MotionNet, SsfConfig, SsfNet, error_features
from nvc.networks.warp_torch import predict_planes, sixteenths

VECTORS = 4  # coded of a cell: differences of the flow to either reference; then its weight
WEIGHT_UNIT = 8.0  # what stands for a luma pixel in the weight: its steps are those of vectors
WEIGHT_PRIOR = 400.0  # squared grey levels that keep the best weight of a cell at one half where nothing depends on it
ERRORS = 3  # of the predictions from before, from behind, and from both


@dataclass(frozen=True)
class LhbdcConfig(SsfConfig):
    """The networks of scale-space flow for anchors, and two more for B frames."""

    bimotion: MotionConfig = field(
        default_factory=lambda: MotionConfig(latents=40, coded=VECTORS + 1, made=VECTORS + 1, seen=ERRORS)
    )
    biresidual: TransformConfig = field(default_factory=lambda: TransformConfig(seen=PLANES))

    def decoder_macs_per_pixel(self) -> float:
        """Of a B frame, without search (at most 35 differences of pixels) and warps (2 x 16 taps a sample)."""
        return self.bimotion.decoder_macs_per_pixel() + self.biresidual.decoder_macs_per_pixel()


class BidirectionalNet(MotionNet):
    """Differences of two flows and a weight, (B, 5, 2h, 2w), coded at (h, w)."""

    @torch.no_grad()
    def start(self) -> None:
        """Linear path = the Haar transform of 2x2 cells of the sum and the difference of both flows, and of weights."""
        half = 0.5**0.5
        pair = torch.tensor([[half, 0, half, 0], [0, half, 0, half], [half, 0, -half, 0], [0, half, 0, -half]])
        self.start_from_haar((4.0, 4.0, 2.0, 2.0, 3.0), torch.block_diag(pair, torch.eye(1)))
        last = self.coder.hyper.h_a[-1]
        assert isinstance(last, nn.Conv2d)
        last.weight.mul_(8)  # side latents that all round to 0 would teach the hyper-synthesis nothing

    def forward(  # type: ignore[override]
        self, numbers: Tensor, errors: Tensor, level: Tensor, quality: Tensor | None = None
    ) -> tuple[Tensor, Coded]:
        """numbers (B, 5, 2h, 2w), errors (B, 3, 2h, 2w) -> numbers as decoded, and the bits."""
        side, main, z, y = self.coder(self.analysis(numbers, errors), level, quality)
        decoded = self.samples(y)
        return decoded, Coded(decoded, side, main, z, y)


class LhbdcNet(SsfNet):
    """All five networks; frames are planes (B, 6, H/2, W/2) in 0..1."""

    config: LhbdcConfig

    def __init__(self, config: LhbdcConfig | None = None) -> None:
        config = config or LhbdcConfig()
        super().__init__(config)
        self.bimotion = BidirectionalNet(config.bimotion)
        self.biresidual = TransformNet(config.biresidual)

    def code(
        self, x: Tensor, references: Sequence[Tensor], steady: Tensor, flows: Tensor, level: Tensor, quality: Tensor
    ) -> tuple[Tensor, dict[str, Coded]]:
        """A frame between two references. Decoded planes, neither clamped nor rounded.

        steady: (B, 4, H/8, W/8) flows to both that the decoder knows, luma pixels; flows: those that predict best;
        level (B,) index; quality (B,) the real-valued index of the level that the frame is coded at.
        """
        luma, sign = luma_of(x), steady.new_tensor([1.0, 1.0, -1.0, -1.0])[:, None, None]
        with torch.no_grad():
            before, behind = (luma_of(planes) for planes in self._warped(references, flows))
            weight = best_weight(luma, before, behind)
            errors = cell_errors(luma, [before, behind, mix(before, behind, weight)])
            numbers = torch.cat([sign * (flows - steady), WEIGHT_UNIT * (weight - 0.5)], 1)
        made, motion = self.bimotion(numbers, error_features(errors), level, quality)
        found = steady + sign * made[:, :VECTORS]
        before, behind = self._warped(references, found)
        share = (made[:, VECTORS:] / WEIGHT_UNIT + 0.5).clamp(0, 1)
        prediction = join(mix(luma_of(before), luma_of(behind), share), mix(before[:, 4:], behind[:, 4:], share))
        residual = self.biresidual(x - prediction, level, prediction.detach() - 0.5, quality)
        return prediction + residual.decoded, {"bimotion": motion, "biresidual": residual}

    @staticmethod
    def _warped(references: Sequence[Tensor], flows: Tensor) -> list[Tensor]:
        return [
            join(*predict_planes(luma_of(reference), reference[:, 4:], flow, None))
            for reference, flow in zip(references, flows.split(2, 1), strict=True)
        ]


def mix(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """first + weight · (second - first); weight (B, 1, 2h, 2w), bilinear between cells."""
    share = sixteenths(weight, first.shape[2] // weight.shape[2])
    return first + share * (second - first)


def best_weight(luma: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(B, 1, H/8, W/8) the share of `second` that leaves each cell of luma (B, 1, H, W) the least squared error."""
    apart, off = second - first, luma - 0.5 * (first + second)
    prior = WEIGHT_PRIOR / 255**2
    move = F.avg_pool2d(off * apart, 8) / (F.avg_pool2d(apart.square(), 8) + prior / 64)
    return (0.5 + move).clamp(0, 1)


def cell_errors(luma: Tensor, predictions: Sequence[Tensor]) -> Tensor:
    """Mean absolute errors of 8x8 luma cells: (B, predictions, H/8, W/8)."""
    return torch.cat([F.avg_pool2d((prediction - luma).abs(), 8) for prediction in predictions], 1)
