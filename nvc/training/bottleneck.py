"""The factorised density of published checkpoints, from their tensors to tables of 16 bits (Ballé et al. 2018, 6.1).

Each channel has a cumulative function sigmoid(logits(x)), logits a small monotone network:
x <- softplus(matrix)·x + bias, then x <- x + tanh(factor)·tanh(x) but for the last layer. The operations, their order
and float32 are those of compressai, so that the tables come out equal to those which its `update()` makes.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nvc.entropy_coding.tables import TableSet, quantize_pmf

# matrices.0 since compressai 1.2.7, _matrix0 or _matrices.0 before.
_PARAMETER = re.compile(r"_?(matri(?:x|ces)|bias(?:es)?|factors?)\.?(\d+)")
_KINDS = {"m": "matrix", "b": "bias", "f": "factor"}
LENGTH_MAX = 4096  # values of a channel between its outer quantiles; an untrained checkpoint has 21


@dataclass(frozen=True, eq=False)
class FactorisedDensity:
    """Densities of M channels. matrices: (M, o, i) each, biases: (M, o, 1), factors: (M, o, 1), one fewer.

    quantiles: (M, 3), the lower tail's end, the median and the upper tail's beginning of each channel.
    """

    matrices: list[Tensor]
    biases: list[Tensor]
    factors: list[Tensor]
    quantiles: Tensor

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "FactorisedDensity":
        """From the entropy_bottleneck part of a state dict, new or old names. KeyError or ValueError if not one."""
        found: dict[str, dict[int, Tensor]] = {"matrix": {}, "bias": {}, "factor": {}}
        for name, value in state.items():
            if match := _PARAMETER.fullmatch(name):
                found[_KINDS[match[1][0]]][int(match[2])] = value.float()
        matrices, biases, factors = ([part[i] for i in range(len(part))] for part in found.values())
        quantiles = state["quantiles"].float()
        if quantiles.ndim != 3 or quantiles.shape[1:] != (1, 3):
            raise ValueError(f"the quantiles have shape {tuple(quantiles.shape)}, not (M, 1, 3)")
        if not matrices or len(biases) != len(matrices) or len(factors) != len(matrices) - 1:
            raise ValueError("the layers of the density are not complete")
        every = [*matrices, *biases, *factors, quantiles]
        if any(len(t) != len(quantiles) or not t.isfinite().all() for t in every):
            raise ValueError("the density's tensors do not fit together, or are not finite")
        return cls(matrices, biases, factors, quantiles[:, 0])

    def logits(self, x: Tensor) -> Tensor:
        """(M, 1, n) -> logit of the cumulative function at each x."""
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = torch.matmul(F.softplus(matrix), x) + bias
            if i < len(self.factors):
                x = x + torch.tanh(self.factors[i]) * torch.tanh(x)
        return x

    @torch.no_grad()
    def tables(self) -> TableSet:
        """One table for each channel, of values relative to its median. ValueError where the quantiles are absurd."""
        median = self.quantiles[:, 1]
        below = (median - self.quantiles[:, 0]).ceil().clamp(0, LENGTH_MAX).int()
        above = (self.quantiles[:, 2] - median).ceil().clamp(0, LENGTH_MAX).int()
        length = below + above + 1
        longest = int(length.max())
        if longest > LENGTH_MAX:
            raise ValueError(f"a channel's quantiles span {longest} values, more than {LENGTH_MAX}")
        samples = torch.arange(longest)[None, :] + (median - below)[:, None, None]
        lower, upper = self.logits(samples - 0.5), self.logits(samples + 0.5)
        mass = (torch.sigmoid(upper) - torch.sigmoid(lower))[:, 0]
        # Of the upper tail compressai counts what lies beyond the *longest* channel's last value, also for shorter
        # ones: their escapes cost more than they should. It must be so here, or its files' tables would differ.
        tail = torch.sigmoid(lower[:, 0, :1]) + torch.sigmoid(-upper[:, 0, -1:])
        rows = [
            quantize_pmf(torch.cat([row[:n], rest]).numpy()) for row, n, rest in zip(mass, length, tail, strict=True)
        ]
        return TableSet.from_rows(rows, (-below).numpy())


def stored_tables(state: dict[str, Tensor]) -> TableSet | None:
    """The tables that a state dict brings along; None where they are absent or empty. ValueError if unsound."""
    names = ("_quantized_cdf", "_cdf_length", "_offset")
    if any(name not in state or state[name].numel() == 0 for name in names):
        return None
    cdf, length, offset = (state[name].long().numpy() for name in names)
    if cdf.ndim != 2 or length.shape != (len(cdf),) or offset.shape != (len(cdf),):
        raise ValueError("its tables do not fit together")
    if length.min() < 3 or length.max() > cdf.shape[1]:
        raise ValueError("a table's length is not that of a row")
    return TableSet.from_rows([row[:n] for row, n in zip(cdf, length, strict=True)], offset)
