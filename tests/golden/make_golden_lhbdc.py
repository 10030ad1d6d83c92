"""Makes tests/golden/lhbdc: `python tests/golden/make_golden_lhbdc.py` from the repository.

As make_golden_video.py, of the tiny model of the codec lhbdc (make_lhbdc_model.py).
"""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from make_golden_video import forged, parts_of, write  # noqa: E402
from video_streams import HERE as TESTS  # noqa: E402
from video_streams import B, I, P, build, clip, content_of, encode, random_latents  # noqa: E402

from nvc.bitstream.boxes import BoxType, write_box  # noqa: E402
from nvc.bitstream.container import FrameType  # noqa: E402
from nvc.bitstream.header import QUALITY_STEPS, Header, VideoParameters  # noqa: E402
from nvc.bitstream.video_frame import CodedFrame, VideoFrame, write_frame  # noqa: E402
from nvc.codec.frame_coding import FrameCoder  # noqa: E402
from nvc.codec.latents import Content  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402

FOLDER = HERE / "lhbdc"
WEIGHTS = TESTS / "data" / "tiny_lhbdc.safetensors"
GROUP = [I, P, B, B, B], [0, 4, 2, 1, 3]  # types and display indexes
LONGER = [*GROUP[0], I, B, B, B, P, B], [*GROUP[1], 8, 6, 5, 7, 10, 9]
VIDEO = VideoParameters(1, 25, gop_log2=2, low_latency=False)
Choices = tuple[int, ...]
STARTS: list[Choices] = [(), (0,), (0, 1), (3, 2), (5, 3), (), (7, 0), (15, 3), (1, 2), (14,), (2, 1)]
WORST: list[Choices] = [(), (15,), (15, 3), (5, 1), (0, 2)]


def built(
    model: VideoModel, size: tuple[int, int], quality: float, group: tuple[list[Any], list[int]], spread: list[float],
    sets: list[int], choices: list[Choices], generator: np.random.Generator, replace: bool = True,
) -> bytes:  # fmt: skip
    """A stream of random latents."""
    kinds, displays = group
    frames = [
        (kind, random_latents(model, kind, size, generator, spread), table_set, chosen)
        for kind, table_set, chosen in zip(kinds, sets, choices, strict=True)
    ]
    coder = FrameCoder(model.backend, model.tables, replace)
    return build(model, size, quality, frames, VIDEO, coder, displays)


def make_good(model: VideoModel, seed: int) -> dict[str, bytes]:
    """Streams that must decode for ever."""
    random = np.random.default_rng(seed)
    plain: list[Choices] = [(), (8,), (3, 0), (5, 1), (5, 2)]
    best: list[Choices] = [(), (0,), (3, 0), (5, 1), (5, 2)]
    spread: list[float] = [0, 0.3, 3, 30, 3000, 60000]
    uneven = [0, 40, 95, 100, 171, 220, 221]
    return {
        "odd": encode(model, clip(33, 47, 10), 4.0, gop=4, period=8)[0],
        "pixel": encode(model, clip(1, 1, 3), 1.0, gop=2)[0],
        "moving": encode(model, clip(112, 128, 6, "sign", (1, 2)), 7.3, gop=4)[0],
        "deep": encode(model, clip(16, 20, 35, motion=(1, 2)), 2.6, gop=32, period=32)[0],
        "intra-anchors": encode(model, clip(32, 48, 9, "hall", (2, 3)), 8.0, gop=4, period=4)[0],
        "cuts": encode(model, clip(32, 32, 3) + clip(32, 32, 6, "stair"), 3.25, gop=8, period=8)[0],
        "uneven": encode(model, clip(17, 30, 7), 5.5, gop=4, times=uneven, end=300)[0],
        "in-order": encode(model, clip(35, 40, 4), 3.5, gop=1)[0],
        "starts": built(model, (100, 130), 4.4, LONGER, [0.1, 0.5], [0] * 11, STARTS, random),
        "plain": built(model, (20, 33), 4.4, LONGER, [0.3, 0.8], [0] * 11, STARTS, random, False),
        "sets": built(model, (31, 64), 3.7, LONGER, [0.3, 1.5], [1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0], STARTS, random),
        "foreign": built(model, (64, 80), 2.0, GROUP, [1.5], [0] * 5, plain, np.random.default_rng(7)),
        "extreme": built(model, (37, 50), 7 + 4095 / 4096, GROUP, spread, [1, 0, 1, 0, 1], best, random),
        "finest": built(model, (34, 49), 8.0, GROUP, [0.4, 2.5], [0] * 5, best, random),
        "wild": built(model, (70, 50), 1.0, GROUP, [0, 2, 40, 500], [0] * 5, WORST, random),
    }  # fmt: skip


def recoded(model: VideoModel, header: Header, sent: Content, kind: FrameType, choices: Choices) -> bytes:
    """What a frame sends with other choices; its symbols stay, the tables that code them follow from the choices."""
    given = {name: (old.z, old.symbols) for name, old in sent.latents.items()}
    content = content_of(model, kind, given, choices, header.quality_code)
    return FrameCoder(model.backend, model.tables, False).encode(kind, content, level_of(header)).data


def level_of(header: Header) -> int:
    return header.quality_code // QUALITY_STEPS + 1


class WithoutChoices:
    """A backend whose frames send no choices."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return {} if name == "choice_bits" else getattr(self._backend, name)


def make_bad(model: VideoModel, good: dict[str, bytes]) -> dict[str, bytes]:
    """Streams that must be refused; every CRC32C is right."""
    data = good["plain"]  # I0 P4 B2 B1 B3 I8 B6 …, none re-parameterised
    header, coded = parts_of(data)
    plain = [vars(frame) for frame in coded]
    assert not any(frame["reparameterised"] for frame in plain)
    cuts = [0, *(frame.offset for frame in coded), coded[-1].offset + coded[-1].size, len(data)]
    head, *boxes, end = (data[a:b] for a, b in pairwise(cuts))
    video = header.video
    assert video is not None

    def changed(number: int, **values: Any) -> bytes:
        return forged(header, [frame | values if i == number else frame for i, frame in enumerate(plain)])

    def box(index: int, kind: Any, payload: bytes, gap: int | None = None) -> bytes:
        content = write_frame(CodedFrame(kind, payload, 0, gap=gap), header)
        return write_box(BoxType.FRAME, content, index=index)

    def head_with(**changes: Any) -> bytes:
        named = {name: getattr(video, name) for name in VideoParameters.__dataclass_fields__} | changes
        fields = {name: getattr(header, name) for name in header.__dataclass_fields__}
        return write_box(BoxType.HEADER, Header(**fields | {"video": VideoParameters(**named)}).write(), first=True)

    def other(number: int, choices: Choices) -> bytes:
        assert sent[number].choices != choices
        return changed(number, payload=recoded(model, header, sent[number], coded[number].type, choices))

    words = coded[2].payload
    sent = contents(model, header, coded)
    silent = FrameCoder(WithoutChoices(model.backend), model.tables, False)  # type: ignore[arg-type]
    without = silent.encode(B, Content(sent[2].latents), level_of(header))
    return {
        "b-first": head + box(0, B, words) + end,
        "p-first": head + box(0, P, words) + end,
        "b-where-none": head + boxes[0] + box(1, B, words) + end,
        "b-where-all-are-there": b"".join([head, *boxes[:5], box(5, B, words), end]),
        "p-where-b-is-due": b"".join([head, *boxes[:2], box(2, P, words), end]),
        "i-where-b-is-due": b"".join([head, *boxes[:3], box(3, I, coded[0].payload), end]),
        "end-where-b-is-due": b"".join([head, *boxes[:4], end]),
        "b-with-a-gap": b"".join([head, *boxes[:2], box(2, B, words, gap=2), end]),
        "gap-beyond": head + boxes[0] + box(1, P, words, gap=5) + end,
        "gap-without-need": head + boxes[0] + box(1, P, words, gap=4) + end,
        "gop-of-2": b"".join([head_with(gop_log2=1), *boxes, end]),
        "low-latency": b"".join([head_with(low_latency=True), *boxes, end]),
        "missing-b": b"".join([head, *boxes[:2], *boxes[3:], end]),
        "swapped-b": b"".join([head, *boxes[:3], boxes[4], boxes[3], *boxes[5:], end]),
        "b-of-another": changed(3, payload=coded[4].payload),
        "other-start": other(3, (3, 3)),
        "no-start": other(2, (0, 0)),
        "other-drop": other(3, (4, 2)),
        "other-drop-of-p": other(1, (15,)),
        "without-choices": changed(2, payload=without.data),
        "other-checksum": changed(2, checksum=coded[2].checksum ^ 1),
        "other-anchor": changed(0, payload=coded[5].payload, checksum=coded[5].checksum),
        "flipped-bit": changed(2, payload=words[:30] + bytes([words[30] ^ 4]) + words[31:]),
        "flipped-choice": changed(2, payload=bytes([words[0] ^ 1]) + words[1:]),
        "word-missing": changed(2, payload=words[:-4]),
        "word-too-many": changed(2, payload=words + bytes(4)),
        "re-parameterised": changed(2, reparameterised=True),
        "other-table-set": changed(2, table_set=1),
        "p-payload-in-b": changed(2, payload=coded[1].payload),
        "b-payload-in-p": changed(1, payload=words),
        "b-payload-in-i": changed(0, payload=words),
    }  # fmt: skip


def contents(model: VideoModel, header: Header, frames: list[VideoFrame]) -> list[Content]:
    """What frames that are not re-parameterised send."""
    coder, size, code = FrameCoder(model.backend, model.tables), (header.height, header.width), header.quality_code
    return [coder.decode(frame.type, frame.payload, False, level_of(header), code, size) for frame in frames]


def main() -> None:
    model = VideoModel(WEIGHTS)
    good = make_good(model, 2028)
    write(FOLDER, model, good, make_bad(model, good))


if __name__ == "__main__":
    main()
