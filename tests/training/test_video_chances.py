"""Chances of coefficients from training clips: what is learned, and that it serves other clips."""

import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import P, clip  # noqa: E402

from nvc.codec.aivc import AivcBackend  # noqa: E402
from nvc.codec.models import read_tensors  # noqa: E402
from nvc.codec.transform import CHANCES, Transform  # noqa: E402
from nvc.codec.transform_choice import choose  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.entropy_coding.adaptive import LEAST, MOST, beginning  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks.planes import pad_planes  # noqa: E402
from nvc.networks.transform import step_sizes  # noqa: E402
from nvc.training import video_chances  # noqa: E402
from nvc.training.clips import Clip  # noqa: E402


def clip_of(frames: list[Frame420]) -> Clip:
    planes = np.stack([pad_planes(frame).transpose(2, 0, 1) for frame in frames])
    return Clip(planes, np.zeros((len(frames), 0, 2, 1, 1), np.int8))


@pytest.fixture(scope="module")
def learned() -> Transform:
    model = VideoModel(TESTS / "data" / "tiny_layers.safetensors")
    backend = model.backend
    assert isinstance(backend, AivcBackend)
    clips = [clip_of(clip(48, 64, 4, "sign", motion)) for motion in ((1, 2), (2, 0))]
    tensors = video_chances.learn(backend, clips, model.tables)
    assert tensors.keys() == {f"decoder.transform.{name}" for name in CHANCES.values()}
    named = read_tensors(TESTS / "data" / "tiny_layers.safetensors", "decoder.") | tensors
    made = Transform.of({name.removeprefix("decoder."): value for name, value in named.items()})
    assert made is not None
    return made


def test_what_is_learned_can_be_coded_with(learned: Transform) -> None:
    for chances in learned.chances.values():
        assert chances.dtype == np.uint16
        assert LEAST <= chances.min() <= chances.max() <= MOST


def test_another_clip_takes_fewer_bits(learned: Transform) -> None:
    """Than with the numbers of the tiny model, which know nothing."""
    before = Transform.of(
        {
            name.removeprefix("decoder."): value
            for name, value in read_tensors(TESTS / "data" / "tiny_layers.safetensors", "decoder.").items()
        }
    )
    assert before is not None
    one, two = clip(64, 64, 2, "sign", (3, 1))
    sizes = step_sizes(before.log_step, 12288)
    bits = [choose(two, one, sizes, 0.013, beginning(each.chances[P]))[1] for each in (learned, before)]
    assert bits[0] < 0.95 * bits[1]
