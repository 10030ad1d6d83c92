"""Scale-space flow, our size: motion with scale, warp, residual (Agustsson et al. 2020; facts/ssf_and_coder).

    flow estimate, errors ─ MotionNet ─ flow, scale on the 1/8 grid ─ warp(reference) ─ prediction
    frame - prediction ─ TransformNet ─ + prediction ─ frame

The flow is estimated by the encoder (nvc.networks.motion_search): the motion network only has to code it. Frames are
six planes at half resolution (nvc.networks.planes), references are 8-bit pictures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc.networks.hyperprior import HyperpriorConfig, soft_clamp
from nvc.networks.image import LEVELS
from nvc.networks.intra import Coded, LatentCoder, TransformConfig, TransformNet
from nvc.networks.planes import PLANES

PYRAMID = 4  # levels of the reference: sharp, then means of 2x2, 4x4, 8x8
PROBED = (0, 2)  # pyramid levels whose prediction errors the motion analysis sees
FLOW_UNIT = 8.0  # luma pixels: what flow is divided by before a network sees it


@dataclass(frozen=True)
class MotionConfig:
    """Widths of the motion network; y is at 1/16 of luma resolution, flow and scale at 1/8.

    coded: numbers of a cell that it codes; seen: what its analysis sees besides; made: numbers that it decodes.
    """

    latents: int = 32
    analysis: int = 64
    synthesis: int = 48
    side: int = 16
    hidden: int = 32
    coded: int = 2
    made: int = 3
    seen: int = len(PROBED)

    @property
    def hyperprior(self) -> HyperpriorConfig:
        return HyperpriorConfig(self.latents, self.side, self.hidden)

    def decoder_macs_per_pixel(self) -> float:
        """Multiply-accumulates that a decoder spends for one luma pixel."""
        network = 9 * self.latents * self.synthesis + 9 * self.synthesis * 4 * self.made
        return (network + 4 * self.made * self.latents + self.hyperprior.decoder_macs()) / 256


@dataclass(frozen=True)
class SsfConfig:
    """The three networks. The residual's analysis also sees the prediction."""

    intra: TransformConfig = field(default_factory=lambda: TransformConfig(latents=256))
    motion: MotionConfig = field(default_factory=MotionConfig)
    residual: TransformConfig = field(default_factory=lambda: TransformConfig(seen=PLANES))

    def decoder_macs_per_pixel(self) -> float:
        """Of a P frame, without the warp (16 + 4 taps a sample)."""
        return self.motion.decoder_macs_per_pixel() + self.residual.decoder_macs_per_pixel()


class MotionNet(nn.Module):
    """Flow (B, 2, 2h, 2w) in luma pixels, coded at (h, w) and decoded as flow and scale."""

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.config = config
        m, a, s = config.latents, config.analysis, config.synthesis
        self.g_a = nn.Sequential(
            nn.Conv2d(config.coded + config.seen, a, 3, padding=1), nn.GELU(),
            nn.Conv2d(a, a, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv2d(a, m, 3, padding=1),
        )  # fmt: skip
        self.g_s = nn.Sequential(nn.Conv2d(m, s, 3, padding=1), nn.ReLU(), nn.Conv2d(s, 4 * config.made, 3, padding=1))
        self.l_a = nn.Conv2d(config.coded, m, 2, stride=2)
        self.l_s = nn.Conv2d(m, 4 * config.made, 1)
        self.coder = LatentCoder(config.hyperprior)

    @torch.no_grad()
    def start_from_haar(self, deviation: Sequence[float] = (4.0, 4.0), basis: Tensor | None = None) -> None:
        """Linear path = the Haar transform of 2x2 cells in the first 4·coded latents; networks zero.

        deviation: of the coefficients of means; basis: orthonormal rows, (coded, coded), what of the numbers of a cell
        these are; None: they themselves.
        """
        n = self.config.coded
        basis = torch.eye(n) if basis is None else basis
        haar = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1.0]]) / 2
        for layer in (self.l_a, self.l_s):
            layer.weight.mul_(0.02)  # latents beyond those: nearly nothing, but alive
            assert layer.bias is not None
            layer.bias.zero_()
        self.l_s.weight[:, : 4 * n] = 0
        for k in range(4):
            for row in range(n):
                latent = n * k + row
                self.l_a.weight[latent] = basis[row][:, None, None] * haar[k].reshape(2, 2)
                self.l_s.weight[: 4 * n, latent, 0, 0] = (basis[row][:, None] * haar[k]).flatten()
        assert self.l_s.bias is not None
        self.l_s.bias[4 * n :] = 0.05  # scale: just inside its range, where it has a gradient
        for stack in (self.g_a, self.g_s):
            last = stack[-1]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            last.weight.mul_(0.01)
            last.bias.zero_()
        spread = torch.full((self.config.latents,), 0.3)
        means = torch.tensor(list(deviation))
        spread[: 4 * n] = torch.cat([means, *[means / 4] * 3])
        # From one pixel and a half at level 1 to a quarter at level 8, for coefficients twice as large as vectors.
        steps = torch.linspace(math.log(3.0), math.log(0.5), LEVELS)
        self.coder.start_from(spread, steps)

    def analysis(self, flow: Tensor, errors: Tensor) -> Tensor:
        """flow (B, coded, 2h, 2w) in luma pixels; errors (B, seen, 2h, 2w), see `error_features` -> (B, M, h, w)."""
        with torch.autocast(flow.device.type, enabled=False):
            linear: Tensor = self.l_a(flow)
        network: Tensor = self.g_a(torch.cat([flow / FLOW_UNIT, errors], 1)).float()
        return linear + network

    def samples(self, y: Tensor) -> Tensor:
        """Latents -> (B, made, 2h, 2w)."""
        with torch.autocast(y.device.type, enabled=False):
            linear: Tensor = self.l_s(y)
        return F.pixel_shuffle(linear + self.g_s(y).float(), 2)

    def synthesis(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Latents -> flow (B, 2, 2h, 2w) in luma pixels, scale (B, 1, 2h, 2w) in pyramid levels 0..3."""
        out = self.samples(y)
        return out[:, :2], soft_clamp(out[:, 2:], 0, PYRAMID - 1)

    def forward(self, flow: Tensor, errors: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Coded]:
        """Decoded flow and scale, and the bits; `Coded.decoded` is the flow."""
        side, main, z, y = self.coder(self.analysis(flow, errors), level)
        decoded, scale = self.synthesis(y)
        return decoded, scale, Coded(decoded, side, main, z, y)


class SsfNet(nn.Module):
    """All three networks; frames are planes (B, 6, H/2, W/2) in 0..1."""

    def __init__(self, config: SsfConfig | None = None) -> None:
        super().__init__()
        self.config = config or SsfConfig()
        self.intra = TransformNet(self.config.intra)
        self.motion = MotionNet(self.config.motion)
        self.residual = TransformNet(self.config.residual)


def error_features(errors: Tensor) -> Tensor:
    """Mean absolute luma errors (0..1) of prediction by the PROBED pyramid levels -> what the motion analysis sees."""
    return (errors * 255 + 1).log2() / 4
