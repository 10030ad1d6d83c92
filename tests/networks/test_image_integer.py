"""The shipped decoder on real photographs: one picture, whatever computes it."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from nvc.codec import models
from nvc.errors import NvcError
from nvc.networks.image_integer import MANTISSA, STEP_ONE, ImageDecoder, Synthesis
from nvc.networks.integer import ENGINES, LATENT_MAX, NumpyEngine, choose_engine, round_shift

ROOT = Path(__file__).parents[2]
LatentsOf = Callable[[str, int], np.ndarray]
CASES = [("hall", 0), ("stair", 3 * STEP_ONE + 777), ("hall", 7 * STEP_ONE)]


@pytest.fixture(scope="module")
def referee(shipped: ImageDecoder, latents_of: LatentsOf) -> dict[tuple[str, int], np.ndarray]:
    """What the numpy engine makes of each case, whole blocks."""
    synthesis = Synthesis(shipped, NumpyEngine())
    return {case: synthesis.batch(latents_of(*case)[None])[0] for case in CASES}


@pytest.fixture(params=[name for name in ENGINES if name != "numpy"])
def synthesis(request: pytest.FixtureRequest, shipped: ImageDecoder) -> Synthesis:
    try:
        return Synthesis(shipped, choose_engine(list(shipped.convs), request.param))
    except NvcError as error:
        if request.param == "onednn":
            pytest.skip(str(error))  # a processor without VNNI
        raise


@pytest.fixture
def one_and_two_threads() -> Iterator[tuple[int, int]]:
    before = torch.get_num_threads()
    yield (1, 2)
    torch.set_num_threads(before)


def test_engines(synthesis: Synthesis, referee: dict, latents_of: LatentsOf) -> None:
    for case, want in referee.items():
        assert np.array_equal(synthesis.batch(latents_of(*case)[None])[0], want)


def test_extreme_latents(synthesis: Synthesis, shipped: ImageDecoder) -> None:
    """What no picture holds but a legal stream can."""
    rng = np.random.default_rng(6)
    latents = rng.choice(np.array([-LATENT_MAX, LATENT_MAX, 0, -1], np.int16), (1, 3, 2, len(shipped.linear)))
    assert np.array_equal(synthesis.batch(latents), Synthesis(shipped, NumpyEngine()).batch(latents))


def test_batch(synthesis: Synthesis, referee: dict, latents_of: LatentsOf) -> None:
    """Pictures beside each other do not see each other."""
    low, high = (latents_of(*CASES[i]) for i in (0, 2))
    together = synthesis.batch(np.stack([low, high, low]))
    for got, case in zip(together, (CASES[0], CASES[2], CASES[0]), strict=True):
        assert np.array_equal(got, referee[case])


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_strips(synthesis: Synthesis, referee: dict, latents_of: LatentsOf, rows: int) -> None:
    case = CASES[0]
    strips = list(synthesis.strips(latents_of(*case), rows))
    assert len(strips) == -(-len(latents_of(*case)) // rows)
    assert np.array_equal(np.concatenate(strips), referee[case])


def test_threads(
    synthesis: Synthesis, referee: dict, latents_of: LatentsOf, one_and_two_threads: tuple[int, int]
) -> None:
    case = CASES[1]
    for threads in one_and_two_threads:
        torch.set_num_threads(threads)
        assert np.array_equal(synthesis.batch(latents_of(*case)[None])[0], referee[case])


def test_picture_is_cut(synthesis: Synthesis, referee: dict, latents_of: LatentsOf) -> None:
    """97x61 of the 112x64 that whole blocks give."""
    case = CASES[0]
    assert referee[case].shape == (64, 112, 3)
    assert np.array_equal(synthesis.picture(latents_of(*case), 61, 97), referee[case][:61, :97])


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
        {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
        {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16"},
        {"NVC_ENGINE": "numpy"},
    ],
    ids=lambda environment: " ".join(f"{k}={v}" for k, v in environment.items()) or "default",
)
def test_instruction_sets(environment: dict[str, str], referee: dict, latents_of: LatentsOf, tmp_path: Path) -> None:
    """A process whose processor can do less makes the same pixels, by whatever engine passes its self-test there."""
    for i, case in enumerate(CASES):
        np.save(tmp_path / f"{i}.npy", latents_of(*case))
    code = (
        "import hashlib, sys, numpy as np; from nvc.codec import models\n"
        f"synthesis = models.load({str(models.load().path)!r}).decoder.prepare()\n"
        f"for i in range({len(CASES)}):\n"
        "    y = np.load(f'{i}.npy')\n"
        "    print(hashlib.md5(synthesis.picture(y, 16 * y.shape[0], 16 * y.shape[1]).tobytes()).hexdigest())\n"
        "assert ('torch' in sys.modules) == (synthesis.engine.name != 'numpy')\n"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("NVC_ENGINE", "ONEDNN_MAX_CPU_ISA")}
    clean |= {"PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [hashlib.md5(referee[case].tobytes()).hexdigest() for case in CASES]


class TestSteps:
    def test_levels_are_stored(self, shipped: ImageDecoder) -> None:
        for level in range(8):
            want = 2.0 ** (shipped.log_step[level] / STEP_ONE)
            assert shipped.step_sizes(level * STEP_ONE) == pytest.approx(want, rel=4e-5)

    def test_between_levels_is_geometric(self, shipped: ImageDecoder) -> None:
        middle = shipped.step_sizes(STEP_ONE // 2)
        assert middle == pytest.approx(np.sqrt(shipped.step_sizes(0) * shipped.step_sizes(STEP_ONE)), rel=3e-4)

    def test_steps_fall_with_quality(self, shipped: ImageDecoder) -> None:
        """In the mean over the channels, at every half level."""
        means = [np.log(shipped.step_sizes(code)).mean() for code in range(0, 7 * STEP_ONE + 1, STEP_ONE // 2)]
        assert all(a > b for a, b in pairwise(means))

    def test_mantissas(self) -> None:
        """2^(i/4096)·2^14 to the nearest, recomputed in exact integers: m is right iff (2m±1)^4096 brackets 2^(…)."""
        for i in (0, 1, 63, 2048, 3001, 4095):
            m = int(MANTISSA[i])
            power = 1 << (i + 15 * 4096)  # (2·2^14·2^(i/4096))^4096
            assert (2 * m - 1) ** 4096 < power < (2 * m + 1) ** 4096

    @pytest.mark.parametrize("code", [0, 5000, 7 * STEP_ONE])
    def test_dequantise(self, shipped: ImageDecoder, code: int) -> None:
        """symbol·mantissa / 2^shift, half to even, clamped to ±32767, all channels."""
        rng = np.random.default_rng(7)
        channels = len(shipped.linear)
        symbols = rng.integers(-40, 41, (channels, 3, 2)).astype(np.int32)
        symbols[:, 0, 0], symbols[:, 0, 1] = 32767, -32767
        mantissa, shift = shipped.steps(code)
        product = symbols.astype(np.int64) * mantissa[:, None, None]
        want = np.clip(round_shift(product, shift[:, None, None]), -LATENT_MAX, LATENT_MAX)
        got = shipped.dequantise(symbols, code)
        assert got.dtype == np.int16
        assert np.array_equal(got, want.transpose(1, 2, 0))
        assert np.abs(got.astype(int)).max() == LATENT_MAX

    def test_quantise_inverts(self, shipped: ImageDecoder, latents_of: LatentsOf) -> None:
        """Steps of several units: what was dequantised is found again."""
        code = 2 * STEP_ONE
        latents = latents_of("hall", code).transpose(2, 0, 1)
        symbols = shipped.quantise(latents.astype(np.float32), code).astype(np.int32)
        assert np.array_equal(shipped.dequantise(symbols, code).transpose(2, 0, 1), latents)


class TestProof:
    def test_shipped(self, shipped: ImageDecoder) -> None:
        shipped.prove()
        again = ImageDecoder.from_tensors(shipped.tensors())
        assert all(
            np.array_equal(a, b) for a, b in zip(again.tensors().values(), shipped.tensors().values(), strict=True)
        )

    def test_refuses(self, shipped: ImageDecoder) -> None:
        steep = shipped.log_step.copy()
        steep[3, 5] = 15 * STEP_ONE
        heavy = replace(shipped.convs[1], bias=np.full_like(shipped.convs[1].bias, 1 << 24))
        for bad, reason in (
            (replace(shipped, log_step=steep), "a quantiser step"),
            (replace(shipped, log_step=-shipped.log_step), "a quantiser step"),
            (replace(shipped, convs=(shipped.convs[0], heavy, *shipped.convs[2:])), "an accumulator may reach"),
            (replace(shipped, convs=shipped.convs[:2] + shipped.convs[3:]), "do not fit together"),
            (replace(shipped, linear=shipped.linear[:-1]), "do not fit together"),
            (replace(shipped, linear=shipped.linear[:, :-1]), "the linear path or the steps"),
            (replace(shipped, log_step=shipped.log_step[:7]), "the linear path or the steps"),
            (replace(shipped, up=-1), "the network's scale"),
            (replace(shipped, up=28), "may leave the range"),
        ):
            with pytest.raises(ValueError, match=reason):
                bad.prove()
