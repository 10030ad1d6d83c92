"""A published scale-space flow becomes a weight file whose frames are coded, parsed and shown."""

import hashlib
import io
import json
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load as load_tensors
from torch import Tensor

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Content
from nvc.codec.ssf_published import PublishedSsfBackend, to_frame, to_rgb
from nvc.codec.video_backend import Place
from nvc.entropy_coding.coder import Estimator
from nvc.entropy_coding.gaussian import published_tables
from nvc.entropy_models.hyperprior import HyperpriorTables, code_main, code_side
from nvc.errors import InputError
from nvc.frames import Frame420
from nvc.networks.scale_space_flow import FlowConfig, ScaleSpaceFlow
from nvc.training import zoo
from nvc.training.import_ssf import NAMES, convert, import_ssf, quantise_layer
from nvc.training.importer import import_state_dict


def frame_of(pixels: np.ndarray) -> Frame420:
    """(H, W, 3) RGB, as the codec's own way back has it."""
    return to_frame(pixels.astype(np.float32) / np.float32(255))


def tables_of(tensors: dict[str, np.ndarray], name: str) -> HyperpriorTables:
    """As the codec reads them."""
    main = {n.removeprefix(f"tables.{name}."): t for n, t in tensors.items() if n.startswith(f"tables.{name}.main.")}
    side = {n.removeprefix(f"tables.{name}.1."): t for n, t in tensors.items() if n.startswith(f"tables.{name}.1.")}
    return HyperpriorTables.from_tensors(main | side)


def parts_of(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


@torch.no_grad()
def small_state() -> dict[str, Tensor]:
    """Networks of 4 and 6 channels under compressai's names; densities and Gaussian tables made by compressai."""
    theirs = pytest.importorskip("compressai.entropy_models")
    torch.manual_seed(6)
    net = ScaleSpaceFlow(FlowConfig(4, 6))
    state = {}
    for name, prefix in NAMES.items():
        part = getattr(net, name)
        for kind, stack in (("encoder", part.analysis), ("decoder", part.synthesis)):
            state |= {f"{prefix}_{kind}.{n}": t for n, t in stack.state_dict().items()}
        hyper = f"{prefix}_hyperprior."
        state |= {f"{hyper}hyper_encoder.{n}": t for n, t in part.hyper_analysis.state_dict().items()}
        state |= {f"{hyper}hyper_decoder_mean.{n}": t for n, t in part.hyper_mean.state_dict().items()}
        for i in range(3):
            inside = part.hyper_scale[2 * i].state_dict()
            state |= {f"{hyper}hyper_decoder_scale.deconv{i + 1}.{n}": t for n, t in inside.items()}
        density, conditional = theirs.EntropyBottleneck(6), theirs.GaussianConditional(None)
        density.quantiles[:, 0] += torch.randn(6, 1)
        conditional.update_scale_table(torch.exp(torch.linspace(np.log(0.11), np.log(256), 64)))
        density.update()
        state |= {f"{hyper}entropy_bottleneck.{n}": t for n, t in density.state_dict().items()}
        state |= {f"{hyper}gaussian_conditional.{n}": t for n, t in conditional.state_dict().items()}
    return state


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return small_state()


def emptied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As training leaves it: no tables."""
    tables = ("_quantized_cdf", "_cdf_length", "_offset", "scale_table")
    return {n: t.new_zeros(0) if n.endswith(tables) else t for n, t in state.items()}


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for new, old in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
        state = {name.replace(new, old): value for name, value in state.items()}
    return state


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., tuple[dict[str, np.ndarray], str]]:
    """imported(state): the weight file's tensors and the model id."""

    def run(state: object, flow_crop: int = 0) -> tuple[dict[str, np.ndarray], str]:
        torch.save(state, tmp_path / "checkpoint.pth.tar")
        data, identity = import_ssf(tmp_path / "checkpoint.pth.tar", "tiny", flow_crop)
        (tmp_path / "tiny.safetensors").write_bytes(data)
        return load_tensors(data), identity

    return run


def test_weight_file(state: dict[str, Tensor], imported: Callable, tmp_path: Path) -> None:
    """Metadata, and tables number for number those of the state dict."""
    tensors, identity = imported(state, 256)
    with safe_open(tmp_path / "tiny.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata.pop("config")) == {"hidden": 4, "latents": 6, "flow_crop": 256}
    assert metadata == {"codec": "ssf", "decoder": "float", "name": "tiny", "id": identity}
    for name, prefix in NAMES.items():
        tables = tables_of(tensors, name)
        for ours, kind in ((tables.side, "entropy_bottleneck"), (tables.main, "gaussian_conditional")):
            theirs = {n: state[f"{prefix}_hyperprior.{kind}.{n}"] for n in ("_quantized_cdf", "_cdf_length", "_offset")}
            assert np.array_equal(ours.offset, theirs["_offset"].numpy())
            for i, (row, length) in enumerate(zip(theirs["_quantized_cdf"], theirs["_cdf_length"], strict=True)):
                assert np.array_equal(ours.row(i), row[:length].numpy())
        assert sorted(tables.side_candidates) == list(range(6))
    assert {n.split(".")[0] for n in tensors} == {"decoder", "tables", "encoder"}


def test_forms(state: dict[str, Tensor], imported: Callable) -> None:
    """Old and wrapped names, tables filled or not: the same model. Another motion unit: another model."""
    forms = (
        state,
        old_names(state),
        emptied(state),
        {"epoch": 3, "state_dict": state},
        {"network": {f"module.{name}": value for name, value in old_names(state).items()}},
    )
    assert len({imported(form)[1] for form in forms}) == 1
    assert imported(state, 256)[1] != imported(state)[1]
    moved = dict(state)
    moved["res_hyperprior.gaussian_conditional.scale_table"] = state[
        "res_hyperprior.gaussian_conditional.scale_table"
    ] * torch.linspace(1, 1.01, 64)
    tensors, other = imported(moved)
    assert other != imported(state)[1]
    plain = imported(state)[0]
    name = "thresholds"
    assert np.array_equal(tensors[f"decoder.intra.{name}"], plain[f"decoder.intra.{name}"])
    assert (tensors[f"decoder.residual.{name}"][1:] > plain[f"decoder.residual.{name}"][1:]).all()


def test_published_gaussian_tables(state: dict[str, Tensor], imported: Callable) -> None:
    """What a state dict without tables gets."""
    tables = tables_of(imported(emptied(state))[0], "motion").main
    assert np.array_equal(tables.cdf, published_tables().cdf)


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {n: value for n, value in state.items() if n != name}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: without(s, "img_decoder.4.weight"), "holds no synthesis.4.weight"),
        (lambda s: without(s, "res_hyperprior.hyper_decoder_mean.2.bias"), "holds no hyper_mean.2.bias"),
        (lambda s: without(s, "res_hyperprior.entropy_bottleneck.quantiles"), "holds no quantiles"),
        (lambda s: without(s, "motion_encoder.0.bias"), "motion.analysis.0.bias"),
        (lambda s: s | {"motion_encoder.0.weight": torch.ones(4, 3, 5, 5)}, "the encoder's tensors do not fit"),
        (lambda s: s | {"img_encoder.0.bias": torch.full((4,), float("nan"))}, "encoder tensor is not finite"),
        (lambda s: s | {"res_decoder.0.weight": torch.ones(6, 4, 5, 5)}, "do not fit together"),
        (lambda s: s | {"img_decoder.6.bias": torch.full((3,), float("nan"))}, "finite float32"),
        (lambda s: s | {"img_hyperprior.hyper_decoder_mean.0.weight": torch.ones(6, 6, 3, 3)}, "of shape"),
        (
            lambda s: s | {"img_hyperprior.hyper_decoder_mean.0.bias": torch.full((6,), float("inf"))},
            "hyper layer is not finite",
        ),
        (
            lambda s: s | {"img_hyperprior.hyper_decoder_scale.deconv1.weight": torch.full((6, 6, 5, 5), 1e6)},
            "too large for 16 bits",
        ),
        (lambda s: s | {"img_hyperprior.gaussian_conditional.scale_table": torch.ones(64)}, "do not rise"),
        (lambda s: s | {"img_hyperprior.gaussian_conditional.scale_table": torch.ones(63)}, "tables of scales"),
        (lambda s: [1, 2], "not a state dict"),
        (lambda s: {"g_a.0.weight": torch.ones(8)}, "holds no"),
    ],
)
def test_unsound(state: dict[str, Tensor], imported: Callable, change: Callable, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        imported(change(dict(state)))
    assert "checkpoint.pth.tar" in str(caught.value)


def test_told_apart(state: dict[str, Tensor], tmp_path: Path) -> None:
    """The importer of pictures says whose this is."""
    torch.save(state, tmp_path / "flow.pth")
    with pytest.raises(InputError, match="is a ScaleSpaceFlow: nvc-train import ssf2020"):
        import_state_dict(tmp_path / "flow.pth", "x")


@pytest.mark.parametrize("size", [1e-3, 0.03, 1.0, 60.0])
def test_quantised_layer(size: float) -> None:
    """Weights to 1/32000 of the largest of their channel, of every magnitude; a channel of zeros stays zero."""
    rng = np.random.default_rng(7)
    weight = (size * rng.normal(size=(5, 4, 5, 5)) * np.array([1, 0.01, 0, 3])[:, None, None]).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32)
    layer = quantise_layer(weight, bias, 12, 12, 1 << 26)
    back = layer.weight * 2.0 ** -layer.shift.astype(float)[:, None, None]
    largest = np.abs(weight).max((0, 2, 3))
    assert (np.abs(back - weight).max((0, 2, 3)) <= largest / 32000).all()
    assert (np.abs(layer.bias * 2.0 ** -(12 + layer.shift.astype(float)) - bias) < 2.0**-13).all()
    assert np.abs(layer.weight.astype(int)).max((0, 2, 3))[[0, 1, 3]].min() >= 16383


class TestPublishedWidths:
    """compressai's own model, once: bytes and pictures beside those of its compress()."""

    @torch.no_grad()
    def test_beside_compressai(self, pictures: dict[str, np.ndarray]) -> None:
        video = pytest.importorskip("compressai.models.video")
        torch.manual_seed(8)
        theirs = video.ScaleSpaceFlow().eval()
        for name, value in theirs.named_parameters():
            if value.ndim == 4:
                value.mul_(2.4)
            if name.endswith("encoder.6.weight") and "hyper" not in name:
                value.mul_(4)
            if name.endswith(("decoder.6.weight", "motion_decoder.6.weight")):
                value.mul_(0.02)
            if name.endswith("deconv3.bias"):
                value.copy_(torch.exp(torch.empty(192).uniform_(-2, 1)))
        theirs.update()
        tensors, _ = convert(dict(theirs.state_dict()), "full")
        ours = PublishedSsfBackend(parts_of(tensors, "decoder."), lambda: parts_of(tensors, "encoder."))
        frames = [frame_of(pictures["demo"][2 * i : 2 * i + 128, i : i + 128]) for i in range(2)]

        coded: dict[str, object] = {}
        content, first = ours.encode(frames[0], Place(FrameType.I), 0)
        coded |= content.latents
        content, second = ours.encode(frames[1], Place(FrameType.P, (first,)), 0)
        coded |= content.latents
        x = [torch.from_numpy(to_rgb(frame)).permute(2, 0, 1)[None].contiguous() for frame in frames]
        reference, intra = theirs.encode_keyframe(x[0])
        shown, inter = theirs.encode_inter(x[1], reference.clamp(0, 1))
        strings = {"intra": intra["strings"], **inter["strings"]}
        for name, (main, side) in strings.items():
            tables = tables_of(tensors, name)
            for part, string in (("side", side[0]), ("main", main[0])):
                estimator = Estimator()
                if part == "side":
                    code_side(estimator, tables.side, coded[name].z)
                else:
                    code_main(estimator, tables.main, coded[name].index, coded[name].symbols)
                assert estimator.bits / 8 == pytest.approx(len(string), rel=2e-3, abs=9), (name, part)
        assert np.abs(coded["residual"].symbols).max() > 2
        for got, want in ((first, reference), (second, shown)):
            difference = got.state.padded - want[0].clamp(0, 1)
            assert difference.square().mean().sqrt() < 2e-3
            assert want.std() > 0.01
        back = ours.decode(Content(coded), Place(FrameType.P, (first,)), 0, 128, 128)
        assert torch.equal(back.state.padded, second.state.padded)


class TestZoo:
    """Downloading, without a network."""

    def test_fetched(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data = b"a checkpoint" * 1000
        asked = []

        def answer(url: str, timeout: float) -> io.BytesIO:
            asked.append(url)
            return io.BytesIO(data)

        monkeypatch.setattr("urllib.request.urlopen", answer)
        monkeypatch.setattr(zoo, "ZOO_HASHES", ["0", hashlib.sha256(data).hexdigest()[:8]])
        zoo.fetch(2, tmp_path / "two")
        assert (tmp_path / "two").read_bytes() == data
        assert asked == [f"https://compressai.s3.amazonaws.com/models/v1/ssf2020-mse-2-{zoo.ZOO_HASHES[1]}.pth.tar"]
        monkeypatch.setattr(zoo, "ZOO_HASHES", ["c1ac1a47"])
        with pytest.raises(InputError, match="which does not begin with its name's"):
            zoo.fetch(1, tmp_path / "one")
        monkeypatch.setattr(zoo, "ZOO_BYTES_MAX", 100)
        with pytest.raises(InputError, match="more than 0 MiB"):
            zoo.fetch(1, tmp_path / "one")

    def test_offline(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def answer(url: str, timeout: float) -> io.BytesIO:
            raise urllib.error.URLError("Temporary failure in name resolution")

        monkeypatch.setattr("urllib.request.urlopen", answer)
        with pytest.raises(InputError, match=r"ssf2020-mse-9-e89345c4.*: Temporary failure in name resolution"):
            zoo.fetch(9, tmp_path / "nine")
