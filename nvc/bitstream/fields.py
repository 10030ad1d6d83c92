"""Fields of the header, declared as data: reading, writing, listing and FORMAT.md's tables follow from a layout."""

from collections.abc import Sequence
from dataclasses import dataclass

from nvc.bitstream.boxes import read_varint, write_varint
from nvc.errors import BadStream

RESERVED = "reserved"
_INTEGER_BYTES = {"u8": 1, "u16": 2}


@dataclass(frozen=True)
class Field:
    """One value: `bits` wide where it shares bytes, stored as value - bias."""

    name: str
    low: int
    high: int
    meaning: str
    bits: int = 0
    bias: int = 0


@dataclass(frozen=True)
class Group:
    """Bytes that are read together.

    coding: "u8" or "u16" (little endian, fields from the lowest bit up), "varint" or "bytes" (one field each)
    """

    coding: str
    fields: tuple[Field, ...]


Layout = Sequence[Group]
Value = int | bytes


def fields_of(layout: Layout) -> list[Field]:
    """The fields that carry a value, in order: all but the reserved ones."""
    return [field for group in layout for field in group.fields if field.name != RESERVED]


def problem(layout: Layout, source: object) -> str:
    """The first attribute of `source` that is outside its field's range, as a message; "" where all are inside."""
    for field in fields_of(layout):
        value = getattr(source, field.name)
        if not field.low <= (len(value) if isinstance(value, bytes) else value) <= field.high:
            return f"{field.name} {value!r} outside {field.low}..{field.high}"
    return ""


def write_fields(layout: Layout, source: object) -> bytes:
    """Bytes of all groups, from the attributes of `source` that have the fields' names; they are in range."""
    return b"".join(_write_group(group, source) for group in layout)


def _write_group(group: Group, source: object) -> bytes:
    first = group.fields[0]
    if group.coding == "bytes":
        return bytes(getattr(source, first.name))
    if group.coding == "varint":
        return write_varint(int(getattr(source, first.name)) - first.bias)
    value = shift = 0
    for field in group.fields:
        value |= (0 if field.name == RESERVED else int(getattr(source, field.name))) << shift
        shift += field.bits
    return value.to_bytes(_INTEGER_BYTES[group.coding], "little")


def read_fields(layout: Layout, content: bytes, position: int, what: str) -> tuple[dict[str, Value], int]:
    """Values by name, each in its range, and the position behind the last. Raises BadStream, naming `what`."""
    values: dict[str, Value] = {}
    for group in layout:
        first = group.fields[0]
        if group.coding == "varint":
            raw, position = read_varint(content, position, f"{what}: {first.name}")
            _store(values, first, raw + first.bias, what)
            continue
        size = first.low if group.coding == "bytes" else _INTEGER_BYTES[group.coding]
        part = content[position : position + size]
        if len(part) < size:
            raise BadStream(f"{what}: {first.name}: cut short")
        position += size
        if group.coding == "bytes":
            values[first.name] = part
            continue
        raw = int.from_bytes(part, "little")
        for field in group.fields:
            _store(values, field, raw & (1 << field.bits) - 1, what)
            raw >>= field.bits
    values.pop(RESERVED, None)
    return values, position


def _store(values: dict[str, Value], field: Field, value: int, what: str) -> None:
    if not field.low <= value <= field.high:
        raise BadStream(f"{what}: {field.name} {value} outside {field.low}..{field.high}")
    values[field.name] = value


def field_table(layout: Layout) -> str:
    """Markdown table of a layout, as FORMAT.md prints it."""
    lines = ["| bytes | bits | field | range | meaning |", "|---|---|---|---|---|"]
    for group in layout:
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
