"""The laws over groups with B frames: every length and tail, references, beginning elsewhere, cuts, damage.

Lengths are tried with a backend that codes nothing but the number of a frame, and looks at what it may refer to.
"""

import io
import re
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from test_laws import PAIRS, equal, forged, parts_of  # noqa: E402
from video_streams import B, I, P, clip, encode, show  # noqa: E402

from nvc.bitstream.container import FrameType  # noqa: E402
from nvc.bitstream.video_frame import VideoFrame  # noqa: E402
from nvc.bitstream.video_reader import VideoReader  # noqa: E402
from nvc.codec.catalogue import CATALOGUE  # noqa: E402
from nvc.codec.clip_decoder import ClipDecoder  # noqa: E402
from nvc.codec.gop import Gop  # noqa: E402
from nvc.codec.latents import Content, Latents  # noqa: E402
from nvc.codec.sequence_decoder import DecodedFrame, DisplayQueue, SequenceDecoder  # noqa: E402
from nvc.codec.sequence_encoder import SequenceEncoder, SequenceSettings  # noqa: E402
from nvc.codec.video_backend import Place, Reference, Shapes  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.errors import BadStream  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.media.video_info import VideoInfo  # noqa: E402

BIDIRECTIONAL = [name for codec, name in PAIRS if max(CATALOGUE[codec].gops) > 1]


@pytest.fixture(scope="module", params=BIDIRECTIONAL)
def model(request: pytest.FixtureRequest) -> VideoModel:
    return VideoModel(HERE / "data" / f"{request.param}.safetensors")


def test_a_model_has_b_frames() -> None:
    assert BIDIRECTIONAL


# ---- every length, by a backend whose frames are their numbers


def numbered(number: int) -> Frame420:
    return Frame420(*(np.full((1, 1), number, np.uint8) for _ in range(3)))


class Numbers:
    """Codes the number of a frame, with one choice in B frames; refuses references that are not at their distances."""

    levels = 8
    informations = dict.fromkeys((I, P, B), ("intra",))
    choice_bits: ClassVar = {B: (3,)}

    def __init__(self, sides: int) -> None:
        self.sides = sides
        self.seen: list[str] = []  # of what was coded or decoded: type, number and those of the references

    def quick(self) -> "Numbers":
        return self

    def sent(self, kind: FrameType, choices: tuple[int, ...]) -> tuple[str, ...]:
        return self.informations[kind]

    def chances(self, kind: FrameType, choices: tuple[int, ...], level: int) -> None:
        return None

    def frame_quality(self, kind: FrameType, choices: tuple[int, ...], code: int) -> int:
        return code

    def latent_quality(self, information: str, choices: tuple[int, ...], code: int) -> int:
        return code

    def shapes(self, information: str, height: int, width: int) -> Shapes:
        return Shapes((self.sides, 1, 1), (1, 1, 1))

    def parameters(
        self, information: str, z: Any, code: int, shape: Any, before: Any = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        return np.full(shape, 40, np.uint8), np.zeros(shape, np.int16)

    def encode(self, frame: Frame420, place: Place, code: int) -> tuple[Content, Reference]:
        number = int(frame.y[0, 0])
        z, symbols = np.zeros((self.sides, 1, 1), np.int32), np.full((1, 1, 1), number, np.int32)
        latents = Latents(z, symbols, *self.parameters("", z, 0, symbols.shape))
        content = Content({"intra": latents}, (place.depth,) if place.kind == B else ())
        return content, self.decode(content, place, code, 1, 1)

    def decode(self, content: Content, place: Place, code: int, height: int, width: int) -> Reference:
        number = int(content.latents["intra"].symbols[0, 0, 0])
        known = [int(reference.frame.y[0, 0]) for reference in place.references]
        assert known == [number + distance for distance in place.distances]
        self.seen.append(f"{place.kind.name}{number}" + ":" * bool(known) + ",".join(map(str, known)))
        before = [distance for distance in place.distances if distance < 0]
        assert (len(before), len(known)) == {I: (0, 0), P: (1, 1), B: (1, 2)}[place.kind]
        if place.kind == B:
            assert content.choices[0] >= 1
            assert -place.distances[0] <= place.distances[1] <= 1 - place.distances[0]
        return Reference(numbered(number))


def codes_numbers(model: VideoModel) -> Any:
    """A model in whose place `Numbers` codes."""
    tables = replace(model.tables(model.backend.informations[I][0], 4), context=None)
    backend = Numbers(len(tables.side))
    return SimpleNamespace(entry=model.entry, id=model.id, backend=backend, tables=lambda *_: tables)


ONE_PIXEL = VideoInfo(1, 1, Fraction(25), Fraction(1, 25))


@pytest.mark.parametrize("gop", [4, 8, 16, 32])
@pytest.mark.parametrize(
    ("periods", "closed"), [(1, False), (2, False), (1, True), (2, True), (1.25, True), (0.25, True)]
)
def test_every_length(gop: int, periods: float, closed: bool, model: VideoModel) -> None:
    """1 to 40 frames come back in display order, from depth + 2 references at most; I frames where they are due."""
    numbers, period = codes_numbers(model), int(periods * gop)
    settings = SequenceSettings(gop=Gop(gop, period, closed), reparameterise=False, scene_cuts=False)
    most = gop.bit_length() - 1 + 2
    for count in range(1, 41):
        stream, reports, held = io.BytesIO(), [], 0
        encoder = SequenceEncoder(stream, numbers, ONE_PIXEL, 4.0, settings)
        for i in range(count):
            for report in encoder.push(numbered(i), i):
                reports.append(report)
                held = max(held, len(encoder._references))
        for report in encoder.finish():
            reports.append(report)
            held = max(held, len(encoder._references))
        assert held <= most
        assert [r.display for r in reports if r.type == I] == list(range(0, count, period))
        assert sorted(r.display for r in reports) == list(range(count))
        stream.seek(0)
        reader = VideoReader(stream)
        decoder, queue, shown = SequenceDecoder(reader.header, numbers), DisplayQueue(), []
        for part in reader:
            assert isinstance(part, VideoFrame)
            shown += queue.put(decoder.frame(part))
            assert len(decoder._references) == len(decoder._anchors) <= most
            assert len(queue._waiting) <= most
        assert [int(frame.frame.y[0, 0]) for frame in shown] == list(range(count))
        assert [frame.time for frame in shown] == list(range(count))


# I frames every 17 frames: groups of 16, each I frame directly behind a P frame, as in the paper of AIVC.
CLOSED_17 = """
I0 P16:0 B8:0,16 B4:0,8 B2:0,4 B1:0,2 B3:2,4 B6:4,8 B5:4,6 B7:6,8
   B12:8,16 B10:8,12 B9:8,10 B11:10,12 B14:12,16 B13:12,14 B15:14,16
I17 P33:17 B25:17,33 B21:17,25 B19:17,21 B18:17,19 B20:19,21 B23:21,25 B22:21,23 B24:23,25
   B29:25,33 B27:25,29 B26:25,27 B28:27,29 B31:29,33 B30:29,31 B32:31,33
I34 P36:34 B35:34,36
"""
# Every 32: 15 frames are left for the second group.
CLOSED_32 = """
I0 P16:0 B8:0,16 B4:0,8 B2:0,4 B1:0,2 B3:2,4 B6:4,8 B5:4,6 B7:6,8
   B12:8,16 B10:8,12 B9:8,10 B11:10,12 B14:12,16 B13:12,14 B15:14,16
   P31:16 B23:16,31 B19:16,23 B17:16,19 B18:17,19 B21:19,23 B20:19,21 B22:21,23
   B27:23,31 B25:23,27 B24:23,25 B26:25,27 B29:27,31 B28:27,29 B30:29,31
I32 P36:32 B34:32,36 B33:32,34 B35:34,36
"""


@pytest.mark.parametrize(("period", "wanted"), [(17, CLOSED_17), (32, CLOSED_32)])
def test_closed_groups(period: int, wanted: str, model: VideoModel) -> None:
    """Every type and every reference, as encoder and decoder see them; what waits when an I frame is due is coded."""
    numbers, stream = codes_numbers(model), io.BytesIO()
    settings = SequenceSettings(Gop(16, period, closed=True), reparameterise=False, scene_cuts=False, adaptive=False)
    encoder = SequenceEncoder(stream, numbers, ONE_PIXEL, 4.0, settings)
    coded = 0
    for i in range(37):
        coded += len(list(encoder.push(numbered(i), i)))
        assert coded == i + 1 or i % period not in {0, 16, period - 1}
    assert len(list(encoder.finish())) == 37 - coded
    assert numbers.backend.seen == wanted.split()
    numbers.backend.seen.clear()
    stream.seek(0)
    reader = VideoReader(stream)
    decoder = SequenceDecoder(reader.header, numbers)
    assert len([decoder.frame(part) for part in reader if isinstance(part, VideoFrame)]) == 37
    assert numbers.backend.seen == wanted.split()


# ---- the real networks


@pytest.fixture(scope="module")
def moving() -> list[Frame420]:
    return clip(17, 26, 15, motion=(1, 2))


@pytest.fixture(scope="module")
def file(model: VideoModel, moving: list[Frame420]) -> bytes:
    """I0 | P4 B2 B1 B3 | I8 B6 B5 B7 | P12 B10 B9 B11 | P14 B13."""
    return encode(model, moving, 4.5, gop=4, period=8, adaptive=False)[0]


@pytest.fixture(scope="module")
def pictures(file: bytes, model: VideoModel) -> list[Frame420]:
    """Its frames in display order."""
    return [frame.frame for frame in sorted(show(file, model), key=lambda frame: frame.display)]


def clip_of(data: bytes, model: VideoModel, **how: Any) -> tuple[ClipDecoder, list[DecodedFrame]]:
    stream = io.BytesIO(data)
    if how.pop("pipe", False):
        stream.seekable = lambda: False  # type: ignore[method-assign]
    decoder = ClipDecoder(stream, model=str(model.path), **how)
    return decoder, [event for event in decoder if isinstance(event, DecodedFrame)]


def are(frames: list[DecodedFrame], pictures: list[Frame420], displays: range | list[int]) -> bool:
    """Whether these are the frames of those display indexes, in order."""
    return [frame.display for frame in frames] == list(displays) and all(
        equal(frame.frame, pictures[frame.display]) for frame in frames
    )


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("gop", [8, 16, 32])
def test_deep_groups(gop: int, adaptive: bool, model: VideoModel) -> None:
    """What the encoder kept, in display order; memory of frames is bounded on both sides."""
    source = clip(17, 20, gop + 4, motion=(1, 1))
    data, reports = encode(model, source, 3.0, gop=gop, period=2 * gop, adaptive=adaptive)
    shown = clip_of(data, model)[1]
    assert [frame.display for frame in shown] == list(range(gop + 4))
    assert [frame.type for frame in sorted(shown, key=lambda f: f.display)].count(B) == gop - 1 + 2 or adaptive
    for report in reports:
        pairs = zip(source[report.display].planes, shown[report.display].frame.planes, strict=True)
        assert report.sse == tuple(int(((a.astype(int) - b) ** 2).sum()) for a, b in pairs)


@pytest.mark.parametrize("pipe", [False, True])
def test_beginning_anywhere(pipe: bool, file: bytes, model: VideoModel, pictures: list[Frame420]) -> None:
    for start in range(15):
        for count in (1, 3, None):
            ends = 15 if count is None else min(15, start + count)
            decoder, frames = clip_of(file, model, start=start, frames=count, pipe=pipe)
            assert are(frames, pictures, range(start, ends))
            assert frames[0].time == 0
            assert pipe or decoder.info.frames == ends - start


def test_beginning_at_an_i_frame_reads_nothing_before_it(
    file: bytes, model: VideoModel, pictures: list[Frame420]
) -> None:
    """Damage in the segment before is not seen; the B frames that lead the I frame are skipped."""
    _, frames = parts_of(file)
    bent = flipped(file, frames[2].offset + 9)
    assert are(clip_of(bent, model, start=8)[1], pictures, range(8, 15))
    with pytest.raises(BadStream, match="differs"):
        clip_of(bent, model, start=7)


def test_a_cut_inside_a_group(model: VideoModel) -> None:
    """An I frame where the scene begins; nothing refers across it, for its group ends with a P frame before it."""
    frames = clip(32, 32, 6) + clip(32, 32, 9, "stair")
    reports = encode(model, frames, 4.0, gop=8, period=8)[1]
    kinds = "".join(report.type.name for report in sorted(reports, key=lambda report: report.display))
    # The group behind it may be one of 8 or two of 4, of which the last is two of 2 where frames choose filters.
    shorter = ("IBBBBPIBBBPBPBI",) if "filters" in model.decoder_tensors() else ()
    if "predictors.chances" in model.decoder_tensors():
        # I frames without networks are far better than what untrained ones make of B frames: groups of any length.
        assert re.fullmatch("I[PB]{4}PI[PB]{7}I", kinds)
    else:
        assert kinds in ("IBBBBPIBBBBBBBI", "IBBBBPIBBBPBBBI", *shorter)
    data = encode(model, frames, 4.0, gop=8, period=8)[0]
    whole = clip_of(data, model)[1]
    assert [frame.display for frame in whole] == list(range(15))
    assert [frame.display for frame in clip_of(data, model, start=6)[1]] == list(range(6, 15))


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(("gop", "period"), [(4, 5), (4, 8), (8, 6)])
def test_closed_groups_stand_alone(gop: int, period: int, adaptive: bool, model: VideoModel) -> None:
    """Each I frame and what is coded up to the next is a stretch on display, and decodes without all the rest."""
    source = clip(17, 26, 15, motion=(1, 2))
    data, reports = encode(model, source, 4.5, gop=gop, period=period, closed=True, adaptive=adaptive)
    whole = show(data, model)
    for frame, report in zip(whole, reports, strict=True):
        assert (frame.display, frame.type) == (report.display, report.type)
        pairs = zip(source[frame.display].planes, frame.frame.planes, strict=True)
        assert report.sse == tuple(int(((a.astype(int) - b) ** 2).sum()) for a, b in pairs)
    pictures = [frame.frame for frame in sorted(whole, key=lambda frame: frame.display)]
    header, frames = parts_of(data)
    for start in range(0, 15, period):
        end = min(start + period, 15)
        assert {frame.display for frame in frames[start:end]} == set(range(start, end))
        assert [frame.display for frame in frames[start:end] if frame.type == I] == [start]
        decoder = SequenceDecoder(header, model)
        assert all(equal(decoder.frame(frame).frame, pictures[frame.display]) for frame in frames[start:end])
        assert are(clip_of(data, model, start=start, frames=end - start)[1], pictures, range(start, end))
        bent = flipped(data, frames[start].offset + frames[start].size - 20)
        left = [display for display in range(15) if not start <= display < end]
        assert are(clip_of(bent, model, salvage=True)[1], pictures, left)


def test_closed_groups_and_a_cut(model: VideoModel) -> None:
    """The period counts from the I frame of the new scene."""
    frames = clip(32, 32, 6) + clip(32, 32, 9, "stair")
    data, reports = encode(model, frames, 4.0, gop=4, period=5, closed=True, adaptive=False)
    kinds = "".join(report.type.name for report in sorted(reports, key=lambda report: report.display))
    assert kinds == "IBBBPIIBBBPIBBP"
    assert [frame.display for frame in clip_of(data, model)[1]] == list(range(15))


def test_engines(file: bytes, model: VideoModel, pictures: list[Frame420], monkeypatch: pytest.MonkeyPatch) -> None:
    for engine in ("numpy", "float32", "float64"):
        monkeypatch.setenv("NVC_ENGINE", engine)
        shown = show(file, VideoModel(model.path))
        assert all(equal(frame.frame, pictures[frame.display]) for frame in shown)


# ---- damage


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


# Coded index of what is damaged; display indexes of what is left: all before it in coding order, and from the next I
# frame on all but the B frames that are shown before that.
DAMAGED = {
    "I frame": (0, range(8, 15)),
    "P frame": (1, [0, *range(8, 15)]),
    "B frame with children": (2, [0, 4, *range(8, 15)]),
    "leaf": (3, [0, 2, 4, *range(8, 15)]),
    "last leaf": (4, [0, 1, 2, 4, *range(8, 15)]),
    "second I frame": (5, range(5)),
    "leading B frame": (6, [*range(5), 8]),
    "P frame of the second segment": (9, range(9)),
    "last frame": (14, [*range(13), 14]),
}


@pytest.mark.parametrize("how", ["bytes", "checksum"])
@pytest.mark.parametrize(("index", "left"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_frame(
    how: str, index: int, left: range | list[int], file: bytes, model: VideoModel, pictures: list[Frame420]
) -> None:
    """Named with all that depend on it, in pixels or in what their tables follow from; the rest is shown in order."""
    header, frames = parts_of(file)
    if how == "bytes":
        bent = flipped(file, frames[index].offset + frames[index].size - 20)
    else:
        bent = forged(header, frames, index, checksum=frames[index].checksum ^ 1)
    decoder, shown = clip_of(bent, model, salvage=True)
    assert are(shown, pictures, left)
    with pytest.raises(BadStream) as error:
        clip_of(bent, model)
    assert str(error.value) == "; ".join(decoder.losses)
    told = {frame.index for frame in frames if frame.display not in left}
    assert numbers_in(str(error.value)) == told


def numbers_in(line: str) -> set[int]:
    """Coded indexes that "frame 3 lost; frames 4 to 7 and frame 9 cannot be ..." names."""
    ends = [(int(a), int(b or a)) for a, b in re.findall(r"frames? (\d+)(?: to (\d+))?\b(?!:)", line)]
    return {number for first, last in ends for number in range(first, last + 1)}


def test_a_missing_b_frame(file: bytes, model: VideoModel, pictures: list[Frame420]) -> None:
    _, frames = parts_of(file)
    cut = file[: frames[2].offset] + file[frames[3].offset :]
    assert are(clip_of(cut, model, salvage=True)[1], pictures, [0, 4, *range(8, 15)])
    with pytest.raises(BadStream):
        clip_of(cut, model)


def test_groups_of_another_encoder(model: VideoModel) -> None:
    """The lengths that one has chosen serve another, at another quality: the same frames in the same order."""
    source = [*clip(48, 64, 13, motion=(0, 1)), *clip(48, 64, 12, motion=(9, 7))]
    info = VideoInfo(64, 48, Fraction(25), Fraction(1, 25))

    def coded(
        quality: float, groups: list[int], period: int = 0, closed: bool = False
    ) -> tuple[list[int], list[tuple[int, FrameType]]]:
        settings = SequenceSettings(gop=Gop(8, period, closed), scene_cuts=False, groups=groups)
        encoder = SequenceEncoder(io.BytesIO(), model, info, quality, settings)
        reports = [report for i, frame in enumerate(source) for report in encoder.push(frame, i)]
        reports += encoder.finish()
        return encoder.groups, [(report.display, report.type) for report in reports]

    given = [1, 3, 1, 2, 1, 1, 4, 1, 3, 4, 4]
    found, order = coded(5.0, given)
    assert found == given
    assert [display for display, kind in order if kind != B] == [sum(given[: i + 1]) - 1 for i in range(len(given))]
    chosen, order = coded(4.0, [])
    assert sum(chosen) == len(source)
    assert coded(2.0, chosen) == (chosen, order)
    closed = coded(4.0, [], 11, closed=True)
    assert coded(2.0, closed[0], 11, closed=True) == closed
