"""A trained video network to integer tensors, as `nvc.training.quantize` does for pictures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nvc.networks.block_synthesis import BlockDecoder
from nvc.networks.hyper_integer import MEAN_ONE, HyperDecoder
from nvc.networks.intra import LatentCoder, TransformNet
from nvc.networks.planes import PLANES
from nvc.networks.ssf import MotionNet
from nvc.networks.ssf_integer import FLOW_UNIT, PIXEL_UNIT, IntraDecoder
from nvc.training.quantize import FloatLayer, activation_ranges, quantise_block, quantise_layers

MOTION_SCALE = 16.0  # integers for a luma pixel of flow, for a pyramid level
Seen = dict[str, list[tuple[Tensor, Tensor]]]  # by information: z and dequantised y of training frames, (1, …) each
Ranges = dict[str, list[NDArray[np.float64]]]  # of the hidden layers of "intra", "intra.hyper" and so on


def phases_first(made: int) -> NDArray[np.int64]:
    """Torch's pixel_shuffle takes outputs in the order channel, phase; the integer decoder phase, channel."""
    return np.arange(4 * made).reshape(made, 4).T.ravel()


def ranges_of(net: Any, seen: Seen) -> Ranges:
    """See `activation_ranges`. seen: at mixed levels."""
    ranges: Ranges = {}
    for name in seen:
        part = getattr(net, name)
        ranges[name] = activation_ranges(part.g_s, (y for _, y in seen[name]))
        hyper = part.coder.hyper.h_s
        (hidden,) = activation_ranges(hyper, (z for z, _ in seen[name]))
        ranges[f"{name}.hyper"] = [np.maximum(hidden, one_unit(hyper[0]))]
    return ranges


def one_unit(layer: nn.ConvTranspose2d) -> NDArray[np.float64]:
    """(C,) the least range of a hyper-synthesis's hidden channels: with less its weights would need more than 8 bits.

    Side latents are integers, and where clips are few most of them are 0: their ranges may fall short of a single 1.
    """
    largest = layer.weight.detach().abs().amax((0, 2, 3)).double().numpy()
    return largest * (255 / 127)  # type: ignore[no-any-return]


@torch.no_grad()
def decoder_tensors(
    net: Any, kinds: Mapping[str, type[BlockDecoder]], ranges: Ranges, balance: Mapping[str, float]
) -> dict[str, NDArray[Any]]:
    """`decoder.` of a weight file. net: of a video codec; kinds: of the synthesis of each of its informations.

    balance: levels that an information is coded above what it was trained for, by name, 0 where it is missing: what
    later frames are made of is worth more than training on short chains says (docs/video_codec.md).
    """
    named: dict[str, NDArray[Any]] = {}
    for name, kind in kinds.items():
        part = getattr(net, name)
        boost = balance.get(name, 0.0)
        make: Any = _motion if isinstance(part, MotionNet) else _transform
        block = make(kind, part, ranges[name], boost)
        hyper = _hyper(part.coder, ranges[f"{name}.hyper"], boost)
        named |= {f"{name}.{key}": value for key, value in block.tensors().items()}
        named |= {f"{name}.hyper.{key}": value for key, value in hyper.tensors().items()}
    return named


def boosted(table: Tensor, boost: float) -> Tensor:
    """Rows of a (levels, M) table of logarithms, read `boost` levels higher; beyond the last the slope goes on."""
    levels = torch.arange(len(table)) + boost
    below = levels.floor().clamp(0, len(table) - 2).long()
    return torch.lerp(table[below], table[below + 1], (levels - below)[:, None])


def _transform(kind: type[BlockDecoder], net: TransformNet, ranges: list[NDArray[np.float64]], boost: float) -> Any:
    layers = [FloatLayer.of(layer) for layer in net.g_s if isinstance(layer, nn.ConvTranspose2d)]
    assert net.l_s.bias is not None
    both = net.l_s.bias.double().numpy() + (0.5 if kind is IntraDecoder else 0.0)
    layers[-1] = replace(layers[-1], bias=layers[-1].bias + np.tile(both, 4))
    linear = net.l_s.weight.double().numpy().transpose(0, 2, 3, 1).reshape(net.config.latents, -1)
    log_step = boosted(net.coder.log_step, boost)
    return quantise_block(kind, layers, linear, ranges, log_step, PIXEL_UNIT, np.full(PLANES, 255.0))


def _motion(kind: type[BlockDecoder], net: MotionNet, ranges: list[NDArray[np.float64]], boost: float) -> BlockDecoder:
    order = phases_first(net.config.made)
    first, last = (FloatLayer.of(layer) for layer in net.g_s if isinstance(layer, nn.Conv2d))
    assert net.l_s.bias is not None
    bias = last.bias + net.l_s.bias.double().numpy()
    last = FloatLayer(last.weight[order], bias[order], 4)
    linear = net.l_s.weight.double().numpy()[order, :, 0, 0].T
    scale = np.full(net.config.made, MOTION_SCALE)
    return quantise_block(kind, [first, last], linear, ranges, boosted(net.coder.log_step, boost), FLOW_UNIT, scale)


def hyper_scale(latents: int) -> NDArray[np.float64]:
    """Integers for one unit of the means (symbols) and of the scale indexes of so many latents."""
    return np.repeat([float(MEAN_ONE), 1.0], latents)


def _hyper(coder: LatentCoder, ranges: list[NDArray[np.float64]], boost: float) -> HyperDecoder:
    layers = [FloatLayer.of(layer) for layer in coder.hyper.h_s if isinstance(layer, nn.ConvTranspose2d)]
    m = coder.hyper.config.latents
    scale_out = hyper_scale(m)
    convs = quantise_layers(layers, ranges, np.ones(coder.hyper.config.side), scale_out, None)
    offset = boosted(coder.hyper.offset, boost).double().numpy() * 2.0 ** convs[1].shift[m : 2 * m].astype(np.float64)
    decoder = HyperDecoder(convs, np.rint(offset).astype(np.int32))
    decoder.prove()
    return decoder
