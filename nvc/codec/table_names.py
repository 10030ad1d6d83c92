"""What the tables of an information are called in a weight file of video (FORMAT.md 9), without `tables.` before it.

Main tables, and rows of contexts with them, are shared by all levels or there are some for each.
"""

import re
from collections.abc import Iterable

from nvc.codec.models import Tensors

_TABLES = ("size", "offset", "frequency", "candidates")
_SIDE, _MAIN = ([f"{half}.{kind}" for kind in _TABLES] for half in ("side", "main"))
_CONTEXT = ["context.predict", "context.expected", "context.mix", "context.row"]
_EITHER = {*_MAIN, "context.row"}  # of each level or shared


def name_of(part: str, information: str, level: int, shared: bool) -> str:
    """Of a part ("side.size", "context.row"); shared: whether main tables are."""
    below = part in _SIDE or (part in _EITHER and not shared)
    return f"{information}.{level}.{part}" if below else f"{information}.{part}"


def gather(tensors: Tensors, information: str, level: int, levels: int) -> Tensors:
    """Parts of an information at a level of 1..levels. KeyError or ValueError unless all levels are alike."""
    names = _found(tensors, information)
    shared = not any(at for at, _ in names)
    if not shared and any(at is None and part in _EITHER for at, part in names):
        raise ValueError(f"main tables of {information} are both shared by all levels and of each")
    parts = [*_MAIN, *(_CONTEXT if any(part.startswith("context.") for _, part in names) else ())]
    wanted = {name_of(part, information, at, shared) for at in range(1, levels + 1) for part in parts}
    if missing := sorted(wanted - tensors.keys()):
        raise KeyError(missing[0])
    if other := sorted({f"{information}.{at}.{part}" for at, part in names if at is not None} - wanted):
        raise ValueError(f"{other[0]} is no tensor of a level")
    return {part: tensors[name_of(part, information, level, shared)] for part in (*_SIDE, *parts)}


def _found(names: Iterable[str], information: str) -> list[tuple[str | None, str]]:
    """Level, or None, and part of what main tables and contexts there are."""
    pattern = re.compile(rf"{re.escape(information)}\.(?:(\d+)\.)?((?:main|context)\..+)")
    return [(found[1], found[2]) for name in names if (found := pattern.fullmatch(name))]
