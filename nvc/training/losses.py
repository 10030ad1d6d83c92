"""Rate + λ · distortion, for one batch whose samples are of different levels (docs/image_codec.md)."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from nvc.networks.image import ImageNet
from nvc.networks.lambdas import LAMBDAS
from nvc.networks.priors import LogisticMixturePrior


@dataclass
class Loss:
    """`total` is what is minimised; `bpp` (B,) bits per pixel; `mse` (B,) of pixels in 0..1."""

    total: Tensor
    bpp: Tensor
    mse: Tensor


@functools.cache
def lambdas_on(device: torch.device) -> Tensor:
    """λ of every level. Made once for a device: copying a constant to it would wait for all its work."""
    return torch.tensor(LAMBDAS, device=device)


def picture_loss(net: ImageNet, prior: LogisticMixturePrior, x: Tensor, level: Tensor) -> Loss:
    """x: (B, 3, H, W) in 0..1; level: (B,) int64 in 0..7.

    Uniform noise stands for rounding in the rate, real rounding with a straight-through gradient feeds the
    synthesis. Each sample is divided by the root of its λ, or the highest levels would own the gradient.
    """
    lambdas = lambdas_on(x.device)[level]
    step = net.step(level.float())
    symbols = net.analysis(x) / step
    noisy = symbols + torch.rand_like(symbols) - 0.5
    bits = prior(noisy, level).sum(dim=(1, 2, 3))
    rounded = symbols + (symbols.round() - symbols).detach()
    decoded = net.synthesis(rounded * step)
    bpp = bits / (x.shape[2] * x.shape[3])
    mse = (decoded - x).square().mean(dim=(1, 2, 3))
    return Loss(((bpp + lambdas * 255**2 * mse) / lambdas.sqrt()).mean(), bpp, mse)
