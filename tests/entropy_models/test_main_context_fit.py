"""Contexts fitted to symbols that were made to have some."""

import numpy as np
import pytest
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Estimator
from nvc.entropy_coding.gaussian import scales
from nvc.entropy_models.hyperprior import code_main
from nvc.entropy_models.hyperprior_fit import fit_main
from nvc.entropy_models.main_context import CLASSES, MainContext
from nvc.entropy_models.main_context_fit import Sample, by_row, count_cells, fit_context, fit_rows, row_bits

REACH = 63


def frame(seed: int, *, cross: float = 0.0, near: float = 0.0, smooth: bool = False) -> Sample:
    """Six channels. cross, near: how far a scale that channels, or neighbours, share departs from the index."""
    random = np.random.default_rng(seed)
    index = random.integers(20, 32, (6, 24, 24)).astype(np.uint8)
    blocks = random.normal(size=(6, 6, 6)).repeat(4, axis=1).repeat(4, axis=2)
    departure = cross * random.normal(size=(24, 24)) + near * blocks
    symbols = np.rint(random.normal(size=index.shape) * scales()[index] * np.exp(departure)).astype(np.int32)
    if smooth:
        symbols[2] = np.rint(4 * np.cumsum(random.normal(size=(24, 24)), axis=0))
    return symbols, index


def bits_of(context: MainContext | None, samples: list[Sample], seen: list[Sample]) -> float:
    """Bits of some samples with tables that fit others."""
    cells = np.zeros((64, CLASSES, 2 * REACH + 1), np.int64)
    which = context or MainContext.neutral(len(seen[0][0]))
    for symbols, index in seen:
        count_cells(cells, which, symbols, index)
    estimator = Estimator()
    for symbols, index in samples:
        code_main(estimator, fit_main(by_row(cells, which.row), -REACH), index, symbols, context)
    return estimator.bits


@pytest.mark.parametrize(("cross", "near"), [(0.8, 0.0), (0.0, 1.0)])
def test_finds_where_the_scale_comes_from(cross: float, near: float) -> None:
    """And what it finds holds for frames that it has not seen."""
    seen, other = ([frame(seed, cross=cross, near=near) for seed in seeds] for seeds in (range(12), range(20, 24)))
    context = fit_context(seen)
    assert not context.predict.any()
    assert (context.mix[:4].any()) == (near > 0)
    assert context.mix[4] > 0 or near > 0
    assert bits_of(context, other, seen) < 0.97 * bits_of(None, other, seen)


def test_predicts_the_channel_that_neighbours_foretell() -> None:
    context = fit_context([frame(seed, smooth=True) for seed in range(6)])
    assert np.flatnonzero(context.predict.any(axis=1)).tolist() == [2]
    up, *others = context.predict[2].tolist()
    assert 28 <= up <= 34
    assert max(map(abs, others)) <= 4


def test_expectations_are_mean_magnitudes() -> None:
    seen = [frame(seed) for seed in range(8)]
    expected = fit_context(seen).expected
    for q in (20, 25, 31):
        mean = np.mean(np.concatenate([np.abs(s[i == q]).clip(max=15) for s, i in seen]))
        assert expected[q] / 4096 == pytest.approx(mean, rel=0.1)
    gaussian = np.minimum(scales()[40:] * np.sqrt(2 / np.pi), 15)
    assert expected[40:] / 4096 == pytest.approx(gaussian, rel=1e-3)


def test_rows_of_cells_that_were_seldom_seen_stay() -> None:
    cells = np.zeros((64, CLASSES, 41), np.int64)
    draws: NDArray[np.int64] = np.rint(np.random.default_rng(1).normal(size=5000) * 2).astype(int)
    wide = np.bincount(draws.clip(-20, 20) + 20, minlength=41)
    cells[10, 12] = wide
    cells[30, 6] = wide * 50
    cells[11, 12, 20] = 3
    row = fit_rows(cells)
    assert row[10, 12] not in (10, 11)
    assert row[11, 12] == 11
    assert row[40].tolist() == [40] * CLASSES
    start = np.repeat(np.arange(64, dtype=np.uint8), CLASSES).reshape(64, CLASSES)
    assert row_bits(cells, row) <= row_bits(cells, start) + 1


def test_rows_of_a_level_are_those_of_all_unless_another_saves_much() -> None:
    cells = np.zeros((64, CLASSES, 41), np.int64)
    draws = np.random.default_rng(1).normal(size=20_000)
    narrow, near, wide = (
        np.bincount(np.rint(draws * s).astype(int).clip(-20, 20) + 20, minlength=41) for s in (0.5, 0.8, 3.0)
    )
    cells[10, 5], cells[34, 6], cells[20, 8] = narrow, wide * 10, narrow // 100
    start = fit_rows(cells)
    everywhere = by_row(cells, start)
    level = np.zeros_like(cells)
    level[10, 5] = wide  # not at all what it is at the other levels
    level[20, 8] = near // 100  # so few that another table would save little
    level[34, 6] = wide
    row = fit_rows(level, start, everywhere)
    assert row[10, 5] == row[34, 6] == start[34, 6]
    changed = np.argwhere(row != start).tolist()
    assert changed == [[10, 5]]
    np.testing.assert_array_equal(fit_rows(np.zeros_like(cells), start, everywhere), start)


def test_counts_by_row() -> None:
    cells = np.arange(64 * CLASSES * 3).reshape(64, CLASSES, 3)
    row = np.full((64, CLASSES), 5, np.uint8)
    row[3] = 9
    counts = by_row(cells, row)
    assert counts[9].tolist() == cells[3].sum(axis=0).tolist()
    assert counts.sum() == cells.sum() == counts[[5, 9]].sum()
