"""Differentiable rate models for training.

They live here, not in compressai, so that training runs with torch and numpy alone. The file's tables are
fitted afterwards on real symbols; a prior only has to pull the latents to where those tables will be cheap.
"""

import torch
from torch import Tensor, nn

LIKELIHOOD_FLOOR = 1e-9


class LogisticMixturePrior(nn.Module):
    """Zero-mean mixture of two logistic densities for every level and channel.

    Called with symbols (B, C, h, w), that is latents divided by their step, with uniform noise in place of
    rounding, and with the level index of every sample (B,). Returns bits (B, C, h, w).
    """

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(levels, channels, 2))
        self.logit = nn.Parameter(torch.zeros(levels, channels))

    @torch.no_grad()
    def start_from(self, deviation: Tensor) -> None:
        """Start both scales from the standard deviation of the symbols, (levels, channels)."""
        # A logistic density of scale s has standard deviation s * pi / sqrt(3); the latents of pictures have
        # heavy tails, hence one component below and one above that match.
        scale = (deviation * 3**0.5 / torch.pi).clamp_min(0.02)
        self.log_scale.copy_(torch.stack([0.5 * scale, 2.0 * scale], dim=-1).log())

    def forward(self, symbols: Tensor, level: Tensor) -> Tensor:
        scale = self.log_scale[level].exp()[:, :, None, None]  # (B, C, 1, 1, 2)
        weight = torch.sigmoid(self.logit[level])[:, :, None, None]  # (B, C, 1, 1)
        # The density is even, so both ends are taken on the negative side, where sigmoids do not cancel.
        magnitude = symbols.abs()
        likelihood = torch.zeros_like(symbols)
        for k, share in ((0, weight), (1, 1 - weight)):
            upper = torch.sigmoid((0.5 - magnitude) / scale[..., k])
            lower = torch.sigmoid((-0.5 - magnitude) / scale[..., k])
            likelihood = likelihood + share * (upper - lower)
        return -torch.log2(likelihood.clamp_min(LIKELIHOOD_FLOOR))
