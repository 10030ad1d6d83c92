"""How finely motion is coded: what the choice does to tables, and what an encoder makes of it."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import B, I, P, clip, encode, show  # noqa: E402

from nvc.codec import aivc_mode  # noqa: E402
from nvc.codec.aivc import AivcBackend, finer  # noqa: E402
from nvc.codec.aivc_choices import FINE_BITS, FINENESSES, MODE, PLAIN  # noqa: E402
from nvc.codec.aivc_layers import Said  # noqa: E402
from nvc.codec.hierarchy import LEVEL_BITS, START_BITS  # noqa: E402
from nvc.codec.models import read_tensors  # noqa: E402
from nvc.codec.motion_moves import LARGE  # noqa: E402
from nvc.codec.video_backend import Place, Reference  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks.aivc_integer import SKIP_LATENT  # noqa: E402
from nvc.networks.steps import STEP_ONE, interpolate, steps  # noqa: E402


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return VideoModel(TESTS / "data" / "tiny_fine.safetensors")


@pytest.fixture(scope="module")
def backend(model: VideoModel) -> AivcBackend:
    assert isinstance(model.backend, AivcBackend)
    return model.backend


@pytest.mark.parametrize("code", [-5000, 0, 4095, 9000, 28672, 40000])
def test_tables_are_read_for_each_channel(code: int) -> None:
    """As for all channels at once, of the quality that each has."""
    table = np.random.default_rng(code + 9999).integers(0, 57345, (8, 44)).astype(np.int32)
    codes = finer(44, code, 3)
    assert codes.tolist() == [code + 3 * STEP_ONE] * SKIP_LATENT + [code] * 4
    whole = [interpolate(table, at) for at in (code + 3 * STEP_ONE, code)]
    np.testing.assert_array_equal(
        interpolate(table, codes), np.concatenate([whole[0][:SKIP_LATENT], whole[1][SKIP_LATENT:]])
    )


def test_finer_steps_are_finer(backend: AivcBackend) -> None:
    """Of motion; what says where nothing is coded stays, and so do residuals."""
    for kind, name in MODE.items():
        sizes = []
        for fineness in range(FINENESSES):
            code = backend.latent_quality(name, (8, fineness), 8192)
            mantissa, shift = steps(backend._parts[name].decoder.log_step, code)
            sizes.append(mantissa / 2.0**shift)
        falls = np.diff(sizes, axis=0)
        assert (falls[:, :4] < 0).all(), kind
        assert not falls[:, SKIP_LATENT:].any()
    assert backend.latent_quality("codec_p", (8, 5), 8192) == 8192


def test_choice_is_behind_the_others(backend: AivcBackend) -> None:
    assert backend.choice_bits == {P: (LEVEL_BITS, FINE_BITS), B: (LEVEL_BITS, START_BITS, FINE_BITS)}
    other = VideoModel(TESTS / "data" / "tiny_overlap.safetensors").backend
    assert other.choice_bits == {P: (LEVEL_BITS,), B: (LEVEL_BITS, START_BITS)}


@pytest.mark.parametrize("value", [np.array([2], np.uint8), np.array([1, 1], np.uint8), np.array([1], np.int8)])
def test_unknown_values_are_refused(value: np.ndarray) -> None:
    tensors = read_tensors(TESTS / "data" / "tiny_fine.safetensors", "decoder.")
    named = {name.removeprefix("decoder."): tensor for name, tensor in tensors.items()}
    with pytest.raises(ValueError, match="fineness"):
        AivcBackend(named | {"fineness": value}, lambda: pytest.fail("no analysis is needed"))


def reference(side: int, state: object = None) -> Reference:
    return Reference(Frame420(np.zeros((side, side), np.uint8), *[np.zeros((side // 2,) * 2, np.uint8)] * 2), state)


@pytest.mark.parametrize(
    ("side", "states", "kind", "tried"),
    [
        (64, [None], P, aivc_mode.FIRST),
        (64, [Said(P, 3, None)], P, [2, 3, 4]),
        (64, [Said(P, 0, None)], P, [0, 1]),
        (64, [Said(P, 7, None)], P, [6, 7]),
        (64, [Said(P, 3, None), None], B, aivc_mode.FIRST),
        (64, [Said(P, 6, None), Said(B, 2, None)], B, [1, 2, 3]),
        (1024, [Said(P, 3, None)], P, [3]),
        (1024, [None], P, aivc_mode.FIRST_OF_LARGE),
        (1024, [None, Said(B, 4, None)], B, [PLAIN]),
    ],
)
def test_what_is_tried(side: int, states: list[object], kind: object, tried: Sequence[int]) -> None:
    """What the last frame of the kind had, and what is beside it; all over the range without such a frame."""
    assert (side * side > LARGE) == (side == 1024)
    references = [reference(side, state) for state in states]
    assert list(aivc_mode.finenesses(Place(kind, references))) == list(tried)  # type: ignore[arg-type]


def test_encoders_choose(model: VideoModel, backend: AivcBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cheapest of those tried; what follows begins there; a decoder is told."""
    costs = {PLAIN - 1: 9.0, PLAIN + 1: 5.0, PLAIN + 3: 7.0, PLAIN: 4.0, PLAIN + 2: 3.0}
    seen: list[int] = []

    def cost(search: aivc_mode.ModeSearch, mode: object, code: np.ndarray) -> float:
        seen.append(int(code[0] - code[-1]) // STEP_ONE)
        return costs[seen[-1]]

    monkeypatch.setattr(aivc_mode.ModeSearch, "cost", cost)
    frames = clip(48, 64, 3, motion=(1, 2))
    content, first = backend.encode(frames[1], Place(P, [Reference(frames[0])], [-1]), 8192)
    assert (seen, content.choices[-1], first.state) == (list(aivc_mode.FIRST), PLAIN + 1, Said(P, PLAIN + 1, None))
    seen.clear()
    content, _ = backend.encode(frames[2], Place(P, [first], [-1]), 8192)
    assert (seen, content.choices[-1]) == ([PLAIN, PLAIN + 1, PLAIN + 2], PLAIN + 2)
    content, still = backend.encode(frames[0], Place(I), 8192)
    assert still.state is None
    monkeypatch.undo()
    data, reports = encode(model, frames, 3.0, gop=1)
    assert [report.type for report in reports] == [I, P, P]
    assert len(show(data, model)) == 3


def test_without_tables_nothing_is_tried(backend: AivcBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aivc_mode.ModeSearch, "__call__", lambda *_: pytest.fail("was tried"))
    frames = clip(48, 64, 2, motion=(1, 2))
    content, _ = backend.quick().encode(frames[1], Place(P, [Reference(frames[0])], [-1]), 8192)
    assert content.choices[-1] == PLAIN
