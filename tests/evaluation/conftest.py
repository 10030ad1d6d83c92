"""Photographs for the evaluation's tests: cuts of one in tests/data, as files."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

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


def _photographs() -> list[NDArray[np.uint8]]:
    """The left and the right 176 columns of sign.png, the second upside down: as different as its halves."""
    with Image.open(DATA / "sign.png") as image:
        pixels = np.array(image)
    assert pixels.shape == (192, 256, 3)
    return [pixels[:, :176].copy(), pixels[::-1, 80:].copy()]
