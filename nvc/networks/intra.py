"""Transform coding of six planes with a hyperprior: I frames of all video codecs, and their residuals.

          ┌─ g_a: conv ×3 ─┐                                       ┌─ g_s: deconv ×3, ReLU ─┐
    x ────┤                +─ y ─ ÷step ─ -mean ─ round ─ +mean ─ ×step ─┤                  +── x̂
          └─ l_a: 8x8/8 ───┘              └──── Hyperprior ─┘      └─ l_s: 8x8/8 ───────────┘

As `nvc.networks.image`, at half resolution: the linear path starts as the KLT of 8x8x6 blocks (16x16 luma pixels), the
networks correct it, and one model serves all levels by a quantiser step for every level and channel.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nvc.networks.hyperprior import Hyperprior, HyperpriorConfig, gaussian_bits
from nvc.networks.image import LEVELS
from nvc.networks.lambdas import LAMBDAS
from nvc.networks.layers import conv_stack, deconv_stack
from nvc.networks.planes import PLANES
from nvc.networks.priors import LogisticMixturePrior

BLOCK = 8  # half-resolution pixels per position of y, both ways


@dataclass(frozen=True)
class TransformConfig:
    """Widths. seen: planes that the analysis network sees beside those it codes (a residual's prediction)."""

    latents: int = 192
    analysis: tuple[int, int] = (64, 96)
    synthesis: tuple[int, int] = (96, 64)
    side: int = 48
    hidden: int = 64
    seen: int = 0

    @property
    def hyperprior(self) -> HyperpriorConfig:
        return HyperpriorConfig(self.latents, self.side, self.hidden)

    def decoder_macs_per_pixel(self) -> float:
        """Multiply-accumulates that a decoder spends for one luma pixel."""
        widths = (self.latents, *self.synthesis, PLANES)
        network = sum(25 * a * b / 4 ** (4 - i) for i, (a, b) in enumerate(pairwise(widths)))
        return network + BLOCK * BLOCK * PLANES * self.latents / 256 + self.hyperprior.decoder_macs() / 256


@dataclass
class Coded:
    """What coding a batch gives: x̂, bits of side and main information of every sample (B,), z and y as decoded.

    given: what the synthesis sees beside y, where it has a shortcut.
    """

    decoded: Tensor
    side_bits: Tensor
    main_bits: Tensor
    z: Tensor
    y: Tensor
    given: Tensor | None = None

    @property
    def bits(self) -> Tensor:
        return self.side_bits + self.main_bits


class LatentCoder(nn.Module):
    """Quantisation and rate of one information: steps, hyperprior, and the prior of z. What transforms share."""

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        self.hyper = Hyperprior(config, LEVELS)
        self.prior = LogisticMixturePrior(LEVELS, config.side)
        self.log_step = nn.Parameter(torch.zeros(LEVELS, config.latents))

    @torch.no_grad()
    def start_from(self, deviation: Tensor, log_step: Tensor) -> None:
        """deviation: (M,) of the latents; log_step: (levels,) natural logarithm of the first steps."""
        self.log_step.copy_(log_step[:, None].expand_as(self.log_step))
        self.hyper.start_from(deviation[None] / log_step.exp()[:, None])
        self.prior.start_from(torch.full_like(self.prior.logit, 0.5))

    def step(self, level: Tensor) -> Tensor:
        """Quantiser steps (B, M, 1, 1) of level indexes (B,), 0..7; a fraction interpolates geometrically."""
        below = level.floor().clamp(0, LEVELS - 2).long()
        share = (level - below)[:, None]
        return torch.lerp(self.log_step[below], self.log_step[below + 1], share).exp()[:, :, None, None]

    def forward(
        self, y: Tensor, level: Tensor, quality: Tensor | None = None, kept: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents (B, M, h, w), level indexes (B,) -> side bits (B,), main bits (B,), z and y as decoded.

        quality: (B,) real-valued index of the level that steps and scales are of, where it is not `level`.
        kept: (B, 1, h, w) 0 at positions that decoders know to be 0, else 1; None: there are no such.

        Noise stands for rounding in the rates; what follows sees real rounding with a straight-through gradient.
        """
        quality = level.float() if quality is None else quality
        step = self.step(quality)
        symbols = y / step if kept is None else kept * y / step
        z = self.hyper.analysis(symbols)
        side_bits = self.prior(z + torch.rand_like(z) - 0.5, level).sum(dim=(1, 2, 3))
        z_hat = z + (z.round() - z).detach()
        mean, index = self.hyper.synthesis(z_hat, quality, *y.shape[2:])
        centred = symbols - mean
        main_bits = gaussian_bits(centred + torch.rand_like(centred) - 0.5, index)
        decoded = centred + (centred.round() - centred).detach() + mean
        if kept is not None:
            main_bits, decoded = main_bits * kept, decoded * kept
        return side_bits, main_bits.sum(dim=(1, 2, 3)), z_hat, decoded * step


class TransformNet(nn.Module):
    """Planes (B, 6, H/2, W/2), H and W multiples of 16, in 0..1 minus one half (or residuals), coded and decoded."""

    def __init__(self, config: TransformConfig) -> None:
        super().__init__()
        self.config = config
        m = config.latents
        self.g_a = conv_stack((PLANES + config.seen, *config.analysis, m), nn.GELU)
        self.g_s = deconv_stack((m, *config.synthesis, PLANES))
        self.l_a = nn.Conv2d(PLANES, m, BLOCK, stride=BLOCK)
        self.l_s = nn.ConvTranspose2d(m, PLANES, BLOCK, stride=BLOCK)
        self.coder = LatentCoder(config.hyperprior)

    @torch.no_grad()
    def start_from_klt(self, basis: Tensor, deviation: Tensor) -> None:
        """Linear path = the KLT, network path = zero, steps = those of a uniform quantiser at high rate.

        basis: (M, 6, 8, 8) orthonormal rows; deviation: (M,) of the coefficients, in pixels of 0..1.
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
        # Bits fall by log2(e)/step, squared error rises by step/6: J = bits + w·lambda·SSE (8-bit units) is least at
        # step² = 6·log2(e)/(w·lambda). In (6Y + U + V)/8 a luma sample has w = 3/4, a chroma sample w = 1/2.
        log_step = [0.5 * torch.log(torch.tensor(6 / 0.6931 / (0.7 * lam))) for lam in LAMBDAS]
        self.coder.start_from(deviation, torch.stack(log_step) - torch.log(torch.tensor(255.0)))

    def analysis(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Planes -> latents (B, M, h, w), in pixel units of an orthonormal transform."""
        with torch.autocast(x.device.type, enabled=False):
            linear: Tensor = self.l_a(x)
        network: Tensor = self.g_a(x if seen is None else torch.cat([x, seen], 1)).float()
        return linear + network

    def synthesis(self, y: Tensor) -> Tensor:
        """Latents (B, M, h, w) -> planes (B, 6, 8h, 8w)."""
        with torch.autocast(y.device.type, enabled=False):
            linear: Tensor = self.l_s(y)
        return linear + self.g_s(y).float()  # type: ignore[no-any-return]

    def forward(self, x: Tensor, level: Tensor, seen: Tensor | None = None, quality: Tensor | None = None) -> Coded:
        side, main, z, y = self.coder(self.analysis(x, seen), level, quality)
        return Coded(self.synthesis(y), side, main, z, y)
