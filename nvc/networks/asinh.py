"""What the hyper-analysis of an encoder sees of its symbols: asinh, with which most of its time would go in torch.

For encoders: to about six digits, which is more than rounded side latents show.
"""

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.jit import njit
from nvc.threads import spread

_SMALL = 0.5  # up to which a polynomial does
_LINES = 8  # by one thread at a time


def compressed(symbols: NDArray[np.float32], multiple: int) -> NDArray[np.float32]:
    """asinh of (M, h, w), as (h, w, M), rows and columns filled up with 0 to a multiple."""
    m, h, w = symbols.shape
    out = np.zeros((-(-h // multiple) * multiple, -(-w // multiple) * multiple, m), np.float32)

    def strip(top: int) -> None:
        _compress(symbols[:, top : top + _LINES], out[top : top + _LINES])

    spread(strip, range(0, h, _LINES))
    return out


@njit
def _compress(symbols, out):  # type: ignore[no-untyped-def]
    for i in range(symbols.shape[1]):
        for c in range(symbols.shape[0]):
            for j in range(symbols.shape[2]):
                x = symbols[c, i, j]
                square = x * x
                if square <= np.float32(_SMALL * _SMALL):
                    # As the Taylor series begins; by least squares, within 2e-7.
                    more = np.float32(0.07495198) + square * (np.float32(-0.043543) + square * np.float32(0.02210971))
                    more = np.float32(-0.16666634) + square * more
                    out[i, j, c] = x + x * square * more
                else:
                    size = np.log(abs(x) + np.sqrt(square + np.float32(1)))
                    out[i, j, c] = size if x > 0 else -size
