"""nvc.encode and nvc.decode: what they take, what they refuse, and that importing nvc is instant."""

import functools
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nvc
from nvc.bitstream.container import read_picture_file
from nvc.codec import models
from nvc.codec.picture import psnr
from nvc.errors import BadStream, InputError, LimitError, TargetError, UsageError

Pixels = NDArray[np.uint8]
Make = Callable[..., Any]
encode = functools.partial(nvc.encode, threads=1)


@pytest.fixture(scope="module")
def pixels(photo: Make) -> Pixels:
    small: Pixels = photo("hall", 40, 56)
    return small


class TestEncode:
    def test_round_trip(self, pixels: Pixels) -> None:
        data = encode(pixels)
        shown = nvc.decode(data)
        assert isinstance(data, bytes)
        assert (shown.shape, shown.dtype) == (pixels.shape, np.uint8)
        assert psnr(shown, pixels) > 28
        assert shown.flags.writeable

    def test_defaults(self, pixels: Pixels) -> None:
        assert encode(pixels) == encode(pixels, 4.0) == encode(pixels, quality=4, rdoq=2)
        assert encode(pixels, rdoq=0) != encode(pixels)
        assert encode(pixels, model=models.load().info.name, threads=2) == encode(pixels)

    def test_quality(self, pixels: Pixels) -> None:
        sizes = [len(encode(pixels, quality)) for quality in (1, 4.5, 8.0)]
        assert sizes == sorted(set(sizes))
        assert read_picture_file(encode(pixels, 4.56)).header.quality == pytest.approx(4.56, abs=1 / 8192)

    def test_grey(self, pixels: Pixels) -> None:
        grey = np.ascontiguousarray(pixels[:, :, 1])
        shown = nvc.decode(encode(grey))
        assert shown.shape == grey.shape
        assert psnr(shown, grey) > 28

    def test_alpha(self, pixels: Pixels) -> None:
        alpha = (np.arange(40 * 56).reshape(40, 56) % 251).astype(np.uint8)
        shown = nvc.decode(encode(np.dstack([pixels, alpha]), rdoq=0))
        assert shown.shape == (40, 56, 4)
        assert np.array_equal(shown[:, :, 3], alpha)
        assert np.array_equal(shown[:, :, :3], nvc.decode(encode(pixels, rdoq=0)))

    def test_any_memory_layout(self, pixels: Pixels) -> None:
        wide = np.zeros((80, 112, 4), np.uint8)
        wide[::2, ::2, :3] = pixels
        for view in (wide[::2, ::2, :3], np.asfortranarray(pixels), pixels[::-1, ::-1][::-1, ::-1]):
            assert encode(view, rdoq=0) == encode(pixels, rdoq=0)
        before = pixels.copy()
        frozen = pixels.copy()
        frozen.flags.writeable = False
        encode(frozen)
        assert np.array_equal(frozen, before)

    def test_metadata(self, pixels: Pixels) -> None:
        data = encode(pixels, rdoq=0, icc=b"profile", exif=b"II*\0" + bytes(12), xmp=b"<x/>")
        file = read_picture_file(data)
        assert (file.icc, file.exif, file.xmp) == (b"profile", b"II*\0" + bytes(12), b"<x/>")

    def test_targets(self, photo: Make) -> None:
        pixels = photo("stair")
        data = encode(pixels, target_size=1500)
        assert 0.97 * 1500 <= len(data) <= 1500
        data = encode(pixels, target_bpp=0.8, rdoq=0)
        assert 0.97 * 1920 <= len(data) <= 1920
        data = encode(pixels, target_psnr=33.0)
        assert psnr(nvc.decode(data), pixels) == pytest.approx(33.0, abs=0.05)
        assert encode(pixels, read_picture_file(data).header.quality) == data

    @pytest.mark.parametrize(
        "targets", [{"target_size": 20}, {"target_size": 10**7}, {"target_bpp": 1e-4}, {"target_psnr": 80.0}]
    )
    def test_targets_out_of_reach(self, pixels: Pixels, targets: dict[str, Any]) -> None:
        with pytest.raises(TargetError):
            encode(pixels, rdoq=0, **targets)

    @pytest.mark.parametrize(
        "array",
        [
            [[1, 2], [3, 4]],
            None,
            b"bytes",
            np.zeros((4, 4, 3)),
            np.zeros((4, 4, 3), np.int16),
            np.zeros((4, 4, 3), bool),
            np.zeros(4, np.uint8),
            np.zeros((4, 4, 1), np.uint8),
            np.zeros((4, 4, 2), np.uint8),
            np.zeros((4, 4, 5), np.uint8),
            np.zeros((1, 4, 4, 3), np.uint8),
            np.zeros((0, 4, 3), np.uint8),
            np.zeros((4, 0), np.uint8),
            np.uint8(3),
        ],
        ids=lambda a: f"{type(a).__name__} {getattr(a, 'dtype', '')} {getattr(a, 'shape', '')}",
    )
    def test_what_is_no_picture(self, array: Any) -> None:
        with pytest.raises(UsageError, match="a picture"):
            encode(array)

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            ({"quality": 0.5}, "quality"),
            ({"quality": 8.1}, "quality"),
            ({"quality": float("nan")}, "quality"),
            ({"rdoq": 4}, "rdoq"),
            ({"rdoq": -1}, "rdoq"),
            ({"threads": 0}, "threads"),
            ({"threads": -2}, "threads"),
            ({"target_size": 0}, "target_size"),
            ({"target_size": -5}, "target_size"),
            ({"target_bpp": float("inf")}, "target_bpp"),
            ({"target_bpp": float("nan")}, "target_bpp"),
            ({"target_psnr": float("nan")}, "target_psnr"),
            ({"target_psnr": float("inf")}, "target_psnr"),
            ({"quality": 3, "target_size": 1000}, "one of"),
            ({"target_bpp": 1, "target_psnr": 30}, "one of"),
        ],
    )
    def test_what_makes_no_sense(self, pixels: Pixels, arguments: dict[str, Any], part: str) -> None:
        with pytest.raises(UsageError, match=part):
            nvc.encode(pixels, **arguments)

    def test_unknown_model(self, pixels: Pixels) -> None:
        with pytest.raises(InputError, match="nosuch"):
            encode(pixels, model="nosuch")


class TestDecode:
    def test_any_bytes(self, pixels: Pixels) -> None:
        data = encode(pixels, rdoq=0)
        for kind in (bytes, bytearray, memoryview):
            assert np.array_equal(nvc.decode(kind(data)), nvc.decode(data))
        assert np.array_equal(nvc.decode(data, threads=1), nvc.decode(data, threads=2))

    @pytest.mark.parametrize("data", ["text", None, 3, [1, 2], np.zeros(9, np.uint8)], ids=lambda d: type(d).__name__)
    def test_what_is_no_bytes(self, data: Any) -> None:
        with pytest.raises(UsageError, match="bytes"):
            nvc.decode(data)

    def test_damage_and_limits(self, pixels: Pixels) -> None:
        data = encode(pixels, rdoq=0)
        with pytest.raises(BadStream):
            nvc.decode(data[:-1])
        with pytest.raises(BadStream, match="empty"):
            nvc.decode(b"")
        with pytest.raises(LimitError, match="2240 pixels"):
            nvc.decode(data, max_pixels=2239)
        assert nvc.decode(data, max_pixels=2240).shape == pixels.shape
        with pytest.raises(UsageError, match="threads"):
            nvc.decode(data, threads=0)


class TestPackage:
    def test_all(self) -> None:
        assert sorted(nvc.__all__) == ["__version__", "decode", "decode_frames", "encode", "encode_frames"]
        for name in nvc.__all__:
            assert getattr(nvc, name)
        public = {name for name, value in vars(nvc).items() if not name.startswith("_") and inspect.isroutine(value)}
        assert public == {"encode", "decode", "encode_frames", "decode_frames"}
        assert nvc.__version__[0].isdigit()

    def test_import_is_instant(self, tmp_path: Path) -> None:
        """By what is not loaded: no third-party module at all."""
        code = (
            "import sys; before = set(sys.modules); import nvc, nvc.errors; nvc.encode, nvc.decode;"
            "print(sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
        )
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "['nvc']"

    def test_documented(self) -> None:
        for function in (nvc.encode, nvc.decode):
            text = inspect.getdoc(function) or ""
            assert all(name in text for name in inspect.signature(function).parameters if name not in ("data",))
