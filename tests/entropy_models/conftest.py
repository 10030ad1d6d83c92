"""Models to test with: those of the installed weight file on real latents, random ones, and tables of channels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nvc.codec import models
from nvc.codec.picture import EncodeSettings, PictureEncoder
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models.context import MAGNITUDES, NEAR, SIZE_BINS, ContextModel
from nvc.entropy_models.hyperprior_fit import fit_side
from nvc.media.pictures import read_picture

DATA = Path(__file__).parents[1] / "data"
Ints = NDArray[np.int32]


@pytest.fixture(scope="session")
def latents_of() -> Callable[[str, int], Ints]:
    """latents_of(name, level): rounded latents (C, h, w) of a photograph of tests/data at level 1..8."""
    encoders: dict[str, PictureEncoder] = {}

    def latents_of(name: str, level: int) -> Ints:
        if name not in encoders:
            encoders[name] = PictureEncoder(read_picture(DATA / f"{name}.png"), EncodeSettings(threads=1))
        return encoders[name].symbols((level - 1) * 4096)

    return latents_of


@pytest.fixture(scope="session")
def tables_of() -> Callable[[int], ContextModel]:
    """tables_of(level): the context model of the installed weight file."""
    return models.load().tables


@pytest.fixture(scope="session")
def random_model() -> Callable[..., ContextModel]:
    """random_model(seed, …): a model whose every number is drawn, out of the whole range that is allowed."""

    def random_model(
        seed: int, channels: int = 5, contexts: int = 4, sources: int = 3, *, predicted: bool = True,
        activation: bool = True, modes: int = 2,
    ) -> ContextModel:  # fmt: skip
        random = np.random.default_rng(seed)
        order = random.permutation(channels)
        source = np.full((channels, sources), -1)
        for place, k in enumerate(order):
            chosen = random.permutation(order[:place])[:sources]
            source[k, : len(chosen)] = np.where(random.random(len(chosen)) < 0.8, chosen, -1)
        predict = np.zeros((channels, NEAR))
        if predicted:
            some = random.random(channels) < 0.5
            predict[some] = random.integers(-40, 41, (some.sum(), NEAR))
        quantiser = np.sort(random.integers(0, 40, (channels, MAGNITUDES)), axis=1)
        quantiser[:, 0] = 0
        sizes = random.integers(2, 12, channels * contexts)
        symbols = TableSet.from_histograms([random.gamma(0.5, size=n) for n in sizes], -(sizes // 2))
        bits = [random.uniform(0.05, 1, 3) * (1, 1, 1e-9) for _ in range(channels * SIZE_BINS)]
        return ContextModel(
            order, random.integers(-modes, modes + 1, channels), predict, quantiser,
            random.integers(0, 5, (channels, NEAR)), source, random.integers(0, 5, (channels, sources)),
            np.sort(random.integers(0, 120, (channels, contexts - 1)), axis=1),
            TableSet.from_histograms(bits, np.zeros(len(bits), np.int64)) if activation else None, symbols,
        )  # fmt: skip

    return random_model


@pytest.fixture(scope="session")
def random_latents() -> Callable[..., Ints]:
    """random_latents(model, seed, h, w): mostly modes and small values; some channels inactive, some values wild."""

    def random_latents(model: ContextModel, seed: int, h: int = 4, w: int = 5, *, wild: bool = True) -> Ints:
        random = np.random.default_rng(seed)
        shape = (model.channels, h, w)
        values = np.rint(random.laplace(0, 1.5, shape)).astype(np.int32)
        if wild:
            far = random.random(shape) < 0.02
            values[far] = random.integers(-32767, 32768, far.sum())
        values = np.clip(values + model.mode[:, None, None], -32767, 32767)
        asleep = random.random(model.channels) < 0.3
        values[asleep] = model.mode[asleep, None, None]
        return values.astype(np.int32)

    return random_latents


@pytest.fixture(scope="session")
def side_tables(latents_of: Callable[[str, int], Ints]) -> TableSet:
    """A table for each of 24 channels, fitted to one photograph: learned tables that do not suit another."""
    latents = latents_of("hall", 4)[:24]
    counts = np.stack([np.bincount(np.clip(c.reshape(-1), -80, 80) + 80, minlength=161) for c in latents])
    return fit_side(counts, -80)


@pytest.fixture(scope="session")
def side_frames(latents_of: Callable[[str, int], Ints]) -> list[Ints]:
    """Five frames (24, h, w) of latents: the halves of a photograph, one of them twice, and a very different one."""
    latents = latents_of("stair", 4)[:24]
    half = latents.shape[2] // 2
    left, right = latents[:, :, :half], latents[:, :, half : 2 * half]
    return [left, right, right, np.ascontiguousarray(left[:, ::-1]), 3 * right + 1]
