"""Weight files as files: safetensors, plain or in gzip (FORMAT.md 9). Reading, writing, and what names they have.

Of a compressed file metadata need only the head, which comes first; tensors need all of it, 26 ms of a core for 8 MB.
numpy and safetensors are loaded where tensors are: the commands ask about names before they load anything.
"""

import contextlib
import functools
import gzip
import json
import zlib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvc.errors import InputError

if TYPE_CHECKING:
    from nvc.codec.models import Tensors

PLAIN, COMPRESSED = ".safetensors", ".safetensors.gz"
MAGIC = b"\x1f\x8b\x08"  # gzip, deflate. A plain file begins with its head's length: 559903 + k × 2^24 would look so
HEAD_MAX = 1 << 20  # bytes of JSON in a compressed file, 30 times those of image-p3
SIZE_MAX = 1 << 30  # bytes in a compressed file; published checkpoints of video have 137 MB
DEFLATE_MAX = 1032  # bytes that a byte of deflate can stand for, at most
_UNREADABLE = (OSError, EOFError, zlib.error, ValueError, KeyError, RecursionError)  # gzip, json, numpy


def is_named(path: str | Path) -> bool:
    """Whether a name is that of a weight file."""
    return str(path).endswith((PLAIN, COMPRESSED))


def stem(path: Path) -> str:
    """The file's name without what makes it that of a weight file."""
    return path.name.removesuffix(COMPRESSED).removesuffix(PLAIN)


def within(folder: Path) -> list[Path]:
    """The weight files of a folder, in no order."""
    return [path for path in folder.iterdir() if is_named(path)]


class TensorFile:
    """A weight file: metadata, and tensors when asked for. InputError where it is missing, damaged, or hostile.

    A compressed file is taken apart once, and its tensors are kept; of a plain one the system keeps what is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open(path, "rb") as file:
                self._compressed = file.read(len(MAGIC)) == MAGIC
        except OSError as exc:
            raise _unreadable(path, exc) from exc

    @functools.cached_property
    def metadata(self) -> dict[str, str]:
        """Strings by key; {} where it has none."""
        if self._compressed:
            return self._compressed_metadata()
        with self._plain() as file:
            return dict(file.metadata() or {})

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """Of all tensors that it stores."""
        if self._compressed:
            return frozenset(self._unpacked)
        with self._plain() as file:
            return frozenset(file.keys())

    def tensors(self, prefix: str = "", among: Container[str] | None = None) -> "Tensors":
        """All whose names begin with `prefix`, which is cut off; the caller's own, free to be changed.

        among: only those with these whole names; of a plain file no others are read
        """

        def wanted(name: str) -> bool:
            return name.startswith(prefix) and (among is None or name in among)

        if self._compressed:
            return {n.removeprefix(prefix): t.copy() for n, t in self._unpacked.items() if wanted(n)}
        with self._plain() as file:
            return {n.removeprefix(prefix): file.get_tensor(n) for n in file.keys() if wanted(n)}  # noqa: SIM118

    @contextlib.contextmanager
    def _plain(self) -> Iterator[Any]:
        """What safetensors opens."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="numpy") as file:
                yield file
        except (OSError, SafetensorError) as exc:
            raise _unreadable(self.path, exc) from exc

    def _compressed_metadata(self) -> dict[str, str]:
        try:
            with open(self.path, "rb") as packed, gzip.GzipFile(fileobj=packed) as file:
                return _Head(file).metadata()
        except _UNREADABLE as exc:
            raise _unreadable(self.path, exc) from exc

    @functools.cached_property
    def _unpacked(self) -> "Tensors":
        """All tensors of a compressed file. Nothing is unpacked beyond what its head claims and its size allows."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            with open(self.path, "rb") as packed, gzip.GzipFile(fileobj=packed) as file:
                head = _Head(file)
                claimed, size = head.claimed(), self.path.stat().st_size
                if claimed > min(SIZE_MAX, size * DEFLATE_MAX):
                    raise ValueError(f"its head claims {claimed} bytes of tensors, too many for a file of {size}")
                file.seek(0)  # the head again, which is small: joining it to the rest would copy the rest
                content = _take(file, head.size + claimed)
                if file.read(1):  # at the end, where there is none, gzip's checksum is compared
                    raise ValueError("more tensors in it than its head tells")
            return dict(load(content))
        except (*_UNREADABLE, SafetensorError) as exc:
            raise _unreadable(self.path, exc) from exc


class _Head:
    """The JSON of a safetensors file, as far as it must be known before the rest is read. ValueError."""

    def __init__(self, file: gzip.GzipFile) -> None:
        length = int.from_bytes(_take(file, 8), "little")
        if length > HEAD_MAX:
            raise ValueError(f"a head of {length} bytes, more than {HEAD_MAX}")
        self.size = 8 + length
        self.entries: dict[str, Any] = json.loads(_take(file, length).decode())
        if not isinstance(self.entries, dict):
            raise ValueError("its head is no JSON object")

    def claimed(self) -> int:
        """Bytes of all tensors."""
        try:
            ends = [entry["data_offsets"][1] for name, entry in self.entries.items() if name != "__metadata__"]
        except (KeyError, TypeError, IndexError):
            ends = [None]
        if not all(isinstance(end, int) and end >= 0 for end in ends):
            raise ValueError("its head does not tell where tensors lie")
        return max(ends, default=0)

    def metadata(self) -> dict[str, str]:
        """Strings by key."""
        found = self.entries.get("__metadata__", {})
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise ValueError("its metadata are not strings")
        return found


def _take(file: gzip.GzipFile, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError(f"it ends {count - len(data)} bytes too early")
    return data


def _unreadable(path: Path, exc: Exception) -> InputError:
    reason = f"tensors of the type {exc}" if isinstance(exc, KeyError) else exc  # a type that numpy has not
    reason = getattr(exc, "strerror", None) or reason  # which does not name the file again
    return InputError(f"{path}: not a readable weight file: {reason}")


def serialize(tensors: "Tensors", metadata: dict[str, str]) -> bytes:
    """The bytes of a plain weight file."""
    import numpy as np
    from safetensors.numpy import save

    # safetensors writes memory as it lies, whatever the strides say.
    return save({name: np.asarray(value, order="C") for name, value in tensors.items()}, metadata)


def pack(data: bytes, path: Path) -> bytes:
    """A plain weight file's bytes as a file of this name holds them. No time, no name: the same bytes every time."""
    if not path.name.endswith(COMPRESSED):
        return data
    # Weights repeat little: Z_FILTERED, which spends more on codes than on matches, makes 1.5 % less of them.
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_FILTERED)
    return packer.compress(data) + packer.flush()


def write(path: Path, tensors: "Tensors", metadata: dict[str, str]) -> None:
    """Make a weight file, compressed where its name says so, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(pack(serialize(tensors, metadata), path))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
