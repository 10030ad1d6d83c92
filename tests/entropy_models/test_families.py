"""Replacement tables against the referee's, which knows FORMAT.md alone; any codes; which tables have one."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvc.entropy_coding.gaussian import published_tables
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models.families import (
    CENTRED,
    CODES_MAX,
    MIXTURE,
    coarse,
    code_count,
    frequencies,
    is_coarse,
    replaceable,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from referee_tables import replacement

CODE = st.integers(0, 1023)


def made(family: int, codes: list[int], offset: int, values: int, escape: int) -> list[int]:
    """Frequencies by the code under test."""
    components = (len(codes) + 1) // 3 if family == MIXTURE else (len(codes) + 1) // 2
    assert code_count(family, components) == len(codes)
    room = np.full((2, values), -1, np.int64)
    frequencies(family, components, np.array(codes, np.uint16), offset, values, escape, room[0], room[1])
    return room[1].tolist()


@pytest.mark.parametrize("family", [MIXTURE, CENTRED])
def test_equal_the_referee(family: int) -> None:
    random = np.random.default_rng(5)
    for _ in range(60):
        components = int(random.integers(1, 4))
        codes = random.integers(0, 1024, code_count(family, components)).tolist()
        values = int(random.choice([2, 3, 9, 40, 300]))
        offset = -int(random.integers(0, values)) if family == CENTRED else int(random.integers(-50, 50))
        escape = int(random.choice([1, 2, 70, 5000]))
        expected = replacement("side" if family == MIXTURE else "main", components, codes, offset, values, escape)
        assert [*made(family, codes, offset, values, escape), escape] == expected


@settings(deadline=None)
@given(st.integers(1, 3), st.data())
def test_any_codes_are_a_table(components: int, data: st.DataObject) -> None:
    family = data.draw(st.sampled_from([MIXTURE, CENTRED]))
    codes = data.draw(st.lists(CODE, min_size=code_count(family, components), max_size=code_count(family, components)))
    values = data.draw(st.one_of(st.integers(2, 50), st.just(32767)))
    offset = data.draw(st.integers(1 - values, 0))
    escape = data.draw(st.integers(1, 65536 - 2 * values))
    row = made(family, codes, offset, values, escape)
    assert min(row) >= 1
    assert sum(row) == 65536 - escape


def test_extremes_of_an_offset() -> None:
    """Mass far away from a support of the greatest offsets does not overflow."""
    for offset in (0, -32766):
        row = made(CENTRED, [64 * 14], offset, 32767, 2)  # σ = 1024
        assert sum(row) == 65534
        assert row[-offset] > 20
        assert row[16000] == row[32766 + offset] == 1


def test_follows_the_normal_distribution() -> None:
    code, values = 64 * 5, 41  # σ = 2
    row = np.array(made(CENTRED, [code], -20, values, 4)) / 65536
    edges = [0.5 * math.erfc(-(v - 0.5) / 2 / math.sqrt(2)) for v in range(-20, 22)]
    assert np.abs(row - np.diff(edges)).max() < 25 / 65536  # 20 values of one count each, and the escape


def test_coarse_codes() -> None:
    assert [coarse(c) for c in (0, 8, 15, 16, 1023)] == [8, 8, 8, 24, 1016]
    assert is_coarse(np.array([8, 1016, 3], np.uint16), 2)
    assert not is_coarse(np.array([8, 1016, 3], np.uint16), 3)
    assert not is_coarse(np.array([9] * CODES_MAX, np.uint16), 1)


def test_which_tables_have_a_replacement() -> None:
    room = [0, 1, 65535, 65536]
    tables = TableSet.from_rows(
        [room, [0, 65535, 65536], [0, 1, 2, 65536], [0, 1, 4, 65536], room, room], [-1, 0, 0, 0, 1, -2]
    )
    rows = np.arange(6)
    # one value alone; the escape leaves less than two counts a value; 0 outside
    assert replaceable(tables, rows, MIXTURE).tolist() == [True, False, False, True, True, True]
    assert replaceable(tables, rows, CENTRED).tolist() == [True, False, False, True, False, False]
    assert replaceable(published_tables(), np.arange(64), CENTRED).all()
