"""A published checkpoint becomes a weight file that codes real bytes."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from nvc.bitstream.container import read_picture_file
from nvc.codec import models
from nvc.codec.picture import EncodeSettings, PictureEncoder, decode_picture, decode_symbols, frame_bits
from nvc.errors import BadStream, InputError, UsageError
from nvc.media.pictures import Picture
from nvc.networks.image_analysis import pad_to_blocks
from nvc.training.importer import import_state_dict


def random_model(n: int, m: int, seed: int = 1) -> torch.nn.Module:
    """compressai's model with weights of a size that makes symbols and pixels vary."""
    zoo = pytest.importorskip("compressai.models")
    torch.manual_seed(seed)
    net = zoo.FactorizedPriorReLU(n, m).eval()
    with torch.no_grad():
        for layer in [*net.g_a[::2], *net.g_s[::2]]:
            layer.weight.mul_(2.4)
        net.g_a[-1].weight.mul_(20)
        net.g_s[-1].weight.mul_(0.1)
        net.g_s[-1].bias.fill_(0.5)
        net.entropy_bottleneck.quantiles[:, 0] += 0.7 * torch.randn(m, 1)
    return net


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    return random_model(8, 12)


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., models.ImageModel]:
    """imported(state dict, name): the weight file of it, opened."""

    def run(state: object, name: str = "tiny") -> models.ImageModel:
        torch.save(state, tmp_path / "checkpoint.pth.tar")
        data, identity = import_state_dict(tmp_path / "checkpoint.pth.tar", name)
        path = tmp_path / f"{identity}.safetensors"
        path.write_bytes(data)
        return models.load(str(path))

    return run


def encoder_of(model: models.ImageModel, pixels: np.ndarray, **more: object) -> PictureEncoder:
    return PictureEncoder(Picture(pixels), EncodeSettings(model=str(model.path), **more))


@torch.no_grad()
def test_same_as_compressai(net: torch.nn.Module, imported: Callable[..., models.ImageModel], pictures: dict) -> None:
    """Symbols, bytes of the payload and pixels, against compressai's own compress and decompress."""
    model = imported(net.state_dict())
    theirs = random_model(8, 12)
    theirs.update()
    pixels = pictures["hall"]
    coded = encoder_of(model, pixels).encode()
    x = torch.from_numpy(pad_to_blocks(pixels)).permute(2, 0, 1)[None].float() / 255
    written = theirs.compress(x)
    file = read_picture_file(coded.data)
    assert file.frame.payload == written["strings"][0][0]
    assert len(file.frame.payload) > 100
    assert np.unique(decode_symbols(file, model)).size > 9

    shown = theirs.decompress(**written)["x_hat"][0].permute(1, 2, 0)
    want = (255 * shown).round().to(torch.uint8).numpy()[: pixels.shape[0], : pixels.shape[1]]
    got = decode_picture(coded.data, model=str(model.path)).pixels
    assert np.abs(got.astype(int) - want).max() <= 1
    assert (got != want).mean() < 1e-3
    assert len(np.unique(got)) > 50


def test_tables_filled_or_made(net: torch.nn.Module, imported: Callable[..., models.ImageModel]) -> None:
    """Empty tables are made, filled ones taken: the same model id. Old and wrapped names too."""
    plain = net.state_dict()
    filled_net = random_model(8, 12)
    filled_net.update()
    filled = filled_net.state_dict()
    assert plain["entropy_bottleneck._offset"].numel() == 0
    assert filled["entropy_bottleneck._offset"].numel() == 12
    old = {
        name.replace("matrices.", "_matrix").replace("biases.", "_bias").replace("factors.", "_factor"): value
        for name, value in filled.items()
    }
    forms = (
        plain,
        filled,
        old,
        {"epoch": 3, "state_dict": plain},
        {"network": {f"module.{name}": value for name, value in filled.items()}},
    )
    assert len({imported(form).id for form in forms}) == 1

    other = dict(filled)
    other["entropy_bottleneck._offset"] = filled["entropy_bottleneck._offset"] - 1
    assert imported(other).id != imported(filled).id  # filled tables are what counts


def test_weight_file(net: torch.nn.Module, imported: Callable[..., models.ImageModel]) -> None:
    """Metadata, N and M from the shapes, one level, one context, no activation bits."""
    model = imported(net.state_dict(), "bmshj")
    with safe_open(model.path, framework="numpy") as file:
        metadata = file.metadata()
    config = json.loads(metadata.pop("config"))
    assert (config["latents"], config["analysis"], config["synthesis"]) == (12, [8, 8, 8], [8, 8, 8])
    assert metadata == {"codec": "image", "decoder": "float", "name": "bmshj", "id": model.info.id}
    tables = model.tables(1)
    assert (tables.channels, tables.contexts, tables.activation) == (12, 1, None)
    assert (model.levels, model.info.psnr_range) == (1, None)
    with pytest.raises(InputError, match="holds no tables of level 2"):
        model.tables(2)


@pytest.mark.parametrize("name", ["stair", "hall"])
def test_round_trip(
    net: torch.nn.Module, imported: Callable[..., models.ImageModel], pictures: dict, name: str
) -> None:
    model = imported(net.state_dict())
    encoder = encoder_of(model, pictures[name])
    coded = encoder.encode()
    assert coded.quality == 1
    shown = decode_picture(coded.data, model=str(model.path)).pixels
    assert np.array_equal(shown, encoder.reconstruct(encoder.symbols(0), 0))
    assert sum(coded.bits.values()) == pytest.approx(8 * len(read_picture_file(coded.data).frame.payload))
    assert coded.bits["activation"] == 0


def test_kind_of_decoder(net: torch.nn.Module, imported: Callable[..., models.ImageModel], tmp_path: Path) -> None:
    """A kind that this nvc does not know is refused, not taken for another."""
    from safetensors.numpy import load_file, save_file

    path = imported(net.state_dict()).path
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    for kind, reason in (("sparse", "of the kind 'sparse'"), ("integer", "not a sound weight file")):
        save_file(load_file(path), tmp_path / f"{kind}.safetensors", metadata | {"decoder": kind})
        model = models.load(str(tmp_path / f"{kind}.safetensors"))
        with pytest.raises(InputError, match=reason):
            model.decoder  # noqa: B018 - reading it is what fails


def test_grey_and_threads(net: torch.nn.Module, imported: Callable[..., models.ImageModel], pictures: dict) -> None:
    model = imported(net.state_dict())
    grey = np.ascontiguousarray(pictures["stair"][:, :, 1])
    first, second = (encoder_of(model, grey, threads=n).encode().data for n in (1, 2))
    assert first == second
    shown = [decode_picture(first, model=str(model.path), threads=n).pixels for n in (1, 2)]
    assert shown[0].shape == grey.shape
    assert np.array_equal(*shown)


def test_published_widths(imported: Callable[..., models.ImageModel], pictures: dict) -> None:
    """N = 128, M = 192, once."""
    model = imported(random_model(128, 192).state_dict())
    pixels = pictures["hall"][:40, :50]
    coded = encoder_of(model, pixels).encode()
    assert decode_picture(coded.data, model=str(model.path)).pixels.shape == pixels.shape
    assert model.config["latents"] == 192


class TestOneRate:
    """What only models of many levels can do is refused with the reason."""

    def test_quality(self, net: torch.nn.Module, imported: Callable[..., models.ImageModel], pictures: dict) -> None:
        encoder = encoder_of(imported(net.state_dict()), pictures["hall"])
        assert encoder.encode(1.0).data == encoder.encode().data
        for quality in (1.5, 4.0, 8.0):
            with pytest.raises(UsageError, match="one checkpoint of one rate"):
                encoder.encode(quality)

    def test_rdoq(self, net: torch.nn.Module, imported: Callable[..., models.ImageModel], pictures: dict) -> None:
        model = imported(net.state_dict())
        same = encoder_of(model, pictures["hall"], rdoq=0).encode().data
        assert same == encoder_of(model, pictures["hall"]).encode().data
        with pytest.raises(UsageError, match="rdoq 2: not with model tiny: its decoder is a published one"):
            encoder_of(model, pictures["hall"], rdoq=2)

    def test_file_of_another_quality(
        self, net: torch.nn.Module, imported: Callable[..., models.ImageModel], pictures: dict
    ) -> None:
        """A header that claims what the model has not, its checksum right."""
        from dataclasses import replace

        from nvc.bitstream.container import write_picture_file

        model = imported(net.state_dict())
        file = read_picture_file(encoder_of(model, pictures["hall"]).encode().data)
        for change in ({"quality_code": 1}, {"quality_code": 9000}, {"table_set": 1}):
            data = write_picture_file(replace(file.header, **change), file.frame)
            with pytest.raises(BadStream, match="ends at 1"):
                decode_picture(data, model=str(model.path))

    def test_bits_need_the_model(
        self, net: torch.nn.Module, imported: Callable[..., models.ImageModel], pictures: dict
    ) -> None:
        """The file names a model that is not installed."""
        data = encoder_of(imported(net.state_dict()), pictures["hall"]).encode().data
        with pytest.raises(BadStream, match="which is not installed here"):
            frame_bits(data)


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {n: value for n, value in state.items() if n != name}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: without(s, "g_s.4.weight"), "holds no g_s.4.weight of four dimensions"),
        (lambda s: without(s, "g_s.4.bias"), "holds no g_s.4.bias"),
        (lambda s: without(s, "g_a.0.bias"), "holds no g_a.0.bias"),
        (lambda s: without(s, "entropy_bottleneck.quantiles"), "holds no quantiles"),
        (lambda s: without(s, "entropy_bottleneck.biases.2"), "holds no"),
        (lambda s: s | {"g_a.1.beta": torch.ones(8)}, "has GDN layers"),
        (lambda s: s | {"h_a.0.weight": torch.ones(8)}, "has a hyperprior"),
        (lambda s: s | {"g_a.0.weight": torch.ones(8, 4, 5, 5)}, "g_a.0.weight is not of finite numbers in the shape"),
        (lambda s: s | {"g_a.2.bias": torch.full((8,), float("inf"))}, "g_a.2.bias is not of finite"),
        (lambda s: s | {"g_s.6.bias": torch.full((3,), float("nan"))}, "finite float32"),
        (lambda s: s | {"g_s.0.weight": torch.ones(13, 8, 5, 5)}, "do not fit together"),
        (lambda s: [1, 2], "not a state dict"),
        (lambda s: {"net": s}, "holds no g_a.0.weight"),
    ],
)
def test_unsound(
    net: torch.nn.Module, imported: Callable[..., models.ImageModel], change: Callable, reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        imported(change(dict(net.state_dict())))
    assert "checkpoint.pth.tar" in str(caught.value)


class Trap:
    """What a hostile pickle does."""

    def __reduce__(self) -> tuple:
        return (Path("sprung").write_text, ("!",))


def test_no_code_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Trap()}, "trap.pth")
    Path("plain.pkl").write_bytes(pickle.dumps(Trap(), protocol=2))
    Path("photo.pth").write_bytes((Path(__file__).parents[1] / "data" / "hall.png").read_bytes())
    Path("empty.pth").write_bytes(b"")
    for name in ("trap.pth", "plain.pkl", "photo.pth", "empty.pth"):
        with pytest.raises(InputError, match=f"{name}: not a PyTorch file of tensors"):
            import_state_dict(Path(name), "x")
    with pytest.raises(InputError, match="No such file"):
        import_state_dict(Path("none.pth"), "x")
    assert not Path("sprung").exists()
