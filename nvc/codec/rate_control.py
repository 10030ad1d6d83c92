"""Finding the quality that meets a target: a bounded search over the one quality scale, outside the codec.

Size and PSNR both grow with quality, nearly geometrically and linearly: the next try is taken from the straight
line between the two nearest tries, pulled towards the middle when that closes in too slowly.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from nvc.bitstream.header import MAX_QUALITY, MAX_QUALITY_CODE, MIN_QUALITY, QUALITY_STEPS
from nvc.codec.picture import EncodedPicture
from nvc.errors import TargetError

MAX_PASSES = 8
SIZE_SHORTFALL = 0.03  # a file may be this much smaller than asked
SIZE_AIM = 0.006  # where in that range to aim
PSNR_TOLERANCE = 0.05  # dB


class Encodes(Protocol):
    """What the search needs of a PictureEncoder."""

    def encode(self, quality: float) -> EncodedPicture: ...


def to_size(encoder: Encodes, max_bytes: int) -> EncodedPicture:
    """The largest file found that is 0 to 3 % below max_bytes; TargetError where no quality is."""
    aim = math.log(max(max_bytes, 1) * (1 - SIZE_AIM))

    def good(coded: EncodedPicture) -> bool:
        return max_bytes * (1 - SIZE_SHORTFALL) <= len(coded.data) <= max_bytes

    best, passes, tried = _search(encoder, lambda coded: math.log(len(coded.data)), aim, good)
    if best is None:
        smallest, largest = (len(c.data) for c in (tried[0], tried[-1]))
        raise TargetError(f"{max_bytes} bytes cannot be met within 3 %: tried files of {smallest} to {largest} bytes")
    return replace(best, passes=passes)


def to_psnr(encoder: Encodes, db: float) -> EncodedPicture:
    """A file whose PSNR is within 0.05 dB of the target; TargetError where no quality reaches it."""

    def good(coded: EncodedPicture) -> bool:
        return abs(coded.psnr - db) <= PSNR_TOLERANCE

    best, passes, tried = _search(encoder, lambda coded: min(coded.psnr, 200.0), db, good)
    if best is None:
        lowest, highest = (c.psnr for c in (tried[0], tried[-1]))
        raise TargetError(f"{db:g} dB cannot be met within 0.05 dB: tried {lowest:.2f} to {highest:.2f} dB")
    return replace(best, passes=passes)


def _search(
    encoder: Encodes,
    measure: Callable[[EncodedPicture], float],
    aim: float,
    good: Callable[[EncodedPicture], bool],
) -> tuple[EncodedPicture | None, int, list[EncodedPicture]]:
    """Up to MAX_PASSES tries: (the first good one, passes, all tries by quality)."""
    tried: dict[int, EncodedPicture] = {}

    def ordered() -> list[EncodedPicture]:
        return [tried[code] for code in sorted(tried)]

    code = MAX_QUALITY_CODE // 2
    while len(tried) < MAX_PASSES:
        coded = encoder.encode(MIN_QUALITY + code / QUALITY_STEPS)
        tried[code] = coded
        if good(coded):
            return coded, len(tried), ordered()
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
    return None, len(tried), ordered()


def _towards(code: int, end: int, value: float, aim: float, tries: int) -> int:
    """The next code on the way to an end of the scale, while all tries lie on one side of the aim."""
    if tries >= 2:
        return end
    levels = (aim - value) / (0.3 if value < 20 else 2.0)  # a level is about 30 % of size (log bytes), or 2 dB
    step = round(levels * QUALITY_STEPS * 1.3)
    target = code + step
    return min(max(target, 0), MAX_QUALITY_CODE) if 0 < target < MAX_QUALITY_CODE else end


__all__ = ["MAX_PASSES", "MAX_QUALITY", "to_psnr", "to_size"]
