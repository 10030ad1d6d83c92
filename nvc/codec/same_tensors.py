"""Weight files that store a tensor once which they have under several names (FORMAT.md 9): reading and writing.

So networks that several types of frames share, but for some gains, are stored once.
"""

import functools
import hashlib
import json
from collections.abc import Container
from typing import TYPE_CHECKING

from nvc.codec.weight_files import SIZE_MAX, TensorFile
from nvc.errors import InputError

if TYPE_CHECKING:
    from nvc.codec.models import Tensors

SAME = "same"  # key of the metadata
SMALLEST = 64  # bytes of a tensor that is worth it: the name of one left out takes about as many


class UnfoldedFile(TensorFile):
    """A weight file with the tensors that it leaves out because it stores equal ones; without those of a base."""

    def tensors(self, prefix: str = "", among: Container[str] | None = None) -> "Tensors":
        """See TensorFile: of the file, the left-out ones too. No two share memory; each is read once."""

        def asked(name: str) -> bool:
            return name.startswith(prefix) and (among is None or name in among)

        left_out = {name: stored for name, stored in self.same.items() if asked(name)}
        if not left_out:
            return super().tensors(prefix, among)
        read = super().tensors(among={name for name in self.names if asked(name)} | set(left_out.values()))
        size = sum(read[stored].nbytes for stored in left_out.values())
        if size > SIZE_MAX:
            raise self._unsound(f"the tensors that it leaves out have {size} bytes, more than {SIZE_MAX}")
        found = {name.removeprefix(prefix): read[stored].copy() for name, stored in left_out.items()}
        return found | {name.removeprefix(prefix): value for name, value in read.items() if asked(name)}

    @functools.cached_property
    def same(self) -> dict[str, str]:
        """Names of the tensors left out, and under which name each is stored in this file; {} where all are."""
        text = self.metadata.get(SAME)
        if text is None:
            return {}
        try:
            pairs = json.loads(text, object_pairs_hook=tuple)  # an array is a list, an object is not
        except (ValueError, RecursionError):
            pairs = None
        if not isinstance(pairs, tuple) or not all(isinstance(stored, str) for _, stored in pairs):
            raise self._unsound("what it has the same is not an object of names")
        same: dict[str, str] = dict(pairs)
        if not same or len(same) != len(pairs):
            raise self._unsound("what it has the same is nothing, or a tensor twice")
        for name, stored in sorted(same.items()):
            if name in self.names:
                raise self._unsound(f"it has {name!r} and leaves it out too")
            if stored not in self.names:
                raise self._unsound(f"it does not store {stored!r}, which {name!r} is the same as")
        return same

    def _unsound(self, reason: str) -> InputError:
        return InputError(f"{self.path}: not a sound weight file: {reason}")


def fold(tensors: "Tensors") -> dict[str, str]:
    """Which to leave out, by name ascending: those that are bit for bit the first of an earlier name, which is given.

    Bit for bit: type, shape and content, of which a zero is not a negative zero, and a NaN is itself.
    """
    first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    same: dict[str, str] = {}
    for name in sorted(tensors):
        value = tensors[name]
        if value.nbytes >= SMALLEST:
            known = first.setdefault((value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).digest()), name)
            if known != name:
                same[name] = known
    return same
