"""Predictors added to a weight file, by the command: what is new, what stays, that frames are coded with them.

That `nvc-train export` keeps them is tested where there is a weight file with training tensors: test_aivc.py.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import I, clip, encode, show  # noqa: E402

from nvc.cli import common, train  # noqa: E402
from nvc.codec.models import read_tensors  # noqa: E402
from nvc.codec.prediction_choice import BLOCK_WORTH, choose  # noqa: E402
from nvc.codec.predictors import KINDS, Prediction, untrained_prediction  # noqa: E402
from nvc.codec.transform_choice import CHROMA_WEIGHT, LUMA_WEIGHT  # noqa: E402
from nvc.codec.video_backend import Place  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.entropy_coding.adaptive import beginning  # noqa: E402
from nvc.errors import InputError  # noqa: E402
from nvc.networks.lambdas import LAMBDAS  # noqa: E402
from nvc.networks.planes import pad_planes  # noqa: E402
from nvc.training import predictor_export  # noqa: E402
from nvc.training.predictors import ONE  # noqa: E402

DATA = TESTS / "data"
NEW = {f"decoder.predictors.{name}" for name in ("luma_8", "luma_16", "chroma", "log_step", "chances")}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, as a training run finds them."""
    path, arrays = tmp_path_factory.mktemp("two") / "clips.npz", {}
    for n, (size, name) in enumerate([((64, 96), "stair"), ((96, 128), "sign")]):
        arrays[f"p{n}"] = np.stack([pad_planes(f).transpose(2, 0, 1) for f in clip(*size, 2, name, (1, 2))])
        arrays[f"f{n}"] = np.zeros((2, 1, 2, size[0] // 8, size[1] // 8), np.int16)
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("predictors") / "more.safetensors"
    line = ["predictors", str(DATA / "tiny_filters.safetensors"), str(source), "-o", str(output)]
    assert common.run(train.cli, line) == 0
    return output


def test_all_else_stays(made: Path) -> None:
    before, after = (read_tensors(path, "") for path in (DATA / "tiny_filters.safetensors", made))
    assert after.keys() == before.keys() | NEW
    for name, value in before.items():
        assert after[name].dtype == value.dtype
        np.testing.assert_array_equal(after[name], value)
    model = VideoModel(made)
    assert model.info.name == "more"
    assert model.id != VideoModel(DATA / "tiny_filters.safetensors").id


def prediction_of(path: Path) -> Prediction:
    found = Prediction.of({n.removeprefix("decoder."): v for n, v in read_tensors(path, "decoder.").items()})
    assert found is not None
    return found


def test_what_is_learned(made: Path) -> None:
    """All predictors that there may be of luma; chances that differ from level to level; finer steps at finer ones."""
    found = prediction_of(made)
    assert found.counts == (32, 16, 8)
    for one in found.predictors:
        assert (one.astype(int).sum(1) == ONE).all()
    assert all((a != b).any() for a, b in zip(found.chances, found.chances[1:], strict=False))
    assert (np.diff(found.log_step, axis=0) < 0).all()


@pytest.mark.parametrize("level", [1, 6])
def test_learned_chances_take_fewer_bits(level: int, made: Path) -> None:
    """Than such as know nothing, on a part of a photograph that was not seen."""
    found, frame = prediction_of(made), clip(60, 64, 1, "hall")[0]
    fresh = untrained_prediction(found.predictors, BLOCK_WORTH * np.outer(LAMBDAS, (LUMA_WEIGHT, CHROMA_WEIGHT)))
    np.testing.assert_array_equal(found.log_step, fresh.log_step)
    bits = [
        choose(frame, one, 4096 * level, BLOCK_WORTH * LAMBDAS[level], beginning(one.chances[level]))[2]
        for one in (found, fresh)
    ]
    assert bits[0] < 0.95 * bits[1]


def test_frames_are_coded_with_them(made: Path) -> None:
    model, frames = VideoModel(made), clip(48, 64, 3)
    assert model.backend.encode(frames[0], Place(I), 12288)[0].latents == {}
    data, _ = encode(model, frames, 4.0, gop=2)
    assert len(show(data, model)) == 3  # compares checksums


def test_a_weight_file_that_has_some_gets_others(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one clip of the two; what is learned replaces all that there was."""
    asked = []

    def learn(planes_y: list[np.ndarray], planes_c: list[np.ndarray]) -> dict[str, np.ndarray]:
        asked.append((len(planes_y), len(planes_c)))
        return {kind: np.full((2, 25, 256 if kind == "luma_16" else 64), 40, np.int16) for kind in KINDS}

    monkeypatch.setattr(predictor_export, "learn", learn)
    before, output = DATA / "tiny_blocks.safetensors", tmp_path / "new.safetensors"
    lines = list(predictor_export.add(before, source, output, name="new", limit=1))
    assert asked == [(1, 2)]
    assert lines[0] == "1 frames"
    assert lines[-1] == f"{output}: model id {VideoModel(output).id.hex()}"
    tensors, old = read_tensors(output, ""), read_tensors(before, "")
    assert tensors.keys() == old.keys()
    differ = {name for name in tensors if not np.array_equal(tensors[name], old[name])}
    assert differ == NEW


@pytest.mark.parametrize("name", ["tiny_lhbdc", "tiny_video"])
def test_other_codecs_have_none(name: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no predicted blocks"):
        next(predictor_export.add(DATA / f"{name}.safetensors", source, tmp_path / "x.safetensors", name="x"))
    assert not list(tmp_path.iterdir())
