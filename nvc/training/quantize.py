"""Float synthesis to integer tensors: weights of 8 bits, activations of 8 bits, every accumulator proven."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nvc.networks.block_synthesis import BlockDecoder
from nvc.networks.image import ImageNet
from nvc.networks.image_integer import UNIT, ImageDecoder
from nvc.networks.integer import EXACT, IntConv
from nvc.networks.steps import LEVELS, MANTISSA_BITS, STEP_ONE

Decoder = TypeVar("Decoder", bound=BlockDecoder)

Beside = tuple[int, NDArray[np.float64]]  # a layer, and integers for one unit of each input that it has besides

MID_GREY = 127.5  # PIXEL_OFFSET in levels
ACTIVATION_QUANTILE = 0.9999


def as_3x3(weight: Tensor) -> NDArray[np.float64]:
    """A transposed 5x5 stride-2 kernel (I, O, 5, 5) as a 3x3 kernel (4·O, I, 3, 3), outputs in the order dy, dx, o.

    Output row 2p + dy takes input row p + d with tap dy + 2 - 2d; taps that the 5x5 kernel has not are 0.
    """
    w = weight.detach().double().numpy()
    inputs, outputs = w.shape[:2]
    result = np.zeros((2, 2, outputs, inputs, 3, 3))
    for dy in (0, 1):
        for dx in (0, 1):
            for a in range(3):
                for b in range(3):
                    tap_y, tap_x = dy + 2 - 2 * (a - 1), dx + 2 - 2 * (b - 1)
                    if tap_y < 5 and tap_x < 5:
                        result[dy, dx, :, :, a, b] = w[:, :, tap_y, tap_x].T
    return result.reshape(4 * outputs, inputs, 3, 3)


@torch.no_grad()
def activation_ranges(synthesis: nn.Sequential, latents: Iterable[Tensor]) -> list[NDArray[np.float64]]:
    """For each hidden layer the value (C,) that all but a few activations of every channel stay below.

    latents: what the synthesis sees of training pictures at mixed levels, (1, M, h, w).
    """
    peaks: list[list[Tensor]] = []
    for y in latents:
        x, seen = y, []
        for layer in synthesis:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                seen.append(peak(x))
        peaks.append(seen)
    return [torch.stack(layer).amax(dim=0).double().numpy() for layer in zip(*peaks, strict=True)]


def peak(x: Tensor) -> Tensor:
    """(C,) what all but a few of the activations (1, C, h, w) stay below."""
    flat = x.flatten(2)[0]
    return flat.kthvalue(max(1, int(ACTIVATION_QUANTILE * flat.shape[1])), dim=1).values


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """A layer as a 3x3 convolution in float. phases: outputs of one channel, 4 where depth to space follows, else 1."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    phases: int

    @classmethod
    def of(cls, layer: nn.Module) -> "FloatLayer":
        """A 3x3 convolution, or a transposed 5x5 one of stride 2."""
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        assert layer.bias is not None
        bias = layer.bias.detach().double().numpy()
        if isinstance(layer, nn.Conv2d):
            return cls(layer.weight.detach().double().numpy(), bias, 1)
        return cls(as_3x3(layer.weight), np.tile(bias, 4), 4)


def hidden_scale(largest: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C,) integers for one unit of a hidden layer's channels; largest: one layer of `activation_ranges`."""
    # A channel that hardly ever speaks must not blow its noise up to full scale.
    return 255 / np.maximum(largest, 0.01 * largest.max() or 1.0)


def quantise_layers(
    layers: list[FloatLayer], ranges: list[NDArray[np.float64]], scale_in: NDArray[np.float64],
    scale_out: NDArray[np.float64], common: int | None, beside: Beside | None = None,
) -> tuple[IntConv, ...]:  # fmt: skip
    """Layers with ReLU between them, the first wide, the last raw.

    ranges: of `activation_ranges`; scale_in: integers for one unit of each input; scale_out: of each output channel.
    common: the most that the last layer's shift may be, the same for all its outputs; None: a shift for each of its
    channels. beside: what a shortcut adds to the inputs of a layer. ValueError where weights fit no grid.
    """
    convs = []
    for i, layer in enumerate(layers):
        last = i == len(layers) - 1
        scale = scale_out if last else hidden_scale(ranges[i])
        if beside is not None and i == beside[0]:
            scale_in = np.concatenate([scale_in, beside[1]])
        out = np.tile(scale, layer.phases)
        weight = layer.weight * out[:, None, None, None] / scale_in[None, :, None, None]
        bias = layer.bias * out
        shift = _shifts(weight, bias)
        if last:
            shift = np.tile(shift.reshape(layer.phases, -1).min(axis=0), layer.phases)
            shift = shift if common is None else np.full_like(shift, min(shift.min(), common))
        quantised = np.clip(np.rint(weight * 2.0 ** shift[:, None, None, None]), -127, 127).astype(np.int8)
        offset = np.rint(bias * 2.0**shift).astype(np.int32)
        convs.append(IntConv(quantised, offset, shift.astype(np.int8), wide=i == 0, raw=last))
        scale_in = scale
    return tuple(convs)


def quantise_shortcut(
    layers: list[FloatLayer], ranges: list[NDArray[np.float64]], scale_in: NDArray[np.float64], wide: bool
) -> tuple[IntConv, ...]:
    """As `quantise_layers`, with ReLU behind every layer. wide: whether the first sees 16 bits."""
    more = FloatLayer(np.zeros((4, layers[-1].weight.shape[0], 3, 3)), np.zeros(4), 1)
    convs = quantise_layers([*layers, more], ranges, scale_in, np.ones(4), None)[:-1]
    return replace(convs[0], wide=wide), *convs[1:]


def _shifts(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each output the finest grid that fits 8 bits and the proof. ValueError if none."""
    shift = np.full(len(weight), 31)
    for o in range(len(weight)):
        while True:
            scaled = np.rint(weight[o] * 2.0 ** shift[o])
            worst = 255 * np.abs(scaled).sum() + abs(bias[o]) * 2.0 ** shift[o] + 1
            if np.abs(scaled).max() <= 127 and worst < EXACT:
                break
            if shift[o] == 0:
                raise ValueError(
                    "a layer's weights do not fit 8 bits at any scale: did the training diverge, or hardly begin?"
                )
            shift[o] -= 1
    return shift


def quantise_block(
    kind: type[Decoder], layers: list[FloatLayer], linear: NDArray[np.float64], ranges: list[NDArray[np.float64]],
    log_step: Tensor, unit: float, scale_out: NDArray[np.float64], known: tuple[IntConv, ...] = (),
    beside: Beside | None = None,
) -> Decoder:  # fmt: skip
    """A BlockDecoder. known, beside: of its shortcut, if it has one.

    linear: (M, planes·block²) in sample units for one of y, outputs in the order row, column, plane; the last layer's
    bias holds what both paths add. log_step: (levels, M) natural logarithms, in units of y.
    unit: latent units in one of y; scale_out: (planes,) integers for one unit of a sample.
    """
    matrix = linear * np.tile(scale_out, linear.shape[1] // len(scale_out)) / unit
    shift = int(np.floor(np.log2(32767 / np.abs(matrix).max())))
    convs = quantise_layers(layers, ranges, np.full(len(linear), unit), scale_out, shift, beside)
    logs = log_step.detach().double().numpy() / np.log(2) + np.log2(unit)
    decoder = kind(
        convs,
        np.rint(matrix * 2.0**shift).astype(np.int16, order="C"),
        shift - int(convs[-1].shift[0]),
        shift,
        np.clip(np.rint(logs * STEP_ONE), 0, MANTISSA_BITS * STEP_ONE).astype(np.int32).reshape(LEVELS, -1),
        known,
    )
    decoder.prove()
    return decoder


@torch.no_grad()
def quantise_synthesis(net: ImageNet, ranges: list[NDArray[np.float64]]) -> ImageDecoder:
    """The integer decoder of a trained net. ranges: of `activation_ranges`."""
    layers = [FloatLayer.of(layer) for layer in net.g_s if isinstance(layer, nn.ConvTranspose2d)]
    assert net.l_s.bias is not None
    both = np.tile(net.l_s.bias.double().numpy() + MID_GREY / 255, 4)
    layers[-1] = replace(layers[-1], bias=layers[-1].bias + both)
    linear = net.l_s.weight.double().numpy().transpose(0, 2, 3, 1).reshape(net.config.latents, -1)
    return quantise_block(ImageDecoder, layers, linear, ranges, net.log_step, UNIT, np.full(3, 255.0))
