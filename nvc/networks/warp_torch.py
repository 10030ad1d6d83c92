"""The differentiable twin of `warp`, for training: the same prediction in floating point.

Displacements and scales are rounded to sixteenths as `warp` rounds them, straight through for gradients. Taps, pyramid
and blends stay real numbers, so that it differs from the integers by about one grey level (tested).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 4  # of the pyramid, as `warp.LEVELS`, which loads numba; a training run does without
CELL = 8  # luma pixels of the grid of flow and scale, both ways
STEPS = 16  # in a luma pixel, and in a pyramid level


def predict_planes(luma: Tensor, chroma: Tensor, flow: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """The prediction (luma, chroma) from a reference (luma, chroma); neither rounded nor clamped.

    luma: (B, 1, H, W) and chroma: (B, 2, H/2, W/2), float in any unit; H and W multiples of 16.
    flow: (B, 2, H/8, W/8) in luma pixels, x then y; scale: (B, 1, H/8, W/8) in pyramid levels 0..LEVELS - 1;
    None: 0 everywhere, in less time.
    """
    return _plane(luma, flow, scale, CELL), _plane(chroma, flow, scale, CELL // 2)


def predict_overlapped(luma: Tensor, chroma: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """As `predict_planes`, with overlapped blocks (`overlap`): predictions by vectors are mixed, not vectors."""
    return _overlapped(luma, flow, CELL), _overlapped(chroma, flow, CELL // 2)


def sixteenths(field: Tensor, cell: int) -> Tensor:
    """A field of the grid at every pixel, `cell` of them to a cell; in 1/16, with the gradient of real numbers."""
    fine = F.interpolate(field, scale_factor=cell, mode="bilinear", align_corners=False)
    return fine + ((fine * STEPS + 0.5).floor() / STEPS - fine).detach()


def _overlapped(plane: Tensor, flow: Tensor, cell: int) -> Tensor:
    """(B, C, rows, columns): for each pixel the predictions by the vectors of the four cells round it, bilinear."""
    rows, columns = plane.shape[2:]
    vectors = F.pad(flow + ((flow * STEPS).round() / STEPS - flow).detach(), (1, 1, 1, 1), mode="replicate")
    ramp = (torch.arange(cell, device=plane.device, dtype=plane.dtype) + 0.5) / cell
    total: Tensor | None = None
    for below, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        corner = vectors[:, :, below : below + flow.shape[2] + 1, right : right + flow.shape[3] + 1]
        field = F.interpolate(corner, scale_factor=cell, mode="nearest")
        inside = slice(cell // 2, cell // 2 + rows), slice(cell // 2, cell // 2 + columns)
        down, across = (ramp if away else 1 - ramp for away in (below, right))
        share = (down[:, None] * across).repeat(flow.shape[2] + 1, flow.shape[3] + 1)
        part = share[inside] * _sharp(plane, field[:, :, inside[0], inside[1]] * (cell / CELL))
        total = part if total is None else total + part
    assert total is not None
    return total


def _sharp(plane: Tensor, motion: Tensor) -> Tensor:
    return F.grid_sample(plane, _places(motion), "bicubic", "border", align_corners=False)


def _places(motion: Tensor) -> Tensor:
    """Of each pixel's vector (B, 2, rows, columns), in pixels, in the coordinates of grid_sample."""
    rows, columns = motion.shape[2:]
    x = torch.arange(columns, device=motion.device, dtype=motion.dtype) + 0.5
    y = torch.arange(rows, device=motion.device, dtype=motion.dtype)[:, None] + 0.5
    return torch.stack([(x + motion[:, 0]) * (2 / columns) - 1, (y + motion[:, 1]) * (2 / rows) - 1], -1)


def _plane(plane: Tensor, flow: Tensor, scale: Tensor | None, cell: int) -> Tensor:
    """(B, C, rows, columns), a cell of the grid `cell` pixels wide."""
    field = sixteenths(flow if scale is None else torch.cat([flow, scale], 1), cell)
    # In these coordinates a picture reaches from -1 to 1 at any resolution: one grid serves all levels.
    grid = _places(field[:, :2] * (cell / CELL))
    lower = F.grid_sample(plane, grid, "bicubic", "border", align_corners=False)
    if scale is None:
        return lower
    out, level = lower, field[:, 2:]
    below = level.detach().floor().clamp(max=LEVELS - 2)  # the lower of the two levels; 0 and LEVELS - 1 have gradients
    for k in range(1, LEVELS):
        plane = F.avg_pool2d(plane, 2)
        upper = F.grid_sample(plane, grid, "bilinear", "border", align_corners=False)
        share = torch.where(below == k - 1, level - (k - 1), (below >= k).to(level.dtype))
        out = out + share * (upper - lower)
        lower = upper
    return out
