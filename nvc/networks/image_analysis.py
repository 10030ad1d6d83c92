"""Running the float analysis of the image codec: pictures of any size to latents, the same for any number of threads.

Strips of a fixed height are analysed each by one thread alone, so neither their sums nor their borders depend on
how many run at once.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nvc.networks.image import BLOCK, ImageConfig, ImageNet

STRIP_ROWS = 8  # latent rows of one strip
HALO = 2  # latent rows above and below: four 5x5 layers see 30 pixels beyond their block


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
    """(H, W, 3) to multiples of 16, the last row and column repeated."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge")


def analyse(net: ImageNet, pixels: NDArray[np.uint8], threads: int) -> NDArray[np.float32]:
    """(H, W, 3) uint8, H and W multiples of 16 -> latents (M, H/16, W/16) float32, in pixels of 0..1."""
    rows = pixels.shape[0] // BLOCK

    def strip(top: int) -> NDArray[np.float32]:
        first, last = max(0, top - HALO), min(rows, top + STRIP_ROWS + HALO)
        x: Tensor = torch.from_numpy(pixels[BLOCK * first : BLOCK * last]).permute(2, 0, 1)[None]
        with torch.inference_mode():
            y = net.analysis(x.float().contiguous(memory_format=torch.channels_last) / 255)
        result: NDArray[np.float32] = y[0, :, top - first : min(top + STRIP_ROWS, rows) - first].numpy()
        return result

    with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
        return np.concatenate(list(pool.map(strip, range(0, rows, STRIP_ROWS))), axis=1)
