"""Makes tests/golden/video: `python tests/golden/make_golden_video.py` from the repository.

Streams of the tiny video model (make_video_model.py), the digests of their frames, and streams that must be refused,
with what must be said. The rule of make_golden.py holds here too: from format number 1 on these are never made again.
"""

import hashlib
import io
import json
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from video_streams import HERE as TESTS  # noqa: E402
from video_streams import I, P, build, clip, encode, random_latents, show  # noqa: E402

from nvc.bitstream.boxes import BoxType, write_box, write_varint  # noqa: E402
from nvc.bitstream.container import FrameType  # noqa: E402
from nvc.bitstream.header import Header, VideoParameters  # noqa: E402
from nvc.bitstream.video_frame import CodedFrame, VideoFrame, write_frame  # noqa: E402
from nvc.bitstream.video_reader import VideoReader  # noqa: E402
from nvc.bitstream.video_writer import VideoWriter  # noqa: E402
from nvc.codec.sequence_decoder import DecodedFrame  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.entropy_coding.coder import Encoder  # noqa: E402
from nvc.entropy_models.reparameterized import MASK_TABLES  # noqa: E402
from nvc.errors import NvcError  # noqa: E402
from nvc.media.audio import AudioInfo  # noqa: E402

FOLDER = HERE / "video"
WEIGHTS = TESTS / "data" / "tiny_video.safetensors"
AUDIO = AudioInfo("aac", b"\x11\x90", 48000, 2, "stereo", Fraction(1, 48000))


def make_good(model: VideoModel) -> dict[str, bytes]:
    """Streams that must decode for ever."""
    random = np.random.default_rng(2026)

    def frames(size: tuple[int, int], kinds: list[FrameType], spread: list[float], sets: list[int]) -> list[Any]:
        return [
            (kind, random_latents(model, kind, size, random, spread), table_set)
            for kind, table_set in zip(kinds, sets, strict=True)
        ]

    # A source whose statistics are not those of the tables, and stay as they are.
    steady = np.random.default_rng(7)
    foreign = [(I, random_latents(model, I, (64, 80), steady, [0.3]), 0)]
    for _ in range(4):
        foreign.append((P, random_latents(model, P, (64, 80), steady, [1.5]), 0))
    reordered = VideoParameters(1, 1000, 40, 4, 3, 9, 16, 9, full_range=True, gop_log2=2, low_latency=False)
    times = [0, 40, 95, 100, 171]
    packets = [(1024 * i - 312, 1024, bytes([i] * (9 + i))) for i in range(5)]
    return {
        "odd": encode(model, clip(33, 47, 5), 4.0)[0],
        "pixel": encode(model, clip(1, 1, 2), 1.0)[0],
        "replaced": encode(model, clip(96, 128, 4, "sign", (1, 2)), 7.3)[0],
        "sounding": encode(model, clip(17, 30, 5), 5.5, times=times, end=200, audio=AUDIO, packets=packets)[0],
        "cuts": encode(model, clip(32, 32, 2) + clip(32, 32, 4, "stair"), 3.25, period=3)[0],
        "intra": encode(model, clip(16, 48, 3, "hall", (1, 2)), 8.0, period=1)[0],
        "foreign": build(model, (64, 80), 2.0, foreign),
        "sets": build(model, (31, 64), 3.7, frames((31, 64), [I, P, P, P, I, P], [0.3, 1.5], [1, 1, 0, 1, 0, 0])),
        "extreme": build(
            model, (37, 50), 7 + 4095 / 4096, frames((37, 50), [I, P, P], [0, 0.3, 3, 30, 3000, 60000], [1, 0, 1])
        ),
        "wild": build(model, (130, 70), 1.0, frames((130, 70), [I, P], [0, 2, 40, 500], [0, 0])),
        "colours": build(
            model, (18, 20), 8.0, frames((18, 20), [I, I], [0.3, 3], [0, 0]), reordered
        ),
    }  # fmt: skip


def parts_of(data: bytes) -> tuple[Header, list[VideoFrame]]:
    """Header and frames of a sound file."""
    reader = VideoReader(io.BytesIO(data))
    return reader.header, [part for part in reader if isinstance(part, VideoFrame)]


def forged(header: Header, frames: list[dict[str, Any]]) -> bytes:
    """A file of frames as they are given, with everything else right."""
    stream = io.BytesIO()
    writer = VideoWriter(stream, header)
    for frame in frames:
        writer.frame(
            frame["type"], frame["payload"], frame["checksum"], display=frame.get("display"),
            reparameterised=frame["reparameterised"], table_set=frame["table_set"],
        )  # fmt: skip
    writer.finish()
    return stream.getvalue()


def make_bad(model: VideoModel, good: dict[str, bytes]) -> dict[str, bytes]:
    """Streams that must be refused; every CRC32C is right except where that is the point."""
    data = good["replaced"]
    header, coded = parts_of(data)
    plain = [vars(frame) for frame in coded]
    for frame in plain:
        frame.pop("display")
    cuts = [0, *(frame.offset for frame in coded), coded[-1].offset + coded[-1].size, len(data)]
    head, *boxes, end = (data[a:b] for a, b in pairwise(cuts))

    def changed(number: int, source: list[dict[str, Any]] = plain, head: Header = header, **values: Any) -> bytes:
        return forged(head, [frame | values if i == number else frame for i, frame in enumerate(source)])

    def header_with(**changes: Any) -> Header:
        return Header(**({name: getattr(header, name) for name in header.__dataclass_fields__} | changes))

    def payload(*values: int) -> bytes:
        """A side table of intra at level 7, then values of it."""
        encoder = Encoder()
        encoder.code(np.array(values), 0, model.tables("intra", 7).side)
        return encoder.finish()

    mask = Encoder()
    mask.code(np.array([2]), 8, MASK_TABLES)
    video = header.video
    assert video is not None
    b_frames = VideoParameters(video.time_num, video.time_den, video.frame_duration, gop_log2=1, low_latency=False)
    words = coded[1].payload
    whole = header.write()
    wide = whole[:7] + write_varint((1 << 24) - 1) * 2 + whole[9:]
    b_frame = write_frame(CodedFrame(FrameType.B, words, 0), header)
    return {
        "empty": b"",
        "header-alone": head,
        "cut-in-frame": data[: coded[2].offset + 30],
        "no-end": data[: -len(end)],
        "no-frames": head + end,
        "trailing-zero": data + b"\0",
        "flipped-bit": data[:300] + bytes([data[300] ^ 4]) + data[301:],
        "missing-frame": b"".join([head, *boxes[:2], *boxes[3:], end]),
        "swapped-frames": b"".join([head, boxes[0], boxes[2], boxes[1], boxes[3], end]),
        "frames-of-another": head + boxes[0] + boxes[1] + end,
        "begins-with-p": head + write_box(BoxType.FRAME, write_frame(CodedFrame(P, words, 0), header), index=0) + end,
        "b-where-none": head + boxes[0] + write_box(BoxType.FRAME, b_frame, index=1) + end,
        "b-frames": forged(
            header_with(video=b_frames),
            [plain[0], plain[1] | {"display": 2}, plain[2] | {"type": FrameType.B}],
        ),
        "2-to-24-x-2-to-24": write_box(BoxType.HEADER, wide, first=True) + boxes[0] + end,
        "picture": (HERE / "colour.nvc").read_bytes(),
        "reserved-bit": head + write_box(BoxType.FRAME, b"\x40" + words + bytes(4), index=0) + end,
        "other-checksum": changed(2, checksum=coded[2].checksum ^ 1),
        "other-table-set": changed(1, table_set=1 - coded[1].table_set),
        "not-re-parameterised": changed(1, reparameterised=False),
        "re-parameterised": changed(0, reparameterised=True),
        "repeated-frame": changed(2, payload=coded[1].payload),
        "p-as-i": changed(1, type=I),
        "word-missing": changed(1, payload=words[:-4]),
        "word-too-many": changed(1, payload=words + bytes(4)),
        "impossible-state": changed(1, payload=bytes(8) + words[8:]),
        "impossible-mask": changed(0, reparameterised=True, payload=mask.finish()),
        "side-symbol-beyond": changed(0, table_set=0, payload=payload(*[32768] * 80)),
        "first-p-left-out": forged(header, [plain[0], *plain[2:]]),
        "other-quality": forged(header_with(quality_code=header.quality_code + 100), plain),
        "wider": forged(header_with(width=header.width + 16), plain),
        "narrower": forged(header_with(width=header.width - 1), plain),
    }  # fmt: skip


def refusal(data: bytes, model: VideoModel) -> tuple[str, str]:
    """Kind and message of the error that decoding raises."""
    try:
        show(data, model)
    except NvcError as error:
        return type(error).__name__, str(error)
    raise AssertionError("decoded")


def digest(frame: DecodedFrame) -> str:
    """SHA-256 over Y, U, V, first half."""
    return hashlib.sha256(b"".join(plane.tobytes() for plane in frame.frame.planes)).hexdigest()[:32]


def write(folder: Path, model: VideoModel, good: dict[str, bytes], bad: dict[str, bytes]) -> None:
    """The streams, and golden.json: what they are to give."""
    listing: dict[str, Any] = {"good": {}, "bad": {}}
    (folder / "bad").mkdir(parents=True, exist_ok=True)
    for name, data in good.items():
        (folder / f"{name}.nvc").write_bytes(data)
        frames = show(data, model)
        listing["good"][name] = {
            "shape": [frames[0].frame.height, frames[0].frame.width],
            "times": [frame.time for frame in frames],
            "frames": [digest(frame) for frame in frames],
        }
    for name, data in bad.items():
        try:
            listing["bad"][name] = refusal(data, model)
        except AssertionError:
            raise AssertionError(name) from None
        (folder / "bad" / f"{name}.nvc").write_bytes(data)
    lines = [f'"model": "{model.info.id}"']
    for kind in ("good", "bad"):
        entries = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in listing[kind].items())
        lines.append(f'"{kind}": {{\n{entries}\n}}')
    (folder / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    model = VideoModel(WEIGHTS)
    good = make_good(model)
    write(FOLDER, model, good, make_bad(model, good))


if __name__ == "__main__":
    main()
