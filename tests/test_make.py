"""`make encode` and `make decode`: real rules on real files, with the installed commands."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
DATA = Path(__file__).parent / "data"


def make(goal: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a rule with the environment that runs the tests, whatever make or user variables stand around it."""
    ours = (
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
        "MAKEOVERRIDES",
        "SRC",
        "DST",
        "Q",
        "FLAGS",
        "FORMAT",
        "OMP_NUM_THREADS",
    )
    env = {name: value for name, value in os.environ.items() if name not in ours}
    command = ["make", goal, f"BIN={BIN}", "INSTALLED=", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


def times(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def summary(done: subprocess.CompletedProcess[str]) -> str:
    """The line `make encode: N made, ...`."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("make ") and " made, " in line]
    assert len(lines) == 1, done.stderr
    return lines[0]


def lines_about(done: subprocess.CompletedProcess[str], name: str) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("make ") and name in line]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a sub-folder, suffixes of any case, and files that are no pictures."""
    source = tmp_path / "in"
    (source / "sub" / "deep").mkdir(parents=True)
    with Image.open(DATA / "hall.png") as hall:
        hall.save(source / "a.PNG")
        hall.convert("L").save(source / "sub" / "it's,{b}&é.Jpeg")
        hall.save(source / "sub" / "deep" / "c.webp", lossless=True)
    (source / "notes.txt").write_text("not a picture")
    (source / ".hidden.png").write_bytes(b"")
    return source


def test_a_folder_goes_out_and_back(pictures: Path, tmp_path: Path) -> None:
    coded, back = tmp_path / "out", tmp_path / "back"
    done = make("encode", f"SRC={pictures}", f"DST={coded}", "Q=2", "-j2")
    assert done.returncode == 0, done.stderr
    assert summary(done) == "make encode: 3 made, 0 up to date, 0 failed, 0 left out"
    assert set(times(coded)) == {".nvc-encode", "a.nvc", "sub/it's,{b}&é.nvc", "sub/deep/c.nvc"}
    # the same bytes as the command by hand
    by_hand = tmp_path / "hand.nvc"
    subprocess.run([BIN / "nvc-encode", "--quiet", "-q", "2", "-o", by_hand, pictures / "a.PNG"], check=True)
    assert (coded / "a.nvc").read_bytes() == by_hand.read_bytes()

    done = make("decode", f"SRC={coded}", f"DST={back}", "FORMAT=ppm", "-j2")
    assert done.returncode == 0, done.stderr
    assert set(times(back)) == {".nvc-decode", "a.ppm", "sub/it's,{b}&é.ppm", "sub/deep/c.ppm"}
    original = np.asarray(Image.open(pictures / "a.PNG")).astype(float)
    error = np.mean((np.asarray(Image.open(back / "a.ppm")) - original) ** 2)
    assert error < 255**2 / 10**2.5  # better than 25 dB: the right picture came back

    before = times(coded) | times(back)
    assert "3 up to date" in summary(make("encode", f"SRC={pictures}", f"DST={coded}", "Q=2.0"))
    assert "3 up to date" in summary(make("decode", f"SRC={coded}", f"DST={back}", "FORMAT=ppm"))
    assert times(coded) | times(back) == before


def test_only_what_changed(pictures: Path, tmp_path: Path) -> None:
    coded = tmp_path / "out"
    ask = (f"SRC={pictures}", f"DST={coded}", "-j2")
    assert make("encode", *ask, "Q=3").returncode == 0
    before = times(coded)

    (pictures / "a.PNG").touch()
    done = make("encode", *ask, "Q=3")
    assert summary(done) == "make encode: 1 made, 2 up to date, 0 failed, 0 left out"
    after = times(coded)
    assert [name for name in after if after[name] != before[name]] == ["a.nvc"]

    (coded / "sub" / "deep" / "c.nvc").unlink()
    assert make("encode", *ask, "Q=3", "-n").stdout.count("nvc-encode -q") == 1

    # another quality, other flags: everything depends on the stamp; -n says so and writes nothing
    before = times(coded)
    for change in (("Q=4",), ("Q=3", "FLAGS=--rdoq 0")):
        done = make("encode", *ask, *change, "-n")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("nvc-encode -q") == 3
        assert times(coded) == before
    done = make("encode", *ask, "FLAGS=--target-bpp 2", "-n")
    assert done.stdout.count("nvc-encode --target-bpp 2") == 3, "a target and -q exclude each other"
    shutil.rmtree(pictures / "sub")
    for expected in ("1 made, 0 up to date", "0 made, 1 up to date"):
        assert expected in summary(make("encode", *ask, "Q=3", "FLAGS=--rdoq 0"))


def test_another_model_is_another_stamp(pictures: Path, tmp_path: Path) -> None:
    """The id counts, not the name: a file of weights named by --model counts by its content."""
    coded, weights = tmp_path / "out", tmp_path / "mine.safetensors.gz"
    model = next((ROOT / "models").glob("image-*.safetensors.gz"))
    shutil.copy(model, weights)
    ask = (f"SRC={pictures / 'sub' / 'deep'}", f"DST={coded}", "Q=2", f"FLAGS=--model {weights}")
    assert make("encode", *ask).returncode == 0
    weights.touch()
    assert "1 up to date" in summary(make("encode", *ask))
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert make("encode", *ask, "-n").stdout.count("nvc-encode -q") == 1


def test_a_failure_stays_alone(pictures: Path, tmp_path: Path) -> None:
    source, coded = pictures / "sub" / "deep", tmp_path / "out"
    (source / "bad.jpg").write_text("junk")
    for made in ("1 made, 0 up to date", "0 made, 1 up to date"):
        done = make("encode", f"SRC={source}", f"DST={coded}", "Q=2")
        assert done.returncode == 2
        assert summary(done) == f"make encode: {made}, 1 failed, 0 left out"
        assert lines_about(done, "bad.jpg") == [f"make encode: failed: {source}/bad.jpg (exit 3)"]
        assert set(times(coded)) == {".nvc-encode", "c.nvc"}
    (source / "bad.jpg").unlink()
    assert make("encode", f"SRC={source}", f"DST={coded}", "Q=2").returncode == 0


ODD = ["my photo.png", "50%.png", "a#b.png", "$HOME.png", "x:y.png", "a=b;c|d.png", "(1)[2].png", "two\nlines.png"]


def test_names_that_make_cannot_hold(tmp_path: Path) -> None:
    source, coded = tmp_path / "in", tmp_path / "out"
    (source / "a dir").mkdir(parents=True)
    for name in [*ODD, "a dir/it's.png"]:
        shutil.copy(DATA / "hall.png", source / name)
    done = make("encode", f"SRC={source}", f"DST={coded}", "Q=2", "FLAGS=--rdoq 0")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if "; run: " in line]
    assert len(said) == len(ODD) + 1
    assert "0 made, 0 up to date, 0 failed, 9 left out" in summary(done)

    commands = [line.split("; run: ")[1] for line in said]
    assert all(" -q 2 --rdoq 0 --threads 1 " in command for command in commands)
    for name in ("a dir", "two\\x0alines"):  # two of them as a user would paste them
        [command] = [c for c in commands if name in c]
        subprocess.run(["bash", "-c", command], cwd=ROOT, check=True, capture_output=True)
    assert set(times(coded)) == {".nvc-encode", "a dir/it's.nvc", "two\nlines.nvc"}
    assert " 7 left out" in summary(make("encode", f"SRC={source}", f"DST={coded}", "Q=2", "FLAGS=--rdoq 0"))
    # made with other options: due again, and -f is part of the command now
    done = make("encode", f"SRC={source}", f"DST={coded}", "Q=3", "-n")
    [line] = lines_about(done, "it's" if "it's" in done.stderr else "a dir")
    assert " -f -o " in line


def test_each_of_them_is_really_out_of_makes_reach(tmp_path: Path) -> None:
    """And the others are not: every character of ASCII in a name is either coded or left out with a line."""
    source, coded = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    characters = [chr(c) for c in range(1, 127) if chr(c) not in "/."]
    for index, character in enumerate(characters):
        (source / f"p{index}{character}q.png").write_bytes(b"no picture")
    done = make("encode", f"SRC={source}", f"DST={coded}", "-j4", "NVC_ENCODE=false")
    failed = sum(line.startswith("make encode: failed: ") for line in done.stderr.splitlines())
    left = sum("; run: " in line for line in done.stderr.splitlines())
    assert failed + left == len(characters)
    assert f" {failed} failed, {left} left out" in summary(done)
    assert failed == 92 - len("#$%:;=|*?[]()\\")  # of the printable ones


def test_two_sources_of_one_output(pictures: Path, tmp_path: Path) -> None:
    shutil.copy(pictures / "a.PNG", pictures / "a.bmp.png")  # a.bmp.nvc: no collision
    shutil.copy(DATA / "hall.png", pictures / "a.webp")
    done = make("encode", f"SRC={pictures}", f"DST={tmp_path / 'out'}", "-n")
    assert done.returncode == 2
    [line] = lines_about(done, "a.webp")
    assert str(pictures / "a.PNG") in line
    assert "would both become" in line
    assert done.stdout.count("nvc-encode -q") == 3


def test_pictures_of_others_are_not_overwritten(pictures: Path, tmp_path: Path) -> None:
    coded = tmp_path / "coded"
    coded.mkdir()
    (coded / "a.nvc").write_bytes(b"")
    before = times(pictures)
    done = make("decode", f"SRC={coded}", f"DST={pictures}", "FORMAT=PNG")
    assert done.returncode == 2
    assert "exists, and make has made nothing" in done.stderr
    assert times(pictures) == before


def test_dst_inside_src_is_no_source(pictures: Path) -> None:
    coded = pictures / "coded"
    coded.mkdir()
    shutil.copy(DATA / "hall.png", coded / "other.png")
    done = make("encode", f"SRC={pictures}", f"DST={coded}", "-n")
    assert done.stdout.count("nvc-encode -q") == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name the folders: make encode SRC=dir DST=dir Q=4"),
        (("SRC=nowhere", "DST=out"), "nowhere: not a folder"),
        (("SRC={in}", "DST={tmp}/out", "Q=9"), "Q=9: not a quality from 1 to 8"),
        (("SRC={in}", "DST={tmp}/my out", "Q=2"), "run: "),
        (("SRC={tmp}/empty", "DST={tmp}/out"), "holds nothing to encode"),
    ],
)
def test_questions_without_a_plan(pictures: Path, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    (tmp_path / "empty").mkdir()
    done = make("encode", *(a.replace("{in}", str(pictures)).replace("{tmp}", str(tmp_path)) for a in arguments))
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("make encode: ")]
    assert says in line
    assert not (tmp_path / "out").exists()


def test_jobs_run_side_by_side_with_one_thread_each(pictures: Path, tmp_path: Path) -> None:
    """Two jobs that wait for each other end only if make runs both; both say what they were given."""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    script = tmp_path / "meet"
    script.write_text(
        f'echo "$OMP_NUM_THREADS $*" > {meeting}/$$\n'
        f"for wait in $(seq 300); do [ $(ls {meeting} | wc -l) -ge 2 ] && exit 0; sleep 0.1; done; exit 1\n"
    )
    shutil.rmtree(pictures / "sub" / "deep")
    done = make("encode", f"SRC={pictures}", f"DST={tmp_path / 'out'}", f"NVC_ENCODE=sh {script}", "-j2")
    assert done.returncode == 0, done.stderr
    said = [path.read_text() for path in meeting.iterdir()]
    assert len(said) == 2
    assert all(line.startswith("1 -q 4 ") and " --threads 1 " in line for line in said)


def test_an_interrupt_leaves_no_halves(pictures: Path, tmp_path: Path) -> None:
    """SIGINT to the whole group, as Ctrl-C sends it: the next run finishes the work."""
    coded = tmp_path / "out"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "encode", f"BIN={BIN}", "INSTALLED=", f"SRC={pictures}", f"DST={coded}", "Q=2"]
    running = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (coded / ".nvc-encode").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, 2)
    running.communicate(timeout=60)
    assert running.returncode != 0
    assert all(name == ".nvc-encode" or name.endswith(".nvc") for name in times(coded))
    assert make("encode", f"SRC={pictures}", f"DST={coded}", "Q=2", "-j2").returncode == 0
    assert len(times(coded)) == 4


def test_the_suffixes_are_those_of_a_walk() -> None:
    from nvc.cli.kinds import PICTURE_SUFFIXES, VIDEO_SUFFIXES

    for name, suffixes in (("PICTURES", PICTURE_SUFFIXES), ("CLIPS", VIDEO_SUFFIXES)):
        [line] = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(f"{name} := ")]
        assert {f".{name}" for name in shlex.split(line.partition(":=")[2])} == suffixes


def test_clips_go_out_and_back(tmp_path: Path) -> None:
    """As videos: mkv by default, or as CLIP_FORMAT says."""
    source, coded, back = (tmp_path / name for name in ("in", "out", "back"))
    (source / "sub").mkdir(parents=True)
    planes = np.random.default_rng(0).bytes(32 * 24 * 3 // 2)
    head = b"YUV4MPEG2 W32 H24 F25:1 Ip A1:1 C420jpeg\n"
    (source / "sub" / "a.y4m").write_bytes(head + 3 * (b"FRAME\n" + planes))
    model = f"FLAGS=--model {DATA / 'tiny_video.safetensors'}"
    done = make("encode", f"SRC={source}", f"DST={coded}", "Q=2", model)
    assert summary(done) == "make encode: 1 made, 0 up to date, 0 failed, 0 left out", done.stderr
    assert set(times(coded)) == {".nvc-encode", "sub/a.nvc"}
    for form, options in (("mkv", []), ("y4m", ["CLIP_FORMAT=y4m"])):
        done = make("decode", f"SRC={coded}", f"DST={back}", model, *options)
        assert "1 made" in summary(done), done.stderr
        assert (back / "sub" / f"a.{form}").stat().st_size > 1000
