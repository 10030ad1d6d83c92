"""The published widths are compressai's FactorizedPriorReLU: the same weights give the same numbers."""

import numpy as np
import pytest
import torch

from nvc.networks.image import PUBLISHED_HIGH, PUBLISHED_LOW, ImageConfig, ImageNet

WIDTHS = {"low": (PUBLISHED_LOW, 128, 192), "high": (PUBLISHED_HIGH, 192, 320)}


@pytest.fixture(params=WIDTHS)
def pair(request: pytest.FixtureRequest) -> tuple[ImageNet, torch.nn.Module]:
    """Ours and theirs with equal random weights, of a size that makes symbols well beyond 0."""
    models = pytest.importorskip("compressai.models")
    config, n, m = WIDTHS[request.param]
    torch.manual_seed(3)
    theirs = models.FactorizedPriorReLU(n, m).eval()
    with torch.no_grad():
        for name, value in theirs.named_parameters():
            if name.startswith(("g_a", "g_s")) and name.endswith("weight"):
                value.mul_(2.4)  # as strong as ReLUs need: signals keep their size from layer to layer
        theirs.g_a[-1].weight.mul_(20)
        theirs.g_s[-1].weight.mul_(0.1)
        theirs.entropy_bottleneck.quantiles[:, 0, 1] = torch.randn(m)
    ours = ImageNet(config).eval()
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert missing == []
    assert all(name.startswith("entropy_bottleneck.") for name in unexpected)
    return ours, theirs


@torch.no_grad()
def test_forward(pair: tuple[ImageNet, torch.nn.Module], photograph: np.ndarray) -> None:
    """Analysis, rounding around the medians and synthesis, to 1e-5."""
    ours, theirs = pair
    x = torch.from_numpy(photograph[:64, :80]).permute(2, 0, 1)[None].float() / 255
    y = ours.analysis(x)
    median = theirs.entropy_bottleneck.quantiles[:, 0, 1][:, None, None]
    symbols = torch.round(y - median)
    assert symbols.abs().amax() > 3
    decoded = ours.synthesis(symbols + median)
    torch.testing.assert_close(decoded, theirs(x)["x_hat"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(y, theirs.g_a(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_medians_matter(pair: tuple[ImageNet, torch.nn.Module], photograph: np.ndarray) -> None:
    """Plain rounding is something else: the test above would see it."""
    ours, theirs = pair
    x = torch.from_numpy(photograph[:64, :64]).permute(2, 0, 1)[None].float() / 255
    plain = ours.synthesis(ours.analysis(x).round())
    assert (plain - theirs(x)["x_hat"]).abs().amax() > 1e-3


@pytest.mark.parametrize(("config", "kmac"), [(PUBLISHED_LOW, 36.8), (ImageConfig(), 15)])
def test_cost(config: ImageConfig, kmac: float) -> None:
    """The published decoder costs 36.8 kMAC a pixel, ours at most 15."""
    macs = config.decoder_macs_per_pixel() / 1000
    assert macs == pytest.approx(kmac) if not config.linear else macs <= kmac
