"""Conditional coding, written from FORMAT.md 16 alone: Python and numpy int64, nothing of nvc."""

import numpy as np
from referee_bidirectional import back, blended, flows_and_weight, motion_between
from referee_planes import TAPS, Array, bilinear, planes, predict, read, synthesis

Planes = list[Array]
EIGHT = [
    [0, 0, 0, 256, 0, 0, 0, 0], [0, 2, -7, 255, 8, -3, 1, 0], [-1, 4, -13, 254, 16, -6, 2, 0],
    [-1, 6, -18, 251, 25, -9, 3, -1], [-2, 8, -23, 248, 34, -12, 4, -1], [-2, 9, -28, 245, 43, -15, 5, -1],
    [-2, 11, -32, 238, 53, -18, 7, -1], [-2, 12, -35, 232, 63, -21, 8, -1], [-3, 13, -38, 228, 73, -24, 9, -2],
    [-3, 14, -40, 220, 84, -27, 10, -2], [-3, 15, -42, 212, 95, -30, 11, -2], [-3, 15, -43, 205, 105, -33, 12, -2],
    [-3, 15, -44, 196, 116, -35, 13, -2], [-3, 16, -44, 188, 127, -38, 13, -3], [-3, 16, -44, 179, 137, -40, 14, -3],
    [-3, 15, -43, 168, 148, -41, 15, -3], [-3, 15, -43, 159, 159, -43, 15, -3],
]  # fmt: skip
EIGHT += [EIGHT[32 - n][::-1] for n in range(17, 32)]
FILTERS = [TAPS, EIGHT, [[0, 256 - 8 * n, 8 * n, 0] for n in range(32)]]
SKIPS = 40  # the latent of mode that says where nothing is coded


def nothing_coded(y: Array) -> Array:
    """(h, w), of the latents of mode."""
    return y[:, :, SKIPS] < -1024


def folded(x: Array) -> Array:  # K0
    rows, columns, m = x.shape
    return x.reshape(rows // 2, 2, columns // 2, 2, m).transpose(0, 2, 1, 3, 4).reshape(rows // 2, columns // 2, 4 * m)


def continued(plane: Array, rows: int, columns: int) -> Array:
    return np.pad(plane, ((0, rows - plane.shape[0]), (0, columns - plane.shape[1])), "edge")


def places(predicted: Planes, h: int, w: int) -> Array:
    """S', (8h, 8w, 6)."""
    luma = continued(predicted[0], 16 * h, 16 * w)
    chroma = [continued(plane, 8 * h, 8 * w) for plane in predicted[1:]]
    return np.stack([*(luma[a::2, b::2] for a, b in np.ndindex(2, 2)), *chroma], 2)


def steady_flows(references: list[Planes], distances: list[int], start: int) -> Array:
    """(2h, 2w, 4), of a B frame."""
    b, a = distances
    y, x = motion_between(references[0][0], references[1][0], b, a, start)
    share = np.vectorize(lambda v: back(int(v), b, a + b))
    return np.stack([-share(x), -share(y), x - share(x), y - share(y)], 2)


def predicted_by(
    y: Array, d: dict[str, Array], references: list[Planes], distances: list[int], start: int, overlaps: bool,
    kept: int = 0,
) -> tuple[Planes, Array]:  # fmt: skip
    """Prediction and share of a P or B frame. y: latents of mode; d: its tensors; kept: the choice filter."""

    def compensated(number: int, plane: Array, flow: Array) -> Array:
        units = (4, 32) if number else (8, 16)
        if overlaps:
            return overlapped(plane, flow, *units, FILTERS[kept])
        return predict(plane, flow, np.zeros(flow.shape[1:], np.int64), *units)

    h, w, _ = y.shape
    two = len(references) == 2
    steady = steady_flows(references, distances, start) if two else np.zeros((2 * h, 2 * w, 4), np.int64)
    s = synthesis("mode", y, d, folded(steady))
    share = np.clip(64 + (s[:, :, 5] + 1) // 2, 0, 64)
    if not two:
        flow = np.clip((s[:, :, 0:2] + s[:, :, 2:4] + 1) // 2, -4095, 4095).transpose(2, 0, 1)
        return [compensated(n, plane, flow) for n, plane in enumerate(references[0])], share
    flows, weight = flows_and_weight(references, distances[0], distances[1], start, s)
    mixed = []
    for n, pair in enumerate(zip(*references, strict=True)):
        both = [compensated(n, plane, flow.transpose(2, 0, 1)) for plane, flow in zip(pair, flows, strict=True)]
        mixed.append(blended(*both, weight, 4 if n else 8))
    return mixed, share


def overlapped(plane: Array, flow: Array, cell: int, unit: int, taps: list[list[int]]) -> Array:
    y, x = np.meshgrid(*map(np.arange, plane.shape), indexing="ij")
    n = 2 * cell
    v, u = 2 * y + 1 - cell, 2 * x + 1 - cell
    j, f, i, g = v // n, v % n, u // n, u % n
    total, t = np.zeros_like(plane), np.array(taps)
    count, before = t.shape[1], t.shape[1] // 2 - 1
    for down, right, weight in ((0, 0, (n - f) * (n - g)), (0, 1, (n - f) * g), (1, 0, f * (n - g)), (1, 1, f * g)):
        dx, dy = (read(field, j + down, i + right) for field in flow)
        py, px = unit * y + dy, unit * x + dx
        rows, columns = (py % unit) * 32 // unit, (px % unit) * 32 // unit
        s0 = np.zeros_like(plane)
        for b, a in np.ndindex(count, count):
            s0 += t[rows, b] * t[columns, a] * read(plane, py // unit + b - before, px // unit + a - before)
        total += ((s0 + 2**9) // 2**10) * weight
    return np.clip((total + 32 * n * n) // (64 * n * n), 0, 255)


def grey(height: int, width: int) -> tuple[Planes, Array]:
    """Prediction and share of an I frame."""
    half = (height + 1) // 2, (width + 1) // 2
    share = np.full((2 * ((height + 15) // 16), 2 * ((width + 15) // 16)), 64, np.int64)
    return [np.full(shape, 128, np.int64) for shape in ((height, width), half, half)], share


def frame(y: Array, d: dict[str, Array], predicted: Planes, share: Array) -> Planes:
    """y: latents of codec; d: its tensors."""
    h, w, _ = y.shape
    r = synthesis("codec", y, d, folded(places(predicted, h, w)))
    shown = []
    for number, (plane, lacking) in enumerate(zip(predicted, planes(r, *predicted[0].shape), strict=True)):
        cell = 4 if number else 8
        n = 2 * cell
        row, column = np.meshgrid(*map(np.arange, plane.shape), indexing="ij")
        m = (bilinear(share, 2 * row + 1 - cell, 2 * column + 1 - cell, n) + n * n // 2) // (n * n)
        shown.append(np.clip(plane + (lacking * m + 32) // 64, 0, 255))
    return shown
