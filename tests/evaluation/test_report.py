"""Plots: every format opens, says what it shows, and is the same for the same rows."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nvc.errors import NvcError, OutputError, UsageError
from nvc.evaluation.anchors import Jpeg, Webp
from nvc.evaluation.rd import measure
from nvc.evaluation.report import plot
from nvc.evaluation.results import Row


@pytest.fixture(scope="module")
def rows(photos: Path) -> list[Row]:
    ladders = {"jpeg": (10, 40, 80), "webp": (5, 30, 70)}
    return list(measure([Jpeg(), Webp()], [photos], ladders=ladders).rows.values())


@pytest.mark.parametrize("metric", ["psnr", "ms-ssim"])
def test_svg_names_curves_and_axes(rows: list[Row], tmp_path: Path, metric: str) -> None:
    plot(rows, tmp_path / "a.svg", ["jpeg", "webp"], metric=metric)
    text = (tmp_path / "a.svg").read_text()
    axis = {"psnr": "RGB PSNR, dB", "ms-ssim": "MS-SSIM"}[metric]
    for words in ("jpeg", "webp", "bits per pixel", axis, "mean of 2 pictures"):
        assert words in text
    plot(rows, tmp_path / "b.svg", ["jpeg", "webp"], metric=metric)
    assert (tmp_path / "b.svg").read_text() == text


def test_png_opens_and_log_and_one_picture_differ(rows: list[Row], tmp_path: Path) -> None:
    plot(rows, tmp_path / "mean.png", ["jpeg", "webp"])
    plot(rows, tmp_path / "log.png", ["jpeg", "webp"], log_x=True)
    plot(rows, tmp_path / "one.png", ["jpeg", "webp"], picture="a.png")
    plot(rows, tmp_path / "cut.png", ["jpeg", "webp"], max_bpp=1.0)
    images = [np.array(Image.open(path).convert("RGB")) for path in sorted(tmp_path.glob("*.png"))]
    assert len(images) == 4
    for image in images:
        assert image.shape == (780, 1200, 3)
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50
    assert not any(np.array_equal(images[0], other) for other in images[1:])


def test_what_cannot_be_drawn_is_refused(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.svg, \.png, \.pdf"):
        plot(rows, tmp_path / "a.gif", ["jpeg"])
    with pytest.raises(UsageError, match="'c\\.png'"):
        plot(rows, tmp_path / "a.svg", ["jpeg"], picture="c.png")
    with pytest.raises(UsageError, match="avif"):
        plot(rows, tmp_path / "a.svg", ["jpeg", "avif"])
    with pytest.raises(OutputError, match="cannot be written"):
        plot(rows, tmp_path / "nowhere" / "a.svg", ["jpeg"])


def test_the_extra_is_named_when_matplotlib_is_missing(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(NvcError, match="extra `research`"):
        plot(rows, tmp_path / "a.svg", ["jpeg"])
