"""How well references are interpolated by taps of several kinds: PSNR of luma predictions from decoded frames.

    python benches/interpolation.py CLIP... [--model ssf-p2] [--levels 2,5,8] [--distances 1,4]

The first frame of each clip is coded as an I frame, flow to it is searched as the encoder does, and the later frame is
predicted by each kind of taps, positions rounded to 1/16 pixel. In floating point: only the kinds differ.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from motion import frames as frames_of
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.video_backend import Place
from nvc.codec.video_model import load
from nvc.networks.motion_search import estimate
from nvc.networks.steps import STEP_ONE

PHASES = 16
REACH = np.arange(-3, 5)  # taps, from the pixel at or before the position
Floats = NDArray[np.float64]


def bilinear(x: Floats) -> Floats:
    return np.clip(1 - abs(x), 0, None)


def cubic(a: float) -> object:
    """Keys' kernel."""

    def kernel(x: Floats) -> Floats:
        x = abs(x)
        near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0))

    return kernel


def sinc(taps: int) -> object:
    """Windowed by a cosine, as Cool-chic has it."""

    def kernel(x: Floats) -> Floats:
        return np.where(abs(x) < taps / 2, np.sinc(x) * np.cos(np.pi * x / taps), 0)

    return kernel


KINDS = {"bilinear": bilinear, "cubic -3/4": cubic(-0.75), "cubic -1/2": cubic(-0.5)}
KINDS |= {f"sinc {taps}": sinc(taps) for taps in (4, 6, 8)}


def table_of(kernel: object) -> Floats:
    """(16, 8) taps of each phase, of sum 1."""
    taps = kernel(np.arange(PHASES)[:, None] / PHASES - REACH)  # type: ignore[operator]
    return taps / taps.sum(1, keepdims=True)  # type: ignore[no-any-return]


def displaced(flow: NDArray[np.float32], height: int, width: int) -> tuple[Floats, Floats]:
    """Of every pixel, x and y, in 1/16."""
    h, w = flow.shape[1:]
    fine = [cv2.resize(part, (8 * w, 8 * h), interpolation=cv2.INTER_LINEAR)[:height, :width] for part in flow]
    x, y = (np.floor(part.astype(float) * PHASES + 0.5) / PHASES for part in fine)
    return np.arange(width) + x, np.arange(height)[:, None] + y


def predict(luma: NDArray[np.uint8], x: Floats, y: Floats, table: Floats) -> Floats:
    height, width = luma.shape
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = (np.rint(PHASES * (v - whole)).astype(int) for v, whole in ((x, left), (y, top)))
    out = np.zeros(luma.shape)
    for i, dy in enumerate(REACH):
        rows = np.clip(top + dy, 0, height - 1)
        line = sum(table[across, j] * luma[rows, np.clip(left + dx, 0, width - 1)] for j, dx in enumerate(REACH))
        out += table[down, i] * line
    return np.clip(np.rint(out), 0, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--model", default="ssf-p2")
    parser.add_argument("--levels", default="2,5,8")
    parser.add_argument("--distances", default="1,4")
    args = parser.parse_args()
    backend, tables = load(args.model).backend, {name: table_of(kernel) for name, kernel in KINDS.items()}
    distances = [int(d) for d in args.distances.split(",")]
    found = defaultdict(list)
    for path in args.clips:
        frames = list(frames_of(str(path), max(distances) + 1))
        for level in (int(n) for n in args.levels.split(",")):
            _, decoded = backend.encode(frames[0], Place(FrameType.I), (level - 1) * STEP_ONE)
            for d in (d for d in distances if d < len(frames)):
                place = displaced(estimate(frames[d], decoded.frame), *frames[0].y.shape)
                for name, table in tables.items():
                    error = predict(decoded.frame.y, *place, table) - frames[d].y
                    found[level, d, name].append(10 * np.log10(255**2 / np.square(error).mean()))
    for (level, d, name), values in found.items():
        print(f"level {level}  over {d}  {name:<10}  {np.mean(values):.2f} dB")


if __name__ == "__main__":
    main()
