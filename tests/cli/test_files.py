"""Names: from inputs and -o to pairs of files, and what is refused before any work."""

import os
from pathlib import Path

import pytest

from nvc.cli.files import Item, Plan, plan, plan_reading, printable, read_input
from nvc.errors import InputError, LimitError, UsageError

KINDS = frozenset({".png", ".jpg"})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(name.encode())


def pairs(inputs: list[str], output: str | None = None) -> list[tuple[str, str | None]]:
    return [(item.source, item.target) for item in plan(inputs, output, suffix=".nvc", wanted=KINDS).items]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("photo.png", "photo.nvc"),
        ("a/b/photo.JPG", "a/b/photo.nvc"),
        ("two.dots.PNG", "two.dots.nvc"),
        ("no suffix", "no suffix.nvc"),
        ("name with space é.png", "name with space é.nvc"),
        ("-dash.png", "-dash.nvc"),
        (".hidden", ".hidden.nvc"),
        ("./-", "./-.nvc"),
        ("frame%04d.png", "frame.nvc"),
        ("in/take_%d.png", "in/take.nvc"),
        ("in/%03d.png", "in/frames.nvc"),
    ],
)
def test_derived_name(source: str, target: str) -> None:
    assert pairs([source]) == [(source, target)]


def test_stdin_goes_to_stdout() -> None:
    assert pairs(["-"]) == [("-", "-")]
    assert plan(["-"], None, suffix=".nvc", wanted=KINDS).items[0].source_name == "<stdin>"


@pytest.mark.parametrize("output", ["out.nvc", "sub/out", "-", "-o.nvc"])
def test_output_file(output: str) -> None:
    assert pairs(["a.png"], output) == [("a.png", output)]


def test_output_folder_by_slash_or_by_being_one() -> None:
    assert pairs(["x/a.png", "b.png"], "out/") == [("x/a.png", "out/a.nvc"), ("b.png", "out/b.nvc")]
    os.mkdir("there")
    assert pairs(["x/a.png"], "there") == [("x/a.png", "there/a.nvc")]
    assert plan(["a.png"], "out/", suffix=".nvc", wanted=KINDS).items[0].make_folder


def test_several_inputs_lie_beside_their_sources() -> None:
    assert pairs(["x/a.png", "b.png"]) == [("x/a.png", "x/a.nvc"), ("b.png", "b.nvc")]


def test_folder_is_walked_and_mirrored() -> None:
    put("in/b.png", "in/a.JPG", "in/sub/c.png", "in/note.txt", "in/.hidden.png", "in/.git/d.png")
    assert plan(["in"], "out/", suffix=".nvc", wanted=KINDS) == Plan(
        (
            Item("in/a.JPG", "out/a.nvc", make_folder=True),
            Item("in/b.png", "out/b.nvc", make_folder=True),
            Item("in/sub/c.png", "out/sub/c.nvc", make_folder=True),
        ),
        left_out=(("in", 1),),
    )
    assert pairs(["in/"]) == [("in/a.JPG", "in/a.nvc"), ("in/b.png", "in/b.nvc"), ("in/sub/c.png", "in/sub/c.nvc")]


def test_folder_with_one_file_still_wants_a_folder() -> None:
    put("in/a.png")
    with pytest.raises(UsageError, match="several inputs"):
        pairs(["in"], "out")


def test_folder_with_nothing_in_it_is_told() -> None:
    put("in/note.txt")
    assert plan(["in", "a.png"], None, suffix=".nvc", wanted=KINDS).empty == ("in",)


def test_links_to_files_are_taken_and_loops_of_folders_end() -> None:
    put("in/a.png", "elsewhere/b.png")
    os.symlink("../elsewhere/b.png", "in/link.png")
    os.symlink("..", "in/loop")
    assert pairs(["in"], "out/") == [("in/a.png", "out/a.nvc"), ("in/link.png", "out/link.nvc")]


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["a.png", "b.png"], "out.nvc", "'out.nvc' is one file"),
        (["a.png", "b.png"], "-", "stdout holds one output"),
        (["a.png", "a.jpg"], None, "both would be written to a.nvc"),
        (["a.png", "a.png"], None, "both would be written to a.nvc"),
        (["x/a.png", "y/a.png"], "out/", "both would be written to out/a.nvc"),
        (["x/a.png", "./x/../x/a.jpg"], None, "both would be written"),
        (["a.nvc"], None, "is an input"),
        (["a.png"], "a.png", "is an input"),
        (["a.png"], "./x/../a.png", "is an input"),
        (["a.png", "a.nvc"], "./", "is an input"),
        (["-", "a.png"], "out/", "only input"),
        (["-", "-"], None, "only input"),
        (["-"], "out/", "no name"),
        (["a.png"], "", "needs a name"),
    ],
)
def test_refused(inputs: list[str], output: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pairs(inputs, output)


def test_output_that_is_the_input_under_another_name() -> None:
    put("a.png")
    os.symlink("a.png", "link.nvc")
    os.link("a.png", "hard.nvc")
    for output in ("link.nvc", "hard.nvc"):
        with pytest.raises(UsageError, match="is an input"):
            pairs(["a.png"], output)


def test_devices_never_collide() -> None:
    assert pairs(["/dev/null"], "/dev/null") == [("/dev/null", "/dev/null")]


def test_reading_takes_stdin_once_among_others() -> None:
    assert [item.source for item in plan_reading(["-", "a.nvc"], wanted=KINDS).items] == ["-", "a.nvc"]
    with pytest.raises(UsageError, match="once"):
        plan_reading(["-", "-"], wanted=KINDS)


def test_read_input() -> None:
    put("a.png")
    assert read_input("a.png", limit=5) == b"a.png"
    with pytest.raises(LimitError, match="more than 4 bytes"):
        read_input("a.png", limit=4)
    with pytest.raises(LimitError, match="more than 1,000 bytes"):
        read_input("/dev/zero", limit=1000)
    for missing in ("none.png", "a.png/x", "."):
        with pytest.raises(InputError, match="cannot be read"):
            read_input(missing, limit=5)


def test_printable_is_one_harmless_line() -> None:
    assert printable("a\nb\x1b[2Jé \x85") == r"a\x0ab\x1b[2Jé \x85"
