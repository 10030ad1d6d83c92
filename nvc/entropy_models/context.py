"""The context model of the image codec: which table codes which latent (FORMAT.md 8; paper 2, sections 5.2-5.6).

Channels are coded one after another, each in raster order, after one bit that says whether it is active (holds any
value other than its prediction). The table of a value is chosen by a *score*, a weighted sum of the magnitudes of
its coded neighbours up, left, up-left and up-right and of the same position in some channels coded before;
thresholds cut the scores into contexts. With magnitudes of one bit, equal weights and one source this is the
paper's count of deviating neighbours; with several bits and sources it is the magnitude model.

All integers: the parse is the same on every machine.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.entropy_coding.coder import Coder, Estimator
from nvc.entropy_coding.jit import njit
from nvc.entropy_coding.rans import BAD_ESCAPE, DECODE, WalkState, fail, failed, step
from nvc.entropy_coding.tables import TableSet
from nvc.errors import BadStream

VALUE_LIMIT = 32767  # |latent symbol|; more is not in any picture, and would void the proof of the integer network
MAGNITUDES = 16  # entries of a channel's magnitude quantiser: |deviation| 0..14 and 15 or more
SCORE_MAX = 1023  # scores are cut here
NEAR = 4  # up, left, up-left, up-right
PREDICT_SHIFT = 5  # prediction weights are in 1/32
SIZE_BINS = 25  # activation tables by floor(log2(positions))
BYTE_MAX = 255  # contexts are kept in bytes; as many sources of the largest magnitude and weight fit an int32 score

Ints = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ContextModel:
    """Everything that codes the latents of one level. C channels, K contexts, S sources.

    order:      (C,) int32      channels in coding order
    mode:       (C,) int32      most probable value
    predict:    (C, 4) int32    weights of the neighbours' deviations in the prediction, in 1/32
    quantiser:  (C, 16) int32   magnitude of min(|value - prediction|, 15), 0..255; that of 0 is 0
    near:       (C, 4) int32    score weights of up, left, up-left, up-right, 0..255
    source:     (C, S) int32    channels earlier in the order, none of them twice, or -1; S <= 255
    weight:     (C, S) int32    their score weights, 0..255
    threshold:  (C, K-1) int32  ascending: context = how many are <= score; K <= 256
    activation: TableSet of C·25 rows, values 0 and 1; None: every channel counts as active, without a bit
    symbols:    TableSet of C·K rows, values relative to the prediction
    """

    order: Ints
    mode: Ints
    predict: Ints
    quantiser: Ints
    near: Ints
    source: Ints
    weight: Ints
    threshold: Ints
    activation: TableSet | None
    symbols: TableSet

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name, None)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, entry.name, np.ascontiguousarray(value, np.int32))
        self.validate()
        # context of a score, looked up: (C, SCORE_MAX + 1) uint8
        scores = np.arange(SCORE_MAX + 1)
        lookup = (self.threshold[:, None, :] <= scores[None, :, None]).sum(axis=2).astype(np.uint8)
        object.__setattr__(self, "lookup", lookup)

    lookup: NDArray[np.uint8] = field(init=False)

    @property
    def channels(self) -> int:
        return int(self.order.size)

    @property
    def contexts(self) -> int:
        return int(self.threshold.shape[1]) + 1

    def validate(self) -> None:
        """Raise ValueError for a model that no decoder can follow; compiled code rests on this."""
        c = self.channels
        if not np.array_equal(np.sort(self.order), np.arange(c)):
            raise ValueError("the coding order is not a permutation of the channels")
        for name in ("source", "threshold"):
            value = getattr(self, name)
            if value.ndim != 2 or value.shape[1] > BYTE_MAX:
                raise ValueError(f"{name} has shape {value.shape}, not ({c}, 0 to {BYTE_MAX})")
        shapes = {"mode": (c,), "predict": (c, NEAR), "quantiser": (c, MAGNITUDES), "near": (c, NEAR)}
        shapes |= {"source": self.source.shape, "weight": self.source.shape, "threshold": (c, self.contexts - 1)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape or (shape and shape[0] != c):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        if self.source.size and (self.source.min() < -1 or self.source.max() >= c):
            raise ValueError("a source is no channel")
        rank = np.empty(c, np.int64)
        rank[self.order] = np.arange(c)
        known = self.source >= 0
        if (known & (rank[self.source] >= rank[:, None])).any():
            raise ValueError("a source is not coded before the channel that looks at it")
        ordered = np.sort(self.source, axis=1)
        if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
            raise ValueError("a channel has the same source twice")
        for name in ("quantiser", "near", "weight"):
            values = getattr(self, name)
            if values.size and (values.min() < 0 or values.max() > 255):
                raise ValueError(f"{name} is not within 0..255")
        if self.quantiser[:, 0].any():
            raise ValueError("a value as predicted has a magnitude other than 0")
        for name, limit in (("mode", VALUE_LIMIT), ("predict", 255)):
            values = getattr(self, name)
            if (values < -limit).any() or (values > limit).any():
                raise ValueError(f"{name} is not within ±{limit}")
        if (np.diff(self.threshold, axis=1) < 0).any():
            raise ValueError("thresholds do not ascend")
        if len(self.symbols) != c * self.contexts:
            raise ValueError(f"{len(self.symbols)} symbol tables, not {c * self.contexts}")
        if self.activation is not None and len(self.activation) != c * SIZE_BINS:
            raise ValueError(f"{len(self.activation)} activation tables, not {c * SIZE_BINS}")


def code(coder: Coder, model: ContextModel, values: Ints | tuple[int, int, int]) -> NDArray[np.int16]:
    """Code the latents of one picture; the Decoder uses only the shape of `values`, and takes a bare one too.

    values: (C, h, w) integers, |value| <= 32767. Returns (C, h, w) int16, a copy.
    Raises ValueError for values out of range; the Decoder raises BadStream.
    """
    c, h, w = values if isinstance(values, tuple) else values.shape
    if c != model.channels:
        raise ValueError(f"{c} channels of latents, the model has {model.channels}")
    # Zeros that nobody touches cost no memory: a stream that breaks off has used what it filled, not what it claimed.
    latents = np.zeros((c, h, w), np.int16)
    if coder.mode != DECODE:
        latents[:] = _checked(values)
    active = activity(model, latents) if coder.mode != DECODE else np.ones(c, np.uint8)
    if model.activation is not None:
        coded = coder.code(active[model.order].astype(np.int32), _activation_rows(model, h * w), model.activation)
        if coded.size and (coded.min() < 0 or coded.max() > 1):
            raise BadStream("the coded data holds an impossible activation bit; the file is damaged")
        active[model.order] = coded
    else:
        active[:] = 1
    if latents.size:
        count = int(active.sum()) * h * w
        magnitude = np.zeros((c, h + 1, w + 2), np.uint8)
        coder.run(_walk, model.symbols, count, *_arrays(model), active, latents, magnitude, coder.mode == DECODE)
    return latents


def _checked(values: Any) -> Ints:
    """Values that a stream may hold; ValueError for others."""
    array: Ints = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise ValueError(f"latents are integers, not {array.dtype}")
    if array.size and (array.min() < -VALUE_LIMIT or array.max() > VALUE_LIMIT):
        raise ValueError(f"a latent is not within ±{VALUE_LIMIT}")
    return array


def _activation_rows(model: ContextModel, positions: int) -> Ints:
    """Tables of the activation bits in coding order, (C,)."""
    rows: Ints = model.order * SIZE_BINS + min(int(positions).bit_length() - 1, SIZE_BINS - 1)
    return rows


def activation_bits(model: ContextModel, latents: Ints) -> float:
    """Bits that the activation part of (C, h, w) latents takes."""
    if model.activation is None:
        return 0.0
    estimator = Estimator()
    active = activity(model, latents)[model.order].astype(np.int32)
    estimator.code(active, _activation_rows(model, latents[0].size), model.activation)
    return estimator.bits


def _arrays(model: ContextModel) -> Any:
    return (
        model.order, model.mode, model.predict, model.quantiser, model.near, model.source, model.weight, model.lookup,
        model.contexts,
    )  # fmt: skip


def activity(model: ContextModel, latents: Ints) -> NDArray[np.uint8]:
    """(C,) 1 where any value of the channel differs from its most probable value."""
    flat = latents.reshape(latents.shape[0], -1)
    return (flat != model.mode[:, None]).any(axis=1).astype(np.uint8)


def deviations(model: ContextModel, latents: Ints) -> NDArray[np.int32]:
    """(C, h, w) latents minus their predictions: the symbols that the tables code."""
    out = np.empty(latents.shape, np.int32)
    _deviations(np.ascontiguousarray(latents, np.int32), model.mode, model.predict, out)
    return out


def contexts(model: ContextModel, latents: Ints) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Deviations and table rows, both (C, h, w) int32, of known latents."""
    deviation = deviations(model, latents)
    score = scores(deviation, model.quantiser, model.near, model.source, model.weight)
    rows = np.empty_like(deviation)
    for k in range(model.channels):
        rows[k] = k * model.contexts + model.lookup[k, np.minimum(score[k], SCORE_MAX)]
    return deviation, rows


@njit
def predicted(mode: int, predict: Any, up: int, left: int, up_left: int, up_right: int) -> int:
    """Prediction from the neighbours' values; a neighbour outside the picture is given as the mode."""
    total = predict[0] * (up - mode) + predict[1] * (left - mode)
    total += predict[2] * (up_left - mode) + predict[3] * (up_right - mode)
    return mode + ((total + (1 << (PREDICT_SHIFT - 1))) >> PREDICT_SHIFT)


@njit
def predict_at(values: Any, i: int, j: int, mode: int, predict: Any) -> int:
    """Prediction at (i, j) of one channel (h, w)."""
    w = values.shape[1]
    up = values[i - 1, j] if i > 0 else mode
    left = values[i, j - 1] if j > 0 else mode
    up_left = values[i - 1, j - 1] if i > 0 and j > 0 else mode
    up_right = values[i - 1, j + 1] if i > 0 and j + 1 < w else mode
    return predicted(mode, predict, up, left, up_left, up_right)


@njit
def _source_scores(magnitude: Any, sources: Any, weights: Any, i: int, out: Any) -> None:
    """The part of the score that earlier channels give, for row i: (w,) int32."""
    w = out.size
    for j in range(w):
        out[j] = 0
    for s in range(sources.size):
        k = sources[s]
        if k >= 0 and weights[s] > 0:
            weight = np.int32(weights[s])
            row = magnitude[k, i + 1, 1 : w + 1]
            for j in range(w):
                out[j] += weight * np.int32(row[j])


@njit
def _walk(
    state: WalkState, order: Any, mode: Any, predict: Any, quantiser: Any, near: Any, source: Any, weight: Any,
    lookup: Any, contexts: int, active: Any, values: Any, magnitude: Any, decoding: bool,
) -> None:  # fmt: skip
    """Code all active channels. Magnitudes are kept with a border of zeros: row 0, columns 0 and w + 1.

    values, magnitude: zeros to begin with where decoding, and they stay untouched where they stay 0.
    """
    _, h, w = values.shape
    base = np.empty(w, np.int32)
    for k in order:
        if active[k] == 0:
            if decoding and mode[k] != 0:
                values[k] = mode[k]
            continue
        plain = predict[k, 0] == 0 and predict[k, 1] == 0 and predict[k, 2] == 0 and predict[k, 3] == 0
        n0, n1, n2, n3 = np.int32(near[k, 0]), np.int32(near[k, 1]), np.int32(near[k, 2]), np.int32(near[k, 3])
        first = np.int64(k) * contexts
        table, quantise, plane = lookup[k], quantiser[k], values[k]
        for i in range(h):
            _source_scores(magnitude, source[k], weight[k], i, base)
            above, here = magnitude[k, i], magnitude[k, i + 1]
            for j in range(w):
                score = base[j] + n0 * above[j + 1] + n1 * here[j] + n2 * above[j] + n3 * above[j + 2]
                row = first + table[min(score, SCORE_MAX)]
                expected = mode[k] if plain else predict_at(plane, i, j, mode[k], predict[k])
                value = step(state, row, plane[i, j] - expected)
                here[j + 1] = quantise[min(abs(value), MAGNITUDES - 1)]
                if decoding:
                    value += expected
                    if abs(value) > VALUE_LIMIT:
                        fail(state, BAD_ESCAPE)
                        return
                    plane[i, j] = value
            if failed(state):
                return


@njit
def _deviations(values: Any, mode: Any, predict: Any, out: Any) -> None:
    c, h, w = values.shape
    for k in range(c):
        plain = predict[k, 0] == 0 and predict[k, 1] == 0 and predict[k, 2] == 0 and predict[k, 3] == 0
        for i in range(h):
            for j in range(w):
                expected = mode[k] if plain else predict_at(values[k], i, j, mode[k], predict[k])
                out[k, i, j] = values[k, i, j] - expected


@njit
def scores(deviation: Any, quantiser: Any, near: Any, source: Any, weight: Any) -> Any:
    """(C, h, w) int32 scores, not cut, of known deviations."""
    c, h, w = deviation.shape
    magnitude = np.zeros((c, h + 1, w + 2), np.uint8)
    score = np.empty((c, h, w), np.int32)
    base = np.empty(w, np.int32)
    for k in range(c):
        for i in range(h):
            for j in range(w):
                magnitude[k, i + 1, j + 1] = quantiser[k, min(abs(deviation[k, i, j]), MAGNITUDES - 1)]
    for k in range(c):
        for i in range(h):
            _source_scores(magnitude, source[k], weight[k], i, base)
            for j in range(w):
                score[k, i, j] = (
                    base[j] + near[k, 0] * magnitude[k, i, j + 1] + near[k, 1] * magnitude[k, i + 1, j]
                    + near[k, 2] * magnitude[k, i, j] + near[k, 3] * magnitude[k, i, j + 2]
                )  # fmt: skip
    return score
