"""Writing a result: whole or not at all.

A regular file is written beside its place as `.NAME.tmp-PID`, synced, and renamed. Whatever ends the command before the
rename (an error, SIGINT, SIGTERM: all arrive as exceptions) removes the temporary file and leaves the rest as it was.
"""

import contextlib
import io
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from enum import Enum
from typing import BinaryIO, cast

from nvc.cli.files import STREAM, is_special, numbered
from nvc.errors import OutputError

NAME_MAX = 255  # bytes of one file name on every usual file system; the temporary name is cut to fit


class Existing(Enum):
    """What to do where the output exists."""

    REFUSE = "refuse"
    OVERWRITE = "overwrite"
    SKIP = "skip"


def should_write(target: str, existing: Existing, *, make_folder: bool = False) -> bool:
    """Before the work: False where the output exists and is to be skipped.

    Raises OutputError where it exists and is not to be touched, or where its folder cannot take it.
    """
    if target == STREAM or is_special(target):
        return True
    if os.path.isdir(target):
        raise OutputError("is a folder")
    if os.path.lexists(target) or numbered(target):
        if existing is Existing.SKIP:
            return False
        if existing is Existing.REFUSE:
            raise OutputError("exists; use -f")
    folder = os.path.dirname(os.path.realpath(target))
    while make_folder and not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise OutputError(f"no folder {folder!r} to write it in")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {folder!r} cannot be written to")
    return True


def write(target: str, data: bytes, existing: Existing, *, make_folder: bool = False) -> None:
    """Put `data` at `target` (path, FIFO, device, or `-`). Raises OutputError; then no trace is left."""
    with opened(target, existing, make_folder=make_folder) as file:
        file.write(data)


@contextlib.contextmanager
def opened(target: str, existing: Existing, *, make_folder: bool = False) -> Iterator[BinaryIO]:
    """A file to write `target` (path, FIFO, device, or `-`) through, in place when the block ends without an exception.

    A regular file can be sought and read back. Raises OutputError, also for OSErrors of the block; then no trace is
    left, but for what went to a FIFO, a device or stdout.
    """
    try:
        if target == STREAM:
            yield cast(BinaryIO, _Stdout())
        elif is_special(target):
            with open(os.open(target, os.O_WRONLY), "wb", buffering=0) as raw:
                yield cast(BinaryIO, _Whole(raw))
        else:
            with _renamed_file(os.path.realpath(target), existing, make_folder) as file:
                yield file
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}") from error


def write_stdout(data: bytes) -> None:
    """All of `data` to stdout, now. Raises OutputError when it is closed or full."""
    if sys.stdout is None:
        raise OutputError("cannot be written: it is closed")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is still buffered would fail again, with a traceback, when the interpreter ends.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"cannot be written: {error.strerror or error}") from error


def temporary_name(target: str) -> str:
    """`.NAME.tmp-PID` in the folder of `target`, NAME cut where the file system would refuse the length."""
    folder, name = os.path.split(target)
    tail = f".tmp-{os.getpid()}"
    kept = os.fsencode(name)[: NAME_MAX - 1 - len(tail)]
    return os.path.join(folder, f".{os.fsdecode(kept)}{tail}")


class _Stdout:
    """stdout, every write pushed out at once: its failures are told where they happen."""

    def write(self, data: bytes) -> int:
        write_stdout(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def seekable(self) -> bool:
        return False


class _Whole:
    """An unbuffered file whose writes are complete."""

    def __init__(self, raw: io.RawIOBase | BinaryIO) -> None:
        self._raw = raw

    def write(self, data: bytes) -> int:
        view = memoryview(data).cast("B")
        while view:
            view = view[self._raw.write(view) or 0 :]
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def seekable(self) -> bool:
        return False


_begun: set[str] = set()  # temporary files and folders of this process


def discard() -> None:
    """Remove the temporary files that are being written: for a process that ends where it stands."""
    for temporary in list(_begun):
        _remove(temporary)


@contextlib.contextmanager
def _renamed_file(target: str, existing: Existing, make_folder: bool) -> Iterator[BinaryIO]:
    with _temporary(target, make_folder) as temporary:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(temporary, flags, 0o666), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.path.lexists(target):
            if existing is not Existing.OVERWRITE:  # it was not there when the work began
                raise OutputError("exists; use -f")
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)


@contextlib.contextmanager
def opened_folder(pattern: str, existing: Existing, *, make_folder: bool = False) -> Iterator[str]:
    """A folder to write numbered files (`frame%04d.png`) in; they move to their places when the block ends well.

    Raises OutputError where one of them exists and is not to be overwritten; then nothing is left.
    """
    target = os.path.realpath(pattern)
    plain = os.path.join(os.path.dirname(target), os.path.basename(target).replace("%", ""))  # a folder is no pattern
    try:
        with _temporary(plain, make_folder) as temporary:
            os.mkdir(temporary)
            yield temporary
            names = sorted(os.listdir(temporary))
            places = [os.path.join(os.path.dirname(target), name) for name in names]
            if existing is not Existing.OVERWRITE and any(map(os.path.lexists, places)):
                raise OutputError("exists; use -f")
            for name, place in zip(names, places, strict=True):
                os.replace(os.path.join(temporary, name), place)
            os.rmdir(temporary)
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def _temporary(target: str, make_folder: bool) -> Iterator[str]:
    """The name of what becomes `target`, in a folder that is there; nothing is left of it after an exception."""
    made = _make_folders(os.path.dirname(target)) if make_folder else []
    temporary = temporary_name(target)
    _remove(temporary)  # left by a killed process of the same number
    _begun.add(temporary)
    try:
        yield temporary
    except BaseException:
        _remove(temporary)
        with contextlib.suppress(OSError):
            for folder in made:
                os.rmdir(folder)
        raise
    finally:
        _begun.discard(temporary)


def _remove(temporary: str) -> None:
    with contextlib.suppress(OSError):
        if os.path.isdir(temporary):
            shutil.rmtree(temporary)
        else:
            os.unlink(temporary)


def _make_folders(folder: str) -> list[str]:
    """Like os.makedirs; returns what was made, deepest first."""
    made: list[str] = []
    while not os.path.isdir(folder):
        made.append(folder)
        folder = os.path.dirname(folder)
    for missing in reversed(made):
        os.mkdir(missing)
    return made
