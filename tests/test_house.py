"""What holds the project together: packaging, import rules, and pages that say what is true."""

import importlib
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import av
import click
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted((ROOT / "nvc").rglob("*.py"))


# ---- packaging


def test_the_list_of_packages_is_complete() -> None:
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders | {"nvc.models"}
    assert {path.parent for path in SOURCES} == {path.parent for path in SOURCES if path.name == "__init__.py"}


def test_the_wheel_carries_the_weights(tmp_path: Path) -> None:
    """Built from a copy, unpacked elsewhere: nvc finds its models inside the package, from any folder."""
    copy, wheels, unpacked = tmp_path / "copy", tmp_path / "wheels", tmp_path / "unpacked"
    for name in ("nvc", "models"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", wheels, copy], check=True, capture_output=True, timeout=300)
    [wheel] = wheels.glob("nvc_codec-*.whl")
    shutil.unpack_archive(wheel, unpacked, "zip")

    found = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    expected = {str(path.relative_to(ROOT)) for path in [*SOURCES, ROOT / "nvc" / "py.typed"]}
    expected |= {f"nvc/models/{path.name}" for path in (ROOT / "models").iterdir() if path.suffix != ".pt"}
    assert {name for name in found if ".dist-info/" not in name} == expected

    ask = "import nvc.codec.models as m; print(*sorted(f'{i.id} {i.path}' for i in m.installed()), sep='\\n')"
    env = os.environ | {"PYTHONPATH": str(unpacked)}
    said = subprocess.run(
        [sys.executable, "-c", ask], cwd=tmp_path, env=env, check=True, capture_output=True, text=True
    )
    weights = sorted((unpacked / "nvc" / "models").glob("*.safetensors*"))
    assert weights
    assert sorted(line.split(" ", 1)[1] for line in said.stdout.splitlines()) == [str(path) for path in weights]


def test_the_constraints_are_what_is_installed() -> None:
    """Plain pins, no addresses; every requirement of the project has one that it accepts, and the tests run on them."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {}
    for line in lines:
        if not line.startswith("#"):
            assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line
            name, version = line.split("==")
            pins[canonicalize_name(name)] = version
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    wanted += [text for extra in PROJECT["project"]["optional-dependencies"].values() for text in extra]
    for requirement in map(Requirement, wanted):
        if canonicalize_name(requirement.name) != PROJECT["project"]["name"]:
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
            installed = importlib.metadata.version(requirement.name).partition("+")[0]
            assert installed == pins[canonicalize_name(requirement.name)], requirement


def test_new_pins_are_installed_again() -> None:
    ask = ["make", "--no-print-directory", "-n", "-W", "constraints.txt", "install"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    said = subprocess.run(ask, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout
    assert said.count("pip install") == said.count("-c constraints.txt") == 2
    assert "-e '.[dev]'" in said


# ---- import rules: that they hold is checked by `make lint`; here, that they would notice

ARROWS, NO_TORCH = "Arrows point one way", "Files are parsed, listed and checked without torch"
NO_CLI, ORACLE = "Only the commands know the command line", "compressai is an oracle"
BREACHES = [
    ("nvc/bitstream/boxes.py", "def f():\n    import torch", NO_TORCH),
    ("nvc/entropy_coding/rans.py", "import nvc.networks.torch_engines", NO_TORCH),
    ("nvc/errors.py", "from nvc.version import __version__", ARROWS),
    ("nvc/codec/models.py", "import nvc.evaluation.metrics", ARROWS),
    ("nvc/media/pictures.py", "import nvc.bitstream.boxes", ARROWS),
    ("nvc/newcomer/__init__.py", "", ARROWS),
    ("nvc/evaluation/rd.py", "from nvc.cli import common", NO_CLI),
    ("nvc/codec/picture.py", "import click", NO_CLI),
    ("nvc/networks/image.py", "import compressai", ORACLE),
]


@pytest.mark.parametrize(("file", "line", "contract"), BREACHES)
def test_a_breach_of_the_import_rules_is_noticed(tmp_path: Path, file: str, line: str, contract: str) -> None:
    shutil.copytree(ROOT / "nvc", tmp_path / "nvc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as source:
        source.write(f"\n{line}\n")
    done = subprocess.run(
        [BIN / "lint-imports", "--no-cache"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert [text for text in broken if text.startswith(contract)], done.stdout


# ---- pages


def test_the_map_names_every_source_file() -> None:
    """docs/map.md: one line for each file of nvc/, under the heading of its folder; none of a file that is gone."""
    named: list[str] = []
    folder = ""
    for line in (ROOT / "docs" / "map.md").read_text().splitlines():
        if heading := re.match(r"### `(nvc/.*?)`", line):
            folder = heading[1]
        elif row := re.match(r"\| `([a-z_]+\.py)` \| \S", line):
            named.append(folder + row[1])
    there = [str(path.relative_to(ROOT)) for path in SOURCES]
    empty = {f"nvc/{path.parent.name}/__init__.py" for path in SOURCES if path.parent != ROOT / "nvc"}
    assert sorted(named) == sorted(set(there) - empty)


def code_of(page: Path) -> Iterator[str]:
    """Command lines of a page: in `sh` blocks, in indented blocks, and in inline code."""
    text = page.read_text()
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S):
        yield from block.splitlines()
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    yield from (line.strip() for line in text.splitlines() if line.startswith("    "))
    yield from (span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", text))


def commands_of(line: str) -> Iterator[list[str]]:
    """The commands of a line, pipes taken apart; lines that are no shell give none."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return
    command: list[str] = []
    for word in [*words, "|"]:
        if word in ("|", "&&", ";"):
            yield command
            command = []
        else:
            command.append(word)


def options_of(program: str, arguments: list[str]) -> set[str]:
    """All options of a command, those of the named sub-command for a group."""
    module = importlib.import_module(f"nvc.cli.{program.removeprefix('nvc-')}")
    groups: list[click.Command] = [value for value in vars(module).values() if isinstance(value, click.Group)]
    [command] = groups or [module.command]
    known = {"--help", "-h"}
    if isinstance(command, click.Group):
        known |= {name for parameter in command.params for name in parameter.opts}
        sub = next((word for word in arguments if not word.startswith("-")), None)
        if sub is not None:
            assert sub in command.commands, f"{program} {sub}"
            command = command.commands[sub]
    return known | {n for parameter in command.params for n in (*parameter.opts, *parameter.secondary_opts)}


PROGRAMS = ("nvc-encode", "nvc-decode", "nvc-info", "nvc-eval", "nvc-train")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_pages_exist(page: Path) -> None:
    """Every nvc command has its options, every `make` its goal and variables, every script its file."""
    makefile = (ROOT / "Makefile").read_text()
    for line in code_of(page):
        for words in commands_of(line):
            if len(words) < 2:
                continue
            program, arguments = words[0], words[1:]
            if program in PROGRAMS:
                known = options_of(program, arguments)
                for word in arguments:
                    if re.match(r"--?[a-z]", word) and word != "--":
                        assert word.partition("=")[0] in known or word[:2] in known, f"{page.name}: {line}"
            elif program == "make":
                for word in arguments:
                    name, is_variable, _ = word.partition("=")
                    if is_variable:
                        assert re.search(rf"\b{name}\b", makefile), f"{page.name}: {line}"
                    elif re.fullmatch("[a-z]+", word):
                        assert re.search(rf"^\.PHONY:.*\b{word}\b", makefile, re.M), f"{page.name}: {line}"
            elif program == "python" and arguments[0].endswith(".py"):
                assert (ROOT / arguments[0]).is_file(), f"{page.name}: {line}"


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "FORMAT.md", *(ROOT / "models").glob("*.md")], ids=lambda page: page.name
)
def test_links_in_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_does_what_it_says(tmp_path: Path) -> None:
    """The block of commands and the block of Python under "Use", line by line, on a photograph and a clip of it."""
    shutil.copy(ROOT / "tests" / "data" / "sign.png", tmp_path / "photo.png")
    photo = np.asarray(Image.open(tmp_path / "photo.png").convert("RGB"))
    with av.open(str(tmp_path / "clip.mp4"), "w") as clip:
        stream = clip.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(8):
            window = np.ascontiguousarray(photo[index : index + 64, 2 * index : 2 * index + 96])
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(window, format="rgb24")))
        clip.mux(stream.encode(None))
    use = (ROOT / "README.md").read_text().split("## Use")[1]
    [shell, *_] = re.findall(r"^```sh\n(.*?)^```", use, re.M | re.S)
    [python] = re.findall(r"^```python\n(.*?)^```", use, re.M | re.S)
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    for line in shell.splitlines():
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, env=env, capture_output=True, timeout=300
        )
        assert done.returncode == 0, f"{line}\n{done.stderr.decode()}"
    assert {path.name for path in tmp_path.iterdir()} == {
        "photo.png", "photo.nvc", "back.png", "coded", "small.nvc", "back.ppm",
            "clip.mp4", "clip.nvc", "low.nvc", "clip.mkv", "part.mp4",
    }  # fmt: skip
    assert (tmp_path / "small.nvc").stat().st_size <= 12 << 10
    (tmp_path / "photo.nvc").unlink()
    check = python + "\nassert back.shape == pixels.shape\n"
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "photo.nvc").stat().st_size > 0


def test_the_demo_draws_what_it_coded(tmp_path: Path) -> None:
    """A portrait that is narrower than a column and not RGB; the numbers of the table are those of the files."""
    with Image.open(ROOT / "tests" / "data" / "hall.png") as hall:
        hall.rotate(90, expand=True).convert("L").save(tmp_path / "tall.png")
    script = [sys.executable, str(ROOT / "examples" / "demo.py"), "tall.png", "demo", "2"]
    said = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    [row] = [line.split() for line in said.splitlines() if line.startswith("      2 ")]
    size = (tmp_path / "demo" / "q2.nvc").stat().st_size
    original, back = (
        np.asarray(Image.open(tmp_path / "demo" / name).convert("RGB")) for name in ("tall.png", "q2.png")
    )
    psnr = 10 * np.log10(255**2 / np.mean((original.astype(float) - back) ** 2))
    assert row[:4] == ["2", f"{size:,}", f"{8 * size / (97 * 61):.3f}", f"{psnr:.2f}"]
    sheet = Image.open(tmp_path / "demo" / "side_by_side.png")
    assert sheet.width == 12 + 2 * (476 + 12)
    assert sheet.height > 476 * 97 / 61


def test_results_go_into_their_place(tmp_path: Path) -> None:
    page, table = tmp_path / "README.md", tmp_path / "1.md"
    shutil.copy(ROOT / "README.md", page)
    table.write_text("| codec | BD-rate |\n|---|--:|\n| nvc | −1 % |\n")
    fill = [sys.executable, str(ROOT / "mk" / "readme.py"), str(page)]
    before = page.read_text()
    for _ in range(2):  # the second time replaces what the first wrote
        subprocess.run([*fill, str(table)], check=True)
        text = page.read_text()
        assert text.count("| nvc | −1 % |") == 1
        assert text.split("<!-- results -->")[0] == before.split("<!-- results -->")[0]
        assert text.split("<!-- /results -->")[1] == before.split("<!-- /results -->")[1]
    assert subprocess.run(fill, capture_output=True, check=False).returncode == 2, "nothing was measured"
    page.write_text("no block")
    assert subprocess.run([*fill, str(table)], capture_output=True, check=False).returncode == 2
    assert page.read_text() == "no block"


# ---- .ci/run


@pytest.mark.parametrize(
    ("tests", "lint", "code", "summary"),
    [
        ("def test_a(): pass", "true", 0, "1 passed in"),
        ("def test_a(): assert 0", "true", 1, "1 failed in"),
        ("def test_a(): pass", "false", 2, "1 passed in"),
        ("def test_a(: pass", "true", 2, "1 error in"),
        ("", "true", 5, "no tests ran in"),
    ],
)
def test_ci_closes_with_pytests_line_and_code(tmp_path: Path, tests: str, lint: str, code: int, summary: str) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "test_it.py").write_text(tests + "\n")
    (tmp_path / "Makefile").write_text(
        f"test: lint pytest\nlint: ; {lint}\npytest: ; {sys.executable} -m pytest -q -p no:cacheprovider test_it.py\n"
    )
    env = {n: v for n, v in os.environ.items() if not n.startswith(("MAKE", "MFLAGS", "PYTEST"))}
    done = subprocess.run([tmp_path / ".ci" / "run"], cwd="/", env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout
    assert done.stdout.splitlines()[-1].startswith(summary)
