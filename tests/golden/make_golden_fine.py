"""Makes tests/golden/fine: `python tests/golden/make_golden_fine.py` from the repository.

Streams of a model whose frames choose how finely their motion is coded (make_fine_model.py), as an encoder makes them
and with every choice there is.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from make_golden_lhbdc import GROUP, LONGER, STARTS, WORST, built, contents, level_of  # noqa: E402
from make_golden_video import forged, parts_of, write  # noqa: E402
from video_streams import HERE as TESTS  # noqa: E402
from video_streams import I, P, clip, encode  # noqa: E402

from nvc.codec.aivc_choices import FINENESSES  # noqa: E402
from nvc.codec.frame_coding import FrameCoder  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402

FOLDER = HERE / "fine"
ORDER = [I, *[P] * 8], list(range(9))  # types and display indexes
WEIGHTS = TESTS / "data" / "tiny_fine.safetensors"


def finely(kinds: list[Any], choices: list[tuple[int, ...]], first: int = 0) -> list[tuple[int, ...]]:
    """Choices with a fineness: all that there are in turn, from `first` on, for each frame type."""
    seen = dict.fromkeys(kinds, first)
    made: list[tuple[int, ...]] = []
    for kind, some in zip(kinds, choices, strict=True):
        made.append((*some, seen[kind] % FINENESSES) if some else ())
        seen[kind] += 1
    return made


def make_good(model: VideoModel) -> dict[str, bytes]:
    """Streams that must decode for ever."""
    random = np.random.default_rng(2033)
    return {
        "odd": encode(model, clip(33, 47, 10), 4.0, gop=4, period=8)[0],
        "pixel": encode(model, clip(1, 1, 3), 1.0, gop=2)[0],
        "moving": encode(model, clip(112, 128, 6, "sign", (1, 2)), 7.3, gop=4)[0],
        "in-order": encode(model, clip(35, 60, 6, "sign", (2, 1)), 1.5, gop=1)[0],
        "plain": built(model, (17, 31), 4.4, LONGER, [0.1, 0.4], [0] * 11, finely(LONGER[0], STARTS), random, False),
        "every": built(model, (31, 33), 3.3, ORDER, [0.2, 0.8], [0] * 9, finely(ORDER[0], [(), *[(8,)] * 8]), random),
        "finest": built(model, (34, 49), 8.0, GROUP, [0.4, 2.5], [0] * 5, finely(GROUP[0], STARTS[:5], 5), random),
        "wild": built(model, (20, 35), 1.0, GROUP, [0, 2, 40, 500], [0] * 5, finely(GROUP[0], WORST, 2), random),
    }


class Coarse:
    """A backend whose frames do not say how finely."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        return {kind: widths[:-1] for kind, widths in found.items()} if name == "choice_bits" else found


def make_bad(model: VideoModel, good: dict[str, bytes]) -> dict[str, bytes]:
    """Streams that must be refused."""
    header, coded = parts_of(good["plain"])
    frames, sent = [vars(frame) for frame in coded], contents(model, header, coded)
    coder = FrameCoder(Coarse(model.backend), model.tables, False)  # type: ignore[arg-type]
    bad = {}
    for name, number in (("p", 1), ("b", 2)):
        content = sent[number].__class__(sent[number].latents, sent[number].choices[:-1])
        payload = coder.encode(coded[number].type, content, level_of(header)).data
        bad[f"no-fineness-{name}"] = forged(
            header, [frame | {"payload": payload} if i == number else frame for i, frame in enumerate(frames)]
        )
    return bad


def main() -> None:
    model = VideoModel(WEIGHTS)
    good = make_good(model)
    write(FOLDER, model, good, make_bad(model, good))


if __name__ == "__main__":
    main()
