"""Rate-distortion optimised quantisation by inference alone (paper 2; docs/image_codec.md).

Lowers J = bits + λ·SSE/3, SSE over the 8-bit pixels of the integer decoder. A pass has two halves. The screen visits
every latent that is not at its mode, or that would gain much by leaving it, and tries -1, +1 and the mode: the change
of bits is exact, contexts of later symbols included, that of SSE is the second-order expansion around the decoded
picture, block by block. Then the integer decoder shows the picture of all changes at once; what does not pay there is
taken back by blocks, and a pass that does not lower J is dropped. Nothing is kept that the decoder has not confirmed.

All sums are of integers or run in a fixed order on one thread: the same bytes for any number of threads.
"""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from nvc.bitstream.header import QUALITY_STEPS
from nvc.entropy_coding.coder import Estimator
from nvc.entropy_models import context
from nvc.entropy_models.context import ContextModel
from nvc.entropy_models.context_search import dependents, sweep
from nvc.media.pictures import Picture
from nvc.networks.image_integer import BLOCK, ImageDecoder
from nvc.networks.lambdas import LAMBDAS
from nvc.threads import spread

FACTOR = 1.0  # times λ
GRADIENT_ROWS = 16  # rows of blocks at once: bounds the float64 temporaries


class Shows(Protocol):
    """What a pass needs of the encoder of one picture (nvc.codec.picture.PictureEncoder)."""

    model: Any  # its decoder is an ImageDecoder
    picture: Picture
    padded: NDArray[np.uint8]  # (H16, W16, 3)

    def reconstruct(self, symbols: NDArray[np.int32], code: int) -> NDArray[np.uint8]: ...


def trade(code: int, factor: float = FACTOR) -> float:
    """Bits that one unit of SSE is worth at a quality code: λ/3, geometric between levels."""
    level = min(code // QUALITY_STEPS, len(LAMBDAS) - 2)
    share = code / QUALITY_STEPS - level
    return float(factor * LAMBDAS[level] ** (1 - share) * LAMBDAS[level + 1] ** share / 3)


class _Scale:
    """Everything about the picture that does not change from pass to pass."""

    def __init__(self, encoder: Shows, code: int) -> None:
        self.encoder, self.code = encoder, code
        decoder = encoder.model.decoder
        assert isinstance(decoder, ImageDecoder), "other decoders allow no pass"
        height, width = encoder.picture.height, encoder.picture.width
        rows, columns = (-(-n // BLOCK) for n in (height, width))
        self.steps = decoder.step_sizes(code)  # latent units
        self.basis = decoder.linear.astype(np.float64)  # (M, 768) pixel levels per latent unit, times 2^shift
        self.unit = self.steps / 2.0**decoder.shift
        self.curvature = (self.basis**2).sum(axis=1) * self.unit**2  # SSE of one step
        inside = np.zeros((rows * BLOCK, columns * BLOCK), bool)
        inside[:height, :width] = True
        self.coverage = inside.reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3)).astype(np.float32)

    def errors(self, symbols: NDArray[np.int32]) -> NDArray[np.int16]:
        """Decoded minus original picture, (H16, W16, 3), zero outside the picture."""
        shown = self.encoder.reconstruct(symbols, self.code)
        error = np.zeros(self.encoder.padded.shape, np.int16)
        height, width = shown.shape[:2]
        error[:height, :width] = shown
        error[:height, :width] -= self.encoder.padded[:height, :width]
        return error

    def gradient(self, error: NDArray[np.int16]) -> NDArray[np.float32]:
        """Change of SSE for one step up of every latent, to first order through the linear path: (M, h, w).

        The products are integers below 2^53: exact in float64, whatever the order of summation.
        """
        h, w = (n // BLOCK for n in error.shape[:2])
        result = np.empty((len(self.basis), h, w), np.float32)
        basis = torch.from_numpy(self.basis)

        def rows(top: int) -> None:
            strip = error[BLOCK * top : BLOCK * (top + GRADIENT_ROWS)]
            blocks = strip.reshape(-1, BLOCK, w, BLOCK, 3).swapaxes(1, 2).reshape(-1, len(self.basis[0]))
            product = (basis @ torch.from_numpy(blocks.astype(np.float64)).T).numpy()
            result[:, top : top + GRADIENT_ROWS] = (2 * self.unit[:, None] * product).reshape(len(basis), -1, w)

        spread(rows, range(0, h, GRADIENT_ROWS))
        return result


def block_sse(error: NDArray[np.int16]) -> NDArray[np.int64]:
    """(H16, W16, 3) -> (h, w) squared error of every block."""
    h, w = (n // BLOCK for n in error.shape[:2])
    result = np.empty((h, w), np.int64)
    for i in range(h):
        squares = error[BLOCK * i : BLOCK * (i + 1)].astype(np.int32) ** 2
        result[i] = squares.reshape(BLOCK, w, BLOCK * 3).sum(axis=(0, 2), dtype=np.int64)
    return result


def bits_of(tables: ContextModel, symbols: NDArray[np.int32]) -> float:
    """Bits of the whole picture."""
    estimator = Estimator()
    context.code(estimator, tables, symbols)
    return estimator.bits


def optimise(
    encoder: Shows, symbols: NDArray[np.int32], code: int, tables: ContextModel, passes: int
) -> NDArray[np.int32]:
    """Symbols (M, h, w) of lower J = bits + λ·SSE/3, after at most `passes` passes."""
    worth = trade(code)
    scale = _Scale(encoder, code)
    users = dependents(tables)
    error = scale.errors(symbols)
    sse = block_sse(error)
    bits = bits_of(tables, symbols)
    for _ in range(passes):
        tried, saved = sweep(
            tables, users, symbols, scale.gradient(error) * np.float32(worth),
            (scale.curvature * worth).astype(np.float32), scale.coverage,
        )  # fmt: skip
        new_error = scale.errors(tried)
        new_sse = block_sse(new_error)
        bad = saved + worth * (new_sse - sse) > 0
        if bad.any():
            tried[:, bad] = symbols[:, bad]
            new_error = scale.errors(tried)
            new_sse = block_sse(new_error)
        new_bits = bits_of(tables, tried)
        if new_bits + worth * float(new_sse.sum()) >= bits + worth * float(sse.sum()):
            break
        symbols, error, sse, bits = tried, new_error, new_sse, new_bits
    return symbols
