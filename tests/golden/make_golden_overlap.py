"""Makes tests/golden/overlap: `python tests/golden/make_golden_overlap.py` from the repository.

Streams of make_golden_aivc.py whose frames move, of a model that overlaps what it predicts (make_overlap_model.py).
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from make_golden_aivc import make_bad, make_good  # noqa: E402
from make_golden_video import write  # noqa: E402
from video_streams import HERE as TESTS  # noqa: E402

from nvc.codec.video_model import VideoModel  # noqa: E402

FOLDER = HERE / "overlap"
GOOD = ("cuts", "deep", "extreme", "foreign", "moving", "odd", "pixel", "plain", "uneven", "wild")
BAD = 2  # of those that make_golden_aivc.py makes, for what is refused is the same


def main() -> None:
    model = VideoModel(TESTS / "data" / "tiny_overlap.safetensors")
    made = make_good(model)
    bad = make_bad(model, made)
    write(FOLDER, model, {name: made[name] for name in GOOD}, {name: bad[name] for name in sorted(bad)[:BAD]})


if __name__ == "__main__":
    main()
