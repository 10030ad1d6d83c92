"""The header box (FORMAT.md, chapter 3).

Its fields are declared once, in LAYOUT; reading, writing, listing and the table of FORMAT.md follow from it
(tests/test_format_doc.py compares the table).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from nvc.bitstream.boxes import read_varint, write_varint
from nvc.errors import BadStream, LimitError

MAX_SIDE = 1 << 24  # pixels; keeps both sizes in four bytes and their product in 48 bits
MAX_PIXELS = 1 << 28  # default of --max-pixels: 16384 x 16384, about 3 GiB of float32 RGB
MODEL_ID_BYTES = 4

MIN_QUALITY, MAX_QUALITY = 1.0, 8.0
QUALITY_STEPS = 4096  # grid points between two levels
MAX_QUALITY_CODE = int(MAX_QUALITY - MIN_QUALITY) * QUALITY_STEPS


class Kind(IntEnum):
    """What the file holds."""

    PICTURE = 0
    VIDEO = 1


@dataclass(frozen=True)
class Field:
    """One value of the header: `bits` wide where it shares bytes, stored as value - bias."""

    name: str
    low: int
    high: int
    meaning: str
    bits: int = 0
    bias: int = 0


@dataclass(frozen=True)
class Group:
    """Bytes of the header that are read together.

    coding: "u8" or "u16" (little endian, fields from the lowest bit up), "varint" or "bytes" (one field each)
    """

    coding: str
    fields: tuple[Field, ...]


LAYOUT = (
    Group(
        "u8",
        (
            Field("codec", 1, 15, "codec number: 1 = image", bits=4),
            Field("kind", 0, 1, "0 = picture, 1 = video", bits=1),
            Field("grey", 0, 1, "0 = three planes R, G, B; 1 = one plane", bits=1),
            Field("reserved", 0, 0, "must be 0", bits=2),
        ),
    ),
    Group("bytes", (Field("model_id", 4, 4, "model id (chapter 9): which weights decode the file"),)),
    Group(
        "u16",
        (
            Field("quality_code", 0, MAX_QUALITY_CODE, "quality = 1 + quality_code / 4096, 1.0 to 8.0", bits=15),
            Field("table_set", 0, 1, "0 = tables of level floor(quality), 1 = of floor(quality) + 1", bits=1),
        ),
    ),
    Group("varint", (Field("width", 1, MAX_SIDE, "columns, in pixels; stored as width - 1", bias=1),)),
    Group("varint", (Field("height", 1, MAX_SIDE, "rows, in pixels; stored as height - 1", bias=1),)),
)

_INTEGER_BYTES = {"u8": 1, "u16": 2}


def quality_code(quality: float) -> int:
    """Nearest point of the file's grid to a quality 1.0..8.0. ValueError outside."""
    if not MIN_QUALITY <= quality <= MAX_QUALITY:
        raise ValueError(f"quality {quality} outside {MIN_QUALITY:g}..{MAX_QUALITY:g}")
    return round((quality - MIN_QUALITY) * QUALITY_STEPS)


@dataclass(frozen=True)
class Header:
    """Content of the header box. ValueError where a value is outside the range that LAYOUT gives it.

    codec: 1..15   model_id: 4 bytes   quality_code: 0..28672   table_set: 0 or 1   width, height: pixels
    """

    codec: int
    model_id: bytes
    quality_code: int
    width: int
    height: int
    table_set: int = 0
    grey: bool = False
    kind: Kind = Kind.PICTURE

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ValueError(problem)

    @property
    def quality(self) -> float:
        """Quality 1.0..8.0, exact (a multiple of 1/4096)."""
        return MIN_QUALITY + self.quality_code / QUALITY_STEPS

    @property
    def table_level(self) -> int:
        """Level 1..8 whose tables code this file."""
        return math.floor(self.quality) + self.table_set

    @property
    def pixels(self) -> int:
        """width * height."""
        return self.width * self.height

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded uint8 array: (height, width, 3), or (height, width) for grey."""
        return (self.height, self.width) if self.grey else (self.height, self.width, 3)

    def write(self) -> bytes:
        """Content of the header box."""
        return b"".join(self._write_group(group) for group in LAYOUT)

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(name, value, meaning) of each field, for listings."""
        for group in LAYOUT:
            for field in group.fields:
                if field.name != "reserved":
                    value = getattr(self, field.name)
                    yield field.name, value.hex() if isinstance(value, bytes) else str(int(value)), field.meaning

    def _problem(self) -> str:
        for group in LAYOUT:
            for field in group.fields:
                if field.name == "reserved":
                    continue
                value = getattr(self, field.name)
                if not field.low <= (len(value) if isinstance(value, bytes) else value) <= field.high:
                    return f"{field.name} {value!r} outside {field.low}..{field.high}"
        if self.table_level > MAX_QUALITY:
            return "table_set 1 at quality 8: there is no level 9"
        return ""

    def _write_group(self, group: Group) -> bytes:
        if group.coding == "bytes":
            return bytes(getattr(self, group.fields[0].name))
        if group.coding == "varint":
            return write_varint(getattr(self, group.fields[0].name) - group.fields[0].bias)
        value = shift = 0
        for field in group.fields:
            value |= (0 if field.name == "reserved" else int(getattr(self, field.name))) << shift
            shift += field.bits
        return value.to_bytes(_INTEGER_BYTES[group.coding], "little")


def read_header(content: bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Header from the content of its box, every field checked.

    Raises BadStream for a value that the format forbids, LimitError for more than `max_pixels` pixels.
    """
    values: dict[str, int | bytes] = {}
    position = 0
    for group in LAYOUT:
        first = group.fields[0]
        if group.coding == "varint":
            raw, position = read_varint(content, position, f"header: {first.name}")
            _store(values, first, raw + first.bias)
            continue
        size = first.low if group.coding == "bytes" else _INTEGER_BYTES[group.coding]
        part = content[position : position + size]
        if len(part) < size:
            raise BadStream(f"header: {first.name}: cut short")
        position += size
        if group.coding == "bytes":
            values[first.name] = part
            continue
        raw = int.from_bytes(part, "little")
        for field in group.fields:
            _store(values, field, raw & (1 << field.bits) - 1)
            raw >>= field.bits
    if position != len(content):
        raise BadStream(f"header: {len(content) - position} bytes too many")
    values.pop("reserved")
    values["grey"] = bool(values["grey"])
    values["kind"] = Kind(int(values["kind"]))
    try:
        header = Header(**values)  # type: ignore[arg-type]  # the names and types are LAYOUT's, checked above
    except ValueError as error:
        raise BadStream(f"header: {error}") from error
    if header.pixels > max_pixels:
        raise LimitError(
            f"{header.width}x{header.height} is {header.pixels} pixels, "
            f"more than the limit of {max_pixels} (--max-pixels)"
        )
    return header


def _store(values: dict[str, int | bytes], field: Field, value: int) -> None:
    if not field.low <= value <= field.high:
        raise BadStream(f"header: {field.name} {value} outside {field.low}..{field.high}")
    values[field.name] = value


def field_table() -> str:
    """Markdown table of LAYOUT, as FORMAT.md, chapter 3, prints it."""
    lines = ["| bytes | bits | field | range | meaning |", "|---|---|---|---|---|"]
    for group in LAYOUT:
        shift = 0
        for field in group.fields:
            last = shift + field.bits - 1
            bits = "" if not field.bits else str(shift) if last == shift else f"{shift}-{last}"
            span = f"{field.low} to {field.high}" if field.low != field.high else str(field.low)
            if group.coding == "bytes":
                lines.append(f"| {field.low} bytes | | {field.name} | any | {field.meaning} |")
            else:
                row = f"| {group.coding} | {bits} | {field.name} | {span} | {field.meaning} |"
                lines.append(row.replace("|  |", "| |"))
            shift += field.bits
    return "\n".join(lines) + "\n"
