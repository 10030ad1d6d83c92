"""Makes tests/golden/levels: `python tests/golden/make_golden_levels.py` from the repository.

As make_golden_video.py, of the tiny video model that has main tables of each level (make_levels_model.py).
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from make_golden_video import forged, parts_of, write  # noqa: E402
from video_streams import HERE as TESTS  # noqa: E402
from video_streams import I, P, build, clip, encode, random_latents  # noqa: E402

from nvc.codec.video_model import VideoModel  # noqa: E402

FOLDER = HERE / "levels"
WEIGHTS = TESTS / "data" / "tiny_levels.safetensors"


def make_good(model: VideoModel) -> dict[str, bytes]:
    """Streams that must decode for ever."""
    random = np.random.default_rng(2028)
    order = [(I, 1), (P, 1), (P, 0), (P, 0), (P, 1), (I, 0)]  # tables change level at P frames too
    frames = [(kind, random_latents(model, kind, (31, 64), random, [0.3, 1.5]), table_set) for kind, table_set in order]
    foreign = [(kind, random_latents(model, kind, (64, 80), random, [1.5]), table_set) for kind, table_set in order]
    return {
        "between": encode(model, clip(48, 64, 4), 2.5)[0],
        "finest": encode(model, clip(33, 47, 2, "stair", (1, 2)), 8.0)[0],
        "sets": build(model, (31, 64), 6.7, frames),
        "foreign": build(model, (64, 80), 1.5, foreign),
    }


def make_bad(good: dict[str, bytes]) -> dict[str, bytes]:
    """Streams that must be refused: frames that tables of the neighbouring level cannot read."""
    header, coded = parts_of(good["sets"])
    plain = [{name: value for name, value in vars(frame).items() if name != "display"} for frame in coded]

    def other(number: int) -> bytes:
        return forged(header, [f | {"table_set": f["table_set"] ^ (i == number)} for i, f in enumerate(plain)])

    return {"other-table-set-of-i": other(0), "other-table-set-of-p": other(2)}


def main() -> None:
    model = VideoModel(WEIGHTS)
    good = make_good(model)
    write(FOLDER, model, good, make_bad(good))


if __name__ == "__main__":
    main()
