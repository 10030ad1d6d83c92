"""FillGap on pictures: other bytes, the same latents, and never more than a byte added."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nvc.bitstream.container import Frame, picture_checksum, read_picture_file, write_picture_file
from nvc.bitstream.header import Header, quality_code
from nvc.codec import fillgap, models
from nvc.codec.picture import EncodeSettings, PictureEncoder, decode_picture, decode_symbols, payload_of, synthesis_of
from nvc.codec.variants import Variant, variants
from nvc.errors import BadStream
from nvc.media.pictures import Picture
from nvc.networks.image_integer import BLOCK

Make = Callable[..., Any]
GOLDEN = Path(__file__).parents[1] / "golden"
TINY = str(GOLDEN / "tiny.safetensors")  # tables of levels 1 to 6 magnitude, of 7 Base, of 8 count
PACKED = [variant for variant in variants() if variant.fillgap]


def without(variant: Variant) -> Variant:
    return replace(variant, fillgap=False)


def tiny_file(pixels: NDArray[np.uint8], level: int) -> bytes:
    """A picture by the tiny model, which has no analysis: its basis, nearly orthogonal, is one."""
    model = models.load(TINY)
    decoder: Any = model.decoder
    h, w = (n // BLOCK for n in pixels.shape[:2])
    blocks = (pixels[: BLOCK * h, : BLOCK * w] - 127.5).reshape(h, BLOCK, w, BLOCK, 3).swapaxes(1, 2).reshape(h * w, -1)
    latents = np.linalg.lstsq(decoder.linear.T / 2.0**decoder.shift, blocks.T, rcond=None)[0].reshape(-1, h, w)
    code = quality_code(float(level))
    symbols = decoder.quantise(latents.astype(np.float32), code)
    shown = synthesis_of(model).picture(decoder.dequantise(symbols, code), BLOCK * h, BLOCK * w)
    payload = payload_of(model.tables(level), symbols.astype(np.int32))
    header = Header(1, model.id, code, BLOCK * w, BLOCK * h, 0, False)
    return write_picture_file(header, Frame(payload, picture_checksum(shown)))


@pytest.mark.parametrize("level", [1, 5, 7])
@pytest.mark.parametrize("variant", PACKED, ids=lambda v: v.name)
def test_same_picture_from_other_bytes(photo: Make, variant: Variant, level: int) -> None:
    """With the shipped model."""
    pixels = photo("demo", 208, 312)
    plain, packed = without(variant).encode(pixels, level), variant.encode(pixels, level)
    assert len(packed) <= len(plain) + 1
    assert fillgap.unpack(packed, variant.tables) == plain
    assert np.array_equal(variant.decode(packed), without(variant).decode(plain))
    if variant.name == "base+fillgap":
        assert packed[:1] == fillgap.REPLACED
        assert len(packed) < len(plain)


@pytest.mark.parametrize("level", range(1, 9))
@pytest.mark.parametrize("name", ["demo", "stair"])
def test_tiny_model(photo: Make, name: str, level: int) -> None:
    plain = tiny_file(photo(name), level)
    decode_picture(plain, model=TINY)  # its checksum holds
    packed = fillgap.pack(plain, model=TINY)
    assert fillgap.unpack(packed, model=TINY) == plain
    assert len(packed) <= len(plain) + 1
    assert (packed[:1] == fillgap.REPLACED) == (len(packed) <= len(plain) - 3)  # the coder writes words of 4 bytes


def test_tiny_model_has_some_of_both(photo: Make) -> None:
    flags = [fillgap.pack(tiny_file(photo(name), 7), model=TINY)[:1] for name in ("demo", "stair")]
    assert fillgap.REPLACED in flags
    assert fillgap.pack((GOLDEN / "pixel.nvc").read_bytes(), model=TINY)[:1] == fillgap.PLAIN


@pytest.mark.parametrize("name", ["base", "colour", "count", "extreme", "finest", "grey", "pixel", "still", "whole"])
def test_golden_streams(name: str) -> None:
    """Grey ones, escapes, alpha and metadata, channels without activity."""
    plain = (GOLDEN / f"{name}.nvc").read_bytes()
    packed = fillgap.pack(plain, model=TINY)
    assert fillgap.unpack(packed, model=TINY) == plain
    assert len(packed) <= len(plain) + 1


@pytest.mark.parametrize("level", [1, 7])
@pytest.mark.parametrize("variant", PACKED, ids=lambda v: v.name)
def test_saves_what_the_plan_says(photo: Make, variant: Variant, level: int) -> None:
    """Every value counts once with its own table, those of silent channels not at all."""
    settings = EncodeSettings(rdoq=0, tables=variant.tables, threads=1)
    plain = PictureEncoder(Picture(photo("demo")), settings).encode(float(level)).data
    file, model = read_picture_file(plain), models.load()
    tables = model.tables(level, variant.tables)
    symbols = decode_symbols(file, model, variant.tables).astype(np.int32)
    plan = fillgap.plan_of(fillgap.candidates(tables), tables, symbols)
    assert plan.replaced > 0 or level == 1
    shorter = len(plain) + 1 - len(fillgap.pack(plain, variant.tables))
    assert abs(8 * shorter - max(plan.saved, 0)) < 40  # words of 32 bits, and what the coder rounds


def test_silent_channels_replace_nothing() -> None:
    """Their values are not coded: a table that suits them better saves nothing."""
    tables = models.load().tables(1)
    part = fillgap.candidates(tables)
    silent = np.repeat(tables.mode[:, None, None], 48 * 64, axis=1).reshape(-1, 48, 64)
    assert fillgap.plan_of(part, tables, silent).replaced == 0
    silent[tables.order[0], 0, 0] += 1
    rows = part.rows[fillgap.plan_of(part, tables, silent).components > 0]
    assert set(rows // tables.contexts) <= {tables.order[0]}


class TestDamage:
    def packed(self, photo: Make) -> bytes:
        return fillgap.pack(tiny_file(photo("demo"), 7), model=TINY)

    def refused(self, data: bytes) -> None:
        with pytest.raises(BadStream):
            decode_picture(fillgap.unpack(data, model=TINY), model=TINY)

    @pytest.mark.parametrize("flag", [b"", b"\2", b"\xff"])
    def test_first_byte(self, photo: Make, flag: bytes) -> None:
        self.refused(flag + self.packed(photo)[1:])

    def test_taken_for_the_other_kind(self, photo: Make) -> None:
        packed = self.packed(photo)
        assert packed[:1] == fillgap.REPLACED
        self.refused(fillgap.PLAIN + packed[1:])
        self.refused(fillgap.REPLACED + fillgap.unpack(packed, model=TINY))

    @pytest.mark.parametrize("byte", [0, 3, 9, 40, -9, -1])
    def test_payload_with_a_right_box(self, photo: Make, byte: int) -> None:
        file = read_picture_file(self.packed(photo)[1:])
        payload = bytearray(file.frame.payload)
        payload[byte] ^= 0x55
        self.refused(fillgap.REPLACED + write_picture_file(file.header, Frame(bytes(payload), file.frame.checksum)))

    def test_cut(self, photo: Make) -> None:
        self.refused(self.packed(photo)[:-4])
