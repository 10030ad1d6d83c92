"""Train on a machine that has torch, numpy and Pillow alone: what `nvc-train fit` does, without click.

    python examples/fit_bare.py SOURCE run.pt --minutes 9 --slim out/run.float.pt [--start earlier.float.pt]

SOURCE is a folder or a .zip of pictures, or a cache of clips (`nvc-train fit CLIPS --cache clips.npz` makes one; a
folder of clips needs numba and OpenCV). run.pt is the whole checkpoint, from which the same command resumes; --slim
also keeps the weights alone (a seventh of the size, for the way home), anew every two minutes and at the end.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # nvc itself need not be installed there

from nvc.training import checkpoints, loop  # noqa: E402

SLIM_EVERY = 120.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--slim", type=Path, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--crop", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    codec = loop.codec_of(given.source)
    settings = loop.settings_for(
        codec, given.minutes, steps=given.steps, batch=given.batch, crop=given.crop, rate=given.rate
    )
    kept = 0.0
    reports = loop.fit(
        given.source, given.checkpoint, settings, codec=codec, compile_net=given.compile, start=given.start
    )
    for report in reports:
        print("  ".join(f"{key} {value:.6g}" for key, value in report.items()), flush=True)
        if report["seconds"] - kept >= SLIM_EVERY and given.checkpoint.exists():
            kept = report["seconds"]
            checkpoints.slim(given.checkpoint, given.slim)
    checkpoints.slim(given.checkpoint, given.slim)


if __name__ == "__main__":
    main()
