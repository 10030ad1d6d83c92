"""Makes tests/golden/filters: `python tests/golden/make_golden_filters.py` from the repository.

Streams of a model whose frames choose the filter of their predictions (make_filters_model.py), as an encoder makes them
and with every choice there is.
"""

import sys
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from make_golden_lhbdc import GROUP, LONGER, VIDEO, contents, level_of  # noqa: E402
from make_golden_video import forged, parts_of, write  # noqa: E402
from video_streams import HERE as TESTS  # noqa: E402
from video_streams import B, I, P, build, clip, encode, random_coefficients, random_latents  # noqa: E402

from nvc.codec.frame_coding import FrameCoder  # noqa: E402
from nvc.codec.transform import Layers  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.networks.filters import Filter  # noqa: E402

FOLDER = HERE / "filters"
ORDER = [I, *[P] * 9], list(range(10))  # types and display indexes
WEIGHTS = TESTS / "data" / "tiny_filters.safetensors"
WAYS = list(product(Filter, Layers))


def built(
    model: VideoModel, size: tuple[int, int], quality: float, group: tuple[list[Any], list[int]], seed: int,
    spread: list[float], replace: bool = True,
) -> bytes:  # fmt: skip
    """A stream of random latents and coefficients, with all filters before all layers in turn."""
    random, frames, ways = np.random.default_rng(seed), [], cycle(WAYS[seed % len(WAYS) :] + WAYS[: seed % len(WAYS)])
    for kind in group[0]:
        given = random_latents(model, kind, size, random, spread)
        if kind == I:
            frames.append((kind, given, 0, (), None))
            continue
        one, layers = next(ways)
        choices = (8, 2, int(layers), int(one)) if kind == P else (4, 1, 3, int(layers), int(one))
        coefficients = random_coefficients(size, random, 0.02, 1.0) if layers else None
        frames.append((kind, given, 0, choices, coefficients))
    video = VIDEO if B in group[0] else None
    return build(model, size, quality, frames, video, FrameCoder(model.backend, model.tables, replace), group[1])


def make_good(model: VideoModel) -> dict[str, bytes]:
    """Streams that must decode for ever."""
    return {
        "odd": encode(model, clip(33, 47, 10), 4.0, gop=4, period=8)[0],
        "pixel": encode(model, clip(1, 1, 3), 1.0, gop=2)[0],
        "in-order": encode(model, clip(35, 60, 6, "sign", (2, 1)), 6.5, gop=1)[0],
        "every": built(model, (33, 50), 4.4, ORDER, 1, [0.1, 0.5]),
        "both-ways": built(model, (33, 50), 3.3, LONGER, 2, [0.1, 0.5]),
        "plain": built(model, (34, 49), 2.0, LONGER, 5, [0.2, 0.8], replace=False),
        "wild": built(model, (20, 35), 1.0, GROUP, 3, [0, 2, 40, 500]),
        "wilder": built(model, (21, 38), 8.0, GROUP, 7, [0, 2, 40, 500]),
    }


def make_bad(model: VideoModel, good: dict[str, bytes]) -> dict[str, bytes]:
    """Streams that must be refused."""
    header, coded = parts_of(good["plain"])
    frames, sent = [vars(frame) for frame in coded], contents(model, header, coded)
    bad = {}
    for number, name in ((1, "p"), (2, "b")):
        content, kind = sent[number], coded[number].type
        for one in range(4):
            if one == content.choices[-1]:
                continue
            said = content.__class__(content.latents, (*content.choices[:-1], one), content.coefficients)
            payload = FrameCoder(model.backend, model.tables, False).encode(kind, said, level_of(header)).data
            changed = [frame | {"payload": payload} if i == number else frame for i, frame in enumerate(frames)]
            bad[f"{name}-by-filter-{one}"] = forged(header, changed)
    return bad


def main() -> None:
    model = VideoModel(WEIGHTS)
    good = make_good(model)
    write(FOLDER, model, good, make_bad(model, good))


if __name__ == "__main__":
    main()
