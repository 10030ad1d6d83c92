"""Writing a result: whole or not at all.

A regular file is written beside its place as `.NAME.tmp-PID`, synced, and renamed. Whatever ends the command before the
rename (an error, SIGINT, SIGTERM: all arrive as exceptions) removes the temporary file and leaves the rest as it was.
"""

import contextlib
import os
import stat
import sys
from enum import Enum

from nvc.cli.files import STREAM, is_special
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
    if os.path.lexists(target):
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
    try:
        if target == STREAM:
            write_stdout(data)
        elif is_special(target):
            _write_directly(target, data)
        else:
            _write_by_rename(os.path.realpath(target), data, existing, make_folder)
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


def _write_directly(target: str, data: bytes) -> None:
    with open(os.open(target, os.O_WRONLY), "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]


def _write_by_rename(target: str, data: bytes, existing: Existing, make_folder: bool) -> None:
    made = _make_folders(os.path.dirname(target)) if make_folder else []
    temporary = temporary_name(target)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # left by a killed process of the same number
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(temporary, flags, 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if os.path.lexists(target):
            if existing is not Existing.OVERWRITE:  # it was not there when the work began
                raise OutputError("exists; use -f")
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        with contextlib.suppress(OSError):
            for folder in made:
                os.rmdir(folder)
        raise


def _make_folders(folder: str) -> list[str]:
    """Like os.makedirs; returns what was made, deepest first."""
    made: list[str] = []
    while not os.path.isdir(folder):
        made.append(folder)
        folder = os.path.dirname(folder)
    for missing in reversed(made):
        os.mkdir(missing)
    return made
