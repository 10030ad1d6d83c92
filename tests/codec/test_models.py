"""Weight files: their id, finding one, and one line for each that is not sound."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from nvc.codec import models
from nvc.codec.catalogue import CATALOGUE, by_number
from nvc.codec.models import ImageModel, Tensors, context_from_tensors, context_tensors, model_id, read_tensors
from nvc.entropy_models.context import ContextModel
from nvc.errors import InputError, UnknownModel
from nvc.media.pictures import Picture

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "golden" / "tiny.safetensors"
PICTURE_MODELS = [info.path for info in models.installed() if info.codec == "image"]
Rewrite = Callable[..., Path]


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata())


@pytest.fixture
def rewrite(tmp_path: Path) -> Rewrite:
    """rewrite(change, **metadata): the tiny weight file with its tensors changed in place, with the id they have."""

    def rewrite(change: Callable[[Tensors], Any] = lambda tensors: None, **metadata: str | None) -> Path:
        tensors = read_tensors(TINY, "")
        change(tensors)
        values = metadata_of(TINY) | {"id": model_id(tensors).hex()} | metadata
        path = tmp_path / "changed.safetensors"
        save_file(tensors, path, {key: value for key, value in values.items() if value is not None})
        return path

    return rewrite


def refused(make: Callable[[], Any], path: Path, *parts: str) -> None:
    """One line that names the file."""
    with pytest.raises(InputError) as error:
        make()
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert all(part in message for part in parts), message


class TestIdentity:
    def test_definition(self) -> None:
        """FORMAT.md 9, by hand."""
        tensors: Tensors = {
            "tables.1.order": np.array([1, 0], np.uint16),
            "decoder.scale": np.array([[-2]], np.int32),
            "encoder.x": np.zeros(3, np.float16),
            "ablation.base.1.order": np.zeros(3, np.uint16),
        }
        content = b"decoder.scale <i4 1,1\n\xfe\xff\xff\xfftables.1.order <u2 2\n\x01\0\0\0"
        assert model_id(tensors) == hashlib.sha256(content).digest()[:4]

    def test_layout_in_memory_does_not_matter(self) -> None:
        value = np.arange(12, dtype=np.int16).reshape(3, 4)
        assert model_id({"tables.x": value}) == model_id({"tables.x": np.asfortranarray(value)})
        assert model_id({"tables.x": value}) != model_id({"tables.x": value.T})

    @pytest.mark.parametrize("name", ["decoder.linear", "decoder.conv2.bias", "tables.3.near", "tables.8.symbols.size"])
    def test_goes_by_decoder_and_tables(self, name: str) -> None:
        tensors = read_tensors(TINY, "")
        before = model_id(tensors)
        tensors[name] = tensors[name].copy()
        tensors[name].flat[-1] += 1
        assert model_id(tensors) != before

    def test_ignores_analysis_and_name(self, rewrite: Rewrite) -> None:
        path = rewrite(lambda t: t.update({"encoder.g": np.ones(3), "ablation.x": np.ones(3)}), name="other")
        assert ImageModel(path).id == ImageModel(TINY).id

    @pytest.mark.parametrize("path", PICTURE_MODELS, ids=lambda p: p.stem)
    def test_installed_ones_are_what_they_say(self, path: Path) -> None:
        model = ImageModel(path)
        assert model.id.hex() == model.info.id == model_id(read_tensors(path, "")).hex()
        entry = CATALOGUE[model.info.codec]
        assert by_number(entry.number) is entry
        for level in range(1, model.levels + 1):
            assert model.tables(level).channels == model.config["latents"]


class TestFinding:
    def test_listing_loads_nothing_heavy(self, tmp_path: Path) -> None:
        code = (
            "import sys; from nvc.codec import models; found = models.installed(); "
            "print([(m.name, m.id, m.codec) for m in found]);"
            "print([m for m in ('torch', 'numba', 'PIL', 'av', 'imageio') if m in sys.modules])"
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        listed, heavy = done.stdout.splitlines()
        assert listed == str([(m.name, m.id, m.codec) for m in models.installed()])
        assert heavy == "[]"

    def test_by_name_path_and_id(self) -> None:
        info = next(info for info in models.installed() if info.codec == "image")
        identity = bytes.fromhex(info.id)
        for model in (models.load(), models.load(info.name), models.load(str(info.path)), models.by_id(identity)):
            assert model.info.id == info.id
        assert models.load(str(TINY)).info.name == "tiny"
        assert models.by_id(ImageModel(TINY).id, str(TINY)).info.name == "tiny"

    def test_is_opened_once(self) -> None:
        assert models.load(str(TINY)) is models.load(str(TINY))
        model = models.load(str(TINY))
        assert model.decoder is model.decoder
        assert model.tables(2) is model.tables(2)

    def test_unknown(self) -> None:
        with pytest.raises(InputError, match=r"model nosuch: not installed \(installed: .+\)"):
            models.load("nosuch")
        with pytest.raises(UnknownModel, match="00010203"):
            models.by_id(bytes(range(4)))
        with pytest.raises(UnknownModel, match=models.load().info.id):
            models.by_id(models.load().id, str(TINY))

    def test_psnr_range(self, rewrite: Rewrite) -> None:
        assert ImageModel(rewrite()).info.psnr_range is None
        eight = [float(db) for db in range(30, 38)]
        assert ImageModel(rewrite(psnr=json.dumps(eight))).info.psnr_range == tuple(eight)
        for other in ("null", "[1, 2]", "[]"):
            assert ImageModel(rewrite(psnr=other)).info.psnr_range is None


class TestUnsound:
    """A file that is no weight file, or not a whole one."""

    def test_missing(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.safetensors", tmp_path):
            refused(lambda path=path: ImageModel(path), path)

    @pytest.mark.parametrize("end", [0, 7, 8, 100, 5000, -1])
    def test_cut(self, tmp_path: Path, end: int) -> None:
        path = tmp_path / "cut.safetensors"
        path.write_bytes(TINY.read_bytes()[:end])
        refused(lambda: ImageModel(path), path)

    def test_noise(self, tmp_path: Path) -> None:
        path = tmp_path / "noise.safetensors"
        random = np.random.default_rng(0)
        for size in (1, 8, 20, 4000):
            path.write_bytes(random.bytes(size))
            refused(lambda: ImageModel(path), path)

    def test_other_safetensors(self, tmp_path: Path) -> None:
        path = tmp_path / "other.safetensors"
        save_file({"x": np.zeros(3)}, path)
        refused(lambda: ImageModel(path), path, "not of nvc")
        save_file({"x": np.zeros(3)}, path, {"codec": "image"})
        refused(lambda: ImageModel(path), path, "not of nvc")

    def test_flipped_bits(self, tmp_path: Path) -> None:
        """Wrong tables would make wrong streams: the id is checked when the file is opened."""
        data = bytearray(TINY.read_bytes())
        begin = 8 + int.from_bytes(data[:8], "little")
        path = tmp_path / "bent.safetensors"
        random = np.random.default_rng(0)
        for at in random.integers(begin, len(data), 40):
            bent = data.copy()
            bent[at] ^= 1 << int(random.integers(0, 8))
            path.write_bytes(bent)
            refused(lambda: ImageModel(path), path, "damaged", ImageModel(TINY).info.id)

    def test_flipped_bits_of_the_head(self, tmp_path: Path) -> None:
        """Whatever the JSON has become: one line, or a file that still means the same."""
        data = bytearray(TINY.read_bytes())
        end = 8 + int.from_bytes(data[:8], "little")
        path = tmp_path / "bent.safetensors"
        random = np.random.default_rng(1)
        reference = [ImageModel(TINY).tables(level).symbols.cdf.sum() for level in range(1, 9)]
        same = 0
        for at in random.integers(0, end, 250):
            bent = data.copy()
            bent[at] ^= 1 << int(random.integers(0, 8))
            path.write_bytes(bent)
            try:
                model = ImageModel(path)
                assert model.decoder.levels == 8
                assert [model.tables(level).symbols.cdf.sum() for level in range(1, 9)] == reference
                same += 1
            except InputError as error:
                refused(lambda error=error: _again(error), path)
        assert same < 50  # the name and the config may change

    @pytest.mark.parametrize("key", ["id", "psnr"])
    @pytest.mark.parametrize("value", ["", "zz", "{", "0011", "[[1]]", '{"a": 1}'])
    def test_metadata(self, rewrite: Rewrite, key: str, value: str) -> None:
        path = rewrite(**{key: value})
        if (key, value) == ("psnr", "0011"):
            value = "number"
        refused(lambda: ImageModel(path), path)

    @pytest.mark.parametrize("key", ["codec", "name", "id", "config"])
    def test_missing_metadata(self, rewrite: Rewrite, key: str) -> None:
        path = rewrite(**{key: None})
        refused(lambda: ImageModel(path), path, "not of nvc")

    @pytest.mark.parametrize("value", ["", "[1, 2]", "7", '"x"', "null"])
    def test_config(self, rewrite: Rewrite, value: str) -> None:
        path = rewrite(config=value)
        refused(lambda: ImageModel(path).config, path, "not a sound weight file")

    @pytest.mark.parametrize("value", ['{"widths": 3}', '{"latents": "many"}', '{"latents": 9}'])
    def test_config_that_does_not_fit(self, rewrite: Rewrite, value: str) -> None:
        from nvc.codec.picture import EncodeSettings, PictureEncoder

        path = rewrite(config=value)
        picture = Picture(np.zeros((16, 16, 3), np.uint8))
        refused(lambda: PictureEncoder(picture, EncodeSettings(model=str(path))), path, "analysis")

    def test_other_codec(self, rewrite: Rewrite, tmp_path: Path) -> None:
        path = shutil.move(rewrite(codec="ssf"), tmp_path / "ssf.safetensors")
        refused(lambda: models.load(str(path)), path, "'ssf'")

    def test_other_decoder(self, rewrite: Rewrite) -> None:
        path = rewrite(decoder="quantum")
        refused(lambda: ImageModel(path).decoder, path, "quantum")

    @pytest.mark.parametrize(
        "name", ["linear", "scale", "log_step", "conv0.weight", "conv1.bias", "conv2.shift", "conv3.weight"]
    )
    def test_decoder_without(self, rewrite: Rewrite, name: str) -> None:
        path = rewrite(lambda tensors: tensors.pop(f"decoder.{name}"))
        refused(lambda: ImageModel(path).decoder, path, "not a sound weight file")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("conv0.weight", np.zeros((24, 8, 5, 5), np.int8)),
            ("conv0.weight", np.zeros((24, 8, 3, 3), np.int16)),
            ("conv0.weight", np.zeros((24, 7, 3, 3), np.int8)),
            ("conv1.weight", np.zeros((16, 8, 3, 3), np.int8)),
            ("conv1.bias", np.full(16, 1 << 24, np.int32)),
            ("conv1.bias", np.zeros(4, np.int32)),
            ("conv1.bias", np.zeros(16, np.float32)),
            ("conv2.shift", np.full(16, 32, np.int8)),
            ("conv2.shift", np.full(16, -1, np.int8)),
            ("conv3.weight", np.zeros((16, 4, 3, 3), np.int8)),
            ("linear", np.zeros((7, 768), np.int16)),
            ("linear", np.zeros((8, 767), np.int16)),
            ("linear", np.zeros((8, 768), np.float32)),
            ("scale", np.array([6], np.int32)),
            ("scale", np.array([-1, 20], np.int32)),
            ("scale", np.array([6, 60], np.int32)),
            ("scale", np.array([30, 20], np.int32)),
            ("log_step", np.zeros((7, 8), np.int32)),
            ("log_step", np.zeros((8, 7), np.int32)),
            ("log_step", np.full((8, 8), -1, np.int32)),
            ("log_step", np.full((8, 8), 57345, np.int32)),
        ],
    )
    def test_decoder_of_other_make(self, rewrite: Rewrite, name: str, value: Any) -> None:
        path = rewrite(lambda tensors: tensors.update({f"decoder.{name}": value}))
        refused(lambda: ImageModel(path).decoder, path, "not a sound weight file")

    @pytest.mark.parametrize("part", ["order", "near", "threshold", "symbols.frequency", "symbols.size"])
    def test_tables_without(self, rewrite: Rewrite, part: str) -> None:
        path = rewrite(lambda tensors: tensors.pop(f"tables.2.{part}"))
        refused(lambda: ImageModel(path).tables(2), path, "not a sound weight file")
        assert ImageModel(path).tables(3).channels == 8

    @pytest.mark.parametrize(
        ("part", "value"),
        [
            ("order", np.zeros(8, np.uint16)),
            ("order", np.zeros((2, 4), np.uint16)),
            ("mode", np.float32(1)),
            ("source", np.full((8, 2), 400, np.int16)),
            ("source", np.full((8, 2), -400, np.int16)),
            ("source", np.zeros(8, np.int16)),
            ("threshold", np.zeros(8, np.uint16)),
            ("threshold", np.zeros((8, 300), np.uint16)),
            ("quantiser", np.full((8, 16), 3, np.uint8)),
            ("symbols.size", np.full(32, 40000, np.uint16)),
            ("symbols.size", np.array([-5, 10], np.int16)),
            ("symbols.size", np.zeros(0, np.uint16)),
            ("symbols.offset", np.zeros(3, np.int16)),
            ("symbols.offset", np.full(32, np.nan)),
            ("symbols.frequency", np.zeros(400, np.uint16)),
            ("activation.size", np.full(200, 2, np.uint16)),
            ("activation.frequency", np.full((100, 6), 9, np.uint16)),
        ],
    )
    def test_tables_of_other_make(self, rewrite: Rewrite, part: str, value: Any) -> None:
        path = rewrite(lambda tensors: tensors.update({f"tables.2.{part}": np.asarray(value)}))
        refused(lambda: ImageModel(path).tables(2), path, "not a sound weight file")

    def test_level_that_is_not_there(self) -> None:
        refused(lambda: ImageModel(TINY).tables(9), TINY, "no tables of level 9")
        refused(lambda: ImageModel(TINY).tables(1, "ablation.base"), TINY, "no ablation.base of level 1")


def _again(error: Exception) -> None:
    raise error


class TestContextTensors:
    def same(self, a: ContextModel, b: ContextModel) -> None:
        for name in ("order", "mode", "predict", "quantiser", "near", "source", "weight", "threshold", "lookup"):
            assert np.array_equal(getattr(a, name), getattr(b, name))
        for one, other in ((a.symbols, b.symbols), (a.activation, b.activation)):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                for name in ("cdf", "start", "size", "offset"):
                    assert np.array_equal(getattr(one, name), getattr(other, name))

    @pytest.mark.parametrize("level", [1, 4, 8])
    def test_installed(self, level: int) -> None:
        model = models.load().tables(level)
        tensors = context_tensors(model)
        self.same(context_from_tensors(tensors), model)
        stored = read_tensors(models.load().path, f"tables.{level}.")
        assert stored.keys() == tensors.keys()
        for name, value in stored.items():
            assert value.dtype == tensors[name].dtype
            assert np.array_equal(value, tensors[name])

    @pytest.mark.parametrize("level", [1, 7, 8])
    def test_all_kinds(self, level: int) -> None:
        """Magnitudes; one table a channel without activation; counts."""
        model = ImageModel(TINY).tables(level)
        assert (model.activation is None) == (level == 7)
        self.same(context_from_tensors(context_tensors(model)), model)
