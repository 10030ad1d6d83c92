"""Main tables that all levels share or that each level has: read alike, and never half of each."""

from collections.abc import Callable

import numpy as np
import pytest

from nvc.codec.models import Tensors
from nvc.codec.table_names import gather, name_of

LEVELS = 8
TABLES = ("size", "offset", "frequency", "candidates")
MAIN = [f"main.{kind}" for kind in TABLES]
SIDE = [f"side.{kind}" for kind in TABLES]
CONTEXT = [f"context.{kind}" for kind in ("predict", "expected", "mix", "row")]
Change = Callable[[Tensors], object]


def made(shared: bool, parts: list[str]) -> Tensors:
    """Tensors of `motion`, each with its level in it, 0 where it is of all; and of another information beside."""
    tensors: Tensors = {"motion2.main.size": np.array([9]), "motion2.3.context.row": np.array([9])}
    for level in range(1, LEVELS + 1):
        for part in parts:
            name = name_of(part, "motion", level, shared)
            tensors[name] = np.array([level if name.startswith("motion.") and f".{level}." in name else 0])
    return tensors


@pytest.mark.parametrize("contexts", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_both_forms(shared: bool, contexts: bool) -> None:
    parts = [*SIDE, *MAIN, *(CONTEXT if contexts else [])]
    tensors = made(shared, parts)
    for level in range(1, LEVELS + 1):
        found = gather(tensors, "motion", level, LEVELS)
        assert found.keys() == set(parts)
        of_level = [*SIDE, *([] if shared else [*MAIN, "context.row"])]
        assert {part: int(value[0]) for part, value in found.items()} == {
            part: level if part in of_level else 0 for part in parts
        }


def rename(old: str, new: str) -> Change:
    return lambda tensors: tensors.update({new: tensors.pop(old)})


def add(name: str) -> Change:
    return lambda tensors: tensors.update({name: np.array([0])})


def drop(*names: str) -> Change:
    return lambda tensors: [tensors.pop(name) for name in names]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (drop("motion.3.main.size"), r"motion\.3\.main\.size"),
        (drop("motion.8.context.row"), r"motion\.8\.context\.row"),
        (drop(*(f"motion.5.{part}" for part in MAIN)), r"motion\.5\.main"),
        (drop(*(f"motion.{level}.context.row" for level in range(1, 9))), r"motion\.1\.context\.row"),
        (drop("motion.context.mix"), r"motion\.context\.mix"),
        (drop("motion.context.predict", "motion.context.expected", "motion.context.mix"), r"motion\.context\.expected"),
        (rename("motion.1.main.size", "motion.main.size"), "both shared"),
        (rename("motion.1.context.row", "motion.context.row"), "both shared"),
        (add("motion.main.candidates"), "both shared"),
        (add("motion.2.context.predict"), r"motion\.2\.context\.predict is no tensor of a level"),
        (add("motion.9.main.size"), r"motion\.9\.main\.size is no tensor of a level"),
        (add("motion.02.main.size"), r"motion\.02\.main\.size is no tensor of a level"),
        (drop("motion.4.side.offset"), r"motion\.4\.side\.offset"),
    ],
)
def test_mixed_forms_of_each_level(change: Change, part: str) -> None:
    tensors = made(False, [*SIDE, *MAIN, *CONTEXT])
    change(tensors)
    with pytest.raises((KeyError, ValueError), match=part):
        gather(tensors, "motion", 4, LEVELS)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (add("motion.4.main.size"), "both shared"),
        (add("motion.4.context.row"), "both shared"),
        (add("motion.4.context.mix"), "both shared"),
        (drop("motion.main.offset"), r"motion\.main\.offset"),
        (drop(*(f"motion.{part}" for part in MAIN)), r"motion\.main\.candidates"),
        (drop("motion.context.row"), r"motion\.context\.row"),
    ],
)
def test_mixed_forms_that_are_shared(change: Change, part: str) -> None:
    tensors = made(True, [*SIDE, *MAIN, *CONTEXT])
    change(tensors)
    with pytest.raises((KeyError, ValueError), match=part):
        gather(tensors, "motion", 4, LEVELS)


def test_rows_of_a_level_without_contexts() -> None:
    tensors = made(False, [*SIDE, *MAIN])
    tensors["motion.4.context.row"] = np.array([0])
    with pytest.raises(KeyError, match=r"motion\.1\.context\.row|motion\.context"):
        gather(tensors, "motion", 4, LEVELS)
