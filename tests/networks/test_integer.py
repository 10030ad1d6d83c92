"""Integer convolution: its definition, its proof, and that every engine keeps to it."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from nvc.errors import NvcError
from nvc.networks import integer
from nvc.networks.integer import (
    ENGINES,
    EXACT,
    IntConv,
    NumpyEngine,
    agrees,
    choose_engine,
    depth_to_space,
    probe,
    round_shift,
)

# (inputs, outputs, wide, raw): those of real decoders, and odd ones
LAYERS = [
    (320, 32, True, False),
    (24, 16, True, True),
    (112, 24, False, False),
    (48, 12, False, True),
    (3, 8, False, False),
]


def layer(inputs: int, outputs: int, wide: bool, raw: bool, seed: int = 1) -> IntConv:
    """Random weights that use the whole of what the proof allows, or all of int8."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-127, 128, (outputs, inputs, 3, 3)).astype(np.float64)
    weight *= min(1.0, 0.75 * EXACT / 255 / np.abs(weight).sum(axis=(1, 2, 3)).max())
    largest = 255 * np.abs(np.fix(weight)).sum(axis=(1, 2, 3))
    bias = rng.uniform(-0.3, 0.3, outputs) * largest
    plane = 8 if wide else 0
    shift = np.floor(np.log2(largest)) - 10 + plane + rng.integers(0, 3, outputs)  # many in 0..255, some beyond
    conv = IntConv(np.fix(weight).astype(np.int8), bias.astype(np.int32), shift.astype(np.int8), wide, raw)
    conv.prove()
    return conv


def inputs_for(conv: IntConv, kind: str, seed: int = 2) -> np.ndarray:
    """(2, 5, 6, I): random over the whole type, only its ends, or all at the top or the bottom."""
    rng = np.random.default_rng(seed)
    dtype, low, high = (np.int16, -32768, 32767) if conv.wide else (np.uint8, 0, 255)
    shape = (2, 5, 6, conv.weight.shape[1])
    if kind == "random":
        return rng.integers(low, high + 1, shape).astype(dtype)
    if kind == "ends":
        return rng.choice(np.array([low, high]), shape).astype(dtype)
    return np.full(shape, low if kind == "bottom" else high, dtype)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    try:
        return choose_engine([layer(*LAYERS[0])], request.param)
    except NvcError as error:
        if request.param == "onednn":
            pytest.skip(str(error))  # a processor without VNNI
        raise


def by_hand(conv: IntConv, x: np.ndarray) -> np.ndarray:
    """The definition, in Python's own integers and fractions, for one picture and position at a time."""
    b, h, w, _ = x.shape
    out = np.zeros((b, h, w, len(conv.bias)), np.int64)
    for n, i, j, o in np.ndindex(out.shape):
        total = int(conv.bias[o])
        for di, dj in np.ndindex(3, 3):
            if 0 <= i + di - 1 < h and 0 <= j + dj - 1 < w:
                pixel = x[n, i + di - 1, j + dj - 1]
                total += sum(int(p) * int(q) for p, q in zip(pixel, conv.weight[o, :, di, dj], strict=True))
        out[n, i, j, o] = total if conv.raw else min(max(round(Fraction(total, 1 << int(conv.shift[o]))), 0), 255)
    return out


def convolved(engine: Any, conv: IntConv, x: np.ndarray) -> np.ndarray:
    return np.asarray(engine.convolve(engine.latents(x), engine.prepare(conv)))


@pytest.mark.parametrize("shape", [(5, 8, True, False), (4, 4, False, True)])
def test_referee(shape: tuple[int, int, bool, bool]) -> None:
    """The numpy engine is the definition."""
    conv = layer(*shape)
    x = inputs_for(conv, "ends")[:1, :3, :3]
    assert np.array_equal(convolved(NumpyEngine(), conv, x), by_hand(conv, x))


@pytest.mark.parametrize("kind", ["random", "ends", "top", "bottom"])
@pytest.mark.parametrize("shape", LAYERS)
def test_engines_agree(engine: Any, shape: tuple[int, int, bool, bool], kind: str) -> None:
    conv = layer(*shape)
    x = inputs_for(conv, kind)
    want = convolved(NumpyEngine(), conv, x)
    assert len(np.unique(want)) > 3
    assert np.array_equal(convolved(engine, conv, x), want)


@pytest.mark.parametrize("wide", [True, False])
def test_largest_accumulator(engine: Any, wide: bool) -> None:
    """One below the bound of the proof is exact: 2^24 - 1 from every tap at its largest."""
    weight = np.zeros((4, 58, 3, 3), np.int8)
    weight[:, :, :, :] = 126
    total = 126 * 58 * 9
    bias = np.full(4, EXACT - 1 - 255 * total, np.int32)
    conv = IntConv(weight, bias, np.zeros(4, np.int8), wide, raw=True)
    conv.prove()
    x = np.full((1, 3, 3, 58), 255, np.int16 if wide else np.uint8)
    assert convolved(engine, conv, x)[0, 1, 1].tolist() == [EXACT - 1] * 4


@pytest.mark.parametrize("sign", [1, -1])
def test_matmul_and_pixels(engine: Any, sign: int) -> None:
    """Sums beyond 2^40 stay exact, halves go to even, the ends are clamped."""
    rng = np.random.default_rng(4)
    x = np.full((1, 2, 2, 320), 32767 * sign, np.int16)
    matrix = rng.integers(-32767, 32768, (320, 12)).astype(np.int16)  # too large for two planes of int8
    product = np.asarray(engine.matmul(engine.latents(x), engine.prepare_matrix(matrix)))
    want = x.astype(np.int64) @ matrix.astype(np.int64)
    assert np.array_equal(product.astype(np.int64), want)

    network = np.array([[[[-3, 0, 1]], [[2, 255, 300]]]], np.int64)  # times 2^3, over 2^4: halves
    linear = np.array([[[[0, 24, 0]], [[8, 0, 1 << 40]]]], np.int64)
    if engine.name != "numpy":
        import torch

        network, linear = (torch.from_numpy(part).double() for part in (network, linear))
    shown = engine.samples(network, linear, 3, 4, 0, 255)
    # -1.5 -> 0, 1.5 -> 2, 0.5 -> 0, 1.5 -> 2, 127.5 -> 128, far above -> 255
    assert shown.ravel().tolist() == [0, 2, 0, 2, 128, 255]
    assert shown.dtype == np.uint8
    residual = engine.samples(-network, -linear, 3, 4, -255, 255)
    assert residual.ravel().tolist() == [2, -2, 0, -2, -128, -255]
    assert residual.dtype == np.int16


def test_round_shift_half_to_even() -> None:
    values = np.arange(-70, 71, dtype=np.int64)
    for shift in range(6):
        want = [round(Fraction(int(v), 1 << shift)) for v in values]  # Python rounds fractions half to even
        assert round_shift(values, shift).tolist() == want
    shifts = np.array([0, 1, 2])[:, None]
    assert round_shift(np.array([[3], [3], [6]]), shifts).ravel().tolist() == [3, 2, 2]
    huge = np.array([(1 << 61) + 1, -(1 << 61) - 1])
    assert round_shift(huge, 1).tolist() == [1 << 60, -(1 << 60)]


def test_depth_to_space() -> None:
    """Channel (2·dy + dx)·C + c is pixel (dy, dx), in numpy and in torch."""
    import torch

    x = np.arange(2 * 3 * 2 * 8).reshape(2, 3, 2, 8)
    y = depth_to_space(x)
    assert y.shape == (2, 6, 4, 2)
    for n, i, j, dy, dx, c in np.ndindex(2, 3, 2, 2, 2, 2):
        assert y[n, 2 * i + dy, 2 * j + dx, c] == x[n, i, j, (2 * dy + dx) * 2 + c]
    assert np.array_equal(depth_to_space(torch.from_numpy(x)).numpy(), y)


class TestProof:
    """`prove` draws the line exactly at 2^24."""

    def plain(self, inputs: int = 8, weight: int = 1, bias: int = 0) -> IntConv:
        kernel = np.full((4, inputs, 3, 3), weight, np.int8)
        return IntConv(kernel, np.full(4, bias, np.int32), np.zeros(4, np.int8))

    def test_weights_overflow(self) -> None:
        self.plain(57, 127).prove()  # 127·57·9·255 = 16,613,505
        with pytest.raises(ValueError, match="an accumulator may reach 16904970"):
            self.plain(58, 127).prove()

    @pytest.mark.parametrize("sign", [1, -1])
    def test_bias_overflows(self, sign: int) -> None:
        room = EXACT - 255 * 8 * 9
        self.plain(bias=sign * (room - 1)).prove()
        with pytest.raises(ValueError, match="an accumulator"):
            self.plain(bias=sign * room).prove()

    def test_one_output_is_enough(self) -> None:
        conv = self.plain()
        conv.bias[3] = 1 << 30
        with pytest.raises(ValueError, match="an accumulator"):
            conv.prove()

    def test_shapes_and_types(self) -> None:
        good = self.plain()
        good.prove()
        for bad in (
            replace(good, weight=good.weight.astype(np.int16)),
            replace(good, weight=good.weight[:, :, :2]),
            replace(good, bias=good.bias[:1]),
            replace(good, shift=np.full(4, 32, np.int8)),
            replace(good, shift=np.full(4, -1, np.int8)),
        ):
            with pytest.raises(ValueError):  # noqa: PT011 - which one is said in another test's match
                bad.prove()


class Saturating(NumpyEngine):
    """What kernels without VNNI do: products of neighbouring channels are added in 16 bits."""

    name = "float32"  # stands in for that one below

    def convolve(self, x: np.ndarray, layer: IntConv) -> np.ndarray:
        if layer.wide:
            high = self._planes((x >> 8) + 128, layer) - 128 * self._sums(np.ones_like(x), layer)
            acc = 256 * high + self._planes(x & 255, layer) + layer.bias
        else:
            acc = self._planes(x, layer) + layer.bias
        return acc if layer.raw else np.clip(round_shift(acc, layer.shift), 0, 255)

    def _planes(self, x: np.ndarray, layer: IntConv) -> np.ndarray:
        return self._sums(x, layer, lambda pairs: np.clip(pairs, -32768, 32767))

    def _sums(self, x: np.ndarray, layer: IntConv, pair: Any = lambda pairs: pairs) -> np.ndarray:
        b, h, w, c = x.shape
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, c % 2)))
        weight = np.pad(layer.weight.astype(np.int64), ((0, 0), (0, c % 2), (0, 0), (0, 0)))
        acc = np.zeros((b, h, w, len(layer.bias)), np.int64)
        for i, j in np.ndindex(3, 3):
            products = x[:, i : i + h, j : j + w, None, :] * weight[:, :, i, j]
            acc += pair(products[..., ::2] + products[..., 1::2]).sum(axis=-1)
        return acc


@pytest.mark.parametrize("shape", LAYERS)
def test_saturation_is_caught(shape: tuple[int, int, bool, bool]) -> None:
    """Even where no pair of the layer's own weights can saturate: kernels are judged, not weights."""
    conv = layer(*shape)
    mild = replace(conv, weight=np.clip(conv.weight, -60, 60))
    assert not agrees(Saturating(), [conv])
    assert not agrees(Saturating(), [mild])
    x = inputs_for(mild, "ends")
    assert np.array_equal(convolved(Saturating(), mild, x), convolved(NumpyEngine(), mild, x))  # it is right otherwise


@pytest.mark.parametrize("top", [32639, 32640, 32767, 300, 3])
@pytest.mark.parametrize("kind", ["random", "ends", "top", "bottom"])
@pytest.mark.parametrize(("channels", "block", "planes"), [(192, 8, 6), (7, 2, 3), (516, 2, 5), (640, 2, 3)])
def test_linear_path(engine: Any, channels: int, block: int, planes: int, kind: str, top: int) -> None:
    """Products and finished blocks, for matrices of int8 planes and for those that are none, of all heights of sums."""
    rng = np.random.default_rng(3)
    matrix = rng.integers(-top, top + 1, (channels, block * block * planes)).astype(np.int16)
    matrix[:, 0], matrix[:, 1] = top, -top
    if kind == "random":
        x = rng.integers(-32768, 32768, (2, 3, 2, channels)).astype(np.int16)
    else:
        x = rng.choice({"ends": [-32768, 32767], "top": [32767], "bottom": [-32768]}[kind], (2, 3, 2, channels))
        x = x.astype(np.int16)
    network = rng.integers(-(1 << 23), 1 << 23, (2, 3 * block, 2 * block, planes))
    referee = NumpyEngine()
    seen, ready = engine.latents(x), engine.prepare_matrix(matrix)
    product = referee.matmul(x.astype(np.int64), matrix.astype(np.int64))
    assert np.array_equal(np.asarray(engine.matmul(seen, ready)).astype(np.int64), product)
    theirs: Any = network
    if engine.name != "numpy":
        import torch

        theirs = torch.from_numpy(network.astype(np.float32 if engine.name == "onednn" else np.float64))
    for up, shift, low, high in ((0, 0, -4095, 4095), (9, 31, 0, 255), (3, 24, -255, 255)):
        want = referee.blocks(network, x.astype(np.int64), matrix.astype(np.int64), up, shift, low, high)
        got = engine.blocks(theirs, seen, ready, up, shift, low, high)
        assert got.dtype == want.dtype
        assert np.array_equal(got, want)


class SaturatingMatrix(NumpyEngine):
    """Exact convolutions; a matrix as kernels without VNNI do it: bytes made unsigned, products in pairs of 16 bits."""

    def matmul(self, x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        low = ((matrix + 128) & 255) - 128
        total = 128 * matrix.sum(axis=0)
        for signed, plane in ((x >> 8, 8), ((x & 255) - 128, 0)):
            for part, more in (((matrix - low) >> 8, 8), (low, 0)):
                products = (signed + 128)[..., :, None] * part
                pairs = np.clip(products[..., ::2, :] + products[..., 1::2, :], -32768, 32767)
                total = total + ((pairs.sum(axis=-2) - 128 * part.sum(axis=0)) << (plane + more))
        return total


def test_saturation_of_the_linear_path_is_caught() -> None:
    """Where weights are small too: kernels are judged, not weights."""
    conv = layer(*LAYERS[0])
    rng = np.random.default_rng(1)
    matrix = (256 * rng.integers(-60, 61, (320, 24)) + rng.integers(-60, 61, (320, 24))).astype(np.int16)
    assert agrees(NumpyEngine(), [conv], matrix)
    assert agrees(SaturatingMatrix(), [conv])
    assert not agrees(SaturatingMatrix(), [conv], matrix)
    x = rng.integers(-32768, 32768, (1, 2, 2, 320))
    assert np.array_equal(SaturatingMatrix().matmul(x, matrix.astype(np.int64)), x @ matrix.astype(np.int64))


@pytest.mark.parametrize("shape", LAYERS)
def test_probe_is_legal(shape: tuple[int, int, bool, bool]) -> None:
    probe(layer(*shape)).prove()


class TestChoice:
    layers = [layer(*shape) for shape in LAYERS[2:]]  # noqa: RUF012

    @pytest.mark.parametrize("name", ["float32", "float64", "numpy"])
    def test_by_environment(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NVC_ENGINE", name)
        assert choose_engine(self.layers).name == name

    def test_argument_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NVC_ENGINE", "float64")
        assert choose_engine(self.layers, "numpy").name == "numpy"

    def test_empty_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NVC_ENGINE", "")
        assert choose_engine(self.layers).name in ENGINES

    def test_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NVC_ENGINE", "fast")
        with pytest.raises(NvcError, match=r"NVC_ENGINE=fast: unknown engine \(one of onednn, float32"):
            choose_engine(self.layers)

    def test_failing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that is not exact is refused when asked for, and passed over when not."""
        make = integer._make
        wrong = {"onednn": Saturating(), "float32": Saturating()}
        monkeypatch.setattr(integer, "_make", lambda name: wrong.get(name) or make(name))
        assert choose_engine(self.layers).name == "float64"
        monkeypatch.setenv("NVC_ENGINE", "float32")
        with pytest.raises(NvcError, match="NVC_ENGINE=float32: the self-test failed: its results are not exact"):
            choose_engine(self.layers)

    def test_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A torch without oneDNN."""
        import torch

        integer._make.cache_clear()
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        try:
            assert choose_engine(self.layers).name == "float32"
            with pytest.raises(NvcError, match="torch was built without oneDNN"):
                choose_engine(self.layers, "onednn")
        finally:
            integer._make.cache_clear()
