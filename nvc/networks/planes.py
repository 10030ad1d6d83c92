"""Frames as networks see them: six planes at half resolution, so that luma and chroma meet on one grid.

Planes 0..3 are the luma phases (dy, dx) = (0,0), (0,1), (1,0), (1,1), plane 2·dy + dx; plane 4 is U, plane 5 is V.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.frames import Frame420
from nvc.threads import spread

PLANES = 6
_ROWS = 32  # of six planes, by one thread at a time
LATENT_STRIDE = 16  # luma pixels per position of the main latent, both ways


def pad_planes(frame: Frame420, multiple: int = LATENT_STRIDE) -> NDArray[np.uint8]:
    """(H/2, W/2, 6) uint8, H and W rounded up to `multiple` by repeating the last row and column."""
    from nvc.networks.plane_kernels import pad_rows  # loads numba

    high, wide = (-(-side // multiple) * multiple for side in frame.y.shape)
    padded = np.empty((high // 2, wide // 2, PLANES), np.uint8)

    def strip(top: int) -> None:
        pad_rows(frame.y, frame.u, frame.v, top, padded[top : top + _ROWS])

    spread(strip, range(0, len(padded), _ROWS))
    return padded


def crop_planes(planes: NDArray[np.uint8], height: int, width: int) -> Frame420:
    """The inverse of `pad_planes`: (H/2, W/2, 6) -> a frame of height x width luma pixels."""
    h, w, _ = planes.shape
    y = planes[:, :, :4].reshape(h, w, 2, 2).transpose(0, 2, 1, 3).reshape(2 * h, 2 * w)
    half = -(-height // 2), -(-width // 2)
    chroma = [np.ascontiguousarray(planes[: half[0], : half[1], i]) for i in (4, 5)]
    return Frame420(np.ascontiguousarray(y[:height, :width]), *chroma)


def luma_of(planes: Any) -> Any:
    """(B, 6, H/2, W/2) torch planes -> luma (B, 1, H, W)."""
    from torch.nn import functional as F

    return F.pixel_shuffle(planes[:, :4], 2)


def join(luma: Any, chroma: Any) -> Any:
    """Torch luma (B, 1, H, W) and chroma (B, 2, H/2, W/2) -> planes (B, 6, H/2, W/2)."""
    import torch
    from torch.nn import functional as F

    return torch.cat([F.pixel_unshuffle(luma, 2), chroma], 1)
