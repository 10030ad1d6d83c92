"""The hyperprior's entropy model: which table codes which latent (FORMAT.md, "Hyperprior").

Side latents z: one table for each channel. Main symbols y: 64 tables, chosen by the scale index that the integer
hyper-synthesis makes of z, and by contexts where the model has some. Both for one information (motion, residual, ...)
and one level.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Coder, Values
from nvc.entropy_coding.gaussian import SCALES
from nvc.entropy_coding.rans import DECODE
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models.families import CENTRED, MIXTURE, replaceable
from nvc.entropy_models.main_context import AT_ONCE, KINDS, SYMBOL_LIMIT, MainContext, decode, known
from nvc.entropy_models.reparameterized import Candidates
from nvc.errors import BadStream

VALUE_LIMIT = SYMBOL_LIMIT  # of both kinds
_PARTS = ("side", "main")


@dataclass(frozen=True, eq=False)
class HyperpriorTables:
    """Tables of one information and level.

    side: N rows, by channel; main: 64 rows, by scale index or as the context says. The parts of each that a frame may
    replace, in order: side_candidates (n,), main_candidates (m,) row numbers. Raises ValueError if they do not fit
    together.
    """

    side: TableSet
    main: TableSet
    side_candidates: NDArray[np.int64]
    main_candidates: NDArray[np.int64]
    context: MainContext | None = None

    def __post_init__(self) -> None:
        if len(self.main) != SCALES:
            raise ValueError(f"{len(self.main)} main tables instead of {SCALES}")
        Candidates(self.side, self.side_candidates, MIXTURE)
        Candidates(self.main, self.main_candidates, CENTRED)

    @classmethod
    def with_candidates(
        cls, side: TableSet, main: TableSet, sides: int, mains: int, context: MainContext | None = None
    ) -> Self:
        """Candidates: the first `sides` side tables by entropy, descending, and `mains` main tables by index."""
        by_entropy = np.argsort(-side.entropy, kind="stable")
        by_index = np.arange(len(main))
        return cls(
            side,
            main,
            by_entropy[replaceable(side, by_entropy, MIXTURE)][:sides],
            by_index[replaceable(main, by_index, CENTRED)][:mains],
            context,
        )

    @property
    def side_part(self) -> Candidates:
        """What re-parameterisation may do to the side tables."""
        return Candidates(self.side, self.side_candidates, MIXTURE)

    @property
    def main_part(self) -> Candidates:
        """What re-parameterisation may do to the main tables."""
        return Candidates(self.main, self.main_candidates, CENTRED)

    def main_values(
        self, index: NDArray[np.uint8], symbols: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """What is coded for known main symbols (M, h, w): values, and the rows of their tables, of the same shape."""
        return (symbols, index) if self.context is None else known(self.context, symbols, index)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """As tensors of a weight file."""
        found = {}
        for name in _PARTS:
            for kind, value in getattr(self, name).tensors().items():
                found[f"{name}.{kind}"] = value
            found[f"{name}.candidates"] = getattr(self, f"{name}_candidates").astype(np.uint16)
        if self.context is not None:
            found |= {f"context.{kind}": value for kind, value in self.context.tensors().items()}
        return found

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]]) -> Self:
        """The inverse of `tensors`. KeyError or ValueError for tensors that are not such tables."""
        side, main = (
            TableSet.from_tensors({kind: tensors[f"{name}.{kind}"] for kind in ("frequency", "size", "offset")})
            for name in _PARTS
        )
        sides, mains = (tensors[f"{name}.candidates"].astype(np.int64) for name in _PARTS)
        context = None
        if any(name.startswith("context.") for name in tensors):
            context = MainContext(*(tensors[f"context.{kind}"] for kind in KINDS))
        return cls(side, main, sides, mains, context)


def code_side(coder: Coder, tables: TableSet, side: Values) -> NDArray[np.int32]:
    """Code side latents (N, hz, wz), channel by channel, each in raster order; the Decoder takes the bare shape.

    tables: N rows. Raises BadStream (Decoder) or ValueError for a value beyond ±32767.
    """
    return _limited(coder, coder.code(side, np.arange(len(tables))[:, None, None], tables))


def code_main(
    coder: Coder, tables: TableSet, scale_index: NDArray[np.uint8], symbols: NDArray[np.int32] | None = None,
    context: MainContext | None = None,
) -> NDArray[np.int32]:  # fmt: skip
    """Code main symbols (M, h, w), channel by channel, each in raster order; the Decoder needs none.

    scale_index: (M, h, w), the row of each where there is no context. Errors as code_side.
    """
    if context is not None and symbols is None:
        return decode(coder, context, tables, scale_index)
    rows, values = scale_index, symbols
    if context is not None:
        values, rows = known(context, _limited(coder, np.asarray(symbols)), scale_index)
    if values is None:
        values = np.empty(scale_index.shape, np.int32)  # the system maps what is written
    channels = max(1, AT_ONCE // max(1, scale_index[0].size))
    for first in range(0, len(values), channels):
        part = values[first : first + channels]
        coded = coder.code(part.shape if symbols is None else part, rows[first : first + channels], tables)
        if symbols is None:
            part[:] = coded
    return _limited(coder, values if symbols is None else symbols)


def _limited(coder: Coder, values: NDArray[np.int32]) -> NDArray[np.int32]:
    if values.size and (values.min() < -VALUE_LIMIT or values.max() > VALUE_LIMIT):
        if coder.mode == DECODE:
            raise BadStream("the coded data holds an impossible value; the file is damaged")
        raise ValueError(f"a latent is not within ±{VALUE_LIMIT}")
    return values
