"""Train on a machine that has torch, numpy and Pillow alone: what `nvc-train fit` does, without click.

    python examples/fit_bare.py PICTURES run.pt --minutes 9 --slim out/run.float.pt [--start earlier.float.pt]

PICTURES is a folder or a .zip. run.pt is the whole checkpoint, from which the same command resumes; --slim also keeps
the weights alone (a seventh of the size, for the way home), anew every two minutes and at the end.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # nvc itself need not be installed there

from nvc.training import loop  # noqa: E402

SLIM_EVERY = 120.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--slim", type=Path, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--steps", type=int, default=loop.FitSettings.steps)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    settings = loop.FitSettings(minutes=given.minutes, steps=given.steps, batch=given.batch, rate=given.rate)
    kept = 0.0
    reports = loop.fit(given.source, given.checkpoint, settings, compile_net=given.compile, start=given.start)
    for report in reports:
        print("  ".join(f"{key} {value:.6g}" for key, value in report.items()), flush=True)
        if report["seconds"] - kept >= SLIM_EVERY and given.checkpoint.exists():
            kept = report["seconds"]
            loop.slim(given.checkpoint, given.slim)
    loop.slim(given.checkpoint, given.slim)


if __name__ == "__main__":
    main()
