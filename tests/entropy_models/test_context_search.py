"""The exact change of bits that `sweep` reports, against the Estimator's bits before and after."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Estimator
from nvc.entropy_models import context
from nvc.entropy_models.context import ContextModel
from nvc.entropy_models.context_search import dependents, sweep
from nvc.training import tables as fitting

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Make = Callable[..., Any]
NEVER = 1e6  # bits that any change costs in distortion


def bits_of(model: ContextModel, latents: Ints) -> float:
    estimator = Estimator()
    context.code(estimator, model, latents)
    return estimator.bits


def swept(model: ContextModel, latents: Ints, gradient: Floats, curvature: Floats) -> tuple[Ints, NDArray[np.float64]]:
    coverage = np.ones(latents.shape[1:], np.float32)
    return sweep(model, dependents(model), latents, gradient, curvature, coverage)


def slopes(shape: tuple[int, ...], seed: int, size: float) -> tuple[Floats, Floats]:
    """Random gradient and curvature, in bits."""
    random = np.random.default_rng(seed)
    gradient = random.normal(0, size, shape).astype(np.float32)
    return gradient, random.uniform(0, size, shape[0]).astype(np.float32)


def awake(model: ContextModel, latents: Ints) -> Ints:
    """The same with a value that no sweep touches in every channel: far from the mode, so activity cannot change."""
    kept = latents.copy()
    kept[:, 0, 0] = model.mode + 100
    return kept


def check(model: ContextModel, before: Ints, after: Ints, change: NDArray[np.float64]) -> None:
    """The reported change, summed, is the Estimator's."""
    assert np.array_equal(context.activity(model, before), context.activity(model, after))
    expected = bits_of(model, after) - bits_of(model, before)
    assert change.sum() == pytest.approx(expected, abs=1e-6 + 1e-9 * bits_of(model, before))


class TestSum:
    """Over a whole sweep the changes at all positions add up to the change of the picture's bits."""

    @pytest.mark.parametrize("name", ["stair", "sign"])
    @pytest.mark.parametrize("level", [1, 5, 8])
    def test_installed_model(self, tables_of: Make, latents_of: Make, name: str, level: int) -> None:
        model = tables_of(level)
        latents = awake(model, latents_of(name, level))
        after, change = swept(model, latents, *slopes(latents.shape, level, 2))
        assert (after != latents).sum() > 100
        check(model, latents, after, change)

    def test_count_model(self, latents_of: Make) -> None:
        latents = [latents_of(name, 4)[:48] for name in ("sign", "stair")]
        model = fitting.fit(latents, fitting.RECIPES["count"])
        before = awake(model, latents[0])
        after, change = swept(model, before, *slopes(before.shape, 0, 3))
        assert (after != before).sum() > 100
        check(model, before, after, change)

    @settings(max_examples=80, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.5, 4, 40]))
    def test_random_models(
        self, random_model: Make, random_latents: Make, seed: int, h: int, w: int, size: float
    ) -> None:
        model = random_model(seed, 1 + seed % 6, 1 + seed % 5, seed % 4)
        latents = awake(model, random_latents(model, seed, h, w))
        after, change = swept(model, latents, *slopes(latents.shape, seed, size))
        check(model, latents, after, change)

    def test_second_sweep_goes_on_from_the_first(self, random_model: Make, random_latents: Make) -> None:
        model = random_model(3)
        latents = awake(model, random_latents(model, 3, 12, 12))
        once, first = swept(model, latents, *slopes(latents.shape, 1, 5))
        twice, second = swept(model, once, *slopes(latents.shape, 2, 5))
        check(model, latents, twice, first + second)

    def test_a_channel_that_falls_asleep_saves_more(self, random_model: Make) -> None:
        """What its activation bit and its zeros saved is not counted: the sweep never promises too much there."""
        model = replace(random_model(4, predicted=False), near=np.zeros((5, 4)), weight=np.zeros((5, 3)))
        latents = np.repeat(model.mode, 36).reshape(5, 6, 6)
        latents[2, 3, 3] += 1
        gradient = np.zeros(latents.shape, np.float32)
        gradient[2, 3, 3] = 50
        after, change = swept(model, latents, gradient, np.zeros(5, np.float32))
        assert not context.activity(model, after).any()
        values = bits_of(model, latents) - context.activation_bits(model, latents)
        assert values >= -change.sum()


class TestSingleChange:
    """One change alone, at every kind of place: its own symbol and all contexts that look at it."""

    @pytest.mark.parametrize("step", [-1, 1])
    def test_installed_model(self, tables_of: Make, latents_of: Make, step: int) -> None:
        model = tables_of(4)
        latents = awake(model, latents_of("hall", 4))
        random = np.random.default_rng(step + 1)
        plain = np.flatnonzero(~model.predict.any(axis=1))
        for _ in range(40):
            at = (random.choice(plain), *(random.integers(0, n) for n in latents.shape[1:]))
            if at[1:] == (0, 0):
                continue
            after, change = self.forced(model, latents, at, step)
            expected = latents.copy()
            expected[at] += step
            assert np.array_equal(after, expected)
            assert np.flatnonzero(change).tolist() in ([], [at[1] * latents.shape[2] + at[2]])
            check(model, latents, after, change)

    @settings(max_examples=80, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.sampled_from([-1, 1]), st.integers(0, 4), st.integers(0, 3), st.integers(0, 3))
    def test_random_models(
        self, random_model: Make, random_latents: Make, seed: int, step: int, k: int, i: int, j: int
    ) -> None:
        model = random_model(seed, predicted=False)
        latents = awake(model, random_latents(model, seed, 4, 4))
        far = abs(int(latents[k, i, j]) - int(model.mode[k])) > 64
        after, change = self.forced(model, latents, (k, i, j), step)
        assert after[k, i, j] == latents[k, i, j] + (0 if far else step)
        check(model, latents, after, change)

    @staticmethod
    def forced(model: ContextModel, latents: Ints, at: tuple[Any, ...], step: int) -> tuple[Ints, NDArray[np.float64]]:
        """A sweep whose distortion asks for one change and forbids all others."""
        gradient = np.zeros(latents.shape, np.float32)
        gradient[at] = -step * (NEVER + 10_000)
        return swept(model, latents, gradient, np.full(len(latents), NEVER, np.float32))


class TestChoice:
    def test_every_change_pays(self, random_model: Make, random_latents: Make) -> None:
        """Rate and the distortion it was told of, together, fall."""
        for seed in range(20):
            model = random_model(seed, predicted=False)
            latents = awake(model, random_latents(model, seed, 8, 8))
            gradient, curvature = slopes(latents.shape, seed, 4)
            after, change = swept(model, latents, gradient, curvature)
            d = (after - latents).astype(np.float64)
            distortion = gradient * d + curvature[:, None, None] * d * d
            assert change.sum() + distortion.sum() < 0
            assert np.isin(d[np.abs(latents - model.mode[:, None, None]) <= 1], [-1, 0, 1]).all()

    def test_what_it_leaves_alone(self, random_model: Make, random_latents: Make) -> None:
        """Sleeping channels, predicted ones, far values; and the latents that it was given."""
        plain = random_model(6, predicted=False)
        model = replace(plain, predict=np.where(np.arange(5)[:, None] < 2, 16, 0) * np.ones(4))
        latents = awake(model, random_latents(model, 6, 9, 9))
        latents[2] = model.mode[2]
        before = latents.copy()
        after, _ = swept(model, latents, *slopes(latents.shape, 6, 100))
        assert np.array_equal(latents, before)
        assert np.array_equal(after[:3], latents[:3])
        far = np.abs(latents - model.mode[:, None, None]) > 64
        assert far.any()
        assert np.array_equal(after[far], latents[far])
        assert not np.array_equal(after[3:], latents[3:])

    def test_to_the_mode_at_once(self, random_model: Make) -> None:
        model = random_model(8, predicted=False)
        latents = awake(model, np.repeat(model.mode, 36).reshape(5, 6, 6))
        latents[1, 4, 2] += 7
        gradient = np.zeros(latents.shape, np.float32)
        gradient[1, 4, 2] = 1000
        after, change = swept(model, latents, gradient, np.full(5, 1, np.float32))
        assert after[1, 4, 2] == model.mode[1]
        check(model, latents, after, change)

    def test_nothing_outside_the_picture(self, random_model: Make, random_latents: Make) -> None:
        """Where a block covers no pixel the distortion of any change is the gradient's alone: coverage scales."""
        model = random_model(7, predicted=False)
        latents = awake(model, random_latents(model, 7, 6, 6, wild=False))
        coverage = np.zeros((6, 6), np.float32)
        coverage[:, :3] = 1
        costly = np.full(5, NEVER, np.float32)
        zeros = np.zeros(latents.shape, np.float32)
        after, _ = sweep(model, dependents(model), latents, zeros, costly, coverage)
        assert np.array_equal(after[:, :, :3], latents[:, :, :3])
        assert not np.array_equal(after, latents)


def test_dependents_invert_the_sources(tables_of: Make) -> None:
    model = tables_of(6)
    users = dependents(model)
    found = {
        (int(users.channel[n]), k, int(users.weight[n]))
        for k in range(model.channels)
        for n in range(users.first[k], users.first[k + 1])
    }
    expected = {
        (k, int(s), int(w))
        for k in range(model.channels)
        for s, w in zip(model.source[k], model.weight[k], strict=True)
        if s >= 0 and w > 0
    }
    assert found == expected
    assert len(found) > 100
