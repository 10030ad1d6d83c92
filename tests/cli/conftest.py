"""The commands as a user runs them: a process of its own in an empty folder."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nvc.cli import common

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    """How a command ended, with the assertions that most tests need."""

    tool: str
    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()

    def fails(self, code: int, *parts: str) -> None:
        """The exit code is `code`, stdout is empty, stderr is one line from this command with all of `parts`."""
        assert (self.code, self.out) == (code, b""), self.err
        assert len(self.lines) == 1, self.err
        assert self.err.startswith(f"nvc-{self.tool}: ")
        assert all(part in self.err for part in parts), self.err

    def works(self) -> "Result":
        assert self.code == 0, self.err
        return self


Run = Callable[..., Result]


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of the tests, with nvc importable from an empty folder."""
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    return os.environ | {"PYTHONPATH": path, "COLUMNS": "100"}


def argv(tool: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"nvc.cli.{tool}", *map(str, arguments)]


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    """run(tool, *arguments, stdin=…, cwd=…, …): nvc-<tool> in the test's folder."""

    def run(tool: str, *arguments: object, env: dict[str, str] | None = None, **more: Any) -> Result:
        if isinstance(more.get("stdin", b""), bytes):
            more["input"] = more.pop("stdin", b"")
        options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 300} | more
        done = subprocess.run(argv(tool, *arguments), env=environment | (env or {}), **options)
        return Result(tool, done.returncode, done.stdout or b"", (done.stderr or b"").decode())

    return run


@pytest.fixture
def python(tmp_path: Path, environment: dict[str, str]) -> Callable[[str], str]:
    """python(code): what a fresh interpreter prints, its exit code 0."""

    def python(code: str) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=tmp_path, env=environment, stdout=-1, check=True, text=True).stdout

    return python


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Callable[..., "subprocess.Popen[bytes]"]:
    """start(tool, *arguments, …): the process itself, in a process group of its own."""

    def start(tool: str, *arguments: object, **more: Any) -> "subprocess.Popen[bytes]":
        options = {"cwd": tmp_path, "env": environment, "stderr": subprocess.PIPE, "start_new_session": True} | more
        return subprocess.Popen(argv(tool, *arguments), **options)

    return start


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """call(tool, *arguments): the command in this process, which loads the model once for many tests."""
    monkeypatch.chdir(tmp_path)

    def call(tool: str, *arguments: object) -> Result:
        command = importlib.import_module(f"nvc.cli.{tool}").command
        capfdbinary.readouterr()
        code = common.run(command, [str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return Result(tool, code, out, err.decode())

    return call


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """photo(name, of=…): a small photograph as a file in the test's folder."""

    def put(name: str = "sign.png", of: str = "sign") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / "tests" / "data" / f"{of}.png", path)
        return path

    return put


@pytest.fixture
def make_picture(tmp_path: Path) -> Callable[..., Path]:
    """make_picture(name, …): a small picture file with structure; returns its path."""

    def make(name: str, width: int = 24, height: int = 16, mode: str = "RGB", **save: Any) -> Path:
        y, x = np.mgrid[:height, :width]
        planes = [(x * 9 + y * 3) % 256, (x * 2 + y * 11) % 256, 40 + x * y % 150, 255 - (x + y) * 5 % 200]
        bands = len(Image.new(mode, (1, 1)).getbands())
        samples = np.stack(planes[:bands], axis=2).astype(np.uint8)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(samples.squeeze(), mode).save(path, **save)
        return path

    return make


@pytest.fixture
def listing(tmp_path: Path) -> Callable[[], set[str]]:
    """listing(): all files below the test's folder, hidden ones too."""
    return lambda: {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()}
