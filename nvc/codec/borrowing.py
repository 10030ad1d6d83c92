"""Weight files that leave out tensors which another one, their base, has (FORMAT.md 9): reading and writing.

So networks that several video codecs share, those of I and P frames, are stored once.
"""

import functools
import json
import re
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nvc.codec import weight_files
from nvc.codec.same_tensors import SAME, UnfoldedFile, fold
from nvc.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nvc.codec.models import Tensors

BASE, BORROWED = "base", "borrowed"  # keys of the metadata
_ID = re.compile("[0-9a-f]{8}")


class WholeFile(UnfoldedFile):
    """A weight file with all tensors, those of its base too, which is looked for when a tensor of it is asked for.

    folders: where bases are looked for beside the file's own folder
    """

    def __init__(self, path: Path, folders: Callable[[], list[Path]]) -> None:
        super().__init__(path)
        self._folders = folders

    def tensors(self, prefix: str = "", among: Container[str] | None = None) -> "Tensors":
        """See UnfoldedFile: of the file and of what it borrows."""
        twice = self.borrowed & self.same.keys()
        if twice:
            raise self._unsound(f"it borrows {min(twice)!r} and has it the same as another too")
        own = super().tensors(prefix, among)
        wanted = {n for n in self.borrowed if n.startswith(prefix) and (among is None or n in among)}
        if not wanted:
            return own
        found = self.base.tensors(prefix, wanted)
        for name in sorted(wanted):
            short = name.removeprefix(prefix)
            if short in own:
                raise self._unsound(f"it has {name!r} and borrows it too")
            if short not in found:
                raise self._unsound(f"its base {self.base.path} lacks {name!r}")
        return own | found

    @functools.cached_property
    def borrowed(self) -> frozenset[str]:
        """Names of the tensors that are those of the base; none where there is no base."""
        stated = [self.metadata.get(key) for key in (BASE, BORROWED)]
        if stated == [None, None]:
            return frozenset()
        base, text = stated
        if base is None or text is None:
            raise self._unsound("base and borrowed come together")
        if not _ID.fullmatch(base):
            raise self._unsound(f"the id of a base is 8 hexadecimal digits, not {base!r}")
        try:
            names = json.loads(text)
        except (ValueError, RecursionError):
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._unsound("what it borrows is not an array of names")
        if not names or len(set(names)) != len(names):
            raise self._unsound("what it borrows is nothing, or a tensor twice")
        return frozenset(names)

    @functools.cached_property
    def base(self) -> UnfoldedFile:
        """Found by the id that it states. InputError where there is none, or none without a base of its own."""
        wanted, thin = self.metadata[BASE], None
        folders = list(dict.fromkeys(folder.resolve() for folder in (self.path.parent, *self._folders())))
        for file in self._others(folders):
            if file.metadata.get("id") == wanted:
                if BASE not in file.metadata:
                    return file
                thin = thin or file
        if thin:
            raise self._unsound(f"its base {thin.path} has a base itself")
        looked = ", ".join(str(folder) for folder in folders)
        raise InputError(
            f"{self.path}: needs the weight file with the id {wanted} beside it or installed; there is none in {looked}"
        )

    def _others(self, folders: list[Path]) -> Iterator[UnfoldedFile]:
        """The readable weight files of the folders but for this one; whatever else lies there is no matter."""
        for folder in folders:
            try:
                paths = sorted(weight_files.within(folder))
            except OSError:
                continue
            for path in paths:
                try:
                    if not path.is_file() or path.samefile(self.path):
                        continue
                    file = UnfoldedFile(path)
                    _ = file.metadata
                except (OSError, InputError):
                    continue
                yield file


def write(path: Path, tensors: "Tensors", metadata: dict[str, str], base: Path | None = None) -> None:
    """Make a weight file of these tensors, without those that the weight file `base` has bit for bit the same.

    Equal ones of the others are stored once (nvc.codec.same_tensors).
    metadata: as of a file that holds all, the id that of all tensors. InputError for a base that cannot be one.
    Whoever reads the file needs the base in the same folder, or installed.
    """
    metadata = {key: value for key, value in metadata.items() if key not in (BASE, BORROWED, SAME)}
    if base is not None:
        shared, identity = _shared(tensors, base, path)
        if shared:
            tensors = {name: value for name, value in tensors.items() if name not in shared}
            metadata |= {BASE: identity, BORROWED: json.dumps(shared)}
    same = fold(tensors)
    if same:
        tensors = {name: value for name, value in tensors.items() if name not in same}
        metadata |= {SAME: json.dumps(same)}
    weight_files.write(path, tensors, metadata)


def _shared(tensors: "Tensors", base: Path, path: Path) -> tuple[list[str], str]:
    """Names of the tensors that the base has too, ascending, and its id."""
    file = UnfoldedFile(base)
    identity = file.metadata.get("id", "")
    if not _ID.fullmatch(identity):
        raise InputError(f"{base}: states no model id, which a base is found by")
    if BASE in file.metadata:
        raise InputError(f"{base}: has a base itself, so it cannot be one")
    if path.exists() and path.samefile(base):
        raise InputError(f"{base}: cannot be the base of the weight file that takes its place")
    theirs = file.tensors(among=tensors)
    return sorted(name for name, value in theirs.items() if _same(value, tensors[name])), identity


def _same(a: "NDArray", b: "NDArray") -> bool:
    """Bit for bit: a zero is not a negative zero, and a NaN is itself."""
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
