"""Finding the quality that meets a target: a bounded search over the one quality scale, outside the codec.

Size and PSNR both grow with quality, nearly geometrically and linearly: the next try is taken from the straight
line between the two nearest tries, pulled towards the middle when that closes in too slowly.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar

from nvc.bitstream.header import MAX_QUALITY, MAX_QUALITY_CODE, MIN_QUALITY, QUALITY_STEPS
from nvc.errors import TargetError

MAX_PASSES = 8
SIZE_SHORTFALL = 0.03  # a file may be this much smaller than asked
SIZE_AIM = 0.006  # where in that range to aim
PSNR_TOLERANCE = 0.05  # dB


class Coded(Protocol):
    """What the search looks at in a coded picture or video, a dataclass. size: bytes; psnr: dB; passes: its to say."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def size(self) -> int: ...

    @property
    def psnr(self) -> float: ...

    @property
    def passes(self) -> int: ...


T = TypeVar("T", bound=Coded)
T_co = TypeVar("T_co", bound=Coded, covariant=True)


class Encodes(Protocol[T_co]):
    """What the search needs of an encoder."""

    def encode(self, quality: float) -> T_co: ...


def to_size(encoder: Encodes[T], max_bytes: int) -> T:
    """A file that is 0 to 3 % below max_bytes, always the last that was coded; TargetError where no quality is."""
    aim = math.log(max(max_bytes, 1) * (1 - SIZE_AIM))

    def good(coded: T) -> bool:
        return max_bytes * (1 - SIZE_SHORTFALL) <= coded.size <= max_bytes

    found, tried = _search(encoder, lambda coded: math.log(coded.size), aim, good)
    if found is None:
        smallest, largest = (c.size for c in (tried[0], tried[-1]))
        raise TargetError(f"{max_bytes} bytes cannot be met within 3 %: tried files of {smallest} to {largest} bytes")
    return found


def to_psnr(encoder: Encodes[T], db: float) -> T:
    """A file whose PSNR is within 0.05 dB of the target; TargetError where no quality reaches it."""

    def good(coded: T) -> bool:
        return abs(coded.psnr - db) <= PSNR_TOLERANCE

    found, tried = _search(encoder, lambda coded: min(coded.psnr, 200.0), db, good)
    if found is None:
        lowest, highest = (c.psnr for c in (tried[0], tried[-1]))
        raise TargetError(f"{db:g} dB cannot be met within 0.05 dB: tried {lowest:.2f} to {highest:.2f} dB")
    return found


def _search(
    encoder: Encodes[T], measure: Callable[[T], float], aim: float, good: Callable[[T], bool]
) -> tuple[T | None, list[T]]:
    """Up to MAX_PASSES tries: (the first good one, all tries by quality)."""
    tried: dict[int, T] = {}

    def ordered() -> list[T]:
        return [tried[code] for code in sorted(tried)]

    code = MAX_QUALITY_CODE // 2
    while len(tried) < MAX_PASSES:
        coded = encoder.encode(MIN_QUALITY + code / QUALITY_STEPS)
        tried[code] = coded
        if good(coded):
            return replace(coded, passes=len(tried)), ordered()
        below = max((c for c in tried if measure(tried[c]) <= aim), default=None)
        above = min((c for c in tried if measure(tried[c]) > aim), default=None)
        if below is None or above is None:
            end = 0 if below is None else MAX_QUALITY_CODE
            if end in tried:
                break  # even the end of the scale is not enough
            code = _towards(code, end, measure(coded), aim, len(tried))
            continue
        if above - below <= 1:
            break
        low, high = measure(tried[below]), measure(tried[above])
        share = (aim - low) / (high - low) if high > low else 0.5
        code = below + round(min(max(share, 0.05), 0.95) * (above - below))
        code = min(max(code, below + 1), above - 1)
        if code in tried:
            break
    return None, ordered()


def _towards(code: int, end: int, value: float, aim: float, tries: int) -> int:
    """The next code on the way to an end of the scale, while all tries lie on one side of the aim."""
    if tries >= 2:
        return end
    levels = (aim - value) / (0.3 if value < 20 else 2.0)  # a level is about 30 % of size (log bytes), or 2 dB
    step = round(levels * QUALITY_STEPS * 1.3)
    target = code + step
    return min(max(target, 0), MAX_QUALITY_CODE) if 0 < target < MAX_QUALITY_CODE else end


__all__ = ["MAX_PASSES", "MAX_QUALITY", "to_psnr", "to_size"]
