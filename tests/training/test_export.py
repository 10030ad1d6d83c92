"""A checkpoint becomes a weight file that encodes and decodes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from nvc.codec import models
from nvc.codec.picture import EncodeSettings, PictureEncoder, decode_picture, psnr
from nvc.codec.variants import Variant
from nvc.errors import InputError
from nvc.media.pictures import Picture
from nvc.networks.image import ImageNet
from nvc.networks.image_integer import ImageDecoder, Synthesis
from nvc.networks.integer import NumpyEngine
from nvc.training.checkpoints import read_weights, slim
from nvc.training.export import export
from nvc.training.loop import FitSettings, Trainer, fit, task_of
from nvc.training.picture_task import PictureTask


@pytest.fixture(scope="module")
def source(folder: Callable[..., Path]) -> Path:
    return folder("demo", "hall")


@pytest.fixture(scope="module")
def checkpoint(tiny_net: ImageNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the loop saves one."""
    trainer = Trainer(PictureTask(tiny_net.config), FitSettings(minutes=1), torch.device("cpu"))
    trainer.task.net.load_state_dict(tiny_net.state_dict())
    path = tmp_path_factory.mktemp("run") / "run.pt"
    torch.save(trainer.state(), path)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> models.ImageModel:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    told = list(export(checkpoint, source, path, name="tiny", psnr=tuple(range(28, 36)), threads=1))
    assert told[0] == "2 pictures analysed"
    assert [line for line in told if line.startswith("tables of level")] == [
        f"tables of level {n}" for n in range(1, 9)
    ]
    return models.load(str(path))


def test_metadata(exported: models.ImageModel) -> None:
    with safe_open(exported.path, framework="numpy") as file:
        metadata, names = file.metadata(), list(file.keys())
    assert json.loads(metadata["config"]) == {
        "latents": 24, "analysis": [8, 8, 8], "synthesis": [16, 12, 8], "linear": True,
    }  # fmt: skip
    assert (metadata["codec"], metadata["decoder"], metadata["name"]) == ("image", "integer", "tiny")
    assert exported.info.psnr_range == tuple(range(28, 36))
    assert {name.split(".")[0] for name in names} == {"decoder", "tables", "encoder", "training", "ablation"}
    assert (exported.levels, exported.quality(None), exported.rdoq(None)) == (8, 4.0, 2)


def test_id_is_of_the_decoder_alone(exported: models.ImageModel) -> None:
    """Another encoder keeps it; a decoder's or a table's bit changes it."""
    tensors = models.read_tensors(exported.path, "")
    assert models.model_id(tensors) == exported.id
    for name, same in (("encoder.l_a.bias", True), ("ablation.base.1.mode", True), ("decoder.conv1.bias", False),
                       ("tables.8.threshold", False)):  # fmt: skip
        changed = tensors | {name: tensors[name] + tensors[name].dtype.type(1)}
        assert (models.model_id(changed) == exported.id) == same, name


@pytest.mark.parametrize("quality", [1.0, 4.3, 8.0])
def test_codes_pictures(exported: models.ImageModel, pictures: dict[str, np.ndarray], quality: float) -> None:
    """A picture that was not trained on, out and back, by the model's own referee too."""
    encoder = PictureEncoder(Picture(pictures["stair"]), EncodeSettings(model=str(exported.path)))
    coded = encoder.encode(quality)
    shown = decode_picture(coded.data, model=str(exported.path)).pixels
    assert psnr(shown, pictures["stair"]) == coded.psnr > 17  # what 24 channels hold of it
    assert isinstance(exported.decoder, ImageDecoder)
    symbols = encoder.symbols(int((quality - 1) * 4096))
    latents = exported.decoder.dequantise(symbols, int((quality - 1) * 4096))
    by_numpy = Synthesis(exported.decoder, NumpyEngine()).picture(latents, 120, 160)
    assert np.array_equal(encoder.synthesis.picture(latents, 120, 160), by_numpy)


def test_levels_order(exported: models.ImageModel, pictures: dict[str, np.ndarray]) -> None:
    encoder = PictureEncoder(Picture(pictures["stair"]), EncodeSettings(model=str(exported.path), rdoq=0))
    coded = [encoder.encode(quality) for quality in (1.0, 3.0, 5.0, 8.0)]
    sizes, decibels = [len(c.data) for c in coded], [c.psnr for c in coded]
    assert sizes == sorted(sizes)
    assert decibels == sorted(decibels)
    assert sizes[-1] > 2 * sizes[0]


def test_ablation_tables(exported: models.ImageModel, pictures: dict[str, np.ndarray]) -> None:
    """Base and count code the same picture; without --ablation they are not there."""
    settings = {"model": str(exported.path), "rdoq": 0, "verify": True}
    picture = Picture(pictures["demo"])
    size = {
        kind: len(PictureEncoder(picture, EncodeSettings(tables=kind, **settings)).encode(4.0).data)
        for kind in ("ablation.base", "ablation.count", "tables")
    }
    assert size["tables"] < size["ablation.base"]
    assert size["ablation.count"] < size["ablation.base"]
    assert Variant("base", "ablation.base", 0).tables == "ablation.base"


def test_starts_from_a_weight_file(
    exported: models.ImageModel, tiny_net: ImageNet, source: Path, tmp_path: Path, pictures: dict[str, np.ndarray]
) -> None:
    """Its float networks show and rate a picture as those it was made of do, to the error of 8-bit weights."""
    weights = read_weights(exported.path)
    task = task_of(weights, exported.path)
    assert isinstance(task, PictureTask)
    x = torch.from_numpy(pictures["stair"][:96, :96].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        y = tiny_net.analysis(x)
        assert (task.net.synthesis(y) - tiny_net.synthesis(y)).abs().max() < 0.01
        assert (task.net.analysis(x) - y).abs().max() < 0.01
    for stack in ("g_a", "g_s"):
        for got, want in zip(getattr(task.net, stack)[::2], getattr(tiny_net, stack)[::2], strict=True):
            error = (got.weight - want.weight).square().mean() / want.weight.square().mean()
            assert error < 0.002
    assert torch.equal(task.net.log_step, tiny_net.log_step)
    settings = FitSettings(minutes=1e9, steps=1, batch=1, crop=96, rate=1e-9)
    assert list(fit(source, tmp_path / "new.pt", settings, device=torch.device("cpu"), start=exported.path))
    begun = read_weights(tmp_path / "new.pt")
    for part in ("net", "prior"):
        assert all(torch.allclose(v, begun[part][n], atol=1e-6) for n, v in weights[part].items())


def test_slim_of_a_weight_file(exported: models.ImageModel, tmp_path: Path) -> None:
    """For a machine without safetensors."""
    slim(exported.path, tmp_path / "start.pt")
    slimmed, weights = read_weights(tmp_path / "start.pt"), read_weights(exported.path)
    assert slimmed.keys() == weights.keys()
    assert all(torch.allclose(v, slimmed["net"][n], rtol=1e-3, atol=1e-4) for n, v in weights["net"].items())


def test_refuses_what_is_no_checkpoint(source: Path, tmp_path: Path) -> None:
    torch.save({"g_a.0.weight": torch.ones(3)}, tmp_path / "state.pt")
    with pytest.raises(InputError, match="not a checkpoint of nvc-train fit"):
        list(export(tmp_path / "state.pt", source, tmp_path / "x.safetensors", name="x"))
    assert not (tmp_path / "x.safetensors").exists()
