"""Real pixels and real latents for the networks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nvc.codec import models
from nvc.codec.picture import EncodeSettings, PictureEncoder
from nvc.media.pictures import Picture
from nvc.networks.image_integer import ImageDecoder
from nvc.networks.scale_space_flow import FlowConfig, HyperpriorCoder, ScaleSpaceFlow

DATA = Path(__file__).parents[1] / "data"


def read(name: str) -> np.ndarray:
    return np.array(Image.open(DATA / f"{name}.png").convert("RGB"))


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """(192, 256, 3) uint8."""
    return read("sign")


@pytest.fixture(scope="session")
def shipped() -> ImageDecoder:
    """The integer decoder of the model that comes with nvc."""
    decoder = models.load().decoder
    assert isinstance(decoder, ImageDecoder)
    return decoder


@pytest.fixture(scope="session")
def latents_of(shipped: ImageDecoder) -> Callable[[str, int], np.ndarray]:
    """latents_of(picture, quality code): what the shipped model codes of a photograph, (h, w, M) int16."""
    encoders: dict[str, PictureEncoder] = {}

    def latents(name: str, code: int) -> np.ndarray:
        if name not in encoders:
            encoders[name] = PictureEncoder(Picture(read(name)), EncodeSettings(rdoq=0))
        return shipped.dequantise(encoders[name].symbols(code), code)

    return latents


@torch.no_grad()
def enliven(part: HyperpriorCoder, gain: float) -> None:
    """Random weights as a trained network has them: symbols beyond 0, scales from 0.03 to 20, motion of some pixels."""
    for name, value in part.named_parameters():
        if name.endswith("weight"):
            value.mul_(2.4)  # as strong as ReLUs need: signals keep their size from layer to layer
    m = len(part.median)
    part.median.copy_(torch.randn(m))
    spread = torch.exp(torch.empty(m).uniform_(-3.5, 1.5))
    part.analysis[-1].weight.mul_(15)
    part.synthesis[-1].weight.mul_(gain)
    part.hyper_mean[-1].weight.mul_(4)
    part.hyper_scale[4].weight.mul_(spread[:, None, None])
    part.hyper_scale[4].bias.copy_(spread)


@pytest.fixture(scope="session")
def lively_flow() -> Callable[[FlowConfig], ScaleSpaceFlow]:
    """lively_flow(config): a ScaleSpaceFlow of random weights that behaves like a trained one."""

    def make(config: FlowConfig) -> ScaleSpaceFlow:
        torch.manual_seed(3)
        net = ScaleSpaceFlow(config).eval().requires_grad_(False)
        for name in ("intra", "motion", "residual"):
            enliven(getattr(net, name), 0.01 if name == "motion" else 0.04)
        net.intra.synthesis[-1].bias.fill_(0.5)
        return net

    return make


@pytest.fixture(scope="session")
def moving_parts() -> Callable[..., list[np.ndarray]]:
    """moving_parts(photograph, height, width): three frames of it that move by (2, 3) pixels each time, (h, w, 3)."""

    def make(photograph: np.ndarray, height: int, width: int) -> list[np.ndarray]:
        return [photograph[2 * i : 2 * i + height, 3 * i : 3 * i + width].copy() for i in range(3)]

    return make
