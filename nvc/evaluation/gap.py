"""The gap between learned tables and the histograms of what they code, and how much of it re-parameterisation fills.

Of every part of every frame (motion or residual, side or main information; facts of paper 1, "Reducing the Mismatch
Between Marginal and Learned Distributions in Neural Video Compression"):

    learned   −Σ log2 p of what is coded, with the model's 16-bit tables
    limit     the same with each table replaced by the histogram of what it codes in this frame
    coded     the same with the tables that the file uses, and what it says about them (masks, codes)
    gap = (learned − limit) / learned     saving = (learned − coded) / learned     ratio: share of all learned

Nothing is estimated from networks: files are made, parsed again, and what the coder took is kept beside.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nvc.codec.frame_bits import ParsedFrame, parse_frames
from nvc.codec.frame_coding import PARTS, Beginnings, FrameCoder, Key
from nvc.codec.video_model import VideoModel
from nvc.entropy_coding.coder import Estimator
from nvc.entropy_models.reparameterized import Candidates, Plan, State, code, replaced_tables
from nvc.entropy_models.reparameterized_fit import histogram

MOTION, RESIDUAL = "motion", "residual"


@dataclass(frozen=True)
class Bits:
    """Of one part, of one frame or the sum of many. learned, limit, coded: see above.

    said: masks and codes, which are in `coded`. coder: growth of the coder's state for the values, without `said`.
    """

    learned: float = 0.0
    limit: float = 0.0
    coded: float = 0.0
    said: float = 0.0
    coder: float = 0.0

    def __add__(self, other: "Bits") -> "Bits":
        return Bits(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def gap(self) -> float:
        """Per cent of the learned tables' bits."""
        return 100 * (self.learned - self.limit) / self.learned if self.learned else 0.0

    @property
    def saving(self) -> float:
        """Per cent of the learned tables' bits; negative where masks cost more than they save."""
        return 100 * (self.learned - self.coded) / self.learned if self.learned else 0.0

    @property
    def filled(self) -> float:
        """Share of the gap that is saved, per cent."""
        return 100 * (self.learned - self.coded) / (self.learned - self.limit) if self.learned > self.limit else 0.0


@dataclass(frozen=True)
class Slices:
    """One part of one frame, table by table: what the figures are drawn from."""

    key: Key
    part: Candidates
    counts: NDArray[np.int64]
    plan: Plan | None
    bits: Bits


@dataclass(frozen=True)
class FrameGap:
    """A frame. payload, plain: bytes of its stream, and of one without re-parameterisation; parts by key."""

    display: int
    type: str
    bytes: int
    payload: int
    plain: int
    parts: dict[Key, Slices]

    @property
    def bits(self) -> dict[Key, Bits]:
        """Of each part: a frame's last information is counted as residual (as the paper does with I frames), one before
        it as motion."""
        names = list(dict.fromkeys(name for name, _ in self.parts))
        roles = dict(zip(reversed(names), (RESIDUAL, MOTION), strict=False))
        return {(roles[name], half): part.bits for (name, half), part in self.parts.items()}


class Account:
    """Follows the frames of a file and counts what its parts take."""

    def __init__(self, model: VideoModel) -> None:
        self._model = model
        self._plain = FrameCoder(model.backend, model.tables, reparameterise=False)
        self._states: dict[Key, State] = {}
        self._beginnings = Beginnings()

    def frame(self, frame: ParsedFrame) -> FrameGap:
        """The next frame in coding order."""
        coded = frame.coded
        if self._beginnings.at(coded.type, frame.level):
            self._states = {}
        parts = {(name, half): self._part(frame, (name, half)) for name in frame.content.latents for half in PARTS}
        plain = self._plain.encode(coded.type, frame.content, frame.level)
        return FrameGap(coded.display, coded.type.name, coded.size, len(coded.payload), len(plain.data), parts)

    def _part(self, frame: ParsedFrame, key: Key) -> Slices:
        tables, latents = self._model.tables(key[0], frame.level), frame.content.latents[key[0]]
        rows: NDArray[Any]
        if key[1] == "side":
            part, values, rows = tables.side_part, latents.z, np.arange(len(latents.z))[:, None, None]
        else:
            part, (values, rows) = tables.main_part, tables.main_values(latents.index, latents.symbols)
        state = self._states.setdefault(key, State(part))
        plan = frame.plans.get(key)
        counts = histogram(part, values, rows)
        learned, said, coded = Estimator(), Estimator(), Estimator()
        learned.code(values, rows, part.tables)
        if plan is not None:
            code(said, part, plan, state)
            coded.code(values, rows, replaced_tables(part, plan))
        state.update(plan)
        bits = learned.bits if plan is None else said.bits + coded.bits
        # what follows an escape is in no table: it is the same in all three
        outside = learned.bits - table_bits(part, counts)
        limit = histogram_bits(part, counts) + outside
        return Slices(key, part, counts, plan, Bits(learned.bits, limit, bits, said.bits, frame.bits[key]))


def table_bits(part: Candidates, counts: NDArray[np.int64]) -> float:
    """Bits of a histogram (`reparameterized_fit.histogram`) with the part's tables, escapes without what follows."""
    cdf = part.tables.cdf.astype(np.int64)
    frequency = np.append(np.diff(cdf), 1)
    frequency[counts == 0] = 1  # between rows there is none
    return float((counts * (16 - np.log2(frequency))).sum())


def histogram_bits(part: Candidates, counts: NDArray[np.int64]) -> float:
    """Bits of a histogram with each row's own normalised histogram as its table."""
    whole = np.add.reduceat(counts, part.tables.start)
    of_row = np.repeat(whole, part.tables.size.astype(np.int64) + 1)
    here = counts > 0
    return float((counts[here] * np.log2(of_row[here] / counts[here])).sum())


def account(stream: BinaryIO, model: VideoModel) -> Iterator[FrameGap]:
    """Frames of a video file in coding order. Raises as `parse_frames`."""
    counter = Account(model)
    for frame in parse_frames(stream, model):
        yield counter.frame(frame)
