"""Makes tests/golden/layers: `python tests/golden/make_golden_layers.py` from the repository.

Streams of a model whose frames may have coefficients (make_layers_model.py), as an encoder makes them and with such as
no picture has.
"""

import sys
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

FOLDER = HERE / "layers"
ORDER = [I, *[P] * 6], list(range(7))  # types and display indexes
WEIGHTS = TESTS / "data" / "tiny_layers.safetensors"


def built(
    model: VideoModel, size: tuple[int, int], quality: float, group: tuple[list[Any], list[int]], layers: list[int],
    seed: int, share: float = 0.03, scale: float = 1.0, replace: bool = True,
) -> bytes:  # fmt: skip
    """A stream of random latents and coefficients. layers: of the frames that are not I frames, in turn."""
    random, frames, turn = np.random.default_rng(seed), [], 0
    for kind in group[0]:
        given = random_latents(model, kind, size, random, [0.1, 0.5])
        if kind == I:
            frames.append((kind, given, 0, (), None))
            continue
        layer, turn = layers[turn % len(layers)], turn + 1
        choices = (8, 2, layer) if kind == P else (4, turn % 4, 3, layer)
        coefficients = random_coefficients(size, random, share, scale) if layer else None
        frames.append((kind, given, 0, choices, coefficients))
    video = VIDEO if B in group[0] else None
    return build(model, size, quality, frames, video, FrameCoder(model.backend, model.tables, replace), group[1])


def make_good(model: VideoModel) -> dict[str, bytes]:
    """Streams that must decode for ever."""
    return {
        "odd": encode(model, clip(33, 47, 10), 4.0, gop=4, period=8)[0],
        "pixel": encode(model, clip(1, 1, 3), 1.0, gop=2)[0],
        "moving": encode(model, clip(112, 128, 6, "sign", (1, 2)), 7.3, gop=4)[0],
        "in-order": encode(model, clip(35, 60, 6, "sign", (2, 1)), 1.5, gop=1)[0],
        "every": built(model, (33, 50), 4.4, LONGER, [1, 2, 0, 2, 1, 1], 1),
        "plain": built(model, (33, 50), 3.3, LONGER, [0, 1, 2], 2, replace=False),
        "alone": built(model, (50, 66), 2.0, ORDER, [1], 3, 0.004, 0.3),
        "nothing": built(model, (40, 40), 5.0, GROUP, [1, 2], 4, 0.0),
        "dense": built(model, (34, 49), 8.0, GROUP, [2, 1], 5, 0.5, 4.0),
        "wild": built(model, (20, 35), 1.0, GROUP, [1, 2], 6, 0.05, 9000.0),
    }


class Otherwise:
    """A backend whose frames send their layers in other words."""

    def __init__(self, backend: Any, **instead: Any) -> None:
        self._backend, self._instead = backend, instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name, getattr(self._backend, name))


def make_bad(model: VideoModel, good: dict[str, bytes]) -> dict[str, bytes]:
    """Streams that must be refused."""
    header, coded = parts_of(good["plain"])
    frames, sent = [vars(frame) for frame in coded], contents(model, header, coded)
    bad = {}

    def changed(number: int, payload: bytes) -> bytes:
        return forged(
            header, [frame | {"payload": payload} if i == number else frame for i, frame in enumerate(frames)]
        )

    for number, name in ((1, "p"), (2, "b")):
        content, kind = sent[number], coded[number].type
        for layers in (0, 1, 2, 3):
            said = (*content.choices[:-1], layers)
            if said == content.choices:
                continue
            other: Any = Otherwise(
                model.backend, sent=lambda kind, _, was=content.choices: model.backend.sent(kind, was),
                chances=lambda kind, _, level, was=content.choices: model.backend.chances(kind, was, level),
            )  # fmt: skip
            said_otherwise = content.__class__(content.latents, said, content.coefficients)
            payload = FrameCoder(other, model.tables, False).encode(kind, said_otherwise, level_of(header)).data
            bad[f"{name}-of-layers-{layers}"] = changed(number, payload)
    with_both = next(i for i, content in enumerate(sent) if content.choices and content.choices[-1] == Layers.BOTH)
    words = coded[with_both].payload
    noise = np.random.default_rng(12).bytes(len(words) - 16)
    bad["coefficients-cut"] = changed(with_both, words[:-8])
    bad["coefficients-of-noise"] = changed(with_both, words[:16] + noise)
    bad["flipped-bit"] = changed(with_both, words[:-2] + bytes([words[-2] ^ 16]) + words[-1:])
    return bad


def main() -> None:
    model = VideoModel(WEIGHTS)
    good = make_good(model)
    write(FOLDER, model, good, make_bad(model, good))


if __name__ == "__main__":
    main()
