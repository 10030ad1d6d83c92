"""The image auto-encoder: four 5x5 stride-2 layers each way, beside a linear block transform (paper 2, section 5.1).

         ┌─ g_a: conv ×4 ─┐                       ┌─ g_s: deconv ×4, ReLU ─┐
    x ───┤                +─ y ─ ÷step ─ round ─ ×step ─┤                        +── x̂
         └─ l_a: 16x16/16 ┘                       └─ l_s: 16x16/16 ─────────┘

The linear path starts as the KLT of 16x16x3 blocks and carries the range; the network path corrects it.
One model serves all levels: `step` is a quantiser step for every level and channel.
The published widths (`FactorizedPriorReLU` of compressai) are the same class without linear path and steps.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nvc.networks.lambdas import LAMBDAS
from nvc.networks.layers import conv_stack, deconv_stack

LEVELS = 8
BLOCK = 16  # pixels per latent position, both ways
PIXEL_OFFSET = 0.5  # the networks see pixels of 0..1 minus this


@dataclass(frozen=True)
class ImageConfig:
    """Widths of one image auto-encoder. `analysis` and `synthesis` list the hidden channels in order of work."""

    latents: int = 320
    analysis: tuple[int, int, int] = (64, 96, 128)
    synthesis: tuple[int, int, int] = (112, 72, 48)
    linear: bool = True  # the KLT path, GELU in the analysis, steps per level; False: the published model

    def decoder_macs_per_pixel(self) -> float:
        """Multiply-accumulates that the decoder spends for one pixel."""
        widths = (self.latents, *self.synthesis, 3)
        network = sum(25 * a * b / 4 ** (4 - i) for i, (a, b) in enumerate(pairwise(widths)))
        return network + (3 * self.latents if self.linear else 0)


OURS = ImageConfig()
PUBLISHED_LOW = ImageConfig(192, (128, 128, 128), (128, 128, 128), linear=False)  # levels 1-5 of paper 2
PUBLISHED_HIGH = ImageConfig(320, (192, 192, 192), (192, 192, 192), linear=False)  # levels 6-8


class ImageNet(nn.Module):
    """Analysis and synthesis in float. Pictures are (B, 3, H, W) in 0..1 with H, W multiples of 16."""

    def __init__(self, config: ImageConfig = OURS) -> None:
        super().__init__()
        self.config = config
        m = config.latents
        self.g_a = conv_stack((3, *config.analysis, m), nn.GELU if config.linear else nn.ReLU)
        self.g_s = deconv_stack((m, *config.synthesis, 3))
        if config.linear:
            self.l_a = nn.Conv2d(3, m, BLOCK, stride=BLOCK)
            self.l_s = nn.ConvTranspose2d(m, 3, BLOCK, stride=BLOCK)
            self.log_step = nn.Parameter(torch.zeros(LEVELS, m))

    @torch.no_grad()
    def start_from_klt(self, basis: Tensor, deviation: Tensor) -> None:
        """Linear path = the KLT, network path = zero, steps = those of a uniform quantiser at high rate.

        basis: (M, 3, 16, 16) orthonormal rows; deviation: (M,) of the coefficients, in pixels of 0..1.
        """
        self.l_a.weight.copy_(basis)
        self.l_s.weight.copy_(basis)
        for bias in (self.l_a.bias, self.l_s.bias):
            assert bias is not None
            bias.zero_()
        for stack in (self.g_a, self.g_s):
            last = stack[-1]
            assert isinstance(last, nn.Conv2d | nn.ConvTranspose2d)
            assert last.bias is not None
            last.weight.zero_()
            last.bias.zero_()
        # Bits fall by log2(e)/step and squared error rises by step/6 for each coefficient: J = bits + lambda/3·SSE
        # (SSE in 8-bit units) is least at step² = 18·log2(e)/lambda.
        for level, lam in enumerate(LAMBDAS):
            self.log_step[level] = 0.5 * torch.log(torch.tensor(18 / 0.6931 / lam)) - torch.log(torch.tensor(255.0))

    def analysis(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), 0..1 -> latents (B, M, H/16, W/16), in pixel units of an orthonormal transform."""
        if not self.config.linear:
            return self.g_a(x)
        centred = x - PIXEL_OFFSET
        with torch.autocast(x.device.type, enabled=False):
            linear = self.l_a(centred)
        return linear + self.g_a(centred).float()

    def synthesis(self, y: Tensor) -> Tensor:
        """Latents (B, M, h, w) -> pictures (B, 3, 16h, 16w), not clamped."""
        if not self.config.linear:
            return self.g_s(y)
        with torch.autocast(y.device.type, enabled=False):
            linear = self.l_s(y)
        return linear + self.g_s(y).float() + PIXEL_OFFSET

    def step(self, level: Tensor) -> Tensor:
        """Quantiser steps (B, M, 1, 1) of level indexes (B,), 0..7; a fraction interpolates geometrically."""
        lower = level.floor().clamp(0, LEVELS - 2).long()
        share = (level - lower)[:, None]
        log_step = torch.lerp(self.log_step[lower], self.log_step[lower + 1], share)
        return log_step.exp()[:, :, None, None]
