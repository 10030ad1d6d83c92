"""Motion search and compensation: prediction PSNR, unevenness of the flow, time. Markdown on stdout.

    python benches/motion.py CLIP... [--time CLIP]

For every clip, frames 1 from 0 and 6 from 2 (distances d = 1 and 4). Luma PSNR of the prediction from original frames,
flow rounded to 1/16 pixel, scale 0. `bits`: mean of log2(1 + n), n the difference of neighbouring vectors in 1/16
pixel: what coding the flow might cost, for comparison only. Times are of the process, one thread, best of five, on the
first pair of the clip that --time names.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from nvc.frames import Frame420
from nvc.networks import motion_search
from nvc.networks.warp import FLOW_LIMIT, grid_shape, predict

Search = Callable[[Frame420, Frame420], NDArray]
DIS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


def frames(path: str, count: int) -> Iterator[Frame420]:
    with av.open(path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == count:
                return
            planes = frame.reformat(format="yuv420p").planes
            yield Frame420(*(np.asarray(p).reshape(p.height, p.line_size)[:, : p.width].copy() for p in planes))


def plain(preset: str, halvings: int) -> Search:
    """DIS alone, at the size after so many halvings, averaged over the grid."""

    def search(current: Frame420, reference: Frame420) -> NDArray:
        grid, cell = grid_shape(current.height, current.width), 8 >> halvings
        pair = []
        for frame in (current, reference):
            y = motion_search.halvings(frame.y, halvings + 1)[-1][4:-4, 4:-4]
            pair.append(np.pad(y, [(0, cell * n - side) for n, side in zip(grid, y.shape, strict=True)], mode="edge"))
        dense = cv2.DISOpticalFlow.create(DIS[preset]).calc(*pair, None)
        return dense.reshape(grid[0], cell, grid[1], cell, 2).mean((1, 3)).transpose(2, 0, 1) * (1 << halvings)

    return search


def ours(preset: str, smoothness: float = motion_search.SMOOTHNESS) -> Search:
    return lambda current, reference: motion_search.estimate(current, reference, preset, smoothness)


def quality(search: Search, current: Frame420, reference: Frame420) -> tuple[float, float]:
    """PSNR in dB and the unevenness."""
    flow = np.round(search(current, reference) * 16).clip(-FLOW_LIMIT, FLOW_LIMIT).astype(np.int16)
    predicted = predict(reference, flow, np.zeros(flow.shape[1:], np.uint8)).y
    error = np.mean((predicted.astype(np.float64) - current.y) ** 2)
    uneven = [np.log2(1 + np.abs(np.diff(flow.astype(np.int64), axis=axis))).mean() for axis in (1, 2)]
    return 10 * np.log10(255**2 / max(error, 1e-3)), float(np.mean(uneven))


def milliseconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(6):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--time", dest="timed")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    clips = [list(frames(path, 7)) for path in arguments.clips]
    pairs = [
        [(clip[1], clip[0]) for clip in clips if len(clip) > 1],
        [(clip[6], clip[2]) for clip in clips if len(clip) > 6],
    ]
    timed = list(frames(arguments.timed or arguments.clips[0], 2))
    searches: dict[str, Search] = {"copy": lambda c, r: np.zeros((2, *grid_shape(c.height, c.width)))}
    searches |= {f"DIS {name}, 1/{1 << k}": plain(name, k) for name in DIS for k in (0, 1)}
    searches |= {f"nvc {name}": ours(name) for name in motion_search.PRESETS}
    searches |= {f"nvc medium, smoothness {s}": ours("medium", s) for s in (50, 800)}
    print("| search | d = 1: dB | bits | d = 4: dB | bits | ms |\n|---|--:|--:|--:|--:|--:|")
    for name, search in searches.items():
        means = [np.mean([quality(search, *pair) for pair in some], axis=0) for some in pairs]
        spent = milliseconds(lambda search=search: search(timed[1], timed[0]))
        print(f"| {name} | " + " | ".join(f"{db:.2f} | {bits:.2f}" for db, bits in means) + f" | {spent:.0f} |")
    flow = np.round(ours("medium")(timed[1], timed[0]) * 16).astype(np.int16)
    print("\n| prediction, scale | ms |\n|---|--:|")
    for name, level in (("0", 0), ("1/2 level", 8), ("1 1/2 levels", 24), ("3 levels", 48)):
        scale = np.full(flow.shape[1:], level, np.uint8)
        print(f"| {name} | {milliseconds(lambda scale=scale: predict(timed[0], flow, scale)):.0f} |")


if __name__ == "__main__":
    main()
