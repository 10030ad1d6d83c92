"""The commands as a user runs them: a process of its own in an empty folder."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
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


@pytest.fixture(scope="session")
def tiny_video_model() -> Path:
    """The weight file of an untrained video model of a few channels."""
    return ROOT / "tests" / "data" / "tiny_video.safetensors"


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """make_clip(name, …): a window that wanders over a photograph, as y4m, or what libav makes of the suffix (FFV1).

    pts: ticks of 1/1000 s of each frame, for mkv; audio: libav's name of a codec for a tone that goes along.
    """
    photo = np.asarray(Image.open(ROOT / "tests" / "data" / "stair.png").convert("YCbCr"))

    def make(
        name: str, count: int = 6, size: tuple[int, int] = (64, 48), pts: list[int] | None = None, audio: str = ""
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = size
        frames = []
        for index in range(count):
            window = np.roll(photo, (-index, -2 * index), (0, 1))[:height, :width]
            frames.append([window[:, :, 0], *(window[::2, ::2, channel] for channel in (1, 2))])
        if path.suffix == ".y4m":
            samples = [b"".join([b"FRAME\n", *(plane.tobytes() for plane in frame)]) for frame in frames]
            path.write_bytes(f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420jpeg\n".encode() + b"".join(samples))
            return path
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1" if path.suffix == ".mkv" else "libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            if audio:
                sounds = tone(container.add_stream(audio, rate=48000, layout="stereo"), count / 25)
            for index, planes in enumerate(frames):
                frame = av.VideoFrame(width, height, "yuv420p")
                for plane, values in zip(frame.planes, planes, strict=True):
                    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
                    rows[:, : plane.width] = values
                frame.pts, frame.time_base = pts[index] if pts else 40 * index, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if audio:
                container.mux(sounds)
        return path

    return make


def tone(stream: Any, seconds: float) -> list[Any]:
    """Packets of a tone for a stream of audio at 48 kHz."""
    stream.codec_context.open()
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=stream.codec_context.format, layout="stereo", rate=48000, frame_size=size)
    coded = []
    for start in range(0, int(seconds * 48000), size):
        wave = (8000 * np.sin(np.arange(start, start + size) * 0.05)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="s16p", layout="stereo")
        frame.rate, frame.pts = 48000, start
        for ready in resampler.resample(frame):
            coded += stream.encode(ready)
    return coded + stream.encode(None)
