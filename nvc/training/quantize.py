"""Float synthesis to integer tensors: weights of 8 bits, activations of 8 bits, every accumulator proven."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nvc.networks.image import ImageNet
from nvc.networks.image_integer import BLOCK, LEVELS, MANTISSA_BITS, STEP_ONE, UNIT, ImageDecoder
from nvc.networks.integer import EXACT, IntConv

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
def activation_ranges(net: ImageNet, latents: Iterable[Tensor]) -> list[NDArray[np.float64]]:
    """For each hidden layer the value (C,) that all but a few activations of every channel stay below.

    latents: dequantised latents (1, M, h, w) of training pictures at mixed levels, in pixels of 0..1.
    """
    peaks: list[list[Tensor]] = []
    for y in latents:
        x, seen = y, []
        for layer in net.g_s:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                flat = x.flatten(2)[0]
                seen.append(flat.kthvalue(max(1, int(ACTIVATION_QUANTILE * flat.shape[1])), dim=1).values)
        peaks.append(seen)
    return [torch.stack(layer).amax(dim=0).double().numpy() for layer in zip(*peaks, strict=True)]


def _quantise(
    weight: NDArray[np.float64], bias: NDArray[np.float64], common: int | None
) -> tuple[NDArray, NDArray, NDArray]:
    """int8 weights, int32 biases and shifts of the finest grid that fits 8 bits and the proof. ValueError if none."""
    outputs = weight.shape[0]
    shift = np.full(outputs, 31)
    for o in range(outputs):
        while True:
            scaled = np.rint(weight[o] * 2.0 ** shift[o])
            worst = 255 * np.abs(scaled).sum() + abs(bias[o]) * 2.0 ** shift[o] + 1
            if np.abs(scaled).max() <= 127 and worst < EXACT:
                break
            if shift[o] == 0:
                raise ValueError("a layer's weights do not fit 8 bits at any scale: did the training diverge?")
            shift[o] -= 1
    if common is not None:
        shift[:] = min(shift.min(), common)
    scale = 2.0 ** shift[:, None, None, None]
    quantised = np.clip(np.rint(weight * scale), -127, 127).astype(np.int8)
    return quantised, np.rint(bias * 2.0**shift).astype(np.int32), shift.astype(np.int8)


@torch.no_grad()
def quantise_synthesis(net: ImageNet, ranges: list[NDArray[np.float64]]) -> ImageDecoder:
    """The integer decoder of a trained net. ranges: of `activation_ranges`."""
    linear = net.l_s.weight.double().numpy() * 255 / UNIT  # (M, 3, 16, 16), levels per latent unit
    shift_linear = int(np.floor(np.log2(32767 / np.abs(linear).max())))
    matrix = np.rint(linear.transpose(0, 2, 3, 1).reshape(len(linear), BLOCK * BLOCK * 3) * 2.0**shift_linear)
    deconvs = [layer for layer in net.g_s if isinstance(layer, nn.ConvTranspose2d)]
    scale_in = np.full(net.config.latents, float(UNIT))
    convs = []
    for i, layer in enumerate(deconvs):
        assert layer.bias is not None
        last = i == len(deconvs) - 1
        weight, bias = as_3x3(layer.weight), layer.bias.double().numpy()
        if last:
            assert net.l_s.bias is not None
            scale_out = np.full(3, 255.0)
            bias = bias + net.l_s.bias.double().numpy() + MID_GREY / 255
        else:
            # A channel that hardly ever speaks must not blow its noise up to full scale.
            scale_out = 255 / np.maximum(ranges[i], 0.01 * ranges[i].max() or 1.0)
        out = np.tile(scale_out, 4)
        weight = weight * out[:, None, None, None] / scale_in[None, :, None, None]
        quantised, offset, shift = _quantise(weight, np.tile(bias, 4) * out, shift_linear if last else None)
        convs.append(IntConv(quantised, offset, shift, wide=i == 0, raw=last))
        scale_in = scale_out
    log_step = (net.log_step.double() / np.log(2)).numpy() + np.log2(UNIT)
    decoder = ImageDecoder(
        tuple(convs),
        matrix.astype(np.int16),
        shift_linear - int(convs[-1].shift[0]),
        shift_linear,
        np.clip(np.rint(log_step * STEP_ONE), 0, MANTISSA_BITS * STEP_ONE).astype(np.int32).reshape(LEVELS, -1),
    )
    decoder.prove()
    return decoder
