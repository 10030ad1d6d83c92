"""Real pictures, and a float network that is small but behaves like a trained one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nvc.frames import Frame420
from nvc.networks.image import BLOCK, ImageConfig, ImageNet
from nvc.networks.planes import pad_planes
from nvc.training.clips import Clip
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


@pytest.fixture(autouse=True, scope="module")
def one_thread_for_shared_fixtures() -> None:
    """They are made before `one_thread`, and sums of several threads are not the same twice."""
    torch.set_num_threads(1)


def frame_of(pixels: np.ndarray) -> Frame420:
    """RGB of even sides to planes, roughly as BT.601."""
    r, g, b = pixels.astype(np.float64).transpose(2, 0, 1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    chroma = [128 + (b - y) * 0.564, 128 + (r - y) * 0.713]
    small = [plane.reshape(len(y) // 2, 2, -1, 2).mean((1, 3)) for plane in chroma]
    return Frame420(*(np.rint(plane).clip(0, 255).astype(np.uint8) for plane in (y, *small)))


@pytest.fixture(scope="session")
def moving() -> Callable[..., list[Frame420]]:
    """moving(name, height, width, (down, right), frames): a window over a photograph that moves by so much a frame."""

    def make(name: str, height: int, width: int, motion: tuple[int, int], frames: int = 4) -> list[Frame420]:
        pixels, (down, right) = read(name), motion
        return [frame_of(pixels[down * i :][:height, right * i :][:, :width]) for i in range(frames)]

    return make


@pytest.fixture(scope="session")
def clips(moving: Callable[..., list[Frame420]]) -> list[Clip]:
    """Three clips with the flow that they really have."""
    made = []
    for name, height, width, motion in (
        ("sign", 128, 192, (2, 5)),
        ("stair", 96, 128, (1, 0)),
        ("sign", 96, 96, (3, 3)),
    ):
        frames = moving(name, height, width, motion)
        flow = np.empty((2, len(frames) - 1, 2, height // 8, width // 8), np.int16)
        flow[:, :, 0], flow[:, :, 1] = 16 * motion[1], 16 * motion[0]
        flow[1] *= -1
        made.append(Clip(np.stack([pad_planes(frame).transpose(2, 0, 1) for frame in frames]), flow))
    return made


@pytest.fixture(scope="session")
def cache(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those clips as a training run finds them."""
    path = tmp_path_factory.mktemp("clips") / "clips.npz"
    arrays = {f"p{i}": clip.planes for i, clip in enumerate(clips)} | {f"f{i}": c.flows for i, c in enumerate(clips)}
    np.savez(path, **arrays)
    return path
