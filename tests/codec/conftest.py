"""Photographs and encoders for the tests of nvc.codec; the model is loaded once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nvc.codec.picture import EncodeSettings, PictureEncoder
from nvc.media.pictures import Picture, read_picture

DATA = Path(__file__).parents[1] / "data"
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def photo() -> Callable[..., Pixels]:
    """photo(name, height, width): a photograph of tests/data, or its middle, (H, W, 3) uint8."""
    whole = {path.stem: read_picture(path).pixels for path in DATA.glob("*.png")}

    def photo(name: str, height: int | None = None, width: int | None = None) -> Pixels:
        pixels = whole[name]
        height, width = height or pixels.shape[0], width or pixels.shape[1]
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        return np.ascontiguousarray(pixels[top : top + height, left : left + width])

    return photo


@pytest.fixture(scope="session")
def encoder_of() -> Callable[..., PictureEncoder]:
    """encoder_of(pixels, alpha plane, **settings): a PictureEncoder on one thread."""

    def encoder_of(pixels: Pixels, plane: Pixels | None = None, **settings: Any) -> PictureEncoder:
        return PictureEncoder(Picture(pixels, plane), EncodeSettings(**({"threads": 1} | settings)))

    return encoder_of
