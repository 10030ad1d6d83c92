"""A trained video network to integer tensors, as `nvc.training.quantize` does for pictures."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nvc.networks.hyper_integer import MEAN_ONE, HyperDecoder
from nvc.networks.intra import LatentCoder, TransformNet
from nvc.networks.planes import PLANES
from nvc.networks.ssf import MotionNet, SsfNet
from nvc.networks.ssf_integer import FLOW_UNIT, PIXEL_UNIT, IntraDecoder, MotionDecoder, ResidualDecoder
from nvc.training.quantize import FloatLayer, activation_ranges, quantise_block, quantise_layers

FLOW_STEPS, SCALE_STEPS = 16.0, 16.0  # integers for a luma pixel of flow, for a pyramid level
Seen = dict[str, list[tuple[Tensor, Tensor]]]  # by information: z and dequantised y of training frames, (1, …) each


@torch.no_grad()
def decoder_tensors(net: SsfNet, seen: Seen, intra_boost: float = 0.0) -> dict[str, NDArray[Any]]:
    """`decoder.` of a weight file. seen: at mixed levels, for the ranges of activations.

    intra_boost: levels that I frames are coded above the others: all later frames are made of them.
    """
    kinds = {"intra": IntraDecoder, "residual": ResidualDecoder}
    named: dict[str, NDArray[Any]] = {}
    for name in ("intra", "motion", "residual"):
        part = getattr(net, name)
        boost = intra_boost if name == "intra" else 0.0
        ranges = activation_ranges(part.g_s, (y for _, y in seen[name]))
        if name == "motion":
            block: Any = _motion(part, ranges)
        else:
            block = _transform(kinds[name], part, ranges, boost)
        hyper = _hyper(part.coder, activation_ranges(part.coder.hyper.h_s, (z for z, _ in seen[name])), boost)
        named |= {f"{name}.{key}": value for key, value in block.tensors().items()}
        named |= {f"{name}.hyper.{key}": value for key, value in hyper.tensors().items()}
    return named


def boosted(table: Tensor, boost: float) -> Tensor:
    """Rows of a (levels, M) table of logarithms, read `boost` levels higher; beyond the last the slope goes on."""
    levels = torch.arange(len(table)) + boost
    below = levels.floor().clamp(0, len(table) - 2).long()
    return torch.lerp(table[below], table[below + 1], (levels - below)[:, None])


def _transform(kind: type[IntraDecoder], net: TransformNet, ranges: list[NDArray[np.float64]], boost: float) -> Any:
    layers = [FloatLayer.of(layer) for layer in net.g_s if isinstance(layer, nn.ConvTranspose2d)]
    assert net.l_s.bias is not None
    both = net.l_s.bias.double().numpy() + (0.5 if kind is IntraDecoder else 0.0)
    layers[-1] = replace(layers[-1], bias=layers[-1].bias + np.tile(both, 4))
    linear = net.l_s.weight.double().numpy().transpose(0, 2, 3, 1).reshape(net.config.latents, -1)
    log_step = boosted(net.coder.log_step, boost)
    return quantise_block(kind, layers, linear, ranges, log_step, PIXEL_UNIT, np.full(PLANES, 255.0))


def _motion(net: MotionNet, ranges: list[NDArray[np.float64]]) -> MotionDecoder:
    first, last = (FloatLayer.of(layer) for layer in net.g_s if isinstance(layer, nn.Conv2d))
    assert net.l_s.bias is not None
    # Torch's pixel_shuffle takes outputs in the order channel, phase; the integer decoder phase, channel.
    order = np.arange(12).reshape(3, 4).T.ravel()
    bias = last.bias + net.l_s.bias.double().numpy()
    last = FloatLayer(last.weight[order], bias[order], 4)
    linear = net.l_s.weight.double().numpy()[order, :, 0, 0].T
    scale = np.array([FLOW_STEPS, FLOW_STEPS, SCALE_STEPS])
    return quantise_block(MotionDecoder, [first, last], linear, ranges, net.coder.log_step, FLOW_UNIT, scale)


def _hyper(coder: LatentCoder, ranges: list[NDArray[np.float64]], boost: float) -> HyperDecoder:
    layers = [FloatLayer.of(layer) for layer in coder.hyper.h_s if isinstance(layer, nn.ConvTranspose2d)]
    m = coder.hyper.config.latents
    scale_out = np.repeat([float(MEAN_ONE), 1.0], m)
    convs = quantise_layers(layers, ranges, np.ones(coder.hyper.config.side), scale_out, None)
    offset = boosted(coder.hyper.offset, boost).double().numpy() * 2.0 ** convs[1].shift[m : 2 * m].astype(np.float64)
    decoder = HyperDecoder(convs, np.rint(offset).astype(np.int32))
    decoder.prove()
    return decoder
