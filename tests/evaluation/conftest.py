"""Photographs and clips for the evaluation's tests: cuts of a photograph in tests/data, as files."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nvc.media.colour import rgb_to_frame

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    """A colour photograph, (192, 176, 3) uint8: large enough for MS-SSIM."""
    return _photographs()[0]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two photographs, a.png and b.png, and a text file."""
    folder = tmp_path_factory.mktemp("photos")
    for name, pixels in zip("ab", _photographs(), strict=True):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two clips of 6 frames, 96x64 at 25 frames/s: a.y4m moves slowly, b.y4m fast and ends in a cut."""
    folder = tmp_path_factory.mktemp("clips")
    for name, step, last in (("a", 1, 5), ("b", 9, 4)):
        boxes = [(20 + step * t, 10) if t <= last else (0, 120) for t in range(6)]
        with open(folder / f"{name}.y4m", "wb") as file:
            file.write(b"YUV4MPEG2 W96 H64 F25:1 Ip A1:1 C420jpeg\n")
            for x, y in boxes:
                frame = rgb_to_frame(_photographs()[0][y : y + 64, x : x + 96], 6, False)
                file.write(b"FRAME\n" + b"".join(plane.tobytes() for plane in frame.planes))
    return folder


def _photographs() -> list[NDArray[np.uint8]]:
    """The left and the right 176 columns of sign.png, the second upside down: as different as its halves."""
    with Image.open(DATA / "sign.png") as image:
        pixels = np.array(image)
    assert pixels.shape == (192, 256, 3)
    return [pixels[:, :176].copy(), pixels[::-1, 80:].copy()]
