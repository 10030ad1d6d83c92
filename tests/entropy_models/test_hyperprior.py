"""The hyperprior's tables: coding, limits, tensors, candidates, and fits to histograms."""

import numpy as np
import pytest
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Decoder, Encoder, Estimator
from nvc.entropy_coding.gaussian import published_tables, scales
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models.families import CENTRED, MIXTURE
from nvc.entropy_models.hyperprior import VALUE_LIMIT, HyperpriorTables, code_main, code_side
from nvc.entropy_models.hyperprior_fit import ESCAPE_EXCESS, VALUES_MAX, fit_main, fit_side
from nvc.entropy_models.reparameterized import Plan, State, code, replaced_tables
from nvc.entropy_models.reparameterized_fit import choose
from nvc.errors import BadStream

Ints = NDArray[np.int32]


@pytest.fixture(scope="module")
def tables(side_tables: TableSet) -> HyperpriorTables:
    return HyperpriorTables.with_candidates(side_tables, published_tables(), 16, 40)


def main_symbols(side_frames: list[Ints]) -> tuple[NDArray[np.uint8], Ints]:
    """Real latents as main symbols, with a scale index from the magnitudes of the values above."""
    symbols = side_frames[0]
    above = np.abs(np.roll(symbols, 1, axis=1)) + np.abs(np.roll(symbols, 1, axis=2))
    index = np.clip(np.rint(8 * np.log2(above + 0.3)) + 18, 0, 63).astype(np.uint8)
    return index, symbols


class TestCoding:
    def test_one_stream_of_both(self, tables: HyperpriorTables, side_frames: list[Ints]) -> None:
        """As a frame does it: side with its replacements, then main with its own; estimated, written, read."""
        side = side_frames[1]
        index, symbols = main_symbols(side_frames)
        plans = [
            choose(tables.side_part, side, np.arange(24)[:, None, None], State(tables.side_part)),
            choose(tables.main_part, symbols, index, State(tables.main_part)),
        ]
        assert min(plan.replaced for plan in plans) > 0
        encoder, estimator = Encoder(), Estimator()
        for coder in (encoder, estimator):
            known = code(coder, tables.side_part, plans[0], State(tables.side_part))
            code_side(coder, replaced_tables(tables.side_part, known), side)
            known = code(coder, tables.main_part, plans[1], State(tables.main_part))
            code_main(coder, replaced_tables(tables.main_part, known), index, symbols)
        plain = Estimator()
        code_side(plain, tables.side, side)
        code_main(plain, tables.main, index, symbols)
        assert plain.bits - estimator.bits == pytest.approx(sum(plan.saved for plan in plans), abs=0.1)

        decoder = Decoder(encoder.finish())
        known = code(decoder, tables.side_part, None, State(tables.side_part))
        got_side = code_side(decoder, replaced_tables(tables.side_part, known), side.shape)
        known = code(decoder, tables.main_part, None, State(tables.main_part))
        got_main = code_main(decoder, replaced_tables(tables.main_part, known), index)
        decoder.finish()
        np.testing.assert_array_equal(got_side, side)
        np.testing.assert_array_equal(got_main, symbols)

    def test_values_beyond_the_limit(self, tables: HyperpriorTables) -> None:
        index = np.zeros((1, 1, 2), np.uint8)
        for value in (VALUE_LIMIT + 1, -VALUE_LIMIT - 1):
            symbols = np.array([[[0, value]]], np.int32)
            with pytest.raises(ValueError, match="±32767"):
                code_main(Encoder(), tables.main, index, symbols)
            encoder = Encoder()
            encoder.code(symbols, index, tables.main)
            with pytest.raises(BadStream, match="impossible"):
                code_main(Decoder(encoder.finish()), tables.main, index)
        encoder = Encoder()
        symbols = np.array([[[VALUE_LIMIT, -VALUE_LIMIT]]], np.int32)
        code_main(encoder, tables.main, index, symbols)
        assert code_main(Decoder(encoder.finish()), tables.main, index).tolist() == symbols.tolist()


class TestTables:
    def test_candidates(self, tables: HyperpriorTables) -> None:
        entropy = tables.side.entropy[tables.side_candidates]
        assert (np.diff(entropy) <= 0).all()
        assert entropy.min() >= np.delete(tables.side.entropy, tables.side_candidates).max()
        assert tables.main_candidates.tolist() == list(range(40))
        assert (tables.side_part.family, tables.main_part.family) == (MIXTURE, CENTRED)

    def test_entropy_is_what_coding_takes(self) -> None:
        set_of_two = TableSet.from_rows([[0, 32768, 49152, 65536], [0, 65535, 65536]], [0, 0])
        assert set_of_two.entropy.tolist() == pytest.approx([1.5, 16 / 65536 + 2.2e-5], abs=1e-6)

    def test_tensors_come_back(self, tables: HyperpriorTables) -> None:
        tensors = tables.tensors()
        assert {name: value.dtype.str for name, value in tensors.items()} == {
            f"{part}.{kind}": code
            for part in ("side", "main")
            for kind, code in (("frequency", "<u2"), ("size", "<u2"), ("offset", "<i2"), ("candidates", "<u2"))
        }
        again = HyperpriorTables.from_tensors(tensors)
        for one, other in ((tables.side, again.side), (tables.main, again.main)):
            for name in ("cdf", "start", "size", "offset"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(tables.side_candidates, again.side_candidates)
        np.testing.assert_array_equal(tables.main_candidates, again.main_candidates)

    def test_unsound_tensors(self, tables: HyperpriorTables) -> None:
        sound = tables.tensors()
        changes = {
            "side.frequency": sound["side.frequency"][1:],
            "side.size": np.where(np.arange(24) == 3, 0, sound["side.size"]),
            "main.offset": sound["main.offset"][:63],
            "side.candidates": np.array([24]),
            "main.candidates": np.array([5, 5]),
        }
        for name, value in changes.items():
            with pytest.raises(ValueError, match=r"table|frequencies|candidate"):
                HyperpriorTables.from_tensors(sound | {name: value})
        with pytest.raises(KeyError):
            HyperpriorTables.from_tensors({k: v for k, v in sound.items() if k != "main.size"})
        with pytest.raises(ValueError, match="64"):
            HyperpriorTables(tables.side, tables.side, tables.side_candidates, tables.main_candidates)


class TestFit:
    def test_side_tables_code_their_histogram_within_a_hundredth(self, side_frames: list[Ints]) -> None:
        latents = np.concatenate([frame.reshape(24, -1) for frame in side_frames[:2]], axis=1).repeat(40, axis=1)
        counts = np.stack([np.bincount(c + 100, minlength=201) for c in latents])
        fitted = fit_side(counts, -100)
        estimator = Estimator()
        estimator.code(latents, np.arange(24)[:, None], fitted)
        share = counts / counts.sum(axis=1, keepdims=True)
        entropy = -(counts * np.log2(np.where(counts > 0, share, 1))).sum()
        assert entropy < estimator.bits < 1.03 * entropy

    def test_outliers_are_escaped(self) -> None:
        counts = np.zeros((2, 4001))
        counts[:, 1990:2011] = 5000
        counts[:, 2900] = 1, 1000  # 900 values more would cost each of 100,000 symbols 900 / 65536 of probability
        fitted = fit_side(counts, -2000)
        assert fitted.size[0] < 30 < 900 < fitted.size[1]
        assert fitted.offset.min() >= -13
        assert fit_side(np.ones((1, 70001)), -35000).size[0] <= VALUES_MAX + 1

    def test_channel_without_use(self) -> None:
        counts = np.zeros((2, 21))
        counts[0, 10] = 1000
        fitted = fit_side(counts, -10)
        for row in range(2):
            first, last = fitted.offset[row], fitted.offset[row] + fitted.size[row] - 2
            assert first < last
        assert fitted.offset[0] <= 0 <= fitted.offset[0] + fitted.size[0] - 2

    def test_main_tables_lean_on_the_gaussian(self) -> None:
        """Indexes that were never seen come close to the published table of their scale; others follow the data."""
        counts = np.zeros((64, 41))
        random = np.random.default_rng(2)
        drawn = np.rint(random.laplace(size=200_000) * 1.5).astype(int)
        counts[30] = np.bincount(np.clip(drawn, -20, 20) + 20, minlength=41)
        fitted = fit_main(counts, -20)
        published = published_tables()
        for row in (0, 10, 40, 60):
            draws = np.rint(random.normal(size=4000) * scales()[row]).astype(np.int32)
            bits = []
            for table in (fitted, published):
                estimator = Estimator()
                estimator.code(draws, [row], table)
                bits.append(estimator.bits)
            assert bits[0] < 1.01 * bits[1] + 8
        ours, theirs = Estimator(), Estimator()
        ours.code(drawn, [30], fitted)
        theirs.code(drawn, [int(np.searchsorted(scales(), 1.5 * 2**0.5))], published)
        assert ours.bits < 0.98 * theirs.bits

    @pytest.mark.parametrize("spread", [0.7, 6.0])
    def test_main_tables_of_a_level_lean_on_those_of_all(self, spread: float) -> None:
        """A level unlike the others is shorter with its own; one that was not seen, or hardly, has those of all."""
        random = np.random.default_rng(3)

        def drawn(scale: float, count: int) -> NDArray[np.int32]:
            return np.clip(np.rint(random.laplace(0, scale, count)), -20, 20).astype(np.int32)

        def counts_of(values: NDArray[np.int32]) -> NDArray[np.int64]:
            counts = np.zeros((64, 41), np.int64)
            counts[30] = np.bincount(values + 20, minlength=41)
            return counts

        def bits_of(values: NDArray[np.int32], tables: TableSet) -> float:
            estimator = Estimator()
            estimator.code(values, [30], tables)
            return estimator.bits

        own, few, others = (counts_of(drawn(*which)) for which in ((spread, 80_000), (spread, 30), (1.8, 400_000)))
        everywhere = own + few + others
        whole = fit_main(everywhere, -20)
        of_level, of_few, unseen = (fit_main(counts, -20, everywhere) for counts in (own, few, 0 * own))
        more = drawn(spread, 20_000)
        assert bits_of(more, of_level) < 0.95 * bits_of(more, whole)
        assert bits_of(more, of_level) < 1.02 * bits_of(more, fit_main(own, -20))
        np.testing.assert_allclose(unseen.entropy, whole.entropy, rtol=1e-3, atol=1e-3)
        usual = drawn(1.8, 20_000)
        assert bits_of(usual, of_few) < 1.01 * bits_of(usual, whole)
        extremes = np.arange(-20, 21, dtype=np.int32)
        assert bits_of(extremes, of_level) < 41 * (16 + ESCAPE_EXCESS)

    def test_main_counts_are_checked(self) -> None:
        with pytest.raises(ValueError, match=r"shape \(64, 7\), not \(64, 5\)"):
            fit_main(np.ones((64, 5)), -2, np.ones((64, 7)))
        for counts, offset in ((np.ones((63, 5)), -2), (np.ones((64, 5)), 1), (np.ones((64, 5)), -5)):
            with pytest.raises(ValueError, match="around 0"):
                fit_main(counts, offset)


def test_empty_plan_is_nothing() -> None:
    assert Plan.empty(3).replaced == 0
