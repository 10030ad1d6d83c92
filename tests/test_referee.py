"""FORMAT.md is enough to write a decoder: the referee, written from it, decodes to the pixels of nvc."""

import sys
from dataclasses import replace
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c
from numpy.typing import NDArray
from PIL import Image

import nvc.errors
from nvc.bitstream.container import Frame, picture_checksum, read_picture_file, write_picture_file
from nvc.bitstream.header import Header
from nvc.codec import models
from nvc.entropy_coding.coder import Encoder
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models import context
from nvc.entropy_models.context import ContextModel
from nvc.networks.image_integer import MANTISSA, ImageDecoder, Synthesis
from nvc.networks.integer import NumpyEngine

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import referee  # noqa: E402

FORMAT = (HERE.parent / "FORMAT.md").read_text()


@pytest.fixture(scope="module")
def weights() -> bytes:
    return models.load().path.read_bytes()


def crop(name: str, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
    with Image.open(HERE / "data" / name) as image:
        return np.asarray(image.convert("RGB"))[top : top + height, left : left + width]


COLOUR = crop("stair.png", 50, 40, 48, 40)  # whole blocks across, not down
GREY = crop("sign.png", 100, 60, 33, 17)[:, :, 1]  # one pixel over a block both ways
DOT = crop("hall.png", 20, 20, 1, 1)
THIN = np.dstack([crop("hall.png", 5, 9, 3, 37), crop("hall.png", 40, 9, 3, 37)[:, :, 0]])  # with alpha


@pytest.mark.parametrize("quality", [1, 4.3, 8])
@pytest.mark.parametrize("array", [COLOUR, GREY, DOT, THIN], ids=["colour", "grey", "dot", "thin"])
def test_the_referee_decodes_the_same_pixels(array: NDArray[np.uint8], quality: float, weights: bytes) -> None:
    data = nvc.encode(array, quality=quality)
    pixels = referee.decode(data, weights)
    assert pixels.shape == array.shape
    np.testing.assert_array_equal(pixels, nvc.decode(data))


def built(code: int, symbols: NDArray[np.int32], tables: ContextModel, table_set: int = 0) -> bytes:
    """A file of 32x32 pixels with these symbols, (M, 2, 2)."""
    model = models.load()
    encoder = Encoder()
    context.code(encoder, tables, symbols)
    decoder = model.decoder
    assert isinstance(decoder, ImageDecoder)
    pixels = Synthesis(decoder, NumpyEngine()).picture(decoder.dequantise(symbols, code), 32, 32)
    header = Header(1, model.id, code, 32, 32, table_set)
    return write_picture_file(header, Frame(encoder.finish(), picture_checksum(pixels)))


@pytest.mark.parametrize(("code", "table_set"), [(0, 0), (4096, 1), (24600, 0), (28672, 0)])
def test_symbols_that_no_picture_has(code: int, table_set: int, weights: bytes) -> None:
    """Escapes up to the limit, latents beyond their clamp, activations at theirs, inactive channels between."""
    rng = np.random.default_rng(code)
    tables = models.load().tables(1 + code // 4096 + table_set)
    spread = rng.choice([0, 0.3, 30, 3000, 60000], (tables.channels, 1, 1))
    symbols = tables.mode[:, None, None] + rng.laplace(0, spread, (tables.channels, 2, 2))
    data = built(code, np.clip(symbols, -32767, 32767).astype(np.int32), tables, table_set)
    np.testing.assert_array_equal(referee.decode(data, weights), nvc.decode(data))


def test_a_symbol_beyond_the_limit_is_refused(weights: bytes) -> None:
    tables = models.load().tables(3)
    moved = replace(tables, mode=tables.mode - 1)  # what these code as 32767 the true ones read as 32768
    data = built(8192, np.full((tables.channels, 2, 2), 32767, np.int32), moved)
    with pytest.raises(referee.Invalid, match="symbol"):
        referee.decode(data, weights)
    with pytest.raises(nvc.errors.BadStream):
        nvc.decode(data)


def test_damage_is_refused(weights: bytes) -> None:
    data = nvc.encode(DOT, quality=4)
    file = read_picture_file(data)
    payload = file.frame.payload
    for changed in (payload + bytes(4), payload[:-4], payload[:4] + b"\xff" * 4 + payload[8:]):
        with pytest.raises(referee.Invalid):
            referee.decode(write_picture_file(file.header, Frame(changed, file.frame.checksum)), weights)
    with pytest.raises(referee.Invalid, match="checksum"):
        referee.decode(write_picture_file(file.header, Frame(payload, file.frame.checksum ^ 1)), weights)
    with pytest.raises(referee.Invalid, match="CRC32C"):
        referee.decode(data[:-6] + bytes([data[-6] ^ 1]) + data[-5:], weights)


def test_model_id_of_the_weight_file(weights: bytes) -> None:
    assert referee.model_id(referee.read_weights(weights)) == models.load().id


@pytest.mark.parametrize(
    ("values", "payload"),
    [
        ([0, 0, 0, 0], "2e00068000000000"),
        ([0, 1, -1, 2, -2, 100, -100, 0], "92003100080000000000fffff0ff1f00f1ff2fc4ffff524c"),
    ],
)
def test_rans_examples(values: list[int], payload: str) -> None:
    assert f"`{payload}`" in FORMAT
    stream = referee.Stream(bytes.fromhex(payload))
    assert [stream.value(np.array([1, 65533, 1, 1]), -1) for _ in values] == values
    stream.finish()
    encoder = Encoder()
    encoder.code(np.array(values), 0, TableSet.from_rows([[0, 1, 65534, 65535, 65536]], [-1]))
    assert encoder.finish().hex() == payload


def test_mantissa_table() -> None:
    """The table is 2^(14 + i/4096) rounded, far from halves, and has the stated CRC32C."""
    with localcontext() as precise:
        precise.prec = 40
        exact = [Decimal(2) ** (14 + Decimal(i) / 4096) for i in range(4096)]
        distance = max(abs(value - int(entry)) for value, entry in zip(exact, MANTISSA, strict=True))
    assert distance < Decimal("0.49993")
    stated = f"0x{crc32c(MANTISSA.astype('<u2').tobytes()):08X}"
    assert f"CRC32C over the entries as `u16` is {stated}" in FORMAT
