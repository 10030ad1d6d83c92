"""Real pictures, and a float network that is small but behaves like a trained one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nvc.networks.image import BLOCK, ImageConfig, ImageNet
from nvc.training.data import klt

DATA = Path(__file__).parents[1] / "data"
TINY = ImageConfig(24, (8, 8, 8), (16, 12, 8))


def read(name: str) -> np.ndarray:
    return np.array(Image.open(DATA / f"{name}.png").convert("RGB"))


@pytest.fixture(scope="session")
def pictures() -> dict[str, np.ndarray]:
    """Photographs by name, (H, W, 3) uint8. `sign` is a part of `demo`."""
    return {name: read(name) for name in ("demo", "sign", "stair", "hall")}


@pytest.fixture(scope="session")
def tiny_net(pictures: dict[str, np.ndarray]) -> ImageNet:
    """KLT, and network paths with random last layers that add a few pixel levels, as training leaves them."""
    torch.manual_seed(5)
    net = ImageNet(TINY).eval().requires_grad_(False)
    net.start_from_klt(*klt([pictures["demo"]], TINY.latents, BLOCK))
    for stack in (net.g_a, net.g_s):
        for layer in stack[::2]:
            layer.weight.mul_(2.4)
        torch.nn.init.normal_(stack[-1].weight, std=0.004)
        torch.nn.init.normal_(stack[-1].bias, std=0.004)
    return net


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """folder(*names): those photographs as a folder of files."""

    def make(*names: str) -> Path:
        path = tmp_path_factory.mktemp("pictures")
        for name in names:
            (path / f"{name}.png").write_bytes((DATA / f"{name}.png").read_bytes())
        return path

    return make


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small sums are slower on more threads, much slower beside another busy process."""
    torch.set_num_threads(1)
