"""Networks and motion compensation of video, written from FORMAT.md 11 and 14 alone: numpy int64, nothing of nvc."""

from typing import Any

import numpy as np
from referee import rhe

Array = np.ndarray[Any, Any]
MANTISSA = np.array([int(2.0 ** (14 + i / 4096) + 0.5) for i in range(4096)])
LIMITS = {
    "intra": (0, 255),
    "motion": (-4095, 4095), "residual": (-255, 255), "bimotion": (-4095, 4095), "biresidual": (-255, 255),
    "mode": (-4095, 4095), "codec": (-255, 255),
}  # fmt: skip
MOTION = "motion", "bimotion", "mode"
BEHIND = {"mode": 1, "codec": 2}  # the layer that sees a shortcut
HALF_TAPS = """0 256 0 0, -6 256 6 0, -11 255 13 -1, -15 252 21 -2, -18 248 29 -3, -21 243 38 -4, -24 238 47 -5,
-26 232 57 -7, -27 225 67 -9, -28 218 77 -11, -28 209 88 -13, -28 201 98 -15, -28 192 109 -17, -27 182 120 -19,
-27 173 131 -21, -25 162 141 -22, -24 152 152 -24"""
TAPS = [[int(tap) for tap in row.split()] for row in HALF_TAPS.split(",")]
TAPS += [TAPS[32 - n][::-1] for n in range(17, 32)]


def at_quality(table: Array, code: int, finer: int = 0) -> Array:  # 14, Informations; 16
    """finer: of the channels 0 to 39."""

    def row(code: int) -> Array:
        k = max(min(code // 4096, 6), 0)
        share = code - 4096 * k
        value: Array = (table[k] * (4096 - share) + table[k + 1] * share + 2048) // 4096
        return value

    return np.concatenate([row(code + finer)[:40], row(code)[40:]])


def layer(x: Array, d: dict[str, Array], name: str, last: bool, depth_to_space: bool) -> Array:  # 10, Network
    rows, columns, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    acc = d[f"{name}.bias"] + np.zeros((rows, columns, 1), np.int64)
    for i, j in np.ndindex(3, 3):
        acc = acc + padded[i : i + rows, j : j + columns] @ d[f"{name}.weight"][:, :, i, j].T
    if not last:
        acc = np.clip(rhe(acc, d[f"{name}.shift"]), 0, 255)
    if depth_to_space:
        acc = acc.reshape(rows, columns, 2, 2, -1).transpose(0, 2, 1, 3, 4).reshape(2 * rows, 2 * columns, -1)
    return acc


def parameters(z: Array, d: dict[str, Array], code: int, h: int, w: int, finer: int = 0) -> tuple[Array, Array]:  # 14
    """Means and scale indexes, (M, h, w) each."""
    x = layer(z.transpose(1, 2, 0), d, "hyper.conv0", False, True)
    x = layer(x, d, "hyper.conv1", True, True)[:h, :w]
    offset = at_quality(d["hyper.offset"], code, finer)
    m, shift = len(offset), d["hyper.conv1.shift"]
    mean = np.clip(rhe(x[:, :, :m], shift[:m]), -32767, 32767)
    index = np.clip(rhe(x[:, :, m:] + offset, shift[m : 2 * m]), 0, 63)
    return mean.transpose(2, 0, 1), index.transpose(2, 0, 1)


def latents(s: Array, mean: Array, d: dict[str, Array], code: int, finer: int = 0) -> Array:  # 14
    """(h, w, M) of symbols and means (M, h, w)."""
    log = np.clip(at_quality(d["log_step"], code, finer), 0, 57344)
    mantissa, e = MANTISSA[log % 4096], 14 - log // 4096
    y: Array = np.clip(rhe((16 * s + mean).transpose(1, 2, 0) * mantissa, e + 4), -32767, 32767)
    return y


def synthesis(name: str, y: Array, d: dict[str, Array], known: Array | None = None) -> Array:  # 14, 16
    """Samples at their places, (B h, B w, n). known: K0 of a shortcut."""
    x = y
    upsampled = (False, True) if name in MOTION else (True, True, True, False) if name == "codec" else (True,) * 3
    for i, up in enumerate(upsampled):
        if known is not None and i == BEHIND[name]:
            for k in range(2):
                known = layer(known, d, f"known{k}", False, False)
            x = np.concatenate([x, known], 2)
        x = layer(x, d, f"conv{i}", i == len(upsampled) - 1, up)
    h, w, _ = y.shape
    block = 2 if name in MOTION else 8
    n = d["linear"].shape[1] // block**2
    v = (y @ d["linear"]).reshape(h, w, block, block, n).transpose(0, 2, 1, 3, 4).reshape(block * h, block * w, n)
    up, shift = d["scale"]
    return np.clip(rhe((x << up) + v, shift), *LIMITS[name])


def planes(s: Array, height: int, width: int) -> list[Array]:  # 14, Frames
    y = np.zeros((2 * s.shape[0], 2 * s.shape[1]), np.int64)
    for a, b in np.ndindex(2, 2):
        y[a::2, b::2] = s[:, :, 2 * a + b]
    rows, columns = (height + 1) // 2, (width + 1) // 2
    return [y[:height, :width], s[:rows, :columns, 4], s[:rows, :columns, 5]]


def read(field: Array, rows: Array, columns: Array) -> Array:  # 11: outside, the nearest one inside
    return field[np.clip(rows, 0, field.shape[0] - 1), np.clip(columns, 0, field.shape[1] - 1)]


def bilinear(field: Array, v: Array, u: Array, n: int) -> Array:  # 11
    j, f, i, g = v // n, v % n, u // n, u % n
    above = read(field, j, i) * (n - g) + read(field, j, i + 1) * g
    below = read(field, j + 1, i) * (n - g) + read(field, j + 1, i + 1) * g
    return above * (n - f) + below * f


def predict(plane: Array, flow: Array, scale: Array, cell: int, unit: int) -> Array:  # 11
    y, x = np.meshgrid(*map(np.arange, plane.shape), indexing="ij")
    n = 2 * cell
    dx, dy, level = (
        (bilinear(field, 2 * y + 1 - cell, 2 * x + 1 - cell, n) + n * n // 2) // (n * n)
        for field in (flow[0], flow[1], scale)
    )
    py, px = unit * y + dy, unit * x + dx

    pyramid = [plane]
    for _ in range(3):
        last = pyramid[-1]
        b, a = np.meshgrid(*(2 * np.arange((side + 1) // 2) for side in last.shape), indexing="ij")
        four = read(last, b, a) + read(last, b, a + 1) + read(last, b + 1, a) + read(last, b + 1, a + 1)
        pyramid.append((four + 2) // 4)

    taps = np.array(TAPS)
    f, g = (py % unit) * 32 // unit, (px % unit) * 32 // unit
    sampled = [np.zeros_like(plane)]
    for b, a in np.ndindex(4, 4):
        sampled[0] = sampled[0] + taps[f, b] * taps[g, a] * read(plane, py // unit + b - 1, px // unit + a - 1)
    for k in (1, 2, 3):
        size = 2**k * unit
        value = bilinear(pyramid[k], py + unit // 2 - size // 2, px + unit // 2 - size // 2, size)
        sampled.append(value * 2**16 // size**2)
    sampled.append(sampled[3])  # never used: its weight is 0

    k, s = level // 16, level % 16
    low, high = np.choose(k, sampled[:4]), np.choose(k, sampled[1:])
    return np.clip((low * (16 - s) + high * s + 2**19) // 2**20, 0, 255)


def motion_compensation(reference: list[Array], motion: Array) -> list[Array]:  # 14, 11
    flow, scale = motion.transpose(2, 0, 1)[:2], np.clip(motion[:, :, 2], 0, 48)
    return [
        predict(plane, flow, scale, *((4, 32) if number else (8, 16))) for number, plane in enumerate(reference)
    ]  # fmt: skip
