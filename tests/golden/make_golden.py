"""Makes all in this folder that is of pictures: `python tests/golden/make_golden.py` from the repository.

A tiny weight file (8 latent channels, random network beside a cosine basis, all three kinds of tables), streams made
with it, the digests of what they decode to, and streams that must be refused, with what must be said.

Run it only where the format changes while its number is 0, with a line in CHANGELOG.md: from number 1 on these
files are never made again. New streams may be added at any time, to the end of the lists.
"""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from nvc.bitstream.boxes import BoxType, read_boxes, write_box
from nvc.bitstream.container import Frame, picture_checksum, read_picture_file, write_picture_file
from nvc.bitstream.header import Header, quality_code
from nvc.codec.models import ImageModel, context_tensors, model_id
from nvc.codec.picture import decode_picture, to_grey
from nvc.entropy_coding.coder import Encoder
from nvc.entropy_models import context
from nvc.errors import NvcError
from nvc.networks.image_integer import BLOCK, LEVELS, STEP_ONE, ImageDecoder, Synthesis
from nvc.networks.integer import IntConv, NumpyEngine
from nvc.training import tables

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
WEIGHTS = HERE / "tiny.safetensors"
LATENTS, WIDTHS, SHIFT, UP = 8, (6, 4, 4), 20, 6
RECIPES = dict.fromkeys(range(6), tables.Recipe("magnitude", 4, 2)) | {
    6: tables.RECIPES["base"],
    7: tables.RECIPES["count"],
}
Latents = NDArray[np.int32]


def basis() -> NDArray[np.float64]:
    """(8, 16, 16, 3) orthonormal: four cosines of luma, two each of two colour differences."""
    place = (np.arange(BLOCK) + 0.5) * np.pi / BLOCK
    waves = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 0), (0, 1), (0, 0), (0, 1)]
    colours = [(1, 1, 1)] * 4 + [(1, 0, -1)] * 2 + [(1, -2, 1)] * 2
    rows = [np.cos(u * place)[:, None, None] * np.cos(v * place)[:, None] * np.array(c)
            for (u, v), c in zip(waves, colours, strict=True)]  # fmt: skip
    return np.stack([row / np.sqrt((row**2).sum()) for row in rows])


def make_decoder() -> ImageDecoder:
    """Integers from a fixed generator; the network moves pixels by some levels."""
    random = np.random.default_rng(2026)
    inputs, convs = LATENTS, []
    for i, outputs in enumerate((*WIDTHS, 3)):
        last = i == len(WIDTHS)
        weight = random.integers(-30, 31, (4 * outputs, inputs, 3, 3)).astype(np.int8)
        bias = random.integers(-4000, 4001, 4 * outputs) + (round(127.5 * 2 ** (SHIFT - UP)) if last else 0)
        shift = np.full(4 * outputs, 0 if last else 7 - i, np.int8)
        convs.append(IntConv(weight, bias.astype(np.int32), shift, wide=i == 0, raw=last))
        inputs = outputs
    linear = np.rint(basis().reshape(LATENTS, -1) / 8 * 2**SHIFT).astype(np.int16)
    log_step = np.rint((11 - 0.6 * np.arange(LEVELS)[:, None] + 0.1 * np.arange(LATENTS)) * STEP_ONE)
    decoder = ImageDecoder(tuple(convs), linear, UP, SHIFT, log_step.astype(np.int32))
    decoder.prove()
    return decoder


def photo(name: str, height: int, width: int) -> NDArray[np.uint8]:
    """Left upper part of a photograph in tests/data, (height, width, 3)."""
    return np.asarray(Image.open(DATA / f"{name}.png").convert("RGB"))[:height, :width]


def symbols_of(decoder: ImageDecoder, pixels: NDArray[np.uint8], code: int) -> Latents:
    """(8, h, w): the cosines' coefficients, quantised."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge") - 127.5
    h, w = (n // BLOCK for n in padded.shape[:2])
    blocks = padded.reshape(h, BLOCK, w, BLOCK, 3).swapaxes(1, 2).reshape(h, w, -1)
    latents = 8 * (blocks @ basis().reshape(LATENTS, -1).T).transpose(2, 0, 1)
    return np.rint(latents / decoder.step_sizes(code)[:, None, None]).astype(np.int32)


def make_weights() -> None:
    """The weight file."""
    decoder = make_decoder()
    tensors = {f"decoder.{name}": value for name, value in decoder.tensors().items()}
    pictures = [photo("sign", 192, 256), photo("stair", 120, 160), photo("hall", 61, 97)]
    for level in range(LEVELS):
        latents = [symbols_of(decoder, p, level * STEP_ONE) for p in pictures]
        fitted = context_tensors(tables.fit(latents, RECIPES[level]))
        tensors |= {f"tables.{level + 1}.{part}": value for part, value in fitted.items()}
    metadata = {"codec": "image", "name": "tiny", "id": model_id(tensors).hex(), "config": json.dumps({"latents": 8})}
    save_file(tensors, WEIGHTS, metadata)
    WEIGHTS.chmod(0o644)


def payload_of(model: ImageModel, symbols: Latents, level: int) -> bytes:
    """The rANS stream of (8, h, w) symbols."""
    encoder = Encoder()
    context.code(encoder, model.tables(level), symbols)
    return encoder.finish()


def stream(
    model: ImageModel, height: int, width: int, quality: float, symbols: Latents, *, table_set: int = 0,
    grey: bool = False, **boxes: Any,
) -> bytes:  # fmt: skip
    """A picture file with the checksum of the referee's pixels."""
    code = quality_code(quality)
    header = Header(1, model.id, code, width, height, table_set, grey)
    decoder = model.decoder
    assert isinstance(decoder, ImageDecoder)
    pixels = Synthesis(decoder, NumpyEngine()).picture(decoder.dequantise(symbols, code), height, width)
    checksum = picture_checksum(to_grey(pixels) if grey else pixels)
    return write_picture_file(header, Frame(payload_of(model, symbols, header.table_level), checksum), **boxes)


def make_streams(model: ImageModel) -> dict[str, bytes]:
    """Streams that must decode for ever."""
    decoder = model.decoder
    assert isinstance(decoder, ImageDecoder)

    def of(name: str, height: int, width: int, quality: float) -> Latents:
        return symbols_of(decoder, photo(name, height, width), quality_code(quality))

    extreme = np.zeros((LATENTS, 3, 2), np.int32)
    extreme[:, 0, 0], extreme[:, 1, 1], extreme[:, 2, 0] = 32767, -32767, 401
    still = np.repeat(model.tables(4).mode[:, None, None], 19 * 13, axis=1).reshape(LATENTS, 19, 13)
    y, x = np.mgrid[:30, :40]
    alpha = ((x * 6 + y * 3) % 256).astype(np.uint8)
    noted = stream(model, 61, 97, 5.0, of("hall", 61, 97, 5.0))
    at = noted.index(boxes_of(noted)[-1])
    return {
        "colour": stream(model, 61, 97, 3.25, of("hall", 61, 97, 3.25), table_set=1),
        "grey": stream(model, 33, 17, 6.5, of("stair", 33, 17, 6.5), grey=True),
        "pixel": stream(model, 1, 1, 1.0, of("sign", 1, 1, 1.0)),
        "base": stream(model, 48, 80, 7.0, of("sign", 48, 80, 7.0)),
        "count": stream(model, 64, 64, 8.0, of("stair", 64, 64, 8.0)),
        "finest": stream(model, 16, 16, 7 + 4095 / 4096, of("stair", 16, 16, 7 + 4095 / 4096), table_set=1),
        "extreme": stream(model, 48, 32, 2.0, extreme),
        "still": stream(model, 300, 200, 4.0, still),
        "whole": stream(
            model, 30, 40, 2.5, of("sign", 30, 40, 2.5),
            alpha=alpha, icc=b"profile " * 9, cicp=bytes([1, 13, 0, 1]), exif=b"II*\0" + bytes(12), xmp=b"<x/>",
        ),
        "unknown-box": noted[:at] + write_box(BoxType.ANCILLARY, b"to be skipped", "note") + noted[at:],
    }  # fmt: skip


def boxes_of(data: bytes) -> list[bytes]:
    """A file's boxes, the signature with the first."""
    cuts = [box.offset for box in read_boxes(io.BytesIO(data))]
    cuts[0] = 0
    return [data[a:b] for a, b in zip(cuts, [*cuts[1:], len(data)], strict=True)]


def make_bad(model: ImageModel, good: dict[str, bytes]) -> dict[str, bytes]:
    """Streams that must be refused; every CRC32C is right except where that is the point."""
    base, whole = good["colour"], good["whole"]
    parsed = read_picture_file(base)
    header, payload, checksum = parsed.header.write(), parsed.frame.payload, parsed.frame.checksum

    def forged(head: bytes = header, words: bytes = payload, *, kind: int = 0, total: int = checksum) -> bytes:
        content = bytes([kind]) + words + total.to_bytes(4, "little")
        return write_box(BoxType.HEADER, head, first=True) + write_box(BoxType.FRAME, content)

    def header_with(**changes: Any) -> bytes:
        values = {name: getattr(parsed.header, name) for name in parsed.header.__dataclass_fields__} | changes
        return Header(**values).write()

    def bent(data: bytes, byte: int, bits: int) -> bytes:
        return data[:byte] + bytes([data[byte] ^ bits]) + data[byte + 1 :]

    level = parsed.header.table_level
    symbols = np.zeros((LATENTS, 4, 7), np.int32)
    impossible = Encoder()
    rows = model.tables(level).order * context.SIZE_BINS + 4
    impossible.code(np.array([2, *[0] * (LATENTS - 1)]), rows, model.tables(level).activation)
    one_byte_sides = len(header) - 2
    sides = header[:one_byte_sides]
    parts = boxes_of(whole)
    return {
        "empty": b"",
        "cut-signature": base[:3],
        "cut-in-header": base[:10],
        "cut-in-frame": base[:-5],
        "no-frame": boxes_of(base)[0],
        "other-format-number": bent(base, 3, 1),
        "not-nvc": b"\x89PNG" + base[4:],
        "flipped-payload-bit": bent(base, len(base) - 20, 0x10),
        "trailing-zero": base + b"\0",
        "two-frames": base + boxes_of(base)[1],
        "frame-first": base[:4] + boxes_of(base)[1],
        "reserved-bit": forged(bent(header, 0, 0x80)),
        "codec-2": forged(bent(header, 0, 0x03)),
        "video": forged(bent(header, 0, 0x10)),
        "grey-where-colour": forged(bent(header, 0, 0x20)),
        "unknown-model": forged(header_with(model_id=b"\0\0\0\0")),
        "quality-beyond-8": forged(header[:5] + b"\x01\x70" + header[7:]),
        "table-set-1-at-quality-8": forged(header[:5] + b"\x00\xf0" + header[7:]),
        "other-table-set": forged(header_with(table_set=0)),
        "other-quality": forged(header_with(quality_code=parsed.header.quality_code + 300)),
        "wider": forged(header_with(width=parsed.header.width + 16)),
        "narrower": forged(header_with(width=parsed.header.width - 1)),
        "2-to-24-x-2-to-24": forged(header_with(width=1 << 24, height=1 << 24)),
        "16384-x-16384": forged(header_with(width=16384, height=16384)),
        "side-beyond-2-to-24": forged(sides + bytes([0x80, 0x80, 0x80, 0x08]) + b"\0"),
        "long-number": forged(sides + bytes([0x80, 0x80, 0x80, 0x80, 0x80, 0x01]) + b"\0"),
        "number-not-shortest": forged(sides + bytes([0x83, 0x00]) + b"\0"),
        "header-too-long": forged(header + b"\0"),
        "header-too-short": forged(header[:-1]),
        "frame-type": forged(kind=1),
        "re-parameterised": forged(kind=4),
        "no-whole-words": forged(words=payload + b"\0"),
        "payload-too-short": forged(words=payload[:4]),
        "impossible-state": forged(words=bytes(8) + payload[8:]),
        "word-missing": forged(words=payload[:-4]),
        "word-too-many": forged(words=payload + bytes(4)),
        "impossible-activation-bit": forged(words=impossible.finish()),
        "other-symbols": forged(words=payload_of(model, symbols, level)),
        "other-picture": forged(total=checksum ^ 1),
        "unknown-critical-box": boxes_of(base)[0] + write_box(BoxType.CRITICAL, b"", "TILE") + boxes_of(base)[1],
        "two-profiles": b"".join([*parts[:2], *parts[1:]]),
        "box-name": boxes_of(base)[0] + box_named(b"a\nb\0") + boxes_of(base)[1],
    }


def box_named(name: bytes) -> bytes:
    """An empty ancillary box of any name, with a right CRC32C."""
    body = bytes([len(name) << 2 | BoxType.ANCILLARY]) + name
    return body + crc32c(body).to_bytes(4, "little")


def refusal(data: bytes) -> tuple[str, str]:
    """Kind and message of the error that decoding raises."""
    try:
        decode_picture(data, model=str(WEIGHTS))
    except NvcError as error:
        return type(error).__name__, str(error)
    raise AssertionError("decoded")


def digest(array: NDArray[np.uint8] | None) -> str | None:
    """SHA-256 of the samples."""
    return None if array is None else hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def main() -> None:
    make_weights()
    model = ImageModel(WEIGHTS)
    good = make_streams(model)
    bad = make_bad(model, good)
    listing: dict[str, Any] = {"model": model.info.id, "good": {}, "bad": {}}
    write: Callable[[str, bytes], Any] = lambda name, data: (HERE / f"{name}.nvc").write_bytes(data)  # noqa: E731
    for name, data in good.items():
        write(name, data)
        picture = decode_picture(data, model=str(WEIGHTS))
        listing["good"][name] = {
            "shape": list(picture.pixels.shape), "pixels": digest(picture.pixels), "alpha": digest(picture.alpha),
        }  # fmt: skip
    for name, data in bad.items():
        write(f"bad/{name}", data)
        listing["bad"][name] = refusal(data)
    lines = [f'"model": {json.dumps(listing["model"])}']
    for kind in ("good", "bad"):
        entries = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in listing[kind].items())
        lines.append(f'"{kind}": {{\n{entries}\n}}')
    (HERE / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
