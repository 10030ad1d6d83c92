"""Running the float analysis of the image codec: pictures of any size to latents, the same for any number of threads.

Tiles of a fixed size are analysed each by one thread alone, so neither their sums nor their borders depend on how
many run at once, and the activations that exist at one time do not grow with the picture.
"""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nvc.networks.image import BLOCK, ImageConfig, ImageNet
from nvc.threads import spread

TILE_ROWS, TILE_COLUMNS = 16, 128  # latents of one tile; two tiles of 768x512 pixels, and little halo beside them
HALO = 2  # latents around it: four 5x5 layers see 30 pixels beyond their block


def load_analysis(config: ImageConfig, tensors: dict[str, NDArray[np.float32]]) -> ImageNet:
    """An ImageNet whose analysis is that of a weight file; its synthesis is not filled in. ValueError if incomplete."""
    net = ImageNet(config).eval()
    state = {name: torch.from_numpy(value.astype(np.float32)) for name, value in tensors.items()}
    missing = [name for name in net.load_state_dict(state, strict=False)[0] if name.startswith(("g_a.", "l_a."))]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    net.requires_grad_(False)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def pad_to_blocks(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) to multiples of 16, the last row and column repeated; the same array where there is nothing to add."""
    height, width = pixels.shape[:2]
    if height % BLOCK == 0 and width % BLOCK == 0:
        return pixels
    return np.pad(pixels, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge")


def analyse(net: ImageNet, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8, H and W multiples of 16 -> latents (M, H/16, W/16) float32, in pixels of 0..1."""
    rows, columns = (n // BLOCK for n in pixels.shape[:2])
    latents = np.empty((net.config.latents, rows, columns), np.float32)

    def tile(corner: tuple[int, int]) -> None:
        top, left = corner
        bottom, right = min(rows, top + TILE_ROWS), min(columns, left + TILE_COLUMNS)
        first, start = max(0, top - HALO), max(0, left - HALO)
        seen = pixels[BLOCK * first : BLOCK * (bottom + HALO), BLOCK * start : BLOCK * (right + HALO)]
        x: Tensor = torch.from_numpy(seen.astype(np.float32)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            y = net.analysis(x.contiguous(memory_format=torch.channels_last) / 255)[0].numpy()
        latents[:, top:bottom, left:right] = y[:, top - first : bottom - first, left - start : right - start]

    spread(tile, itertools.product(range(0, rows, TILE_ROWS), range(0, columns, TILE_COLUMNS)))
    return latents
