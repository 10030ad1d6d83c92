"""The float synthesis in integers: the same convolution, proven, and close."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nvc.networks.image import LEVELS, ImageNet
from nvc.networks.image_analysis import analyse, pad_to_blocks
from nvc.networks.image_integer import STEP_ONE, UNIT, ImageDecoder, Synthesis
from nvc.networks.integer import EXACT, NumpyEngine, depth_to_space
from nvc.training.dequantize import from_3x3
from nvc.training.quantize import activation_ranges, as_3x3, quantise_synthesis

CUT = (slice(40, 136), slice(60, 188))  # of `sign`


def test_as_3x3() -> None:
    """Transposed 5x5 of stride 2 = 3x3 to four times the channels, then depth to space."""
    torch.manual_seed(1)
    x, weight = torch.randn(2, 6, 5, 7).double(), torch.randn(6, 3, 5, 5).double()
    want = F.conv_transpose2d(x, weight, stride=2, padding=2, output_padding=1)
    wide = F.conv2d(x, torch.from_numpy(as_3x3(weight)), padding=1)
    got = depth_to_space(wide.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, want, atol=1e-12, rtol=0)
    assert np.array_equal(from_3x3(as_3x3(weight)), weight.numpy())


def dequantised(net: ImageNet, pixels: np.ndarray, level: int) -> torch.Tensor:
    """What the float decoder of this net sees at level 0..7."""
    y = torch.from_numpy(analyse(net, pad_to_blocks(pixels)))[None]
    step = net.step(torch.tensor([float(level)]))
    return torch.round(y / step) * step


@pytest.fixture(scope="module")
def decoder(tiny_net: ImageNet, pictures: dict[str, np.ndarray]) -> ImageDecoder:
    """Ranges from other pictures than those it is tried on."""
    seen = [dequantised(tiny_net, pictures[name], level) for name in ("stair", "hall") for level in range(LEVELS)]
    return quantise_synthesis(tiny_net, activation_ranges(tiny_net.g_s, seen))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(a.astype(float) - b).mean() / 255**2))


@pytest.mark.parametrize(("level", "allowed"), [(1, 0.05), (4, 0.05), (6, 0.05), (7, 0.15), (8, 0.15)])
def test_loss_is_bounded(
    tiny_net: ImageNet, decoder: ImageDecoder, pictures: dict[str, np.ndarray], level: int, allowed: float
) -> None:
    """dB that integers cost on real latents, against the float network of the same symbols."""
    pixels = pictures["sign"][CUT]
    with torch.no_grad():
        y = dequantised(tiny_net, pixels, level - 1)
        shown = (255 * tiny_net.synthesis(y)).round().clamp(0, 255)[0].permute(1, 2, 0).numpy()
        plain = (255 * (tiny_net.l_s(y) + 0.5)).round().clamp(0, 255)[0].permute(1, 2, 0).numpy()
    assert psnr(shown, plain) < 45  # the network path does something
    code = (level - 1) * STEP_ONE
    symbols = decoder.quantise(analyse(tiny_net, pixels) * UNIT, code).astype(np.int32)
    integers = Synthesis(decoder, NumpyEngine()).picture(decoder.dequantise(symbols, code), *pixels.shape[:2])
    assert psnr(integers, pixels) > psnr(shown, pixels) - allowed
    assert psnr(integers, shown) > 46


def test_proof_holds(decoder: ImageDecoder) -> None:
    """And is not far from its bounds: a grid coarser than need be would pass as well."""
    decoder.prove()
    for conv in decoder.convs:
        weight = conv.weight.astype(np.int64)
        worst = 255 * np.abs(weight).sum(axis=(1, 2, 3)) + np.abs(conv.bias.astype(np.int64))
        assert worst.max() < EXACT
        # twice as fine would not fit 8 bits or the proof, for the output that decides
        tight = (np.abs(weight).max(axis=(1, 2, 3)) >= 63) | (worst >= EXACT // 2 - 256)
        assert tight.any() if conv.raw else tight.all()
    assert [conv.wide for conv in decoder.convs] == [True, False, False, False]
    assert [conv.raw for conv in decoder.convs] == [False, False, False, True]
    assert 1 << 14 <= np.abs(decoder.linear.astype(int)).max() < 1 << 15


def test_steps_are_kept(tiny_net: ImageNet, decoder: ImageDecoder) -> None:
    for level in range(LEVELS):
        want = tiny_net.log_step[level].exp().numpy() * UNIT
        assert decoder.step_sizes(level * STEP_ONE) == pytest.approx(want, rel=2e-4)
    assert all(a > b for a, b in pairwise(decoder.step_sizes(c).mean() for c in range(0, 7 * STEP_ONE + 1, 2048)))


def test_silent_channels(tiny_net: ImageNet) -> None:
    """A channel that no training latent wakes is not blown up; a layer that none wakes still quantises."""
    ranges = [np.zeros(16), np.r_[np.zeros(11), 2.0], np.full(8, 0.5)]
    decoder = quantise_synthesis(tiny_net, ranges)
    assert decoder.convs[1].shift.min() >= 0


def test_diverged_weights_are_refused(tiny_net: ImageNet) -> None:
    import copy

    net = copy.deepcopy(tiny_net)
    net.g_s[2].weight[0, 0, 0, 0] = 1e6
    with pytest.raises(ValueError, match="do not fit 8 bits at any scale"):
        quantise_synthesis(net, [np.full(16, 0.5), np.full(12, 0.5), np.full(8, 0.5)])
