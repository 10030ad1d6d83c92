"""From the inputs and `-o` of a command line to pairs of input and output, checked before any work.

Paths are plain strings here: `-` is stdin or stdout, `./-` is a file of that name, and pathlib makes one out of both.
"""

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from nvc.errors import InputError, LimitError, UsageError

STREAM = "-"
_NUMBER = re.compile(r"%(?:0[0-9]+)?d")


@dataclass(frozen=True)
class Item:
    """One input and the output that it becomes.

    source: path, or `-` for stdin.
    target: path, `-` for stdout, or None where nothing is written (`--check`, nvc-info).
    make_folder: the folder of the target lies under `-o DIR/` and is made when missing.
    """

    source: str
    target: str | None
    make_folder: bool = False

    @property
    def source_name(self) -> str:
        return "<stdin>" if self.source == STREAM else self.source

    @property
    def target_name(self) -> str:
        return "<stdout>" if self.target == STREAM else self.target or ""


@dataclass(frozen=True)
class Plan:
    """What a command will do: the items in order, and what the walk through folders left out.

    empty: folders with no file of a wanted kind (an error each: exit 0 must mean that something was done).
    left_out: (folder, number of files) whose names are of no wanted kind.
    """

    items: tuple[Item, ...]
    empty: tuple[str, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class _Found:
    """An input file; `inside` is its path below the folder that was named, None for a file named by itself."""

    path: str
    inside: str | None


def printable(name: str) -> str:
    """A path as one harmless line: control characters (newlines, terminal escapes) as \\xNN."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda m: f"\\x{ord(m.group()):02x}", name)


def is_special(path: str) -> bool:
    """An existing FIFO, device or socket: written directly, never replaced, and never `exists`."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def is_pattern(path: str) -> bool:
    """Whether a name stands for numbered files (`frame%04d.png`), and is no file itself."""
    return len(_NUMBER.findall(os.path.basename(path))) == 1 and not os.path.lexists(path)


def numbered(pattern: str) -> list[str]:
    """Names of the files that a pattern stands for, in any order; none where it is no pattern."""
    folder, name = os.path.split(pattern)
    parts = _NUMBER.split(name)
    if len(parts) != 2 or not os.path.isdir(folder or "."):
        return []
    wanted = re.compile(re.escape(parts[0]) + "[0-9]+" + re.escape(parts[1]))
    return [found for found in os.listdir(folder or ".") if wanted.fullmatch(found)]


def read_input(source: str, *, limit: int) -> bytes:
    """All bytes of a file, a FIFO or (`-`) stdin.

    Raises InputError where it cannot be read; LimitError above `limit` bytes, before they are in memory.
    """
    try:
        if source == STREAM and sys.stdin is None:
            raise InputError("cannot be read: it is closed")
        with open(sys.stdin.fileno() if source == STREAM else source, "rb", closefd=source != STREAM) as file:
            return read_all(file, limit=limit)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error


def read_all(stream: BinaryIO, *, limit: int) -> bytes:
    """All bytes of a stream. Raises OSError; LimitError above `limit` bytes, before they are in memory."""
    pieces: list[bytes] = []
    size = 0
    while piece := stream.read(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise LimitError(f"more than {limit:,} bytes, which no input within --max-pixels needs")
    return b"".join(pieces)


def plan(
    inputs: Sequence[str], output: str | None, *, suffix: str | Callable[[str], str], wanted: frozenset[str]
) -> Plan:
    """Pair every input with its output.

    inputs: files, folders (walked) or one `-`.
    output: the value of `-o`: None, `-`, a file, or a folder (ends in `/` or is one).
    suffix: of derived names, with its dot; or what finds it for the path of an input.
    wanted: lower-case suffixes that a walk takes; a file named by itself is always taken.
    Raises UsageError where two inputs meet in one output, an output is an input, or `-o` cannot hold them all.
    """
    found, empty, left_out = _expand(inputs, wanted)
    if STREAM in inputs and len(inputs) > 1:
        raise UsageError("'-' (stdin) must be the only input")
    if output == "":
        raise UsageError("-o needs a name")
    many = len(inputs) > 1 or any(entry.inside is not None for entry in found) or bool(empty)
    into = output if output not in (None, STREAM) and (_ends_in_slash(output) or os.path.isdir(output)) else None
    if output is not None and into is None and many:
        what = "stdout holds one output" if output == STREAM else f"'{output}' is one file"
        raise UsageError(f"-o: {what}, and there are several inputs; name a folder (-o DIR/)")
    items = []

    def renamed(name: str, path: str) -> str:
        return _renamed(name, suffix if isinstance(suffix, str) else suffix(path))

    for entry in found:
        if into is not None and entry.path == STREAM:
            raise UsageError("-o: stdin has no name to keep in a folder; name the output file")
        if into is not None:
            inside = entry.inside if entry.inside is not None else os.path.basename(entry.path)
            items.append(Item(entry.path, os.path.join(into, renamed(inside, entry.path)), make_folder=True))
        elif output is not None:
            items.append(Item(entry.path, output))
        else:
            target = STREAM if entry.path == STREAM else renamed(entry.path, entry.path)
            items.append(Item(entry.path, target))
    _refuse_collisions(items)
    return Plan(tuple(items), tuple(empty), tuple(left_out))


def plan_reading(inputs: Sequence[str], *, wanted: frozenset[str]) -> Plan:
    """The same for a command that writes no files. Raises UsageError when stdin is named twice."""
    if inputs.count(STREAM) > 1:
        raise UsageError("'-' (stdin) can be read once only")
    found, empty, left_out = _expand(inputs, wanted)
    return Plan(tuple(Item(entry.path, None) for entry in found), tuple(empty), tuple(left_out))


def _expand(inputs: Sequence[str], wanted: frozenset[str]) -> tuple[list[_Found], list[str], list[tuple[str, int]]]:
    """Folders to the files in them: (files, empty folders, (folder, files left out))."""
    found: list[_Found] = []
    empty: list[str] = []
    left_out: list[tuple[str, int]] = []
    for name in inputs:
        if name == STREAM or not os.path.isdir(name):
            found.append(_Found(name, None))
            continue
        files = list(_walk(name))
        taken = [inside for inside in files if os.path.splitext(inside)[1].lower() in wanted]
        found += [_Found(os.path.join(name, inside), inside) for inside in taken]
        if not taken:
            empty.append(name)
        elif len(files) > len(taken):
            left_out.append((name, len(files) - len(taken)))
    return found, empty, left_out


def _walk(folder: str) -> Iterator[str]:
    """Files below a folder as paths relative to it, in the order of their names; hidden ones are no one's pictures."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            path = os.path.join(here, name)
            if not name.startswith(".") and os.path.isfile(path):
                yield os.path.relpath(path, folder)


def _ends_in_slash(name: str) -> bool:
    return name.endswith(os.sep) or (os.altsep is not None and name.endswith(os.altsep))


def _renamed(path: str, suffix: str) -> str:
    stem = os.path.splitext(path)[0]
    if is_pattern(path):  # the name that the frames have in common
        folder, name = os.path.split(stem)
        stem = os.path.join(folder, _NUMBER.sub("", name).strip(" -_.") or "frames")
    return stem + suffix


def _identity(path: str) -> str:
    return os.path.normcase(os.path.realpath(path))


def _inode(path: str) -> tuple[int, int] | None:
    """Device and inode of an existing regular file: finds an equal file under two names (hard link, letter case)."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _refuse_collisions(items: Sequence[Item]) -> None:
    sources = {_identity(item.source) for item in items if item.source != STREAM}
    inodes = {_inode(item.source) for item in items if item.source != STREAM} - {None}
    claimed: dict[str, Item] = {}
    for item in items:
        if item.target is None or item.target == STREAM or is_special(item.target):
            continue
        identity = _identity(item.target)
        if identity in sources or _inode(item.target) in inodes:
            raise UsageError(f"{printable(item.target)}: is an input and would be the output of {item.source_name}")
        other = claimed.setdefault(identity, item)
        if other is not item:
            both = f"{printable(other.source)} and {printable(item.source)}"
            raise UsageError(f"{both}: both would be written to {printable(item.target)}")
