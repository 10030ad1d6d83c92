"""The hyperprior in float, for training: side latents z describe mean and scale of every main latent.

    symbols y/step ─ asinh ─ conv ×2 ─ z ─ round ─ deconv ×2 ─┬─ mean   (symbols)
                                                              └─ + offset of the level ─ scale index 0..63

The scale index is linear in the logarithm of the standard deviation, 64 steps from 0.11 to 256 symbols as in
compressai's tables, so that an integer network gives it by rounding alone. At the start the network is zero and the
offsets alone describe the latents: a factorised Gaussian model of every level (Minnen et al. 2018; facts/recipes).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nvc.networks.layers import conv, deconv

SCALES = 64
SCALE_MIN, SCALE_MAX = 0.11, 256.0  # symbols
LOG_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALES - 1)  # of the logarithm, between neighbouring scale indexes
SIDE_STRIDE = 4  # main positions per side position, both ways


@dataclass(frozen=True)
class HyperpriorConfig:
    """latents: channels of y; side: channels of z; hidden: of both networks between."""

    latents: int
    side: int = 48
    hidden: int = 64

    def decoder_macs(self) -> float:
        """Multiply-accumulates of the hyper-synthesis for one position of y."""
        return 25 * self.side * self.hidden / 16 + 25 * self.hidden * 2 * self.latents / 4


def scale_index(deviation: Tensor) -> Tensor:
    """Real-valued scale index of a standard deviation in symbols."""
    return (deviation.clamp_min(1e-6) / SCALE_MIN).log() / LOG_STEP


class _LowerBound(torch.autograd.Function):
    """max(x, bound), whose gradient is kept where it would bring x back up."""

    @staticmethod
    def forward(ctx, x, low, high):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.limits = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        low, high = ctx.limits
        stop = ((x < low) & (gradient > 0)) | ((x > high) & (gradient < 0))
        return gradient.masked_fill(stop, 0), None, None


def soft_clamp(x: Tensor, low: float, high: float) -> Tensor:
    """clamp(x, low, high) through which x can still return from outside."""
    result: Tensor = _LowerBound.apply(x, low, high)
    return result


class Hyperprior(nn.Module):
    """See above. `offset` (levels, latents) is the scale index that a level adds."""

    def __init__(self, config: HyperpriorConfig, levels: int) -> None:
        super().__init__()
        self.config = config
        self.h_a = nn.Sequential(conv(config.latents, config.hidden), nn.GELU(), conv(config.hidden, config.side))
        last = deconv(config.hidden, 2 * config.latents)
        self.h_s = nn.Sequential(deconv(config.side, config.hidden), nn.ReLU(), last)
        self.offset = nn.Parameter(torch.zeros(levels, config.latents))

    @torch.no_grad()
    def start_from(self, deviation: Tensor) -> None:
        """No side information yet; deviation: (levels, latents) of the symbols."""
        last = self.h_s[-1]
        assert isinstance(last, nn.ConvTranspose2d)
        assert last.bias is not None
        last.weight.zero_()
        last.bias.zero_()
        self.offset.copy_(scale_index(deviation).clamp(0, SCALES - 1))

    def analysis(self, symbols: Tensor) -> Tensor:
        """(B, M, h, w) latents divided by their step -> z (B, N, ceil(h/4), ceil(w/4)), not rounded."""
        z: Tensor = self.h_a(torch.asinh(symbols)).float()
        return z

    def synthesis(self, z: Tensor, level: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Side latents -> mean (symbols) and real-valued scale index, (B, M, height, width) each."""
        mean, index = self.h_s(z)[:, :, :height, :width].float().chunk(2, 1)
        return mean, index + self.level_offset(level)

    def level_offset(self, level: Tensor) -> Tensor:
        """(B, M, 1, 1) for level indexes (B,), fractions interpolated."""
        below = level.floor().clamp(0, len(self.offset) - 2).long()
        share = (level - below)[:, None]
        return torch.lerp(self.offset[below], self.offset[below + 1], share)[:, :, None, None]


def gaussian_bits(deviation_from_mean: Tensor, index: Tensor) -> Tensor:
    """Bits of symbols (their mean taken off, noise in place of rounding) under real-valued scale indexes."""
    inverse = torch.exp(soft_clamp(index, 0, SCALES - 1) * -LOG_STEP) * (1 / (SCALE_MIN * 2**0.5))
    magnitude = deviation_from_mean.abs()
    # Both ends on the negative side, where the difference does not cancel.
    likelihood = 0.5 * (torch.erf((0.5 - magnitude) * inverse) - torch.erf((-0.5 - magnitude) * inverse))
    return -torch.log2(likelihood.clamp_min(1e-9))
