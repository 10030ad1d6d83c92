"""Real pixels and real latents for the networks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nvc.codec import models
from nvc.codec.picture import EncodeSettings, PictureEncoder
from nvc.media.pictures import Picture
from nvc.networks.image_integer import ImageDecoder

DATA = Path(__file__).parents[1] / "data"


def read(name: str) -> np.ndarray:
    return np.array(Image.open(DATA / f"{name}.png").convert("RGB"))


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """(192, 256, 3) uint8."""
    return read("sign")


@pytest.fixture(scope="session")
def shipped() -> ImageDecoder:
    """The integer decoder of the model that comes with nvc."""
    decoder = models.load().decoder
    assert isinstance(decoder, ImageDecoder)
    return decoder


@pytest.fixture(scope="session")
def latents_of(shipped: ImageDecoder) -> Callable[[str, int], np.ndarray]:
    """latents_of(picture, quality code): what the shipped model codes of a photograph, (h, w, M) int16."""
    encoders: dict[str, PictureEncoder] = {}

    def latents(name: str, code: int) -> np.ndarray:
        if name not in encoders:
            encoders[name] = PictureEncoder(Picture(read(name)), EncodeSettings(rdoq=0))
        return shipped.dequantise(encoders[name].symbols(code), code)

    return latents
