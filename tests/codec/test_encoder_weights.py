"""The analysis in a weight file: small, close to what it was, and read by one place."""

import numpy as np
import pytest
import torch

from nvc.codec.encoder_weights import expand, pack
from nvc.networks.image import ImageConfig, ImageNet


@pytest.fixture(scope="module")
def analysis() -> dict[str, np.ndarray]:
    """Of an image model; one channel a thousand times as strong as the others, one silent."""
    torch.manual_seed(3)
    net = ImageNet(ImageConfig(24, (16, 16, 16), (8, 8, 8))).requires_grad_(False)
    net.g_a[2].weight[5] *= 1000
    net.g_a[2].weight[6] = 0
    return {name: value.numpy() for name, value in net.state_dict().items() if name.startswith(("g_a.", "l_a."))}


def test_packs_and_expands(analysis: dict[str, np.ndarray]) -> None:
    packed = pack(analysis)
    assert packed["g_a.2.weight"].dtype == np.int8
    assert packed["g_a.2.weight.scale"].shape == (16,)
    assert {packed[name].dtype for name in ("l_a.weight", "l_a.bias", "g_a.2.bias")} == {np.dtype(np.float16)}
    assert sum(v.nbytes for v in packed.values()) < 0.3 * sum(v.nbytes for k, v in analysis.items() if k[0] == "g") + (
        analysis["l_a.weight"].nbytes
    )
    expanded = expand(packed)
    assert expanded.keys() == analysis.keys()
    for name, value in expanded.items():
        assert value.dtype == np.float32
        error, power = np.square(value - analysis[name]), np.square(analysis[name])
        channels = tuple(range(1, value.ndim))
        if value.ndim == 4:  # 8 bits of an even distribution: 48 dB
            assert (error.mean(channels) <= power.mean(channels) * 10**-4.4).all(), name
        else:
            assert np.allclose(value, analysis[name], rtol=2**-10, atol=1e-4)
    assert not expanded["g_a.2.weight"][6].any()


@pytest.mark.parametrize("bits", [4, 5, 6, 7])
def test_fewer_bits(bits: int, analysis: dict[str, np.ndarray]) -> None:
    """Six decibels less for each, and no number beyond them."""
    packed = pack(analysis, bits)
    whole = packed["g_a.4.weight"]
    assert np.abs(whole.astype(int)).max() == (1 << bits - 1) - 1
    error, value = expand(packed)["g_a.4.weight"] - analysis["g_a.4.weight"], analysis["g_a.4.weight"]
    noise = 10 * np.log10(np.square(value).mean() / np.square(error).mean())
    assert noise == pytest.approx(6.02 * bits, abs=2.5)
    assert {name: v.shape for name, v in packed.items()} == {name: v.shape for name, v in pack(analysis).items()}


def test_old_files_are_read(analysis: dict[str, np.ndarray]) -> None:
    """Those whose weights are in 16 bits, and those of published models in 32."""
    for kind in (np.float16, np.float32):
        plain = {name: value.astype(kind) for name, value in analysis.items()}
        assert all(np.array_equal(value, plain[name]) for name, value in expand(plain).items())


def test_refuses_a_scale_that_does_not_fit(analysis: dict[str, np.ndarray]) -> None:
    packed = pack(analysis)
    with pytest.raises(ValueError, match=r"g_a\.2\.weight has 16 channels, its scale \(3,\)"):
        expand(packed | {"g_a.2.weight.scale": np.ones(3, np.float32)})
    del packed["g_a.2.weight.scale"]
    with pytest.raises(KeyError, match="scale"):
        expand(packed)
