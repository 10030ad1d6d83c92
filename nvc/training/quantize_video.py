"""A trained video network to integer tensors, as `nvc.training.quantize` does for pictures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nvc.networks.aivc import CodecNet, ModeNet
from nvc.networks.block_synthesis import BlockDecoder
from nvc.networks.hyper_integer import MEAN_ONE, HyperDecoder
from nvc.networks.integer import IntConv
from nvc.networks.intra import LatentCoder, TransformNet
from nvc.networks.planes import PLANES
from nvc.networks.ssf import FLOW_UNIT as MOTION_UNIT
from nvc.networks.ssf import MotionNet
from nvc.networks.ssf_integer import FLOW_UNIT, PIXEL_UNIT, IntraDecoder
from nvc.training.quantize import (
    Beside,
    FloatLayer,
    activation_ranges,
    hidden_scale,
    peak,
    quantise_block,
    quantise_layers,
    quantise_shortcut,
)

MOTION_SCALE = 16.0  # integers for a luma pixel of flow, for a pyramid level
# By information: z and dequantised y of training frames, (1, …) each, and what a shortcut sees where there is one.
Seen = dict[str, list[tuple[Tensor, ...]]]
Boost = float | tuple[float, ...]  # in levels; of each of them, or of all
Ranges = dict[str, list[NDArray[np.float64]]]  # of the hidden layers of "intra", "intra.hyper" and so on


def phases_first(made: int) -> NDArray[np.int64]:
    """Torch's pixel_shuffle takes outputs in the order channel, phase; the integer decoder phase, channel."""
    return np.arange(4 * made).reshape(made, 4).T.ravel()


def ranges_of(net: Any, seen: Seen) -> Ranges:
    """See `activation_ranges`. seen: at mixed levels."""
    ranges: Ranges = {}
    for name in seen:
        part = getattr(net, name)
        if hasattr(part, "shortcut"):
            ranges |= {f"{name}{which}": found for which, found in _beside_each_other(part, seen[name]).items()}
        else:
            ranges[name] = activation_ranges(part.g_s, (latents[1] for latents in seen[name]))
        hyper = part.coder.hyper.h_s
        (hidden,) = activation_ranges(hyper, (latents[0] for latents in seen[name]))
        ranges[f"{name}.hyper"] = [np.maximum(hidden, one_unit(hyper[0]))]
    for names in _sharing(net, list(seen)):  # they must stay the same networks in integers
        for which in ("", ".hyper", ".known"):
            found = [ranges[name + which] for name in names if name + which in ranges]
            most = [np.max(layers, axis=0) for layers in zip(*found, strict=True)]
            ranges |= {name + which: most for name in names if name + which in ranges}
    return ranges


def _sharing(net: Any, names: list[str]) -> list[list[str]]:
    """Informations whose networks are the same modules, together."""
    groups: dict[int, list[str]] = {}
    for name in names:
        groups.setdefault(id(getattr(net, name).g_s), []).append(name)
    return list(groups.values())


@torch.no_grad()
def _beside_each_other(part: Any, seen: list[tuple[Tensor, ...]]) -> Ranges:
    """Ranges of a synthesis with a shortcut, "", and of the shortcut, ".known"."""
    peaks: dict[str, list[list[Tensor]]] = {"": [], ".known": []}
    for _, y, given in seen:
        known, found = given, []
        for layer in part.shortcut:
            known = layer(known)
            if isinstance(layer, nn.ReLU):
                found.append(peak(known))
        peaks[".known"].append(found)
        x, found = y, []
        for i, layer in enumerate(part.g_s):
            x = layer(torch.cat([x, known], 1) if i == part.JOINED else x)
            if isinstance(layer, nn.ReLU):
                found.append(peak(x))
        peaks[""].append(found)
    return {
        which: [torch.stack(layer).amax(0).double().numpy() for layer in zip(*of, strict=True)]
        for which, of in peaks.items()
    }


def one_unit(layer: nn.ConvTranspose2d) -> NDArray[np.float64]:
    """(C,) the least range of a hyper-synthesis's hidden channels: with less its weights would need more than 8 bits.

    Side latents are integers, and where clips are few most of them are 0: their ranges may fall short of a single 1.
    """
    largest = layer.weight.detach().abs().amax((0, 2, 3)).double().numpy()
    return largest * (255 / 127)  # type: ignore[no-any-return]


@torch.no_grad()
def decoder_tensors(
    net: Any, kinds: Mapping[str, type[BlockDecoder]], ranges: Ranges, balance: Mapping[str, Boost]
) -> dict[str, NDArray[Any]]:
    """`decoder.` of a weight file. net: of a video codec; kinds: of the synthesis of each of its informations.

    balance: levels that an information is coded above what it was trained for, by name, 0 where it is missing: what
    later frames are made of is worth more than training on short chains says (docs/video_codec.md).
    """
    named: dict[str, NDArray[Any]] = {}
    for name, kind in kinds.items():
        part = getattr(net, name)
        boost = balance.get(name, 0.0)
        make: Any = _make_of(part)
        block = make(kind, part, ranges[name], boost, *([ranges[f"{name}.known"]] if kind.shortcut else []))
        hyper = _hyper(part.coder, ranges[f"{name}.hyper"], boost)
        named |= {f"{name}.{key}": value for key, value in block.tensors().items()}
        named |= {f"{name}.hyper.{key}": value for key, value in hyper.tensors().items()}
    return named


def _make_of(part: Any) -> Any:
    if isinstance(part, CodecNet):
        return _codec
    if isinstance(part, ModeNet):
        return _mode
    return _motion if isinstance(part, MotionNet) else _transform


def boosted(table: Tensor, boost: Boost) -> Tensor:
    """Rows of a (levels, M) table of logarithms, read `boost` levels higher; beyond the last the slope goes on."""
    levels = torch.arange(len(table)) + torch.tensor(boost)
    below = levels.floor().clamp(0, len(table) - 2).long()
    return torch.lerp(table[below], table[below + 1], (levels - below)[:, None])


def _transform(kind: type[BlockDecoder], net: TransformNet, ranges: list[NDArray[np.float64]], boost: Boost) -> Any:
    layers = [FloatLayer.of(layer) for layer in net.g_s if isinstance(layer, nn.ConvTranspose2d)]
    assert net.l_s.bias is not None
    both = net.l_s.bias.double().numpy() + (0.5 if kind is IntraDecoder else 0.0)
    layers[-1] = replace(layers[-1], bias=layers[-1].bias + np.tile(both, 4))
    linear = net.l_s.weight.double().numpy().transpose(0, 2, 3, 1).reshape(net.config.latents, -1)
    log_step = boosted(net.coder.log_step, boost)
    return quantise_block(kind, layers, linear, ranges, log_step, PIXEL_UNIT, np.full(PLANES, 255.0))


def _motion(
    kind: type[BlockDecoder], net: MotionNet, ranges: list[NDArray[np.float64]], boost: Boost,
    known: tuple[IntConv, ...] = (), beside: Beside | None = None, straight: int = 0,
) -> BlockDecoder:  # fmt: skip
    """straight: of how many numbers the network says nothing."""
    order = phases_first(net.config.made)
    first, last = (FloatLayer.of(layer) for layer in net.g_s if isinstance(layer, nn.Conv2d))
    assert net.l_s.bias is not None
    heard = np.arange(len(last.bias)) >= 4 * straight
    last = replace(last, weight=last.weight * heard[:, None, None, None], bias=last.bias * heard)
    bias = last.bias + net.l_s.bias.double().numpy()
    last = FloatLayer(last.weight[order], bias[order], 4)
    linear = net.l_s.weight.double().numpy()[order, :, 0, 0].T
    scale = np.full(net.config.made, MOTION_SCALE)
    log_step = boosted(net.coder.log_step, boost)
    return quantise_block(kind, [first, last], linear, ranges, log_step, FLOW_UNIT, scale, known, beside)


def folded(channels: int) -> NDArray[np.int64]:
    """Torch's pixel_unshuffle makes channels in the order channel, phase; space to depth phase, channel."""
    return np.arange(4 * channels).reshape(channels, 4).T.ravel()


def _shortcut(
    part: Any, kind: type[BlockDecoder], ranges: list[NDArray[np.float64]], unit: float, joined: int
) -> tuple[tuple[IntConv, ...], Beside]:
    """unit: integers for one unit of what it sees; joined: the layer of the synthesis."""
    layers = [FloatLayer.of(layer) for layer in part.shortcut if isinstance(layer, nn.Conv2d)]
    layers[0] = replace(layers[0], weight=layers[0].weight[:, folded(kind.seen // 4)])
    known = quantise_shortcut(layers, ranges, np.full(kind.seen, unit), kind.wide)
    return known, (joined, hidden_scale(ranges[-1]))


def _codec(
    kind: type[BlockDecoder], net: CodecNet, ranges: list[NDArray[np.float64]], boost: Boost,
    known: list[NDArray[np.float64]],
) -> Any:  # fmt: skip
    layers = [FloatLayer.of(layer) for layer in net.g_s if isinstance(layer, nn.ConvTranspose2d | nn.Conv2d)]
    assert net.l_s.bias is not None
    layers[-1] = replace(layers[-1], bias=layers[-1].bias + net.l_s.bias.double().numpy())
    linear = net.l_s.weight.double().numpy().transpose(0, 2, 3, 1).reshape(net.config.latents, -1)
    log_step = boosted(net.coder.log_step, boost)
    shortcut = _shortcut(net, kind, known, 255.0, kind.joined)
    return quantise_block(kind, layers, linear, ranges, log_step, PIXEL_UNIT, np.full(PLANES, 255.0), *shortcut)


def _mode(
    kind: type[BlockDecoder], net: ModeNet, ranges: list[NDArray[np.float64]], boost: Boost,
    known: list[NDArray[np.float64]],
) -> Any:  # fmt: skip
    shortcut = _shortcut(net, kind, known, MOTION_SCALE * MOTION_UNIT, kind.joined)
    return _motion(kind, net, ranges, boost, *shortcut, net.STRAIGHT)


def hyper_scale(latents: int) -> NDArray[np.float64]:
    """Integers for one unit of the means (symbols) and of the scale indexes of so many latents."""
    return np.repeat([float(MEAN_ONE), 1.0], latents)


def _hyper(coder: LatentCoder, ranges: list[NDArray[np.float64]], boost: Boost) -> HyperDecoder:
    layers = [FloatLayer.of(layer) for layer in coder.hyper.h_s if isinstance(layer, nn.ConvTranspose2d)]
    m = coder.hyper.config.latents
    scale_out = hyper_scale(m)
    convs = quantise_layers(layers, ranges, np.ones(coder.hyper.config.side), scale_out, None)
    offset = boosted(coder.hyper.offset, boost).double().numpy() * 2.0 ** convs[1].shift[m : 2 * m].astype(np.float64)
    decoder = HyperDecoder(convs, np.rint(offset).astype(np.int32))
    decoder.prove()
    return decoder
