"""Many inputs: order, exit codes, what a failure of one does to the others."""

import json
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest

from nvc.cli.batch import WORST_FIRST, Batch, Done, Failed, guarded, worst
from nvc.cli.files import Item, Plan
from nvc.cli.output import Existing
from nvc.cli.talk import Talk
from nvc.errors import BadStream, ExitCode, InputError, LimitError, NvcError, TargetError, UnknownModel

FAILURES: dict[str, BaseException] = {
    "input": InputError("no"),
    "target": TargetError("no"),
    "damaged": BadStream("no"),
    "model": UnknownModel(b"abcd"),
    "limit": LimitError("no"),
    "memory": MemoryError(),
    "torch": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    "bug": ZeroDivisionError("two\nlines"),
}


def work(size: int, item: Item) -> Done:
    """Fails as the item's name says; else `size` bytes."""
    if item.source in FAILURES:
        raise FAILURES[item.source]
    return Done(f"{item.source} done", {"path": item.source}, payload=b"x" * size)


def items(*names: str) -> Plan:
    return Plan(tuple(Item(name, f"{name}.out") for name in names))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_worst_is_the_order_of_the_contract() -> None:
    order = [130, 1, 7, 6, 4, 3, 5]
    assert list(WORST_FIRST)[: len(order)] == order
    assert set(WORST_FIRST) | {ExitCode.OK} == set(ExitCode)
    for first, second in combinations(order, 2):
        assert worst([ExitCode(second), ExitCode(first)]) == first
    assert worst([]) == 0


@pytest.mark.parametrize(
    ("name", "code"),
    [("input", 3), ("target", 5), ("damaged", 6), ("model", 6), ("limit", 7), ("memory", 7), ("torch", 7), ("bug", 1)],
)
def test_each_failure_has_its_code(name: str, code: int) -> None:
    got = guarded(partial(work, 1), Item(name, None))
    assert isinstance(got, Failed)
    assert (got.code, "Traceback" in got.trace) == (code, True)


def test_goes_on_after_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    batch = Batch(Talk("nvc-test"), partial(work, 3))
    assert batch.run(items("a", "target", "b", "bug", "input", "c")) == 1
    assert {path.name for path in Path().iterdir()} == {"a.out", "b.out", "c.out"}
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "a done",
        "nvc-test: target: no",
        "b done",
        "nvc-test: bug: internal error, please report it with the output of -vv: ZeroDivisionError: two lines",
        "nvc-test: input: no",
        "c done",
    ]


def test_fail_fast_stops(capfd: pytest.CaptureFixture[str]) -> None:
    batch = Batch(Talk("nvc-test", quiet=True), partial(work, 3), fail_fast=True)
    assert batch.run(items("a", "target", "input", "c")) == 5
    assert {path.name for path in Path().iterdir()} == {"a.out"}
    assert capfd.readouterr().err == "nvc-test: target: no\n"


@pytest.mark.parametrize("existing", list(Existing))
def test_existing_output(existing: Existing, capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.out").write_bytes(b"old")
    code = Batch(Talk("nvc-test", as_json=True), partial(work, 3), existing=existing).run(items("a", "b"))
    out, err = capfd.readouterr()
    record, other = (json.loads(line) for line in out.splitlines())
    assert other == {"path": "b"}
    assert Path("b.out").read_bytes() == b"xxx"
    kept = Path("a.out").read_bytes()
    if existing is Existing.REFUSE:
        assert (code, kept) == (4, b"old")
        assert err.startswith("nvc-test: a: a.out: exists; use -f\n")
        assert record == {"path": "a", "error": "a.out: exists; use -f", "exit_code": 4}
    elif existing is Existing.SKIP:
        assert (code, kept) == (0, b"old")
        assert err.startswith("a: skipped, a.out exists\n")
        assert record == {"path": "a", "output": "a.out", "skipped": True}
    else:
        assert (code, kept, record) == (0, b"xxx", {"path": "a"})


def test_damage_that_was_salvaged_is_written_and_still_fails() -> None:
    def salvaged(item: Item) -> Done:
        return Done("", {}, payload=b"rest", damage="lost: EXIF")

    assert Batch(Talk("nvc-test", quiet=True), salvaged).run(items("a")) == 6
    assert Path("a.out").read_bytes() == b"rest"


def test_empty_and_partly_taken_folders(capfd: pytest.CaptureFixture[str]) -> None:
    plan = Plan(items("a").items, empty=("nothing",), left_out=(("some", 2),))
    assert Batch(Talk("nvc-test"), partial(work, 1)).run(plan) == 3
    assert capfd.readouterr().err.splitlines() == [
        "warning: some: 2 files left out, by their names of another kind",
        "nvc-test: nothing: no file of a fitting kind in this folder",
        "a done",
    ]


@pytest.mark.parametrize(("verbose", "traced"), [(0, False), (1, False), (2, True)])
def test_tracebacks_only_with_vv(verbose: int, traced: bool, capfd: pytest.CaptureFixture[str]) -> None:
    Batch(Talk("nvc-test", verbose=verbose), partial(work, 1)).run(items("bug"))
    assert ("Traceback" in capfd.readouterr().err) == traced


def test_every_error_kind_has_a_code_of_its_own() -> None:
    kinds = {kind.exit_code for kind in NvcError.__subclasses__()} | {NvcError.exit_code}
    assert kinds == set(ExitCode) - {ExitCode.OK, ExitCode.INTERRUPTED}
