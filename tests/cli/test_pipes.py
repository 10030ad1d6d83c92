"""Processes: pipes, devices, signals, workers, and what is left behind."""

import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


def cache_folder() -> str:
    """Where compiled code is kept now: tests of an empty $HOME should not compile it again."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return os.environ.get("NVC_CACHE") or f"{base}/nvc"


def test_pipes_carry_the_payload_and_nothing_else(call: Call, run: Call, photo: Call, tmp_path: Path) -> None:
    """The same bytes as with files; no file anywhere; TMPDIR, HOME and the working folder stay empty."""
    source = photo("a.png", of="hall")
    call("encode", "a.png").works()
    call("decode", "a.nvc", "-o", "a.ppm").works()
    spare = {name: tmp_path / name for name in ("home", "tmp", "here")}
    for folder in spare.values():
        folder.mkdir()
    env = {"HOME": str(spare["home"]), "TMPDIR": str(spare["tmp"]), "NVC_CACHE": cache_folder()}
    env |= {"XDG_CACHE_HOME": str(spare["home"]), "MPLCONFIGDIR": str(spare["home"])}
    coded = run("encode", "-", stdin=source.read_bytes(), cwd=spare["here"], env=env).works()
    assert coded.out == Path("a.nvc").read_bytes()
    assert coded.err.startswith("<stdin> -> <stdout>  97x61  ")
    decoded = run("decode", "-", "--format", "ppm", stdin=coded.out, cwd=spare["here"], env=env).works()
    assert decoded.out == Path("a.ppm").read_bytes()
    assert [list(folder.rglob("*")) for folder in spare.values()] == [[], [], []]


def test_fifos_in_and_out(run: Call, call: Call, photo: Call, tmp_path: Path) -> None:
    source = photo("a.png", of="hall")
    call("encode", "a.png").works()
    os.mkfifo("in"), os.mkfifo("out")
    got: list[bytes] = []
    feeder = threading.Thread(target=lambda: Path("in").write_bytes(source.read_bytes()))
    reader = threading.Thread(target=lambda: got.append(Path("out").read_bytes()))
    feeder.start(), reader.start()
    run("encode", "in", "-o", "out").works()
    feeder.join(), reader.join()
    assert got == [Path("a.nvc").read_bytes()]


def test_reader_that_is_gone(run: Call, photo: Call, listing: Call) -> None:
    photo("a.png", of="hall")
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        run("encode", "a.png", "-o", "-", stdout=pipe).fails(4, "a.png: <stdout>: cannot be written: Broken pipe")
    assert listing() == {"a.png"}


def test_progress_shows_on_a_terminal_only(start: Call, tmp_path: Path) -> None:
    """By itself where stderr is a terminal; --no-progress silences it there."""
    os.mkfifo(tmp_path / "in")
    for options, shown in [([], True), (["--no-progress"], False)]:
        leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (24, 80))
        process: subprocess.Popen[bytes] = start("info", "in", *options, stdout=subprocess.DEVNULL, stderr=follower)
        os.close(follower)
        os.close(os.open(tmp_path / "in", os.O_WRONLY))
        assert process.wait(timeout=60) == 6
        assert (b"file/s" in os.read(leader, 10_000)) == shown
        os.close(leader)


def test_engine_of_the_environment(call: Call, run: Call, photo: Call) -> None:
    photo("a.png", of="hall")
    call("encode", "a.png").works()
    run("decode", "--check", "a.nvc", env={"NVC_ENGINE": "nosuch"}).fails(1, "a.nvc: NVC_ENGINE=nosuch: unknown engine")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("jobs", [1, 2])
def test_signals(start: Call, listing: Call, tmp_path: Path, number: signal.Signals, jobs: int) -> None:
    """Interrupted while its inputs (FIFOs that no one feeds) keep it waiting: exit 130, one line, no process left."""
    for name in ("a.png", "b.png"):
        os.mkfifo(tmp_path / name)
    process: subprocess.Popen[bytes] = start("encode", "a.png", "b.png", "-o", "out/", "-j", jobs)
    writers = [os.open(tmp_path / name, os.O_WRONLY) for name in ("a.png", "b.png")[:jobs]]  # once they are read
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as the terminal does
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    for writer in writers:
        os.close(writer)
    assert (process.returncode, err) == (130, b"nvc-encode: interrupted\n")
    assert listing() == {"a.png", "b.png"}
    assert gone(process.pid)


def gone(group: int) -> bool:
    """No process of the group is left, at the latest after some seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_workers_end_with_a_killed_parent(start: Call, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        os.mkfifo(tmp_path / name)
    process: subprocess.Popen[bytes] = start(
        "encode", "a.png", "b.png", "-o", "out/", "-j", 2, stderr=subprocess.DEVNULL
    )
    writers = [os.open(tmp_path / name, os.O_WRONLY) for name in ("a.png", "b.png")]
    process.kill()
    process.wait(timeout=60)
    assert gone(process.pid)
    for writer in writers:
        os.close(writer)


def test_ignored_signals_stay_ignored(start: Call, photo: Call, tmp_path: Path) -> None:
    """What nohup and `&` rely on."""
    os.mkfifo(tmp_path / "in")
    process: subprocess.Popen[bytes] = start(
        "info", "in", stdout=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    )
    writer = os.open(tmp_path / "in", os.O_WRONLY)
    process.send_signal(signal.SIGINT)
    os.close(writer)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (6, b"nvc-info: in: empty file\n")


def test_jobs_change_no_byte_and_no_order(call: Call, run: Call, photo: Call, tmp_path: Path) -> None:
    for name, of in [("a", "sign"), ("b", "hall"), ("c", "stair")]:
        photo(f"in/{name}.png", of=of)
    (tmp_path / "in/bad.png").write_bytes(b"no picture")
    one = call("encode", "in", "-o", "one/", "-q", 3)
    two = run("encode", "in", "-o", "two/", "-q", 3, "-j", 2)
    assert one.code == two.code == 3
    names = sorted(path.name for path in Path("one").iterdir())
    assert names == ["a.nvc", "b.nvc", "c.nvc"] == sorted(path.name for path in Path("two").iterdir())
    for name in names:
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    heads = [[line.split("  ")[0].replace("two/", "one/") for line in done.lines] for done in (one, two)]
    assert heads[0] == heads[1]
    decoded = run("decode", "two", "-o", "back/", "-j", 2, "--md5").works()
    assert [line.split(" -> ")[0] for line in decoded.lines] == ["two/a.nvc", "two/b.nvc", "two/c.nvc"]


def test_worker_that_dies_is_exit_7(tmp_path: Path, environment: dict[str, str]) -> None:
    """As the kernel's out-of-memory killer does it."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from nvc.cli.batch import Batch\n"
        "from nvc.cli.files import Item, Plan\n"
        "from nvc.cli.talk import Talk\n"
        "def work(item): os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    plan = Plan(tuple(Item(name, None) for name in 'abc'))\n"
        "    raise SystemExit(Batch(Talk('nvc-test'), work, jobs=2).run(plan))\n"
    )
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 7
    assert [line.split(":")[:2] for line in done.stderr.splitlines()] == [["nvc-test", f" {name}"] for name in "abc"]
