"""Makes tests/golden/blocks: `python tests/golden/make_golden_blocks.py` from the repository.

Streams of a model whose I frames may be predicted blocks (make_blocks_model.py), as an encoder makes them and with such
as no picture has.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from make_golden_layers import Otherwise  # noqa: E402
from make_golden_lhbdc import GROUP, LONGER, VIDEO, WithoutChoices, contents, level_of  # noqa: E402
from make_golden_video import forged, parts_of, write  # noqa: E402
from video_streams import HERE as TESTS  # noqa: E402
from video_streams import (  # noqa: E402
    B,
    I,
    P,
    any_coefficients,
    build,
    choosing,
    clip,
    encode,
    random_choices,
    random_latents,
)

from nvc.bitstream.header import Header  # noqa: E402
from nvc.codec.frame_coding import FrameCoder  # noqa: E402
from nvc.codec.latents import Content  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.entropy_coding.adaptive import beginning, step_bit  # noqa: E402
from nvc.entropy_coding.coder import Encoder, no_tables  # noqa: E402
from nvc.entropy_coding.jit import njit  # noqa: E402
from nvc.entropy_coding.rans import step_bits  # noqa: E402

FOLDER = HERE / "blocks"
WEIGHTS = TESTS / "data" / "tiny_blocks.safetensors"
ORDER = [I, P, I, I, P, I, I], list(range(7))  # types and display indexes
ALONE = [I, I], [0, 1]


def built(
    model: VideoModel, size: tuple[int, int], quality: float, group: tuple[list[Any], list[int]], seed: int,
    share: float = 0.03, scale: float = 1.0, blocks: tuple[int, ...] = (2, 1), sets: tuple[int, ...] = (0,),
    replaced: bool = True, ends: list[int] | None = None,
) -> bytes:  # fmt: skip
    """A stream of random predicted blocks, latents and coefficients.

    blocks, sets: choices of the I frames and table sets of all frames, in turn; ends: what all coefficients are of.
    """
    random, frames, intra = np.random.default_rng(seed), [], 0
    for number, kind in enumerate(group[0]):
        given = random_latents(model, kind, size, random, [0.1, 0.5])
        choices = choosing(model, kind, random_choices(model, kind, random), blocks=blocks[intra % len(blocks)])
        intra += kind == I
        coefficients = any_coefficients(model, kind, choices, size, random, share, scale)
        if coefficients is not None and ends:
            coefficients.blocks[:] = random.choice(ends, coefficients.blocks.shape)
        frames.append((kind, given, sets[number % len(sets)], choices, coefficients))
    video = VIDEO if B in group[0] else None
    return build(model, size, quality, frames, video, FrameCoder(model.backend, model.tables, replaced), group[1])


def make_good(model: VideoModel) -> dict[str, bytes]:
    """Streams that must decode for ever."""
    plain = built(model, (33, 50), 3.3, ORDER, 2, replaced=False)
    header, frames = parts_of(plain)
    flags = [frame.type == I for frame in frames]
    return {
        "odd": encode(model, clip(33, 47, 10), 4.0, gop=4, period=8)[0],
        "pixel": encode(model, clip(1, 1, 3), 1.0, gop=2)[0],
        "in-order": encode(model, clip(35, 60, 6, "sign", (2, 1)), 6.5, gop=1)[0],
        "intra": encode(model, clip(24, 56, 3, "hall", (1, 2)), 7.6, period=1)[0],
        "networks": encode(model, clip(33, 47, 3), 4.0, gop=2, period=2, blocks=False)[0],
        "every": built(model, (50, 66), 4.4, ORDER, 1, 0.01),
        "mixed": built(model, (33, 50), 2.0, ([I] * 5, list(range(5))), 3, blocks=(1, 0, 0, 2, 1)),
        "both-ways": built(model, (20, 58), 5.7, LONGER, 10, blocks=(0, 2)),
        "sets": built(model, (31, 40), 3.7, ORDER, 5, blocks=(1, 2, 0), sets=(1, 1, 0, 1, 1, 0, 0)),
        "plain": plain,
        "flagged": forged(header, [vars(f) | {"reparameterised": on} for f, on in zip(frames, flags, strict=True)]),
        "nothing": built(model, (40, 40), 7.0, ALONE, 6, 0.0),
        "flat": built(model, (5, 70), 2.5, ALONE, 7),
        "thin": built(model, (70, 3), 6.1, ALONE, 8),
        "dense": built(model, (25, 40), 8.0, GROUP, 9, 0.5, 4.0),
        "wild": built(model, (20, 35), 1.0, ([I, I, P], [0, 1, 2]), 10, 0.05, 9000.0),
        "extreme": built(model, (9, 16), 1.0, ALONE, 5, 1.0, ends=[-32767, 32767]),
    }


@njit
def _first_block(state, chances, ones, low, width):  # type: ignore[no-untyped-def]
    """Of a frame: its first coefficient, the only one of a block of 8x8, whose remainder has so many ones."""
    step_bit(state, chances, 6, 0)  # whole
    for node in (1, 2, 4):
        step_bit(state, chances, 260 + node, 0)  # the first of eight predictors
    step_bit(state, chances, 9, 1)  # some
    step_bit(state, chances, 17, 0)  # last = 0
    step_bit(state, chances, 17 + 66, 1)
    step_bit(state, chances, 17 + 76, 1)
    for _ in range(ones):
        step_bits(state, 1, 1)
    if width:
        step_bits(state, 1, 0)
    step_bits(state, width, low)
    step_bits(state, 1, 1)  # minus


def beyond(model: VideoModel, level: int, ones: int, low: int, width: int) -> bytes:
    """A payload whose first coefficient is no such as there are."""
    encoder, chances = Encoder(), model.backend.chances(I, (1,), level)
    assert chances is not None
    encoder.code_bits([1], 2)
    encoder.run(_first_block, no_tables(), 60, beginning(chances), ones, low, width)
    return encoder.finish()


def make_bad(model: VideoModel, good: dict[str, bytes]) -> dict[str, bytes]:
    """Streams that must be refused; every CRC32C is right."""
    header, coded = parts_of(good["plain"])
    coded = coded[:4]
    frames, sent, level = [vars(frame) for frame in coded], contents(model, header, coded), level_of(header)
    backend, words = model.backend, coded[0].payload
    noise = np.random.default_rng(12).bytes(len(words) - 16)

    def changed(number: int, head: Header = header, **values: Any) -> bytes:
        return forged(head, [frame | values if i == number else frame for i, frame in enumerate(frames)])

    def header_with(**changes: Any) -> Header:
        return Header(**({name: getattr(header, name) for name in header.__dataclass_fields__} | changes))

    def coded_as(content: Content, choices: tuple[int, ...], code_by: Any = backend) -> bytes:
        """What a frame sends behind other choices."""
        other: Any = Otherwise(
            code_by, sent=lambda kind, _: backend.sent(kind, content.choices),
            chances=lambda kind, _, level: backend.chances(kind, content.choices, level),
        )  # fmt: skip
        said = Content(content.latents, choices, content.coefficients)
        return FrameCoder(other, model.tables, False).encode(I, said, level).data

    def in_blocks(**arrays: Any) -> bytes:
        """The first frame with some of its blocks otherwise."""
        coefficients = sent[0].coefficients
        assert coefficients is not None
        said = Content({}, sent[0].choices, replace(coefficients, **arrays))
        return FrameCoder(backend, model.tables, False).encode(I, said, level).data

    first = sent[0].coefficients
    assert first is not None
    assert first.predictors is not None
    other_u, other_v = first.predictors.copy(), first.predictors.copy()
    other_u[1, 1, 4] ^= 2  # a block that has something beside it: else all predict grey
    other_v[1, 1, 5] ^= 1
    header_of_mixed, mixed = parts_of(good["mixed"])
    latents = contents(model, header_of_mixed, mixed[:2])[1]
    return {
        "word-missing": changed(0, payload=words[:-4]),
        "word-too-many": changed(0, payload=words + bytes(4)),
        "cut": changed(3, payload=coded[3].payload[:40]),
        "noise": changed(0, payload=words[:16] + noise),
        "flipped-bit": changed(0, payload=words[:-2] + bytes([words[-2] ^ 16]) + words[-1:]),
        "blocks-said-to-be-latents": changed(0, payload=coded_as(sent[0], (0,))),
        "latents-said-to-be-blocks": changed(0, payload=coded_as(latents, (1,))),
        "blocks-of-3": changed(0, payload=coded_as(sent[0], (3,))),
        "edges-not-smoothed": changed(0, payload=coded_as(sent[0], (1,))),
        "edges-smoothed": changed(2, payload=coded_as(sent[2], (2,))),
        "without-choice": changed(0, payload=coded_as(sent[0], (), WithoutChoices(backend))),
        "largest-and-one": changed(0, payload=beyond(model, level, 14, 16382, 14)),
        "remainder-of-16-ones": changed(0, payload=beyond(model, level, 16, 0, 0)),
        "other-predictor-of-u": changed(0, payload=in_blocks(predictors=other_u)),
        "other-predictor-of-v": changed(0, payload=in_blocks(predictors=other_v)),
        "other-table-set": changed(0, table_set=1),
        "other-quality": forged(header_with(quality_code=header.quality_code + 100), frames),
        "wider": forged(header_with(width=header.width + 8), frames),
        "narrower": forged(header_with(width=header.width - 2), frames),
        "i-payload-in-p": changed(1, payload=words),
    }


def main() -> None:
    model = VideoModel(WEIGHTS)
    good = make_good(model)
    write(FOLDER, model, good, make_bad(model, good))


if __name__ == "__main__":
    main()
