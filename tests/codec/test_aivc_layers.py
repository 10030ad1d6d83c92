"""What stands behind a mode: coefficients by rate and distortion, the choice among layers, decoding."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import B, I, P, clip, encode, show  # noqa: E402

from nvc.bitstream.container import FrameType  # noqa: E402
from nvc.codec import aivc_layers, motion_moves  # noqa: E402
from nvc.codec.aivc import AivcBackend  # noqa: E402
from nvc.codec.aivc_choices import CODEC, MODE  # noqa: E402
from nvc.codec.aivc_layers import Said, latent_bits  # noqa: E402
from nvc.codec.frame_coding import FrameCoder  # noqa: E402
from nvc.codec.models import read_tensors  # noqa: E402
from nvc.codec.transform import LAYER_BITS, Layers, Transform, untrained  # noqa: E402
from nvc.codec.transform_choice import choose  # noqa: E402
from nvc.codec.video_backend import Place, Reference  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.entropy_coding.adaptive import beginning  # noqa: E402
from nvc.entropy_coding.coder import Estimator  # noqa: E402
from nvc.entropy_models import coefficients  # noqa: E402
from nvc.errors import BadStream  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks.lambdas import LAMBDAS  # noqa: E402
from nvc.networks.transform import add_transformed, step_sizes  # noqa: E402

LAYERED = TESTS / "data" / "tiny_layers.safetensors"
WORTHS = np.outer(LAMBDAS, (0.75, 0.5))
TRANSFORM = untrained(WORTHS)
WEIGHTS = (0.75, 0.5, 0.5)
Picked = tuple[coefficients.Coefficients, float, Frame420]


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return VideoModel(LAYERED)


@pytest.fixture(scope="module")
def backend(model: VideoModel) -> AivcBackend:
    assert isinstance(model.backend, AivcBackend)
    return model.backend


def error(one: Frame420, two: Frame420) -> float:
    """Squared grey levels of (6Y + U + V)/8."""
    return sum(
        w * float(((a.astype(float) - b) ** 2).sum()) for w, a, b in zip(WEIGHTS, one.planes, two.planes, strict=True)
    )


def picked(frame: Frame420, base: Frame420, level: int) -> Picked:
    """Coefficients, their bits, and what they make."""
    chances = beginning(TRANSFORM.chances[P])
    made, bits = choose(frame, base, step_sizes(TRANSFORM.log_step, level * 4096), LAMBDAS[level], chances)
    return made, bits, add_transformed(base, made, TRANSFORM.log_step, level * 4096)


@pytest.mark.parametrize("size", [(64, 96), (33, 47), (1, 1)])
def test_coefficients_are_worth_their_bits(size: tuple[int, int]) -> None:
    """λ · squared error + bits is less than without them, at all levels; the finer the level, the nearer."""
    base, frame = clip(*size, 2, "sign", (1, 2) if size[0] > 1 else (0, 1))
    errors = []
    for level in range(8):
        _, bits, shown = picked(frame, base, level)
        assert LAMBDAS[level] * error(frame, shown) + bits <= LAMBDAS[level] * error(frame, base) + 1
        errors.append(error(frame, shown))
    assert errors == sorted(errors, reverse=True)
    assert size == (1, 1) or errors[-1] < 0.05 * errors[0]


@pytest.mark.parametrize("level", [1, 4, 7])
def test_bits_and_chances_are_those_of_coding(level: int) -> None:
    base, frame = clip(64, 96, 2, "sign", (2, 1))
    chances = beginning(TRANSFORM.chances[P])
    made, bits = choose(frame, base, step_sizes(TRANSFORM.log_step, level * 4096), LAMBDAS[level], chances)
    estimator, others = Estimator(), beginning(TRANSFORM.chances[P])
    coefficients.code(estimator, made, others)
    assert estimator.bits == pytest.approx(bits)
    np.testing.assert_array_equal(chances, others)


def test_no_single_change_is_better() -> None:
    """Nearly: of the coefficients that are not 0, few are worth moving or leaving out, if any, by what coding costs."""
    base, frame = clip(32, 48, 2, "sign", (1, 1))
    level = 4
    made, bits, shown = picked(frame, base, level)
    cost, better = LAMBDAS[level] * error(frame, shown) + bits, []
    places = np.argwhere(made.blocks)
    for i, j, n in places[:: max(1, len(places) // 60)]:
        blocks = made.blocks.copy()
        blocks[i, j, n] -= np.sign(blocks[i, j, n])
        other, estimator = replace(made, blocks=blocks), Estimator()
        coefficients.code(estimator, other, beginning(TRANSFORM.chances[P]))
        found = add_transformed(base, other, TRANSFORM.log_step, level * 4096)
        better.append(LAMBDAS[level] * error(frame, found) + estimator.bits < cost - 0.002 * cost)
    assert len(better) > 20
    assert np.mean(better) < 0.1


def test_smooth_is_said_in_large_blocks_and_edges_in_small_ones() -> None:
    ramp = np.add.outer(np.arange(64), np.arange(64))
    smooth = np.rint(100 + 30 * np.cos(ramp / 9)).astype(np.uint8)
    edges = np.where((np.add.outer(np.arange(64) // 5, np.arange(64) // 7)) % 4 == 0, 150, 100).astype(np.uint8)
    chroma = np.full((2, 32, 32), 128, np.uint8)
    base = Frame420(np.full((64, 64), 110, np.uint8), *chroma)
    shares = [picked(Frame420(luma, *chroma), base, 4)[0].whole.mean() for luma in (smooth, edges)]
    assert shares[0] > 0.8
    assert shares[1] < 0.4


# ---- choices


def test_choice_is_the_last(backend: AivcBackend) -> None:
    assert backend.choice_bits[P][-1] == backend.choice_bits[B][-1] == LAYER_BITS
    for kind in MODE:
        some = (3,) * (len(backend.choice_bits[kind]) - 1)
        names, both = (MODE[kind],), (MODE[kind], CODEC[kind])
        assert [backend.sent(kind, (*some, int(layers))) for layers in Layers] == [both, names, both]
        there = [backend.chances(kind, (*some, int(layers)), 1) is not None for layers in Layers]
        assert there == [False, True, True]
        with pytest.raises(BadStream, match="layers"):
            backend.sent(kind, (*some, 3))
    assert backend.sent(I, ()) == ("codec_i",)
    assert backend.chances(I, (), 1) is None


@pytest.mark.parametrize("gop", [1, 4])
@pytest.mark.parametrize("forced", [None, *Layers])
def test_every_layer_decodes_to_what_was_encoded(
    gop: int, forced: Layers | None, model: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And files say which they have. forced: what alone costs nothing."""
    frames = clip(49, 70, 6, "sign", (2, 1))
    if forced is not None:
        added = aivc_layers.LayerChoice._added

        def free(self: Any, layers: Layers, latents: Any, base: Reference) -> Any:
            cost, way = added(self, layers, latents, base)
            return (-1e12 if layers == forced else 1e12 if forced == Layers.LATENTS else cost), way

        monkeypatch.setattr(aivc_layers.LayerChoice, "_added", free)
    sent = []
    encode_frame = FrameCoder.encode

    def seen(self: FrameCoder, kind: FrameType, content: Any, *more: Any) -> Any:
        sent.append((kind, content))
        return encode_frame(self, kind, content, *more)

    monkeypatch.setattr(FrameCoder, "encode", seen)
    data, _ = encode(model, frames, 4.0, gop=gop)
    shown = show(data, model)  # compares checksums
    assert len(shown) == len(frames)
    layers = {content.choices[-1] for kind, content in sent if kind != I}
    assert forced is None or layers == {forced}
    for kind, content in sent:
        assert tuple(content.latents) == model.backend.sent(kind, content.choices)
        assert (content.coefficients is None) == (model.backend.chances(kind, content.choices, 4) is None)


def test_large_pictures_b_frames_are_coefficients_alone(backend: AivcBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = clip(48, 64, 3, "sign", (1, 2))
    references = [Reference(frames[0]), Reference(frames[2])]
    monkeypatch.setattr(motion_moves, "LARGE", 48 * 64 - 1)
    content, _ = backend.encode(frames[1], Place(B, references, [-1, 1], 1), 12288)
    assert content.choices[-1] == Layers.COEFFICIENTS
    assert list(content.latents) == ["mode_b"]


def test_quick_coding_makes_no_latents_behind_modes(backend: AivcBackend) -> None:
    frames = clip(48, 64, 2, "sign", (1, 2))
    content, made = backend.quick().encode(frames[1], Place(P, [Reference(frames[0])], [-1]), 12288)
    assert content.choices[-1] == Layers.COEFFICIENTS
    place = Place(P, [Reference(frames[0])], [-1])
    again = backend.decode(content, place, 12288, 48, 64)
    np.testing.assert_array_equal(again.frame.y, made.frame.y)


def test_chances_go_on_from_the_frame_before(model: VideoModel, backend: AivcBackend) -> None:
    """What an encoder takes them for is what the coder of frames has, in a row of P frames."""
    frames = clip(64, 80, 4, "sign", (1, 2))
    coder, reference = FrameCoder(backend, model.tables), None
    for number, frame in enumerate(frames):
        place = Place(P, [reference], [-1]) if reference else Place(I)
        content, reference = backend.encode(frame, place, 12288)
        coder.encode(place.kind, content, 4)
        if number and content.coefficients is not None:
            assert isinstance(reference.state, Said)
            np.testing.assert_array_equal(reference.state.chances, coder.learnt[P])
    assert P in coder.learnt


def test_latent_bits_are_not_above_those_of_the_tables(model: VideoModel, backend: AivcBackend) -> None:
    """And near what re-parameterised tables take."""
    frames = clip(96, 96, 2, "sign", (1, 2))
    content, _ = backend.encode(frames[0], Place(I), 20480)
    tables, latents = model.tables("codec_i", 6), content.latents["codec_i"]
    plain = FrameCoder(backend, model.tables).cost(I, content, 6)
    coded = 8 * len(FrameCoder(backend, model.tables).encode(I, content, 6).data)
    found = latent_bits(tables, latents)
    assert found < plain + 1e-3
    assert 0.5 * coded < found < 1.1 * coded


# ---- weight files


def test_tensors_of_a_transform() -> None:
    tensors = TRANSFORM.tensors()
    again = Transform.of(tensors)
    assert again is not None
    assert again.tensors().keys() == tensors.keys() == {"transform.log_step", "transform.p", "transform.b"}
    assert Transform.of({"other": np.zeros(1)}) is None
    expected = 3.0 / np.sqrt(WORTHS)
    for level in range(8):
        np.testing.assert_allclose(step_sizes(TRANSFORM.log_step, 4096 * level), expected[level], rtol=3e-4)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("transform.log_step", np.zeros((8, 3), np.int32), "steps"),
        ("transform.log_step", np.full((8, 2), -1, np.int32), "step"),
        ("transform.p", np.full(259, 9000, np.uint16), "chances"),
        ("transform.b", np.full(260, 9000, np.int32), "chances"),
        ("transform.b", np.full(260, 127, np.uint16), "chance"),
        ("transform.p", None, "transform.p"),
    ],
)
def test_unsound_tensors_are_refused(name: str, value: Any, said: str) -> None:
    named = {n.removeprefix("decoder."): t for n, t in read_tensors(LAYERED, "decoder.").items()}
    named |= {name: value}
    if value is None:
        del named[name]
    with pytest.raises((ValueError, KeyError), match=said):
        AivcBackend(named, lambda: pytest.fail("no analysis is needed"))
