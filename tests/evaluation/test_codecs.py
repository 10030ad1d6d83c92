"""nvc itself under measurement, with the model that ships."""

import numpy as np
from numpy.typing import NDArray

from nvc.codec import models
from nvc.evaluation.ablation import LEVELS, installed_variants
from nvc.evaluation.codecs import Nvc
from nvc.evaluation.metrics import psnr


def test_nvc_round_trip_names_its_model(photo: NDArray[np.uint8]) -> None:
    codec = Nvc(rdoq=0)
    low, high = codec.encode(photo, 1.0), codec.encode(photo, 6.0)
    assert len(low) < len(high)
    assert 20 < psnr(photo, codec.decode(low)) < psnr(photo, codec.decode(high))
    assert codec.model_id(low) == codec.model_id(high)
    assert codec.model_id(low) in {model.id for model in models.installed()}


def test_variants_decode_what_they_encode(photo: NDArray[np.uint8]) -> None:
    variants = installed_variants()
    assert [variant.name for variant in variants][:3] == ["base", "contexts", "contexts+rdoq"]
    crop = photo[:96, :96].copy()
    level = LEVELS[3]
    files = [variant.encode(crop, level) for variant in variants[:3]]
    pictures = [variant.decode(data) for variant, data in zip(variants[:3], files, strict=True)]
    assert all(picture.shape == crop.shape for picture in pictures)
    assert np.array_equal(pictures[0], pictures[1])  # contexts change the bytes, not the latents
    assert len({bytes(data) for data in files}) == 3
