"""Weight files of video codecs: found by path and id, whole and sound, or refused in one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from nvc.codec import models, video_model
from nvc.codec.catalogue import CATALOGUE
from nvc.codec.models import Tensors, model_id, read_tensors
from nvc.codec.video_model import VideoModel
from nvc.errors import InputError, UnknownModel

TINY_PICTURE = Path(__file__).parents[1] / "golden" / "tiny.safetensors"
Rewrite = Callable[..., Path]


@pytest.fixture
def rewrite(tmp_path: Path, tiny_context_model: Path) -> Rewrite:
    """rewrite(change, **metadata): the tiny weight file with its tensors changed in place, with the id they have."""

    def rewrite(change: Callable[[Tensors], object] = lambda _: None, **metadata: str) -> Path:
        tensors = read_tensors(tiny_context_model, "")
        with safe_open(tiny_context_model, "numpy") as file:
            stated = file.metadata()
        change(tensors)
        path = tmp_path / "changed.safetensors"
        save_file(tensors, path, stated | {"id": model_id(tensors).hex()} | metadata)
        return path

    return rewrite


def test_by_path_and_id(tiny_video_model: Path) -> None:
    model = video_model.load(str(tiny_video_model))
    assert video_model.by_id(model.id, "ssf", str(tiny_video_model)) is model
    assert model.entry is CATALOGUE["ssf"]
    assert model.tables("motion", 3) is model.tables("motion", 3)
    with pytest.raises(UnknownModel, match="00010203"):
        video_model.by_id(bytes(range(4)), "ssf", str(tiny_video_model))


@pytest.mark.parametrize("path", [i.path for i in models.installed() if i.codec != "image"], ids=lambda p: p.stem)
def test_installed_ones_are_what_they_say(path: Path) -> None:
    model = VideoModel(path)
    for names in model.backend.informations.values():
        for name in names:
            for level in range(1, model.backend.levels + 1):
                assert len(model.tables(name, level).main) == 64


def test_models_of_the_other_kind(tiny_video_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that names a model of another codec names none that its decoder has."""
    with pytest.raises(InputError, match="image"):
        VideoModel(TINY_PICTURE)
    with pytest.raises(InputError, match="'ssf', not 'image'"):
        models.load(str(tiny_video_model))
    infos = tuple(VideoModel(tiny_video_model).info for _ in range(1))
    monkeypatch.setattr(models, "installed", lambda: infos)
    identity = bytes.fromhex(infos[0].id)
    assert video_model.by_id(identity, "ssf").info == infos[0]
    with pytest.raises(UnknownModel):
        models.by_id(identity)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda t: t.pop("decoder.motion.linear"), "linear is missing"),
        (lambda t: t.pop("decoder.intra.hyper.conv1.bias"), "conv1.bias is missing"),
        (lambda t: t.update({"decoder.residual.hyper.offset": np.zeros((7, 8), np.int32)}), "offsets"),
        (lambda t: t.update({"decoder.residual.conv1.bias": t["decoder.residual.conv1.bias"] + (1 << 24)}), "2"),
        (lambda t: t.update({"decoder.motion.log_step": np.full((8, 8), -1, np.int32)}), "quantiser step"),
        (lambda t: t.update({"decoder.motion.linear": t["decoder.motion.linear"][:4]}), "fit together"),
    ],
)
def test_unsound_networks(change: Callable[[Tensors], object], part: str, rewrite: Rewrite) -> None:
    model = VideoModel(rewrite(change))
    with pytest.raises(InputError, match=part) as refused:
        _ = model.backend
    assert "\n" not in str(refused.value)


def without_a_side_table(tensors: Tensors) -> None:
    """The first table of z at level 2 left out."""
    prefix = "tables.motion.2.side."
    first = int(tensors[f"{prefix}size"][0])
    for key, count in (("size", 1), ("offset", 1), ("frequency", first)):
        tensors[prefix + key] = tensors[prefix + key][count:]
    tensors[f"{prefix}candidates"] = np.zeros(0, np.uint16)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda t: t.pop("tables.motion.2.side.size"), "side.size is missing"),
        (lambda t: t.pop("tables.motion.main.offset"), "main.offset is missing"),
        (lambda t: t.update({"tables.motion.main.candidates": np.array([64], np.uint16)}), "candidate"),
        (lambda t: t["tables.motion.main.frequency"].__setitem__(0, 9), "65536"),
        (without_a_side_table, "3 side tables of motion for 4 channels"),
        (lambda t: t.pop("tables.motion.context.mix"), "context.mix is missing"),
        (lambda t: t["tables.motion.context.row"].__setitem__((3, 4), 64), "names a table that is none"),
        (lambda t: t["tables.motion.context.mix"].__setitem__(0, 33), "add up to more than 32"),
        (
            lambda t: t.update({"tables.motion.context.predict": t["tables.motion.context.predict"][1:]}),
            "contexts of 7 channels of motion, which has 8",
        ),
    ],
)
def test_unsound_tables(change: Callable[[Tensors], object], part: str, rewrite: Rewrite) -> None:
    model = VideoModel(rewrite(change))
    with pytest.raises(InputError, match=part) as refused:
        model.tables("motion", 2)
    assert "\n" not in str(refused.value)
    assert model.tables("residual", 2)


def of_each_level(tensors: Tensors, information: str = "motion") -> None:
    """The shared main tables and rows of an information at every level instead."""
    for part in ("main.size", "main.offset", "main.frequency", "main.candidates", "context.row"):
        value = tensors.pop(f"tables.{information}.{part}")
        tensors |= {f"tables.{information}.{level}.{part}": value.copy() for level in range(1, 9)}


def test_main_tables_of_each_level(rewrite: Rewrite) -> None:
    """A level has those that stand behind it, the same as shared ones where the numbers are the same."""

    def change(tensors: Tensors) -> None:
        of_each_level(tensors)
        tensors["tables.motion.3.context.row"][5, 6] = 63
        tensors["tables.motion.3.main.offset"][0] -= 1
        tensors["tables.motion.3.main.candidates"] = np.array([40, 2], np.uint16)

    whole = VideoModel(rewrite())
    shared = {level: whole.tables("motion", level) for level in (2, 3)}
    model = VideoModel(rewrite(change))
    assert model.id != whole.id
    same, other = model.tables("motion", 2), model.tables("motion", 3)
    assert same.context is not None
    assert other.context is not None
    assert shared[2].context is not None
    np.testing.assert_array_equal(same.main.cdf, shared[2].main.cdf)
    np.testing.assert_array_equal(same.context.row, shared[2].context.row)
    np.testing.assert_array_equal(same.side.cdf, shared[2].side.cdf)
    assert other.main.offset[0] == shared[3].main.offset[0] - 1
    assert other.main_candidates.tolist() == [40, 2]
    assert np.argwhere(other.context.row != shared[2].context.row).tolist() == [[5, 6]]
    for name in ("predict", "expected", "mix"):
        np.testing.assert_array_equal(getattr(other.context, name), getattr(shared[2].context, name))
    np.testing.assert_array_equal(model.tables("residual", 3).main.cdf, whole.tables("residual", 3).main.cdf)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda t: t.pop("tables.motion.7.main.size"), "motion.7.main.size is missing"),
        (lambda t: t.pop("tables.motion.2.context.row"), "motion.2.context.row is missing"),
        (lambda t: t.pop("tables.motion.context.mix"), "motion.context.mix is missing"),
        (lambda t: t.update({"tables.motion.main.size": t["tables.motion.1.main.size"]}), "both shared"),
        (lambda t: t.update({"tables.motion.context.row": t["tables.motion.1.context.row"]}), "both shared"),
        (lambda t: t.update({"tables.motion.2.context.mix": t["tables.motion.context.mix"]}), "no tensor of a level"),
        (lambda t: t["tables.motion.2.context.row"].__setitem__((3, 4), 64), "names a table that is none"),
        (lambda t: t["tables.motion.2.main.frequency"].__setitem__(0, 9), "65536"),
    ],
)
def test_unsound_tables_of_each_level(change: Callable[[Tensors], object], part: str, rewrite: Rewrite) -> None:
    def changed(tensors: Tensors) -> None:
        of_each_level(tensors)
        change(tensors)

    model = VideoModel(rewrite(changed))
    with pytest.raises(InputError, match=part) as refused:
        model.tables("motion", 2)
    assert "\n" not in str(refused.value)
    assert model.tables("residual", 2)


def test_contexts_are_of_an_information(rewrite: Rewrite) -> None:
    """One may have them and another not; they are hashed into the id as all tables are."""

    def without(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.startswith("tables.motion.context.")]:
            del tensors[name]

    whole = VideoModel(rewrite()).id
    model = VideoModel(rewrite(without))
    assert model.tables("motion", 2).context is None
    assert model.tables("residual", 2).context is not None
    assert model.id != whole


def test_a_kind_of_decoder_that_is_unknown(rewrite: Rewrite) -> None:
    with pytest.raises(InputError, match="'quantum'; a newer nvc may read it"):
        _ = VideoModel(rewrite(decoder="quantum")).backend
