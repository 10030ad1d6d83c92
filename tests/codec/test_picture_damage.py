"""Law 5: damage, lies and noise end in BadStream (or LimitError), never in another exception or a wrong picture."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nvc.bitstream.boxes import SIGNATURE, BoxType, write_box
from nvc.bitstream.container import Frame, PictureFile, picture_checksum, read_picture_file, write_picture_file
from nvc.codec import models
from nvc.codec.picture import EncodeSettings, PictureEncoder, decode_picture, decode_symbols, synthesis_of
from nvc.entropy_coding.coder import Encoder
from nvc.entropy_models import context
from nvc.errors import BadStream, LimitError, UnknownModel
from nvc.media.pictures import Metadata, Picture

Pixels = NDArray[np.uint8]
Make = Callable[..., Any]
LIMIT = 1 << 20  # pixels: a forged size that passes must not slow the tests down


@pytest.fixture(scope="module")
def plain(photo: Make, encoder_of: Make) -> bytes:
    """A picture in about 200 bytes."""
    data: bytes = encoder_of(photo("hall", 48, 64), rdoq=1).encode(3.5).data
    assert 100 < len(data) < 400
    return data


@pytest.fixture(scope="module")
def whole(photo: Make) -> bytes:
    """A small file with every kind of box."""
    y, x = np.mgrid[:17, :20]
    blocks = Metadata(icc=b"profile " * 9, exif=b"II*\0" + bytes(12), xmp=b"<x/>", cicp=bytes([1, 13, 0, 1]))
    picture = Picture(photo("stair", 17, 20), (x * y % 256).astype(np.uint8), blocks)
    return PictureEncoder(picture, EncodeSettings(rdoq=0, threads=1)).encode(1.5).data


def refused(data: bytes) -> str:
    """The one line with which a file is refused; it fails if the file is not."""
    with pytest.raises((BadStream, LimitError)) as error:
        decode_picture(data, max_pixels=LIMIT, threads=1)
    assert type(error.value) in (BadStream, LimitError, UnknownModel)
    assert "\n" not in str(error.value)
    assert str(error.value)
    return str(error.value)


def refused_or_the_same(data: bytes, original: Picture) -> bool:
    """For lies under a right CRC32C, which the picture checksum alone may tell: refused, or the very same picture."""
    try:
        found = decode_picture(data, max_pixels=LIMIT, threads=1)
    except (BadStream, LimitError):
        return True
    assert np.array_equal(found.pixels, original.pixels)
    return False


def forged(file: PictureFile, *, head: bytes | None = None, **frame: Any) -> bytes:
    """A plain file with other bytes in header or frame, all CRC32Cs right."""
    values = {"payload": file.frame.payload, "checksum": file.frame.checksum, "kind": 0} | frame
    content = bytes([values["kind"]]) + values["payload"] + values["checksum"].to_bytes(4, "little")
    header = file.header.write() if head is None else head
    return write_box(BoxType.HEADER, header, first=True) + write_box(BoxType.FRAME, content)


def flips(data: bytes) -> Iterator[bytes]:
    """The data with each of its bits flipped."""
    for bit in range(8 * len(data)):
        bent = bytearray(data)
        bent[bit // 8] ^= 1 << bit % 8
        yield bytes(bent)


class TestDamage:
    """What transport does to a file."""

    @pytest.mark.parametrize("name", ["plain", "whole"])
    def test_every_truncation(self, request: pytest.FixtureRequest, name: str) -> None:
        data = request.getfixturevalue(name)
        for end in range(len(data)):
            refused(data[:end])

    @pytest.mark.parametrize("name", ["plain", "whole"])
    def test_every_bit_flip(self, request: pytest.FixtureRequest, name: str) -> None:
        for data in flips(request.getfixturevalue(name)):
            refused(data)

    @pytest.mark.parametrize("tail", [b"\0", b"\n", b"NVC\0", bytes(1000), b"\xff" * 9])
    def test_trailing_garbage(self, plain: bytes, tail: bytes) -> None:
        refused(plain + tail)

    def test_two_files_in_one(self, plain: bytes, whole: bytes) -> None:
        refused(plain + plain)
        refused(plain + whole)
        refused(plain + plain[4:])

    def test_missing_and_swapped_parts(self, plain: bytes) -> None:
        random = np.random.default_rng(0)
        for _ in range(300):
            a, b = sorted(random.integers(0, len(plain) + 1, 2))
            for data in (plain[:a] + plain[b:], plain[:a] + bytes(b - a) + plain[b:], plain[b:] + plain[:b]):
                if data != plain:
                    refused(data)

    def test_random_bytes(self, plain: bytes) -> None:
        random = np.random.default_rng(1)
        for i in range(600):
            noise = random.bytes(int(random.integers(0, 300)))
            refused((b"", SIGNATURE, plain[:20], plain[:-40])[i % 4] + noise)

    def test_other_files(self) -> None:
        for path in (Path(__file__), Path(__file__).parents[1] / "data" / "hall.png", models.load().path):
            assert "not a .nvc file" in refused(path.read_bytes()[:100_000])


class TestLies:
    """What a hostile writer does: every CRC32C is right."""

    def test_every_bit_of_the_header(self, plain: bytes) -> None:
        file, original = read_picture_file(plain), decode_picture(plain)
        told = [refused_or_the_same(forged(file, head=head), original) for head in flips(file.header.write())]
        assert len(told) >= 72
        assert sum(told) >= len(told) - 3  # the lowest bits of quality may change no pixel

    def test_every_bit_of_the_frame(self, plain: bytes) -> None:
        file, original = read_picture_file(plain), decode_picture(plain)
        for payload in flips(file.frame.payload):
            refused_or_the_same(forged(file, payload=payload), original)
        for checksum in flips(file.frame.checksum.to_bytes(4, "little")):
            assert "checksum" in refused(forged(file, checksum=int.from_bytes(checksum, "little")))
        for kind in range(1, 256):
            assert "type" in refused(forged(file, kind=kind))

    def test_header_fields(self, plain: bytes) -> None:
        file = read_picture_file(plain)
        header = file.header
        lies = [
            replace(header, codec=9),
            replace(header, model_id=b"none"),
            replace(header, grey=True),
            replace(header, width=header.height, height=header.width),
            replace(header, width=header.width + 1),
            replace(header, width=header.width - 1),
            replace(header, height=header.height + 16),
            replace(header, height=1),
            replace(header, width=1, height=1),
            replace(header, quality_code=0, table_set=0),
            replace(header, quality_code=28672, table_set=0),
            replace(header, table_set=1 - header.table_set),
        ]
        for lie in lies:
            refused(forged(file, head=lie.write()))
        for width, height in ((1 << 24, 1 << 24), (1 << 24, 1 << 10), (1025, 1024)):
            lie = replace(header, width=width, height=height)
            assert "limit" in refused(forged(file, head=lie.write()))

    def test_random_headers(self, plain: bytes) -> None:
        file, original = read_picture_file(plain), decode_picture(plain)
        random = np.random.default_rng(2)
        identity = file.header.model_id
        for i in range(1500):
            head = bytearray(random.bytes(int(random.integers(0, 14))))
            if i % 3:  # otherwise the model id ends it at once
                head[:5] = bytes([1]) + identity
            refused_or_the_same(forged(file, head=bytes(head)), original)

    @pytest.mark.parametrize("quality_code", [0, 10_000, 28_672])
    def test_random_payloads(self, plain: bytes, quality_code: int) -> None:
        file = read_picture_file(plain)
        header = replace(file.header, quality_code=quality_code, table_set=0)
        random = np.random.default_rng(quality_code)
        for _ in range(150):
            words = random.integers(0, 1 << 32, random.integers(2, 300), np.uint64).astype("<u4")
            words[1] >>= np.uint32(1)  # below 2^63, or the state alone would give it away
            refused(forged(file, head=header.write(), payload=words.tobytes()))

    def test_payload_lengths(self, plain: bytes) -> None:
        file = read_picture_file(plain)
        payload = file.frame.payload
        for end in range(len(payload)):
            refused(forged(file, payload=payload[:end]))
        for tail in (bytes(4), bytes(8), payload):
            assert "does not end" in refused(forged(file, payload=payload + tail))

    def test_other_symbols_under_the_old_checksum(self, plain: bytes) -> None:
        """A sound stream of another picture."""
        file = read_picture_file(plain)
        model = models.by_id(file.header.model_id)
        symbols = decode_symbols(file, model).astype(np.int32)
        k = int(np.argmax(np.abs(symbols).sum(axis=(1, 2))))
        symbols[k, 1, 1] += 3
        encoder = Encoder()
        context.code(encoder, model.tables(file.header.table_level), symbols)
        assert "checksum differs" in refused(forged(file, payload=encoder.finish()))

    def test_extreme_symbols_are_coded_right(self, plain: bytes) -> None:
        """The largest values a stream can hold: refused for the checksum, with a right one shown."""
        file = read_picture_file(plain)
        model = models.by_id(file.header.model_id)
        shape = decode_symbols(file, model).shape
        symbols = np.random.default_rng(3).choice([-32767, 0, 32767], shape, p=[0.01, 0.98, 0.01]).astype(np.int32)
        encoder = Encoder()
        context.code(encoder, model.tables(file.header.table_level), symbols)
        payload = encoder.finish()
        refused(forged(file, payload=payload))
        latents = model.decoder.dequantise(symbols, file.header.quality_code)
        pixels = synthesis_of(model).picture(latents, file.header.height, file.header.width)
        shown = decode_picture(write_picture_file(file.header, Frame(payload, picture_checksum(pixels))))
        assert np.array_equal(shown.pixels, pixels)


class TestMemory:
    """A claim costs nothing before the stream bears it out."""

    CODE = """
import resource, sys
import numpy as np
from nvc.bitstream.container import Frame, write_picture_file
from nvc.bitstream.header import Header
from nvc.codec import models
from nvc.codec.picture import decode_picture
from nvc.errors import BadStream

identity = models.load().id
words = np.random.default_rng(int(sys.argv[1])).integers(0, 1 << 32, 50, np.uint64).astype("<u4")
words[1] >>= np.uint32(1)

def refused(width, height, code):
    try:
        header = Header(1, identity, code, width, height)
        decode_picture(write_picture_file(header, Frame(words.tobytes(), 0)), threads=1)
    except BadStream as error:
        return str(error)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

refused(64, 64, 0), refused(64, 64, 28672)
before = peak()
sizes = ((16384, 16384), (1 << 24, 16), (16, 1 << 24))
told = [refused(*size, code) for size in sizes for code in (0, 12288, 28672)]
print(peak() - before, all(told))
"""

    # A sound stream of a flat picture, 2^21 pixels wide and one high, under a wrong checksum.
    WIDE = """
import resource
from nvc.bitstream.container import Frame, write_picture_file
from nvc.bitstream.header import Header
from nvc.codec.models import ImageModel
from nvc.codec.picture import decode_picture
from nvc.entropy_coding.coder import Encoder
from nvc.entropy_models import context
from nvc.errors import BadStream

model = ImageModel({tiny!r})

def refused(width):
    encoder = Encoder()
    symbols = model.tables(4).mode[:, None, None].repeat(-(-width // 16), axis=2)
    context.code(encoder, model.tables(4), symbols)
    try:
        file = write_picture_file(Header(1, model.id, 12288, width, 1), Frame(encoder.finish(), 0))
        decode_picture(file, threads=1, model={tiny!r})
    except BadStream as error:
        return "checksum differs" in str(error)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

told = [refused(4096)]
before = peak()
told.append(refused(1 << 21))
print(peak() - before, all(told))
"""

    def grown(self, folder: Path, code: str, *arguments: str) -> int:
        """MiB by which the peak grew in a process of its own, after all was refused."""
        command = [sys.executable, "-c", code, *arguments]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        grown, told = done.stdout.split()
        assert told == "True"
        return int(grown)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_forged_size(self, tmp_path: Path, seed: int) -> None:
        """2^28 pixels claimed, 200 bytes of stream: refused within 16 MiB (their symbols alone would take 640)."""
        assert self.grown(tmp_path, self.CODE, str(seed)) <= 16

    def test_thin_picture(self, tmp_path: Path) -> None:
        """Work goes in tiles whatever the shape: a picture of one row must not be decoded as one strip of 16."""
        tiny = str(Path(__file__).parents[1] / "golden" / "tiny.safetensors")
        assert self.grown(tmp_path, self.WIDE.format(tiny=tiny)) <= 400
