"""The laws of the design over all codecs of video that are in the catalogue. (Pictures: tests/codec/test_picture*.py.)

Law 2, over machines, is also in tests/golden/test_golden_video.py; law 6 in test_laws_memory.py; more of B frames in
test_laws_b_frames.py. Each codec has a tiny model to keep the laws with.
"""

import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crc32c import crc32c

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from video_streams import clip, going_on, gop_of, show  # noqa: E402
from video_streams import encode as encode_in_order  # noqa: E402

from nvc.bitstream.boxes import BoxType, write_box  # noqa: E402
from nvc.bitstream.container import FrameType  # noqa: E402
from nvc.bitstream.header import Header  # noqa: E402
from nvc.bitstream.video_frame import VideoFrame, write_frame  # noqa: E402
from nvc.bitstream.video_reader import VideoReader  # noqa: E402
from nvc.bitstream.video_writer import VideoWriter  # noqa: E402
from nvc.codec import weight_files  # noqa: E402
from nvc.codec.catalogue import CATALOGUE  # noqa: E402
from nvc.codec.clip_decoder import ClipDecoder  # noqa: E402
from nvc.codec.frame_coding import FrameCoder  # noqa: E402
from nvc.codec.models import read_tensors  # noqa: E402
from nvc.codec.sequence_decoder import DecodedFrame, SequenceDecoder  # noqa: E402
from nvc.codec.sequence_encoder import FrameReport  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.codec.weight_files import TensorFile  # noqa: E402
from nvc.entropy_coding.coder import Estimator  # noqa: E402
from nvc.entropy_models.hyperprior import code_main, code_side  # noqa: E402
from nvc.errors import BadStream, InputError, LimitError, UnknownModel  # noqa: E402
from nvc.frames import Frame420  # noqa: E402

CODECS = [name for name, entry in CATALOGUE.items() if entry.kind == "video"]
TINY = {
    "ssf": ("tiny_video", "tiny_contexts", "tiny_levels"),
    "lhbdc": ("tiny_lhbdc",),
    "aivc": ("tiny_aivc", "tiny_overlap", "tiny_fine", "tiny_layers", "tiny_filters", "tiny_blocks"),
}
PAIRS = [(codec, name) for codec in CODECS for name in TINY.get(codec, ("",))]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def model(request: pytest.FixtureRequest) -> VideoModel:
    codec, name = request.param
    assert name, f"{codec}: a codec of video needs a tiny model in tests/data"
    return VideoModel(HERE / "data" / f"{name}.safetensors")


@pytest.fixture(scope="module")
def moving() -> list[Frame420]:
    return clip(61, 90, 5, "sign", (2, 3))


def encode(model: VideoModel, frames: list[Frame420], quality: float, **how: Any) -> tuple[bytes, list[FrameReport]]:
    """With B frames, where the codec has them."""
    return encode_in_order(model, frames, quality, **{"gop": gop_of(model)} | how)


@pytest.fixture(scope="module")
def small(model: VideoModel) -> bytes:
    if gop_of(model) == 1:
        return encode(model, clip(17, 20, 3), 3.5, period=2)[0]
    return encode(model, clip(17, 20, 4), 3.5, gop=2, period=4)[0]  # I P B P


def parts_of(data: bytes) -> tuple[Header, list[VideoFrame]]:
    reader = VideoReader(io.BytesIO(data))
    return reader.header, [part for part in reader if isinstance(part, VideoFrame)]


def equal(a: Frame420, b: Frame420) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.planes, b.planes, strict=True))


def same(a: list[DecodedFrame], b: list[DecodedFrame]) -> bool:
    return len(a) == len(b) and all(equal(x.frame, y.frame) and x.time == y.time for x, y in zip(a, b, strict=True))


# ---- 1: what is decoded is exactly what the encoder kept


@pytest.mark.parametrize("quality", [1.0, 3.7, 8.0])
def test_decoded_is_what_the_encoder_kept(
    quality: float, model: VideoModel, moving: list[Frame420], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    plain = model.backend.encode

    def keeping(*arguments):  # type: ignore[no-untyped-def]
        latents, decoded = plain(*arguments)
        kept.append(decoded.frame)
        return latents, decoded

    monkeypatch.setattr(model.backend, "encode", keeping)
    data, reports = encode(model, moving, quality, adaptive=False)  # else trials are among what is kept
    shown = show(data, model)
    assert len(shown) == len(kept) == len(moving)
    assert all(equal(a.frame, b) for a, b in zip(shown, kept, strict=True))
    for frame, report in zip(shown, reports, strict=True):
        assert frame.display == report.display
        pairs = zip(moving[frame.display].planes, frame.frame.planes, strict=True)
        assert report.sse == tuple(int(((a.astype(int) - b) ** 2).sum()) for a, b in pairs)


def test_closed_groups(model: VideoModel, moving: list[Frame420]) -> None:
    """What is shown before an I frame is coded before it, whatever the period; so it is without B frames anyway."""
    data, reports = encode(model, moving, 4.5, period=3, closed=True)
    assert [(report.display, report.type) for report in reports if report.display % 3 == 0] == [
        (0, FrameType.I), (3, FrameType.I)
    ]  # fmt: skip
    assert {report.display for report in reports[:3]} == {0, 1, 2}
    for frame, report in zip(show(data, model), reports, strict=True):
        pairs = zip(moving[report.display].planes, frame.frame.planes, strict=True)
        assert report.sse == tuple(int(((a.astype(int) - b) ** 2).sum()) for a, b in pairs)
    if gop_of(model) == 1:
        assert data == encode(model, moving, 4.5, period=3)[0]


@pytest.mark.parametrize("size", [(1, 1), (2, 33), (33, 2), (16, 16), (17, 65)])
def test_sizes(size: tuple[int, int], model: VideoModel) -> None:
    data, _ = encode(model, clip(*size, 2), 5.0)
    assert [frame.frame.y.shape for frame in show(data, model)] == [size, size]


# ---- 2: neither bytes nor pictures depend on threads or engine


def test_threads(model: VideoModel, moving: list[Frame420]) -> None:
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        fresh = VideoModel(model.path)
        found.append(encode(fresh, moving, 4.3)[0])
        assert same(show(found[0], fresh), show(found[0], model))
    torch.set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize("engine", ["numpy", "float32"])
def test_the_encoder_gives_the_same_file_on_every_engine(
    engine: str, model: VideoModel, moving: list[Frame420], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encode(model, moving[:3], 6.0)[0]
    monkeypatch.setenv("NVC_ENGINE", engine)
    assert encode(VideoModel(model.path), moving[:3], 6.0)[0] == whole


# ---- 3: re-parameterisation changes no picture and lengthens no frame


def replaced_in(model: VideoModel, count: int) -> list[Frame420]:
    """Frames large enough for tables to be replaced at quality 7.3: contexts and choices leave less to mend."""
    size = (96, 112) if model.path.stem == "tiny_video" else (160, 200)
    return clip(*size, count, "sign", (1, 2))


@pytest.mark.parametrize("quality", [2.5, 7.3])
def test_re_parameterisation(quality: float, model: VideoModel) -> None:
    frames = replaced_in(model, 4)
    (plain, without), (replaced, with_it) = (
        encode(model, frames, quality, reparameterise=on) for on in (False, True)
    )  # fmt: skip
    assert same(show(plain, model), show(replaced, model))
    assert all(a.size >= b.size for a, b in zip(without, with_it, strict=True))
    assert not any(report.reparameterised for report in without)
    some = any(report.reparameterised for report in with_it)
    assert some == (len(replaced) < len(plain))
    # Both ways where small frames tell: larger ones of other models may have tables to replace at low qualities too.
    assert some == (quality > 7) if model.path.stem == "tiny_video" else some >= (quality > 7)


# ---- 4: bytes on disk are table bits and the stated overhead


@pytest.mark.parametrize("reparameterise", [False, True])
def test_bytes_on_disk(reparameterise: bool, model: VideoModel, moving: list[Frame420]) -> None:
    data, reports = encode(model, moving, 7.3, reparameterise=reparameterise, account=True)
    header, frames = parts_of(data)
    coder = FrameCoder(model.backend, model.tables)
    for frame, report in zip(frames, reports, strict=True):
        bits = sum(report.bits.values())
        assert 3.8 <= len(frame.payload) - bits / 8 <= 8.1  # the coder's state, rounding
        assert frame.size - len(frame.payload) <= 12
        level = header.quality_code // 4096 + 1 + frame.table_set
        counted: dict[tuple[str, str], float] = {}
        content = coder.decode(
            frame.type, frame.payload, frame.reparameterised, level, header.quality_code, (header.height, header.width),
            counted,
        )  # fmt: skip
        assert sum(counted.values()) == pytest.approx(bits, rel=1e-3)
        if not frame.reparameterised:
            estimator = Estimator()
            for name, latents in content.latents.items():
                tables = model.tables(name, level)
                code_side(estimator, tables.side, latents.z)
                code_main(estimator, tables.main, latents.index, latents.symbols, tables.context)
            choices = sum(model.backend.choice_bits.get(frame.type, ()))
            coefficients = report.bits.get(("frame", "coefficients"), 0.0)
            assert (content.coefficients is None) == (coefficients == 0.0)
            assert estimator.bits + choices + coefficients == pytest.approx(bits, rel=1e-6)
    ends = len(data) - frames[-1].offset - frames[-1].size  # the end box: one I frame, nothing uneven
    assert len(data) == frames[0].offset + sum(report.size for report in reports) + ends
    assert frames[0].offset <= 50
    assert ends <= 24


# ---- 5: damage, lies and noise are refused


def refused(data: bytes, model: VideoModel) -> str:
    with pytest.raises((BadStream, LimitError)) as error:
        show(data, model, max_pixels=1 << 20)
    assert "\n" not in str(error.value)
    return str(error.value)


def flips(data: bytes, bits: Iterable[int] | None = None) -> Iterator[bytes]:
    """The data with one of these bits flipped, each in turn; of all, if none are given."""
    for bit in range(8 * len(data)) if bits is None else bits:
        yield data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def test_every_truncation_and_every_flip(small: bytes, model: VideoModel) -> None:
    for end in range(len(small)):
        refused(small[:end], model)
    for bent in flips(small):
        refused(bent, model)
    refused(small + b"\0", model)


def forged(header: Header, frames: list[VideoFrame], number: int, **values: object) -> bytes:
    """The file with other values in one of its frames, all CRC32Cs right."""
    stream = io.BytesIO()
    writer = VideoWriter(stream, header)
    for i, frame in enumerate(frames):
        fields = vars(frame) | (values if i == number else {})
        names = ("payload", "checksum", "reparameterised", "table_set")
        kind, payload, checksum, reparameterised, table_set = (fields[name] for name in ("type", *names))
        writer.frame(
            kind, payload, checksum, display=frame.display, time=frame.time, reparameterised=reparameterised,
            table_set=table_set,
        )  # fmt: skip
    writer.finish()
    return stream.getvalue()


def test_lies_under_right_checksums(small: bytes, model: VideoModel) -> None:
    """Every flipped bit of every payload: refused, or the very same pictures."""
    header, frames = parts_of(small)
    for number, frame in enumerate(frames):
        refused_or_the_same(small, number, model)
        for checksum in (frame.checksum ^ 1, frame.checksum ^ 1 << 31):
            assert "checksum differs" in refused(forged(header, frames, number, checksum=checksum), model)
        refused(forged(header, frames, number, table_set=1 - frame.table_set), model)
    refused(forged(header, frames, 1, type=FrameType.I), model)


def test_lies_in_replaced_tables(model: VideoModel) -> None:
    """Every third bit of a frame that sends masks and parameters."""
    data = encode(model, replaced_in(model, 3), 7.3)[0]
    header, frames = parts_of(data)
    assert frames[1].reparameterised
    decoder, counted = SequenceDecoder(header, model), dict[tuple[str, str], float]()
    decoder.frame(frames[0])
    decoder.frame(frames[1], counted)
    assert any(counted[key] for key in counted if key[1] == "parameters")
    refused_or_the_same(data, 1, model, range(0, 8 * len(frames[1].payload), 3))


def refused_or_the_same(data: bytes, number: int, model: VideoModel, bits: Iterable[int] | None = None) -> None:
    header, frames = parts_of(data)
    shown = show(data, model)
    before = SequenceDecoder(header, model)
    for frame in frames[:number]:
        before.frame(frame)  # once: they are the same in all forged files
    for payload in flips(frames[number].payload, bits):
        try:
            _, bent = parts_of(forged(header, frames, number, payload=payload))
            assert same(going_on(before, model, bent[number:]), shown[number:])
        except BadStream:
            continue


def test_noise_in_payloads(small: bytes, model: VideoModel) -> None:
    header, frames = parts_of(small)
    random = np.random.default_rng(3)
    for i in range(300):
        words = random.integers(0, 1 << 32, int(random.integers(2, 60)), np.uint64).astype("<u4")
        words[1] >>= np.uint32(1)
        number = i % len(frames)
        refused(forged(header, frames, number, payload=words.tobytes(), reparameterised=bool(i & 1)), model)


def with_header(data: bytes, head: bytes) -> bytes:
    """The file under another header, with the checksums that belong to it."""
    _, frames = parts_of(data)
    last = frames[-1].offset + frames[-1].size
    header = write_box(BoxType.HEADER, head, first=True)
    checksums = header[-4:] + b"".join(data[f.offset + f.size - 4 : f.offset + f.size] for f in frames)
    moved = len(header) - frames[0].offset
    end = bytearray(data[last:])
    count, chain, entry = 5, 6, 12  # head and name are before them; the offset of the first I frame
    assert end[count] == len(frames)
    end[chain : chain + 4] = crc32c(checksums).to_bytes(4, "little")
    assert end[entry] == frames[0].offset
    end[entry] += moved
    end[-4:] = crc32c(bytes(end[:-4])).to_bytes(4, "little")
    return header + data[frames[0].offset : last] + bytes(end)


def planes_of(data: bytes, model: VideoModel) -> list[list[bytes]]:
    decoder = ClipDecoder(io.BytesIO(data), model=str(model.path), max_pixels=1 << 20)
    return [[plane.tobytes() for plane in event.frame.planes] for event in decoder if isinstance(event, DecodedFrame)]


def test_lies_in_the_header(small: bytes, model: VideoModel) -> None:
    """Every flipped bit under right checksums: refused, or a file of the same samples (at other times, of another
    colour or quality), never of others."""
    header, _ = parts_of(small)
    head, shown = header.write(), planes_of(small, model)
    assert with_header(small, head) == small
    told = []
    for bent in flips(head):
        try:
            assert planes_of(with_header(small, bent), model) == shown
        except (BadStream, LimitError, UnknownModel) as error:
            told.append(str(error))
    assert not any("\n" in message for message in told)
    # Codec, kind, grey, reserved, model, quality but for its lowest bits, table set, sizes: all of these.
    assert len(told) >= 8 + 32 + 12 + 2 * 7
    with pytest.raises(UnknownModel):
        planes_of(with_header(small, head[:1] + bytes(4) + head[5:]), model)
    for number in {1, *range(3, 16)} - {entry.number for entry in CATALOGUE.values() if entry.kind == "video"}:
        with pytest.raises(BadStream, match=f"codec {number}"):
            planes_of(with_header(small, bytes([0x10 | number]) + head[1:]), model)


@pytest.mark.parametrize("kind", [FrameType.P, FrameType.B])
def test_a_frame_without_its_references(kind: FrameType, small: bytes, model: VideoModel) -> None:
    header, frames = parts_of(small)
    box = write_box(BoxType.FRAME, write_frame(VideoFrame(kind, frames[1].payload, 0), header), index=0)
    refused(small[: frames[0].offset] + box + small[frames[1].offset :], model)


def test_salvage_shows_no_wrong_frame(small: bytes, model: VideoModel) -> None:
    """Of a damaged file only frames that are those of the sound one, each at its place."""
    shown = planes_of(small, model)
    given = 0
    some = flips(small, range(0, 8 * len(small), 7))
    for bent in [*some, small[:100], small[:200] + small[210:], small[:-30] + bytes(30)]:
        try:
            for event in ClipDecoder(io.BytesIO(bent), model=str(model.path), max_pixels=1 << 20, salvage=True):
                if isinstance(event, DecodedFrame):
                    given += 1
                    assert [plane.tobytes() for plane in event.frame.planes] == shown[event.display]
        except (BadStream, LimitError, UnknownModel):
            pass
    assert given > len(small)


# ---- weight files with a decoder alone


@pytest.mark.parametrize("how", ["missing", "narrow"])
def test_an_analysis_that_is_not_sound(how: str, model: VideoModel, tmp_path: Path) -> None:
    """A line that says so where it would encode; files are shown all the same."""
    data, _ = encode(model, clip(16, 16, 2), 4.0)
    tensors = read_tensors(model.path, "")
    name = min(name for name in tensors if name.startswith("encoder.") and name.endswith("g_a.0.weight"))
    changed = {n: v for n, v in tensors.items() if n != name}
    if how == "narrow":
        changed[name] = tensors[name][:, 1:].copy()
    metadata = {key: value for key, value in TensorFile(model.path).metadata.items() if key != "same"}
    weight_files.write(tmp_path / "x.safetensors", changed, metadata)
    other = VideoModel(tmp_path / "x.safetensors")
    assert same(show(data, other), show(data, model))
    with pytest.raises(InputError, match="has no sound analysis, and cannot encode: ") as told:
        encode(other, clip(16, 16, 2), 4.0)
    assert "\n" not in str(told.value)
