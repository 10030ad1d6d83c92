"""Writing: whole or not at all, nothing left behind."""

import os
import stat
import threading
from pathlib import Path

import pytest

from nvc.cli import output
from nvc.cli.common import Interrupted
from nvc.cli.output import Existing, should_write, temporary_name, write
from nvc.errors import OutputError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


def test_write_leaves_the_file_alone() -> None:
    write("a.nvc", b"data", Existing.REFUSE)
    assert names() == ["a.nvc"]
    assert Path("a.nvc").read_bytes() == b"data"


def test_new_file_obeys_umask_and_old_file_keeps_its_mode() -> None:
    old = os.umask(0o027)
    try:
        write("a.nvc", b"1", Existing.REFUSE)
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat("a.nvc").st_mode) == 0o640
    os.chmod("a.nvc", 0o600)
    write("a.nvc", b"2", Existing.OVERWRITE)
    assert (stat.S_IMODE(os.stat("a.nvc").st_mode), Path("a.nvc").read_bytes()) == (0o600, b"2")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Interrupted(), MemoryError()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_nothing_changes_when_it_ends_early(monkeypatch: pytest.MonkeyPatch, error: BaseException, step: str) -> None:
    Path("a.nvc").write_bytes(b"old")
    seen: list[list[str]] = []

    def fail(*arguments: object) -> None:
        seen.append(names())
        raise error

    monkeypatch.setattr(output.os, step, fail)
    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write("a.nvc", b"new", Existing.OVERWRITE)
    with pytest.raises(expected):
        write("deep/er/a.nvc", b"new", Existing.REFUSE, make_folder=True)
    assert f".a.nvc.tmp-{os.getpid()}" in seen[0]
    assert names() == ["a.nvc"]
    assert Path("a.nvc").read_bytes() == b"old"


def test_file_system_limit(tmp_path: Path) -> None:
    """A write that the kernel refuses half-way (here: the limit on file sizes; a full disk does the same)."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written: File too large"):
            write("a.nvc", bytes(5000), Existing.REFUSE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names() == []


def test_file_that_appears_during_the_work_is_kept() -> None:
    assert should_write("a.nvc", Existing.REFUSE)
    Path("a.nvc").write_bytes(b"theirs")
    with pytest.raises(OutputError, match="exists; use -f"):
        write("a.nvc", b"ours", Existing.REFUSE)
    assert (names(), Path("a.nvc").read_bytes()) == (["a.nvc"], b"theirs")


def test_should_write() -> None:
    Path("a.nvc").write_bytes(b"")
    os.mkdir("folder.nvc")
    os.symlink("nowhere", "dangling.nvc")
    assert not should_write("a.nvc", Existing.SKIP)
    assert should_write("a.nvc", Existing.OVERWRITE)
    assert should_write("/dev/null", Existing.REFUSE)
    assert should_write("-", Existing.REFUSE)
    assert should_write("new/er/b.nvc", Existing.REFUSE, make_folder=True)
    for target, existing, message in [
        ("a.nvc", Existing.REFUSE, "exists; use -f"),
        ("dangling.nvc", Existing.REFUSE, "exists; use -f"),
        ("folder.nvc", Existing.OVERWRITE, "is a folder"),
        ("new/b.nvc", Existing.REFUSE, "no folder"),
        ("a.nvc/b.nvc", Existing.REFUSE, "no folder"),
    ]:
        with pytest.raises(OutputError, match=message):
            should_write(target, existing)
    with pytest.raises(OutputError, match="no folder"):
        should_write("a.nvc/sub/b.nvc", Existing.REFUSE, make_folder=True)


def test_link_stays_a_link() -> None:
    os.mkdir("real")
    Path("real/a.nvc").write_bytes(b"old")
    os.symlink("real/a.nvc", "link.nvc")
    write("link.nvc", b"new", Existing.OVERWRITE)
    assert os.path.islink("link.nvc")
    assert Path("real/a.nvc").read_bytes() == b"new"
    assert names() == ["link.nvc", "real", "real/a.nvc"]


def test_stale_temporary_file_of_a_killed_process() -> None:
    Path(temporary_name("a.nvc")).write_bytes(b"half")
    write("a.nvc", b"whole", Existing.REFUSE)
    assert (names(), Path("a.nvc").read_bytes()) == (["a.nvc"], b"whole")


@pytest.mark.parametrize("name", ["n" * 251 + ".nvc", "é" * 125 + ".nvc"])
def test_longest_names(name: str) -> None:
    write(name, b"x", Existing.REFUSE)
    assert names() == [name]


def test_devices_are_written_directly() -> None:
    write("/dev/null", b"data", Existing.REFUSE)
    with pytest.raises(OutputError, match="No space left"):
        write("/dev/full", b"data", Existing.REFUSE)


def test_fifo_is_written_directly() -> None:
    os.mkfifo("pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()))
    reader.start()
    write("pipe", b"x" * 200_000, Existing.REFUSE)
    reader.join()
    assert got == [b"x" * 200_000]
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
