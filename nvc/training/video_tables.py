"""Entropy tables of a video model: contexts, then histograms of what its encoder makes of training clips, closed loop.

    contexts = fit_contexts(backend, clips, coded, jobs)                from some clips, levels in turn
    counts = list(count_levels(backend, clips, coded, jobs, contexts))  from all clips, at every level
    tensors = tables(counts, contexts)

Nothing here knows a codec: `coded(backend, clip, level)` gives the latents of a clip's frames, level 0..7, in whatever
order and of whatever types the codec codes them.
"""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nvc.codec.latents import Latents
from nvc.codec.models import Tensors
from nvc.codec.table_names import gather, name_of
from nvc.codec.video_backend import VideoBackend
from nvc.entropy_coding.gaussian import SCALES
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.entropy_models.hyperprior_fit import fit_main, fit_side
from nvc.entropy_models.main_context import CLASSES, MainContext
from nvc.entropy_models.main_context_fit import Sample, by_row, count_cells, fit_context, fit_rows
from nvc.networks.image import LEVELS
from nvc.training.clips import Clip, halve
from nvc.training.task import FINE_LEVEL

REACH = 2047  # largest value that is counted by itself; what is beyond falls to the escape
SAMPLED = 24  # clips that the contexts are fitted to
CANDIDATES = 64, 64  # side and main tables of each information that a frame may replace, at most

Coded = Callable[[VideoBackend, Clip, int], Iterable[Mapping[str, Latents]]]
Contexts = Mapping[str, MainContext]


def informations(backend: VideoBackend) -> list[str]:
    """Of all frame types."""
    return sorted({name for names in backend.informations.values() for name in names})


class Counts:
    """Histograms of one level: side by channel, main by scale index and class, for every information."""

    def __init__(self, backend: VideoBackend, contexts: Contexts) -> None:
        self._contexts = contexts
        sides = {name: backend.shapes(name, 16, 16).side[0] for name in informations(backend)}
        self.side = {name: np.zeros((count, 2 * REACH + 1), np.int32) for name, count in sides.items()}
        self.main = {name: np.zeros((SCALES, CLASSES, 2 * REACH + 1), np.int32) for name in sides}

    def add(self, frame: Mapping[str, Latents]) -> None:
        """Count the symbols of a frame."""
        for name, latents in frame.items():
            channel = np.broadcast_to(np.arange(len(latents.z))[:, None, None], latents.z.shape)
            _count(self.side[name], channel, latents.z)
            count_cells(self.main[name], self._contexts[name], latents.symbols, latents.index)


def _count(counts: NDArray[np.int32], rows: NDArray[Any], values: NDArray[np.int32]) -> None:
    clipped = np.clip(values, -REACH, REACH) + REACH
    flat = rows.astype(np.int64).ravel() * counts.shape[1] + clipped.ravel()
    counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)


_shared: tuple[VideoBackend, list[Clip], Coded, Contexts] | None = None  # what forked workers see of their parent


def _frames(clip: Clip, level: int) -> Iterable[Mapping[str, Latents]]:
    assert _shared is not None
    backend, _, coded, _ = _shared
    return coded(backend, halve(clip) if level >= FINE_LEVEL else clip, level)


def _sample(number: int) -> list[tuple[str, Sample]]:
    assert _shared is not None
    torch.set_num_threads(1)
    frames = _frames(_shared[1][number], number % LEVELS)
    return [(name, (latents.symbols, latents.index)) for frame in frames for name, latents in frame.items()]


def _count_level(level: int) -> Counts:
    assert _shared is not None
    backend, clips, _, contexts = _shared
    torch.set_num_threads(1)
    counts = Counts(backend, contexts)
    for clip in clips:
        for frame in _frames(clip, level):
            counts.add(frame)
    return counts


def _in_parallel(work: Callable[[int], Any], count: int, jobs: int, *shared: Any) -> Iterator[Any]:
    """work(0), work(1), … in forked processes that see `shared` as their parent has it."""
    global _shared
    _shared = shared  # type: ignore[assignment]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        yield from pool.map(work, range(count))
    _shared = None


def fit_contexts(backend: VideoBackend, clips: list[Clip], coded: Coded, jobs: int) -> dict[str, MainContext]:
    """Contexts of every information; their rows are fitted by `tables`, once all is counted."""
    some = clips[:: max(1, len(clips) // SAMPLED)]
    some = (some * LEVELS)[: max(len(some), LEVELS)]  # every level, however few clips there are
    samples: dict[str, list[Sample]] = {name: [] for name in informations(backend)}
    for found in _in_parallel(_sample, len(some), jobs, backend, some, coded, {}):
        for name, sample in found:
            samples[name].append(sample)
    return {name: fit_context(seen) for name, seen in samples.items()}


def count_levels(
    backend: VideoBackend, clips: list[Clip], coded: Coded, jobs: int, contexts: Contexts
) -> Iterator[Counts]:
    """Histograms of levels 1..8."""
    yield from _in_parallel(_count_level, LEVELS, jobs, backend, clips, coded, contexts)


def tables(counts: list[Counts], contexts: Contexts, of_each_level: bool = False) -> Tensors:
    """`tables.` of a weight file; rows of contexts are fitted anew.

    of_each_level: so are main tables and those rows; else all levels share them.
    """
    tensors: Tensors = {}
    for name, context in contexts.items():
        cells = np.sum([level.main[name] for level in counts], axis=0, dtype=np.int64)
        start = fit_rows(cells)
        everywhere = by_row(cells, start)
        shared = fit_main(everywhere, -REACH)
        for level, here in enumerate(counts, 1):
            row, main = start, shared
            if of_each_level:
                row = fit_rows(here.main[name], start, everywhere)
                main = fit_main(by_row(here.main[name], row), -REACH, everywhere)
            side = fit_side(here.side[name], -REACH)
            found = HyperpriorTables.with_candidates(side, main, *CANDIDATES, context.with_rows(row))
            tensors |= placed(name, level, found, not of_each_level)
    return tensors


def placed(name: str, level: int, found: HyperpriorTables, shared: bool = False) -> Tensors:
    """Tables of an information at level 1..8 by their names in a weight file.

    shared: main tables and rows of contexts are the same at all levels
    """
    return {f"tables.{name_of(part, name, level, shared)}": value for part, value in found.tensors().items()}


def opened(named: Tensors, informations: Iterable[str]) -> dict[tuple[str, int], HyperpriorTables]:
    """Tables by information and level 1..8, of what `tables` gives."""
    plain = {name.removeprefix("tables."): value for name, value in named.items()}
    return {
        (name, level): HyperpriorTables.from_tensors(gather(plain, name, level, LEVELS))
        for name in informations
        for level in range(1, LEVELS + 1)
    }
