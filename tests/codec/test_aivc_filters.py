"""The filter of predictions: where the choice stands, what is refused, and what an encoder makes of it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import B, I, P, clip  # noqa: E402

from nvc.codec.aivc import AivcBackend  # noqa: E402
from nvc.codec.aivc_analysis import Trials  # noqa: E402
from nvc.codec.aivc_choices import FINE_BITS  # noqa: E402
from nvc.codec.aivc_mode import ModeSearch  # noqa: E402
from nvc.codec.hierarchy import LEVEL_BITS, START_BITS  # noqa: E402
from nvc.codec.models import read_tensors  # noqa: E402
from nvc.codec.transform import LAYER_BITS  # noqa: E402
from nvc.codec.video_backend import Place, Reference  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.errors import BadStream  # noqa: E402
from nvc.networks.filters import FILTER_BITS, Filter  # noqa: E402

FILTERED = TESTS / "data" / "tiny_filters.safetensors"


@pytest.fixture(scope="module")
def backend() -> AivcBackend:
    made = VideoModel(FILTERED).backend
    assert isinstance(made, AivcBackend)
    return made


def test_choice_is_the_last(backend: AivcBackend) -> None:
    further = FINE_BITS, LAYER_BITS, FILTER_BITS
    assert backend.choice_bits == {P: (LEVEL_BITS, *further), B: (LEVEL_BITS, START_BITS, *further)}
    before = VideoModel(TESTS / "data" / "tiny_layers.safetensors").backend
    assert before.choice_bits == {kind: widths[:-1] for kind, widths in backend.choice_bits.items()}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"filters": np.array([2], np.uint8)}, "its filters is of no kind"),
        ({"filters": np.array([1, 1], np.uint8)}, "its filters is of no kind"),
        ({"filters": np.array([1], np.int32)}, "its filters is of no kind"),
        ({"compensation": np.array([0], np.uint8)}, "without predictions that overlap"),
    ],
)
def test_refused(changed: dict[str, Any], words: str) -> None:
    tensors = {name.removeprefix("decoder."): value for name, value in read_tensors(FILTERED, "decoder.").items()}
    AivcBackend(tensors, lambda: pytest.fail("no analysis is needed"))
    with pytest.raises(ValueError, match=words):
        AivcBackend(tensors | changed, lambda: pytest.fail("no analysis is needed"))


@pytest.mark.parametrize("kind", [P, B])
@pytest.mark.parametrize("best", Filter)
def test_the_one_that_predicts_best(
    best: Filter, kind: Any, backend: AivcBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all three, by motion that is searched with eight taps; and the decoder is told."""
    asked: list[Filter] = []

    def behind(search: ModeSearch, trials: Trials, numbers: object) -> float:
        asked.append(trials.kind)
        return float(trials.kind != best)

    monkeypatch.setattr(ModeSearch, "_behind", behind)
    frames = clip(48, 64, 3, motion=(1, 2))
    shown = [frames[0]] if kind == P else [frames[0], frames[2]]
    place = Place(kind, [Reference(frame) for frame in shown], [-1, 1][: len(shown)], 1 if kind == B else 0)
    content, reference = backend.encode(frames[1], place, 8192)
    assert content.choices[-1] == best
    assert asked[-3:] == list(Filter)
    assert set(asked[:-3]) <= {Filter.EIGHT}
    decoded = backend.decode(content, place, 8192, 48, 64)
    for one, two in zip(decoded.frame.planes, reference.frame.planes, strict=True):
        np.testing.assert_array_equal(one, two)


def test_predictions_differ_by_it(backend: AivcBackend) -> None:
    frames = clip(48, 64, 2, motion=(1, 2))
    place = Place(P, [Reference(frames[0])], [-1])
    content, _ = backend.quick().encode(frames[1], place, 8192)
    assert content.choices[-1] == Filter.EIGHT  # nothing else is tried
    made = []
    for one in Filter:
        said = content.__class__(content.latents, (*content.choices[:-1], int(one)), content.coefficients)
        made.append(backend.decode(said, place, 8192, 48, 64).frame.y)
    assert not any((made[n] == made[n - 1]).all() for n in range(3))
    wrong = content.__class__(content.latents, (*content.choices[:-1], 3), content.coefficients)
    with pytest.raises(BadStream, match="filter"):
        backend.decode(wrong, place, 8192, 48, 64)


def test_i_frames_have_none(backend: AivcBackend) -> None:
    content, reference = backend.encode(clip(48, 64, 1)[0], Place(I), 8192)
    assert (content.choices, reference.state) == ((), None)
