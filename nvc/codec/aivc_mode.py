"""What an encoder of the conditional codec says of motion: how finely, and by which symbols (docs/motion.md).

An analysis says plainly what optical flow has found. From there symbols are tried, then refined, by the bits of the
tables that code them and by what they show. How fine the steps are is a choice of each frame: for smooth motion coarse
ones are enough, where texture is fine a quarter of a pixel shows. So a frame is said in several ways, and that stays
which takes the fewest bits, the error that it leaves behind turned into bits as `motion_moves` does it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.aivc import numbers_of
from nvc.codec.aivc_analysis import Seen, Trials, response_of
from nvc.codec.aivc_choices import FINENESSES, PLAIN
from nvc.codec.aivc_layers import Said
from nvc.codec.aivc_moves import Goals, goals, moved
from nvc.codec.latents import Latents
from nvc.codec.lhbdc_analysis import block_errors
from nvc.codec.motion_moves import SQUARE, is_large
from nvc.codec.motion_rounding import ROUNDS, Mixture, bits_behind, refine
from nvc.codec.step_bits import bits_of_positions
from nvc.codec.video_backend import Place
from nvc.entropy_coding.coder import Estimator
from nvc.entropy_models.hyperprior import HyperpriorTables, code_side
from nvc.networks.filters import Filter
from nvc.networks.ssf_integer import Information
from nvc.networks.steps import QualityCode

FIRST = (PLAIN - 1, PLAIN + 1, PLAIN + 3)  # tried where no frame of the kind comes before
NEAR = (-1, 0, 1)  # and behind one, from what it had
FIRST_OF_LARGE = (PLAIN, PLAIN + 2)  # P frames; B frames of large pictures do not choose

Symbols = NDArray[np.int32]
Around = Callable[[Symbols, NDArray[np.int16], QualityCode], Latents]


def finenesses(place: Place) -> Sequence[int]:
    """That are worth trying for a frame: what its last reference of the same kind had, and what is beside that.

    P frames of large pictures stay with what the first one behind an I frame chose, B frames with PLAIN.
    """
    large = is_large(place.references[0].frame.y)
    if large and place.kind == FrameType.B:
        return (PLAIN,)
    states: list[Said] = [reference.state for reference in place.references if reference.state]
    before = [said.fineness for said in states if said.kind == place.kind]
    if not before:
        return FIRST_OF_LARGE if large else FIRST
    if large:
        return before[-1:]
    return [fineness for fineness in (before[-1] + step for step in NEAR) if 0 <= fineness < FINENESSES]


@dataclass(frozen=True, eq=False)
class ModeSearch:
    """Of one frame.

    part: its mode's; found: what is to be said; tables: that code it; worth: bits that a squared grey level of luma is
    worth; overlapped: see Trials; around: symbols, the means that they were found by and the quality code that they are
    of -> latents with side latents that are made for them.
    """

    part: Information
    found: Seen
    tables: HyperpriorTables
    worth: float
    overlapped: bool
    around: Around

    def __call__(self, mode: Latents, code: QualityCode) -> Latents:
        """Better latents than those given, of the same quality code."""
        trials, references = self.found.trials, len(self.found.frames) - 1
        response = response_of(self.part, code, references, mode.index, self.tables)
        rounds = ROUNDS
        if self.overlapped:
            made = self._numbers(mode, code)
            symbols = moved(mode.symbols, response, made, self.found, self._goals, self.worth)
            mode = self.around(symbols, mode.mean, code)
            response = replace(response, index=mode.index)
            if is_large(trials.luma):
                rounds = 1

        def mixture(symbols: Symbols) -> Mixture:
            return trials.mixture(self._numbers(replace(mode, symbols=symbols), code))

        return replace(
            mode, symbols=refine(mode.symbols, response, mixture, trials.luma, self.worth, self._square, rounds)
        )

    def cost(self, mode: Latents, code: QualityCode) -> float:
        """Bits of latents and behind the error of what they predict."""
        side = Estimator()
        code_side(side, self.tables.side, mode.z)
        main = bits_of_positions(self.tables, mode.index, mode.symbols).sum()
        return float(side.bits + main) + self._behind(self.found.trials, self._numbers(mode, code))

    def filter(self, mode: Latents, code: QualityCode) -> Filter:
        """That predicts best."""
        trials, numbers = self.found.trials, self._numbers(mode, code)
        return min(Filter, key=lambda kind: self._behind(replace(trials, kind=kind), numbers))

    def _behind(self, trials: Trials, numbers: NDArray[np.int32]) -> float:
        """Bits behind the error of a prediction."""
        errors = block_errors(trials.mixture(numbers).mixed, trials.luma)
        return float(bits_behind(errors, self.worth, self._square).sum())

    @property
    def _square(self) -> float:
        return SQUARE if self.overlapped else 0.0

    @cached_property
    def _goals(self) -> Goals:
        return goals(self.found, self.worth)

    def _numbers(self, mode: Latents, code: QualityCode) -> NDArray[np.int32]:
        return numbers_of(self.part, mode, code, self.found.trials.steady)
