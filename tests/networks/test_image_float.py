"""The float decoder of published checkpoints: ImageNet's synthesis, tile by tile."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nvc.networks.image import ImageConfig, ImageNet
from nvc.networks.image_float import BLOCK, HALO, TILE, FloatDecoder

CONFIG = ImageConfig(12, (8, 8, 8), (8, 10, 6), linear=False)


@pytest.fixture(scope="module")
def net() -> ImageNet:
    torch.manual_seed(11)
    net = ImageNet(CONFIG).eval().requires_grad_(False)
    for layer in net.g_s[::2]:
        layer.weight.mul_(3)
    net.g_s[-1].bias.fill_(0.5)
    return net


@pytest.fixture(scope="module")
def decoder(net: ImageNet) -> FloatDecoder:
    median = torch.randn(12).numpy()
    state = {n: value.numpy() for n, value in net.state_dict().items() if n.startswith("g_s.")}
    return FloatDecoder.from_tensors(state | {"median": median})


def symbols(h: int, w: int) -> np.ndarray:
    return np.random.default_rng(8).integers(-3, 4, (12, h, w)).astype(np.int32)


def by_the_net(net: ImageNet, decoder: FloatDecoder, values: np.ndarray) -> np.ndarray:
    """clamp(round(255·g_s(symbols + median))), the whole picture at once."""
    y = torch.from_numpy(values).float() + torch.from_numpy(decoder.median)[:, None, None]
    x = net.synthesis(y[None])[0].permute(1, 2, 0)
    return (255 * x).round().clamp(0, 255).to(torch.uint8).numpy()


def test_small_picture(net: ImageNet, decoder: FloatDecoder) -> None:
    values = symbols(3, 5)
    shown = decoder.prepare().picture(decoder.dequantise(values, 0), 40, 75)
    want = by_the_net(net, decoder, values)
    assert len(np.unique(want)) > 100
    assert np.array_equal(shown, want[:40, :75])


def test_tiles_have_no_seams(net: ImageNet, decoder: FloatDecoder) -> None:
    """Four tiles, the last ones narrow. Kernels may sum in another order for another width: at most a last bit."""
    h, w = TILE + 1, TILE + HALO + 1
    values = symbols(h, w)
    shown = decoder.prepare().picture(decoder.dequantise(values, 0), BLOCK * h - 3, BLOCK * w - 7)
    want = by_the_net(net, decoder, values)[: BLOCK * h - 3, : BLOCK * w - 7]
    difference = np.abs(shown.astype(int) - want)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


def test_threads(decoder: FloatDecoder) -> None:
    values = decoder.dequantise(symbols(TILE + 3, TILE + 3), 0)
    before = torch.get_num_threads()
    shown = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        shown.append(decoder.prepare().picture(values, *(BLOCK * n for n in values.shape[:2])))
    torch.set_num_threads(before)
    assert np.array_equal(*shown)


def test_quantise_is_around_the_median(decoder: FloatDecoder) -> None:
    values = symbols(2, 3)
    latents = values + decoder.median[:, None, None] + np.float32(0.4)
    assert np.array_equal(decoder.quantise(latents.astype(np.float32), 0), values)


def test_extreme_symbols_are_kept(decoder: FloatDecoder) -> None:
    values = np.array([-32767, 32767] * 6, np.int32)[:, None, None]
    assert np.array_equal(decoder.dequantise(values, 0)[0, 0], values[:, 0, 0])


def test_tensors_round_trip(decoder: FloatDecoder) -> None:
    tensors = decoder.tensors()
    assert set(tensors) == {"median", *(f"g_s.{i}.{part}" for i in (0, 2, 4, 6) for part in ("weight", "bias"))}
    again = FloatDecoder.from_tensors(tensors).tensors()
    assert all(np.array_equal(tensors[name], again[name]) for name in tensors)


def test_unsound_tensors(decoder: FloatDecoder) -> None:
    poisoned = decoder.biases[1].copy()
    poisoned[2] = np.nan
    biases = decoder.biases
    for bad, reason in (
        (replace(decoder, median=decoder.median.astype(np.float64)), "finite float32"),
        (replace(decoder, biases=(biases[0], poisoned, *biases[2:])), "finite float32"),
        (replace(decoder, median=decoder.median[:-1]), "do not fit together"),
        (replace(decoder, biases=(biases[0][:-1], *biases[1:])), "do not fit together"),
        (replace(decoder, weights=decoder.weights[::-1]), "do not fit together"),
        (replace(decoder, weights=decoder.weights[:3], biases=biases[:3]), "not 4 layers that end in 3 colours"),
    ):
        with pytest.raises(ValueError, match=reason):
            bad.prove()
    with pytest.raises(KeyError, match="median"):
        FloatDecoder.from_tensors({n: v for n, v in decoder.tensors().items() if n != "median"})
