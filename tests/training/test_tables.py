"""Fitting the context model: on the latents of one photograph, tried on those of others."""

from dataclasses import replace

import numpy as np
import pytest

from nvc.codec.models import context_from_tensors, context_tensors
from nvc.entropy_coding.coder import Decoder, Encoder, Estimator
from nvc.entropy_models import context
from nvc.entropy_models.context import ContextModel
from nvc.networks.image import ImageNet
from nvc.networks.image_analysis import analyse, pad_to_blocks
from nvc.training import tables
from nvc.training.tables import Canvas, Recipe, entropy_bits, histogram, merge_classes, non_negative_least_squares

STEP = 12 / 255
SMALL = {"base": Recipe("base", 1, 0), "count": Recipe("count", 4, 1), "magnitude": Recipe("magnitude", 4, 3)}


def symbols(net: ImageNet, pixels: np.ndarray) -> np.ndarray:
    return np.rint(analyse(net, pad_to_blocks(pixels)) / STEP).astype(np.int32)


@pytest.fixture(scope="module")
def train(tiny_net: ImageNet, pictures: dict[str, np.ndarray]) -> list[np.ndarray]:
    """`demo`, at sixteen places of the block grid: some 11,000 positions of 24 channels."""
    return [symbols(tiny_net, pictures["demo"][i:, j:]) for i in range(0, 16, 4) for j in range(0, 16, 4)]


@pytest.fixture(scope="module")
def held_out(tiny_net: ImageNet, pictures: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [symbols(tiny_net, pictures[name]) for name in ("stair", "hall")]


@pytest.fixture(scope="module")
def fitted(train: list[np.ndarray]) -> dict[str, ContextModel]:
    return {name: tables.fit(train, recipe) for name, recipe in SMALL.items()}


def cost(model: ContextModel, latents: list[np.ndarray]) -> float:
    estimator = Estimator()
    for values in latents:
        context.code(estimator, model, values)
    return estimator.bits


@pytest.mark.parametrize("kind", SMALL)
def test_model(fitted: dict[str, ContextModel], held_out: list[np.ndarray], kind: str) -> None:
    """It validates, has the shape of its recipe, survives the weight file, and real bytes come back."""
    model = fitted[kind]
    model.validate()
    recipe = SMALL[kind]
    assert (model.channels, model.contexts, model.source.shape[1]) == (24, recipe.contexts, recipe.sources)
    assert (model.activation is None) == (kind == "base")
    stored = context_from_tensors(context_tensors(model))
    assert cost(stored, held_out) == cost(model, held_out)
    for values in held_out:
        encoder = Encoder()
        context.code(encoder, model, values)
        data = encoder.finish()
        decoder = Decoder(data)
        assert np.array_equal(context.code(decoder, stored, np.zeros_like(values)), values)
        decoder.finish()
        assert 8 * len(data) == pytest.approx(cost(model, [values]), abs=128)


def test_contexts_pay(fitted: dict[str, ContextModel], train: list[np.ndarray], held_out: list[np.ndarray]) -> None:
    """Also on pictures that were not seen."""
    seen = {kind: cost(model, train) for kind, model in fitted.items()}
    unseen = {kind: cost(model, held_out) for kind, model in fitted.items()}
    assert seen["magnitude"] < seen["count"] < 0.95 * seen["base"]
    assert unseen["magnitude"] < 0.95 * unseen["base"]
    assert unseen["count"] < unseen["base"]


def test_base_is_the_histogram(fitted: dict[str, ContextModel], train: list[np.ndarray]) -> None:
    """What one table a channel costs is the entropy of the channel, and a little for values never seen."""
    canvas = Canvas(train)
    entropy = sum(entropy_bits(histogram(canvas.at(sheet))) for sheet in canvas.sheet)
    assert entropy < cost(fitted["base"], train) < 1.01 * entropy


def test_count_is_the_papers(fitted: dict[str, ContextModel]) -> None:
    """One deviating neighbour more is one context further; the previous channel in coding order is the source."""
    model = fitted["count"]
    assert model.threshold.tolist() == [[1, 2, 3]] * 24
    assert model.near.tolist() == [[1, 1, 0, 0]] * 24
    assert set(np.unique(model.quantiser)) <= {0, 1}
    previous = dict(zip(model.order[1:], model.order[:-1], strict=True))
    assert [previous.get(k, -1) for k in range(24)] == model.source[:, 0].tolist()


def test_order(fitted: dict[str, ContextModel], train: list[np.ndarray]) -> None:
    canvas = Canvas(train)
    bits = [entropy_bits(histogram(canvas.at(sheet))) for sheet in canvas.sheet]
    assert bits[fitted["magnitude"].order[0]] == max(bits)
    assert fitted["base"].order.tolist() == list(range(24))


def test_activation(fitted: dict[str, ContextModel], train: list[np.ndarray]) -> None:
    """More positions, more likely to be active; a channel of many zeros less than one of few."""
    table = fitted["magnitude"].activation
    assert table is not None
    active = np.array([int(table.row(i)[2]) - int(table.row(i)[1]) for i in range(len(table))]).reshape(24, -1)
    assert (np.diff(active, axis=1) >= 0).all()
    zeros = [np.mean([(p[k] == fitted["magnitude"].mode[k]).mean() for p in train]) for k in range(24)]
    assert active[np.argmin(zeros), 0] > active[np.argmax(zeros), 0]


def test_values_beyond_the_tables(fitted: dict[str, ContextModel], held_out: list[np.ndarray]) -> None:
    """They are escaped, not clamped."""
    values = held_out[1].copy()
    values[3, 1, 1], values[0, 0, 0] = 32767, -32767
    for model in fitted.values():
        encoder = Encoder()
        context.code(encoder, model, values)
        assert np.array_equal(context.code(Decoder(encoder.finish()), model, np.zeros_like(values)), values)


def test_dead_channel(train: list[np.ndarray]) -> None:
    """A channel that is always 0, and one that is always 5, cost next to nothing."""
    latents = [p.copy() for p in train[:4]]
    for p in latents:
        p[1], p[2] = 0, 5
    fewer = [np.delete(p, [1, 2], axis=0) for p in latents]
    for recipe in SMALL.values():
        assert cost(tables.fit(latents, recipe), latents) < 1.01 * cost(tables.fit(fewer, recipe), fewer) + 100
    assert tables.fit(latents, SMALL["count"]).mode[2] == 5


def test_one_small_picture(held_out: list[np.ndarray]) -> None:
    """28 positions are enough for a model that codes anything, if not well."""
    for recipe in (*SMALL.values(), replace(SMALL["magnitude"], sources=30)):
        model = tables.fit(held_out[1:], recipe)
        encoder = Encoder()
        context.code(encoder, model, held_out[0])
        values = context.code(Decoder(encoder.finish()), model, np.zeros_like(held_out[0]))
        assert np.array_equal(values, held_out[0])


def test_merge_classes() -> None:
    """Rows of equal statistics go together first; every bound is a first row."""
    counts = np.array([[90, 10], [180, 20], [50, 50], [500, 500], [10, 90]])
    assert merge_classes(counts, 3).tolist() == [0, 2, 4]
    assert merge_classes(counts, 5).tolist() == [0, 1, 2, 3, 4]
    assert merge_classes(counts, 1).tolist() == [0]


def test_non_negative_least_squares() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 4)).astype(np.float32)
    y = (x @ np.array([0.5, 0.0, 2.0, -1.0])).astype(np.float32)
    assert non_negative_least_squares(x, y) == pytest.approx([0.5, 0, 2, 0], abs=0.06)
