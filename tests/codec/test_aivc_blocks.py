"""I frames of predicted blocks: where the choice stands, what is refused, what an encoder makes of it."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from test_laws import parts_of  # noqa: E402
from video_streams import B, I, P, clip, encode, show  # noqa: E402

from nvc.codec.aivc import AivcBackend  # noqa: E402
from nvc.codec.frame_coding import FrameCoder  # noqa: E402
from nvc.codec.models import read_tensors  # noqa: E402
from nvc.codec.predictors import Blocks, Prediction, untrained_prediction  # noqa: E402
from nvc.codec.video_backend import Place  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.errors import BadStream  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks.block_prediction import reconstruct  # noqa: E402
from nvc.networks.edges import smooth_edges  # noqa: E402
from nvc.networks.lambdas import LAMBDAS  # noqa: E402
from nvc.networks.transform import step_sizes  # noqa: E402

BLOCKS = TESTS / "data" / "tiny_blocks.safetensors"
CODE = 8192


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return VideoModel(BLOCKS)


@pytest.fixture(scope="module")
def backend(model: VideoModel) -> AivcBackend:
    assert isinstance(model.backend, AivcBackend)
    return model.backend


def tensors_of(path: Path) -> dict[str, Any]:
    return {name.removeprefix("decoder."): value for name, value in read_tensors(path, "decoder.").items()}


def test_i_frames_have_one_choice(backend: AivcBackend) -> None:
    """Of the other frames all is as it was."""
    before = VideoModel(TESTS / "data" / "tiny_filters.safetensors").backend
    assert backend.choice_bits == {I: (2,), **before.choice_bits}
    assert [backend.sent(I, (choice,)) for choice in Blocks] == [("codec_i",), (), ()]
    with pytest.raises(BadStream, match="blocks that there are not"):
        backend.sent(I, (3,))
    assert backend.predictors == (8, 2, 4)
    assert before.predictors == (0, 0, 0)
    assert before.chances(I, (), 3) is None


def test_chances_are_those_of_the_level(backend: AivcBackend) -> None:
    """Of I frames of blocks; those of P and B frames are of all levels."""
    known = tensors_of(BLOCKS)
    for level in range(1, 9):
        assert backend.chances(I, (Blocks.LATENTS,), level) is None
        for choice in (Blocks.PREDICTED, Blocks.SMOOTHED):
            found = backend.chances(I, (choice,), level)
            assert found is not None
            np.testing.assert_array_equal(found, known["predictors.chances"][level - 1])
        for kind, name in ((P, "p"), (B, "b")):
            choices = (4,) * (len(backend.choice_bits[kind]) - 2) + (1, 0)
            of_others = backend.chances(kind, choices, level)
            assert of_others is not None
            np.testing.assert_array_equal(of_others, known[f"transform.{name}"])


def same(one: Frame420, two: Frame420) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.planes, two.planes, strict=True))


def error(one: Frame420, two: Frame420) -> float:
    """Of all planes, as (6Y + U + V)/8 has it."""
    return sum(
        weight * float(np.square(a.astype(float) - b).sum())
        for weight, a, b in zip((0.75, 0.5, 0.5), one.planes, two.planes, strict=True)
    )


@pytest.mark.parametrize("code", [0, 5000, 28672])
@pytest.mark.parametrize("kind", ["picture", "noise"])
def test_quality_is_that_of_the_header(kind: str, code: int, backend: AivcBackend) -> None:
    """Whatever the choice, which is no drop; steps are those of it, and the better of two kinds of edges is taken."""
    assert [backend.frame_quality(I, (choice,), code) for choice in Blocks] == [code] * 3
    frame, random = clip(33, 47, 1)[0], np.random.default_rng(3)
    if kind == "noise":
        frame = Frame420(*(random.integers(0, 256, plane.shape).astype(np.uint8) for plane in frame.planes))
    content, reference = backend.encode(frame, Place(I), code)
    prediction, coefficients = Prediction.of(tensors_of(BLOCKS)), content.coefficients
    assert prediction is not None
    assert coefficients is not None
    assert content.latents == {}
    plain = reconstruct(coefficients, prediction.predictors, prediction.log_step, code)
    smoothed = smooth_edges(plain, coefficients.whole, prediction.log_step, code)
    shown = {Blocks.PREDICTED: plain, Blocks.SMOOTHED: smoothed}
    for choice, expected in shown.items():
        decoded = backend.decode(replace(content, choices=(int(choice),)), Place(I), code, 33, 47)
        assert same(decoded.frame, expected)
        assert decoded.state is None
    best = Blocks.SMOOTHED if error(frame, smoothed) < error(frame, plain) else Blocks.PREDICTED
    assert content.choices == (best,)
    assert same(reference.frame, shown[best])
    assert reference.state is None


def test_edges_are_smoothed_where_that_is_better(backend: AivcBackend) -> None:
    """At a coarse quality, what is smooth itself; not what has edges where blocks have them."""
    y, x = np.meshgrid(np.arange(64), np.arange(96), indexing="ij")
    chroma = np.full((2, 32, 48), 128, np.uint8)
    smooth = np.rint(128 + 60 * np.sin(x / 40 + y / 60)).astype(np.uint8)
    squares = np.where((x // 16 + y // 16) % 2, 140, 110).astype(np.uint8)
    choices = [backend.encode(Frame420(luma, *chroma), Place(I), 0)[0].choices for luma in (smooth, squares)]
    assert choices == [(Blocks.SMOOTHED,), (Blocks.PREDICTED,)]


def test_a_finer_quality_is_nearer(backend: AivcBackend) -> None:
    frame = clip(48, 64, 1)[0]
    errors = [
        float(np.square(backend.encode(frame, Place(I), code)[1].frame.y.astype(float) - frame.y).mean())
        for code in range(0, 28673, 4096)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 * errors[0]


def test_networks_make_them_where_they_are_to(model: VideoModel, backend: AivcBackend) -> None:
    """The latents of a weight file without predictors, behind a choice of 0; the other backend goes on as before."""
    frame, before = clip(48, 64, 1)[0], VideoModel(TESTS / "data" / "tiny_filters.safetensors")
    alone = backend.networks_alone()
    content, reference = alone.encode(frame, Place(I), CODE)
    plain, shown = before.backend.encode(frame, Place(I), CODE)
    assert (content.choices, content.coefficients) == ((0,), None)
    for name in ("z", "symbols", "index", "mean"):
        one, two = (getattr(each.latents["codec_i"], name) for each in (content, plain))
        np.testing.assert_array_equal(one, two)
    decoded = backend.decode(content, Place(I), CODE, 48, 64)
    assert same(reference.frame, shown.frame)
    assert same(decoded.frame, shown.frame)
    assert backend.encode(frame, Place(I), CODE)[0].choices != (Blocks.LATENTS,)
    assert backend.quick().encode(frame, Place(I), CODE)[0].choices != (Blocks.LATENTS,)


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("gop", [1, 4])
def test_files_of_either_kind(gop: int, blocks: bool, model: VideoModel) -> None:
    """And P and B frames behind them."""
    data, reports = encode(model, clip(33, 47, 7), 4.6, gop=gop, period=4, blocks=blocks, account=True)
    assert len(show(data, model)) == 7  # compares checksums
    header, frames = parts_of(data)
    coder = FrameCoder(model.backend, model.tables)
    for frame, report in zip(frames, reports, strict=True):
        level = header.quality_code // 4096 + 1 + frame.table_set
        content = coder.decode(
            frame.type, frame.payload, frame.reparameterised, level, header.quality_code, (header.height, header.width)
        )
        if frame.type == I:
            assert (content.choices[0] > 0) == blocks
            assert report.bits["frame", "choices"] == 2
            assert (("frame", "coefficients") in report.bits) == blocks
            assert not (blocks and frame.reparameterised)
    assert sum(frame.type == I for frame in frames) == 2


def test_each_frame_begins_with_the_chances_of_the_weight_file(model: VideoModel, backend: AivcBackend) -> None:
    """Nothing is learned from I frames before, so that a decoder may begin at any."""
    content, _ = backend.encode(clip(48, 64, 1)[0], Place(I), CODE)
    coder = FrameCoder(backend, model.tables)
    payloads = [coder.encode(I, content, level).data for level in (3, 3, 4, 3)]
    assert payloads[0] == payloads[1] == payloads[3] != payloads[2]
    decoder = FrameCoder(backend, model.tables)
    for flagged in (False, True):  # which makes no difference
        found = decoder.decode(I, payloads[0], flagged, 3, CODE, (48, 64)).coefficients
        assert found is not None
        assert content.coefficients is not None
        np.testing.assert_array_equal(found.blocks, content.coefficients.blocks)


def test_content_that_its_choice_does_not_say(model: VideoModel, backend: AivcBackend) -> None:
    content, _ = backend.encode(clip(16, 16, 1)[0], Place(I), CODE)
    coder = FrameCoder(backend, model.tables)
    with pytest.raises(ValueError, match="what is not so"):
        coder.encode(I, replace(content, coefficients=None), 3)


# ---- weight files


def test_tensors_of_a_prediction() -> None:
    found = Prediction.of(tensors_of(BLOCKS))
    assert found is not None
    assert found.tensors().keys() == {f"predictors.{n}" for n in ("luma_8", "luma_16", "chroma", "log_step", "chances")}
    again = Prediction.of(found.tensors())
    assert again is not None
    for name, value in again.tensors().items():
        np.testing.assert_array_equal(value, tensors_of(BLOCKS)[name])
    assert Prediction.of({"other": np.zeros(1)}) is None
    worths = np.outer(LAMBDAS, (0.75, 0.5))
    fresh = untrained_prediction(found.predictors, worths)
    for level in range(8):
        sizes = step_sizes(fresh.log_step, 4096 * level)
        np.testing.assert_allclose(sizes, 3.0 / np.sqrt(worths[level]), rtol=3e-4)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("luma_8", np.zeros((3, 25, 64), np.int16), "3 predictors"),
        ("luma_8", np.zeros((4, 24, 64), np.int16), "predictors are of no kind"),
        ("luma_16", np.zeros((2, 25, 64), np.int16), "predictors are of no kind"),
        ("luma_16", np.full((2, 25, 256), 1311, np.int16), "too much"),
        ("chroma", np.zeros((2, 25, 64), np.int32), "predictors are of no kind"),
        ("chroma", None, "predictors.chroma"),
        ("log_step", np.zeros((8, 3), np.int32), "steps of its predicted blocks"),
        ("log_step", np.zeros((8, 2), np.int16), "steps of its predicted blocks"),
        ("log_step", np.full((8, 2), 57345, np.int32), "step is outside"),
        ("log_step", None, "predictors.log_step"),
        ("chances", np.full((8, 387), 9000, np.uint16), "chances of its predicted blocks"),
        ("chances", np.full(388, 9000, np.uint16), "chances of its predicted blocks"),
        ("chances", np.full((8, 388), 9000, np.int32), "chances of its predicted blocks"),
        ("chances", np.full((8, 388), 65409, np.uint16), "a chance is not within"),
        ("chances", None, "predictors.chances"),
    ],
)
def test_unsound_tensors_are_refused(name: str, value: Any, said: str) -> None:
    named = tensors_of(BLOCKS) | {f"predictors.{name}": value}
    if value is None:
        del named[f"predictors.{name}"]
    with pytest.raises((ValueError, KeyError), match=said):
        AivcBackend(named, lambda: pytest.fail("no analysis is needed"))
