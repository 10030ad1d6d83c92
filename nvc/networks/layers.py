"""Layers that every codec shares."""

from itertools import pairwise

from torch import nn


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    """5x5 convolution, stride 2: (B, inputs, H, W) -> (B, outputs, ceil(H/2), ceil(W/2))."""
    return nn.Conv2d(inputs, outputs, kernel_size=5, stride=2, padding=2)


def deconv(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """5x5 transposed convolution, stride 2: (B, inputs, H, W) -> (B, outputs, 2H, 2W)."""
    return nn.ConvTranspose2d(inputs, outputs, kernel_size=5, stride=2, padding=2, output_padding=1)


def conv_stack(widths: tuple[int, ...], activation: type[nn.Module]) -> nn.Sequential:
    """Strided convolutions between consecutive `widths`, the activation between them, none after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [conv(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def deconv_stack(widths: tuple[int, ...]) -> nn.Sequential:
    """Strided transposed convolutions between consecutive `widths`, ReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [deconv(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
