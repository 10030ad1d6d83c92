"""Re-parameterised tables in a stream: round trips over frames, state, plans that do not fit, damage, gains."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Coder, Decoder, Encoder, Estimator
from nvc.entropy_coding.gaussian import published_tables
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models.families import CENTRED, CODES_MAX, COMPONENTS, MIXTURE, code_count, replaceable
from nvc.entropy_models.reparameterized import Candidates, Plan, State, code, replaced_tables
from nvc.entropy_models.reparameterized_fit import BEFORE_OTHERS, Options, choose
from nvc.errors import BadStream

sys.path.insert(0, str(Path(__file__).parents[1]))
import referee
import referee_tables

Ints = NDArray[np.int32]


def rows_of(values: Ints) -> Ints:
    return np.broadcast_to(np.arange(len(values), dtype=np.int32)[:, None, None], values.shape)


def code_frame(coder: Coder, part: Candidates, plan: Plan | None, state: State, values: Ints) -> tuple[Plan, Ints]:
    """Masks, codes and values; the state goes on."""
    known = code(coder, part, plan, state)
    out = coder.code(values, rows_of(values), replaced_tables(part, known))
    state.update(known)
    return known, out


def random_plan(random: np.random.Generator, part: Candidates, state: State) -> Plan:
    """Any plan that a stream may hold."""
    plan = Plan.empty(len(part))
    for i in range(len(part)):
        before = state.previous.components[i]
        if before and random.random() < 0.4:
            plan.components[i], plan.reused[i], plan.codes[i] = before, 1, state.previous.codes[i]
        elif random.random() < 0.5:
            plan.components[i] = random.integers(1, COMPONENTS + 1)
            count = code_count(part.family, int(plan.components[i]))
            plan.codes[i, :count] = random.integers(0, 1024, count)
            if random.random() < 0.5:
                plan.codes[i, :count] = plan.codes[i, :count] & ~15 | 8
    return plan


def assert_equal(a: Plan, b: Plan) -> None:
    np.testing.assert_array_equal(a.components, b.components)
    np.testing.assert_array_equal(a.reused, b.reused)
    np.testing.assert_array_equal(a.codes, b.codes)


@pytest.fixture(scope="module")
def part(side_tables: TableSet) -> Candidates:
    return Candidates(side_tables, np.argsort(-side_tables.entropy, kind="stable"), MIXTURE)


class TestStream:
    def test_frames_come_back(self, part: Candidates, side_frames: list[Ints]) -> None:
        encoding, decoding, estimating = State(part), State(part), State(part)
        used = np.zeros(2, int)
        for frame in side_frames:
            plan = choose(part, frame, rows_of(frame), encoding)
            used += plan.replaced, int(plan.reused.sum())
            encoder, estimator = Encoder(), Estimator()
            code_frame(estimator, part, plan, estimating, frame)
            code_frame(encoder, part, plan, encoding, frame)
            decoder = Decoder(encoder.finish())
            known, values = code_frame(decoder, part, None, decoding, np.zeros_like(frame))
            decoder.finish()
            np.testing.assert_array_equal(values, frame)
            assert_equal(known, plan)
            assert estimator.bits == pytest.approx(encoder.bits, rel=1e-5)
            for state in (decoding, estimating):
                np.testing.assert_array_equal(state.chance, encoding.chance)
                np.testing.assert_array_equal(state.seen, encoding.seen)
        assert used.min() > 10  # tables were replaced, and codes used again

    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 2**32 - 1), st.sampled_from([MIXTURE, CENTRED]))
    def test_any_plans_come_back(self, seed: int, family: int) -> None:
        random = np.random.default_rng(seed)
        part = Candidates(published_tables(), random.permutation(64)[: random.integers(0, 20)], family)
        encoding, decoding = State(part), State(part)
        for _ in range(4):
            plan = random_plan(random, part, encoding)
            encoder = Encoder()
            code(encoder, part, plan, encoding)
            decoder = Decoder(encoder.finish())
            known = code(decoder, part, None, decoding)
            decoder.finish()
            assert_equal(known, plan)
            tables = replaced_tables(part, known)
            assert (tables.size == part.tables.size).all()
            for row in range(len(tables)):  # escapes keep their frequency, and other rows everything
                assert tables.row(row)[-2] == part.tables.row(row)[-2]
                if row not in part.rows[known.components > 0]:
                    np.testing.assert_array_equal(tables.row(row), part.tables.row(row))
            if random.random() < 0.2:
                encoding.update(None)
                decoding.update(None)
            else:
                encoding.update(plan)
                decoding.update(known)

    @pytest.mark.parametrize("family", [MIXTURE, CENTRED])
    def test_the_referee_reads_the_same(self, family: int, side_tables: TableSet) -> None:
        """tests/referee_tables.py knows FORMAT.md alone: masks, codes, tables and values of six frames."""
        random = np.random.default_rng(family)
        rows = np.arange(24)[replaceable(side_tables, np.arange(24), family)][::-1]
        part = Candidates(side_tables, rows, family)
        learned = [(np.diff(side_tables.row(k).astype(int)).tolist(), int(side_tables.offset[k])) for k in range(24)]
        referee_part = referee_tables.Part("side" if family == MIXTURE else "main", learned, rows.tolist())
        state = State(part)
        for frame in range(6):
            values = random.integers(-9, 10, (24, 2, 2)).astype(np.int32)
            if frame == 2:
                state.update(None)
                referee_part.plain()
            elif frame == 4:
                state = State(part)
                referee_part.intra()
            encoder = Encoder()
            code_frame(encoder, part, random_plan(random, part, state), state, values)
            stream = referee.Stream(encoder.finish())
            tables = referee_part.replaced(stream)
            got = [stream.value(*tables[k]) for k in range(24) for _ in range(4)]
            stream.finish()
            assert got == values.reshape(-1).tolist()

    def test_damage_is_refused_or_gives_other_values(self, part: Candidates, side_frames: list[Ints]) -> None:
        frame = side_frames[0]
        state = State(part)
        encoder = Encoder()
        code_frame(encoder, part, choose(part, frame, rows_of(frame), state), state, frame)
        data = encoder.finish()
        refused = 0
        for position in range(min(len(data), 120)):
            damaged = bytearray(data)
            damaged[position] ^= 0x41
            try:
                decoder = Decoder(damaged)
                _, values = code_frame(decoder, part, None, State(part), np.zeros_like(frame))
                decoder.finish()
            except BadStream:
                refused += 1
            else:
                assert not np.array_equal(values, frame)
        assert refused > 100

    def test_masks_of_no_other_value(self, part: Candidates) -> None:
        """A mask bit beyond 1 can be written with the escape of its table; it is refused."""
        from nvc.entropy_models.reparameterized import CHANCE_START, MASK_TABLES, mask_row

        encoder = Encoder()
        encoder.code([2], [mask_row(CHANCE_START[0])], MASK_TABLES)
        with pytest.raises(BadStream, match="impossible"):
            code(Decoder(encoder.finish()), part, None, State(part))


class TestState:
    def test_nothing_said_forgets_codes_and_keeps_chances(self, part: Candidates, side_frames: list[Ints]) -> None:
        state = State(part)
        plan = choose(part, side_frames[0], rows_of(side_frames[0]), state)
        state.update(plan)
        assert state.previous.replaced > 0
        chance = state.chance.copy()
        state.update(None)
        assert state.previous.replaced == 0
        np.testing.assert_array_equal(state.chance, chance)

    def test_plans_that_do_not_fit_are_refused(self, part: Candidates) -> None:
        state = State(part)
        other = Plan.empty(len(part) + 1)
        again = Plan.empty(len(part))
        again.reused[0] = 1
        beyond = Plan.empty(len(part))
        beyond.components[0] = 4
        large = Plan.empty(len(part))
        large.components[0], large.codes[0, 0] = 1, 1024
        for plan in (other, again, beyond, large):
            with pytest.raises(ValueError, match="plan does not fit"):
                code(Encoder(), part, plan, state)

    def test_candidates_are_checked(self, side_tables: TableSet) -> None:
        for rows in ([0, 0], [24], [-1]):
            with pytest.raises(ValueError, match="candidate"):
                Candidates(side_tables, np.array(rows), MIXTURE)
        single = TableSet.from_rows([[0, 65535, 65536]], [0])
        with pytest.raises(ValueError, match="too few or too many"):
            Candidates(single, np.array([0]), MIXTURE)


class TestChoice:
    def bits(self, part: Candidates, plan: Plan | None, state: State, frame: Ints) -> float:
        estimator = Estimator()
        tables = part.tables
        if plan is not None:
            tables = replaced_tables(part, code(estimator, part, plan, state))
        estimator.code(frame, rows_of(frame), tables)
        return estimator.bits

    @pytest.mark.parametrize("options", [Options(), BEFORE_OTHERS, Options(components=1, coarse=False)])
    def test_saves_what_it_says(self, part: Candidates, side_frames: list[Ints], options: Options) -> None:
        state = State(part)
        for frame in side_frames:
            plan = choose(part, frame, rows_of(frame), state, options)
            saved = self.bits(part, None, state, frame) - self.bits(part, plan, state, frame)
            error = 0.01 + 2e-6 * frame.size
            assert plan.saved <= saved + error
            if options.coarse:  # fine codes may happen to be coarse ones, and are then sent as those
                assert plan.saved >= saved - error
            assert saved > 0
            assert plan.components.max() <= options.components
            state.update(plan)

    def test_a_frame_like_the_tables_is_left_alone(self, part: Candidates, side_tables: TableSet) -> None:
        """Symbols drawn from the tables themselves: masks of zeros, a few bits in all."""
        random = np.random.default_rng(3)
        frame = np.empty((len(side_tables), 8, 8), np.int32)
        for k in range(len(side_tables)):
            row = side_tables.row(k)
            symbol = np.searchsorted(row, random.integers(0, 65536, (8, 8)), side="right") - 1
            frame[k] = np.minimum(symbol, side_tables.size[k] - 2) + side_tables.offset[k]
        plan = choose(part, frame, rows_of(frame), State(part))
        assert plan.replaced <= 1
        assert plan.saved > -6

    def test_nothing_to_code(self, part: Candidates) -> None:
        empty = np.zeros((24, 0, 0), np.int32)
        state = State(part)
        state.previous = random_plan(np.random.default_rng(1), part, state)
        plan = choose(part, empty, rows_of(empty), state)
        assert not (plan.components[plan.reused == 0]).any()

    def test_rows_are_checked(self, part: Candidates) -> None:
        with pytest.raises(ValueError, match="row"):
            choose(part, np.zeros(3, np.int32), np.array([0, 24, 1]), State(part))

    def test_codes_are_those_of_the_lowest_bits(self, side_tables: TableSet, side_frames: list[Ints]) -> None:
        """One scale: no other of the 1024 codes takes fewer bits. Means and scales: nor do 300 others nearby."""
        frame = side_frames[4]
        random = np.random.default_rng(11)
        inside = (side_tables.offset <= 0) & (side_tables.offset + side_tables.size > 1)
        for family in (CENTRED, MIXTURE):
            part = Candidates(side_tables, np.flatnonzero(inside), family)
            state = State(part)
            plan = choose(part, frame, rows_of(frame), state, Options(components=1, coarse=False))
            assert plan.replaced > 5
            for i in np.flatnonzero(plan.components)[:6]:
                single = Candidates(side_tables, part.rows[i : i + 1], family)
                values = frame[part.rows[i]].reshape(1, 1, -1)
                found = self.slice_bits(single, plan.codes[i], values)
                trials = np.zeros((1024 if family == CENTRED else 300, CODES_MAX), np.uint16)
                trials[:, 0] = np.arange(1024) if family == CENTRED else random.integers(0, 1024, len(trials))
                if family == MIXTURE:
                    near = np.rint(plan.codes[i, :2] + random.normal(size=(len(trials), 2)) * [40, 25])
                    trials[:, :2] = np.clip(near, 0, 1023)
                best = min(self.slice_bits(single, codes, values) for codes in trials)
                assert found <= best + 0.02

    def slice_bits(self, part: Candidates, codes: NDArray[np.uint16], values: Ints) -> float:
        plan = Plan(np.ones(1, np.uint8), np.zeros(1, np.uint8), codes[None])
        estimator = Estimator()
        estimator.code(values, np.full(values.shape, part.rows[0]), replaced_tables(part, plan))
        return estimator.bits
