"""nvc-train as a user runs it: from a folder of pictures, or a published checkpoint, to coded files."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from nvc.cli import common, train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A FactorizedPriorReLU of N = 8, M = 12, saved as training scripts save it."""
    zoo = pytest.importorskip("compressai.models")
    import torch

    torch.manual_seed(4)
    net = zoo.FactorizedPriorReLU(8, 12)
    with torch.no_grad():
        for layer in [*net.g_a[::2], *net.g_s[::2]]:
            layer.weight.mul_(2.4)
        net.g_a[-1].weight.mul_(20)
    torch.save({"epoch": 9, "state_dict": net.state_dict()}, tmp_path / "relu.pth.tar")
    return tmp_path / "relu.pth.tar"


def test_import_to_picture(
    run: Callable[..., Any], checkpoint: Path, photo: Callable[..., Path], tmp_path: Path
) -> None:
    """Checkpoint -> weight file -> photo.nvc -> photo.png, by the commands alone."""
    from PIL import Image

    made = run("train", "import", checkpoint, "-o", "relu.safetensors", "--name", "relu-8").works()
    assert made.out == b""
    assert made.err.startswith("relu.safetensors: model id ")
    identity = made.err.split()[-1]
    photo("photo.png", of="hall")
    run("encode", "--model", "relu.safetensors", "photo.png").works()
    data = (tmp_path / "photo.nvc").read_bytes()
    assert data[6:10].hex() == identity
    assert len(data) > 200
    decoded = run("decode", "--model", "relu.safetensors", "--md5", "photo.nvc", "-o", "back.png").works()
    assert "97x61" in decoded.err
    assert Image.open(tmp_path / "back.png").size == (97, 61)
    run("decode", "photo.nvc", "-o", "other.png").fails(6, "photo.nvc", identity, "point --model at its weight file")
    run("encode", "--model", "relu.safetensors", "-q", "1", "--rdoq", "0", "--md5", "photo.png", "-o", "b.nvc").works()
    assert (tmp_path / "b.nvc").read_bytes() == data


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-q", "4"], "model relu is one checkpoint of one rate: it has quality 1 alone"),
        (["--rdoq", "1"], "rdoq 1: not with model relu: its decoder is a published one"),
        (["--target-size", "20KiB"], "a checkpoint of one rate meets no target"),
        (["--target-bpp", "1"], "a checkpoint of one rate meets no target"),
        (["--target-psnr", "30"], "a checkpoint of one rate meets no target"),
    ],
)
def test_one_rate(
    call: Callable[..., Any], checkpoint: Path, photo: Callable[..., Path], listing: Callable[[], set[str]],
    options: list[str], reason: str,
) -> None:  # fmt: skip
    assert common.run(train.cli, ["import", str(checkpoint), "-o", str(checkpoint.parent / "relu.safetensors")]) == 0
    photo()
    before = listing()
    call("encode", "--model", "relu.safetensors", *options, "sign.png").fails(2, reason)
    assert listing() == before


def test_fit(run: Callable[..., Any], photo: Callable[..., Path], tmp_path: Path) -> None:
    """Two steps, then one more from the checkpoint."""
    import torch

    for name in ("sign", "stair"):
        photo(f"pictures/{name}.png", of=name)
    options = ["-o", "run.pt", "--minutes", "1000", "--batch", "1", "--crop", "64", "--threads", "1", "--device", "cpu"]
    first = run("train", "fit", "pictures", "--steps", "2", *options).works()
    assert first.lines[0].split()[:2] == ["step", "1"]
    assert first.lines[0].split()[::2] == ["step", "seconds", "loss", "bpp", "psnr"]
    run("train", "fit", "pictures", "--steps", "3", *options).works()
    assert torch.load(tmp_path / "run.pt", weights_only=True)["step"] == 3


def test_export(run: Callable[..., Any], photo: Callable[..., Path], tmp_path: Path) -> None:
    """The weight file of a checkpoint of small networks codes a picture; label writes its numbers into it."""
    import torch

    from nvc.codec import models
    from nvc.networks.image import ImageConfig
    from nvc.training.data import read_folder
    from nvc.training.loop import FitSettings, Trainer, save_checkpoint
    from nvc.training.picture_task import PictureTask

    for name in ("sign", "stair"):
        photo(f"pictures/{name}.png", of=name)
    torch.set_num_threads(1)
    task = PictureTask(ImageConfig(12, (8, 8, 8), (8, 8, 8)))
    task.start(read_folder(tmp_path / "pictures"))
    save_checkpoint(Trainer(task, FitSettings(minutes=1), torch.device("cpu")), tmp_path / "run.pt")
    options = ["--no-ablation", "--threads", "1"]
    exported = run("train", "export", "run.pt", "pictures", "-o", "mine.safetensors.gz", *options).works()
    assert "tables of level 8" in exported.lines
    assert exported.lines[-1].startswith("mine.safetensors.gz: model id ")
    before = models.ImageModel(tmp_path / "mine.safetensors.gz")
    assert (before.info.name, before.info.psnr_range) == ("mine", None)
    run("train", "label", "mine.safetensors.gz", "--psnr", "27,28,29,30,31,32,33,34.5").works()
    after = models.ImageModel(tmp_path / "mine.safetensors.gz")
    assert (tmp_path / "mine.safetensors.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert (after.id, after.info.psnr_range) == (before.id, (27, 28, 29, 30, 31, 32, 33, 34.5))
    fit = ["-o", "next.pt", "--minutes", "1", "--steps", "1", "--batch", "1", "--crop", "64", "--device", "cpu"]
    run("train", "fit", "pictures", "--start", "mine.safetensors.gz", *fit).works()
    run("train", "slim", "mine.safetensors.gz", "-o", "slim.pt").works()
    run(
        "encode", "--model", "mine.safetensors.gz", "-q", "3", "--rdoq", "0", "pictures/stair.png", "-o", "a.nvc"
    ).works()
    run("decode", "--model", "mine.safetensors.gz", "--check", "a.nvc").works()


def test_clips(run: Callable[..., Any], tmp_path: Path) -> None:
    """A folder of clips trains scale-space flow; its export codes frames; slim is where another run starts."""
    pytest.importorskip("av")
    import numpy as np
    import torch
    from PIL import Image

    from nvc.codec.video_model import VideoModel
    from nvc.networks.intra import TransformConfig
    from nvc.networks.planes import PLANES
    from nvc.networks.ssf import MotionConfig, SsfConfig
    from nvc.training.clips import read_folder
    from nvc.training.loop import FitSettings, Trainer, save_checkpoint
    from nvc.training.video_task import VideoTask

    grey = np.asarray(Image.open(ROOT / "tests" / "data" / "sign.png").convert("L"))
    planes = [grey[i : i + 64, 2 * i : 2 * i + 96].tobytes() + bytes([128]) * (32 * 48 * 2) for i in range(4)]
    (tmp_path / "clips").mkdir()
    data = b"YUV4MPEG2 W96 H64 F30:1 Ip A1:1 C420jpeg\n" + b"".join(b"FRAME\n" + plane for plane in planes)
    (tmp_path / "clips" / "a.y4m").write_bytes(data)
    torch.set_num_threads(1)
    torch.manual_seed(1)
    task = VideoTask(
        SsfConfig(
            TransformConfig(16, (4, 8), (8, 4), 4, 8), MotionConfig(12, 8, 8, 4, 8),
            TransformConfig(16, (4, 8), (8, 4), 4, 8, seen=PLANES),
        )
    )  # fmt: skip
    task.start(read_folder(tmp_path / "clips"))
    with torch.no_grad():
        for part in (task.net.intra, task.net.motion, task.net.residual):
            part.coder.hyper.h_s[0].bias.fill_(1)  # channels that all say something, as after some training
    save_checkpoint(Trainer(task, FitSettings(minutes=1), torch.device("cpu")), tmp_path / "run.pt")
    run("train", "slim", "run.pt", "-o", "small.pt").works()
    options = ["--minutes", "1000", "--steps", "1", "--batch", "1", "--crop", "64", "--threads", "1", "--device", "cpu"]
    options += ["--cache", "clips.npz"]
    fitted = run("train", "fit", "clips", "-o", "next.pt", "--start", "small.pt", *options).works()
    assert fitted.lines[0].split()[::2] == ["step", "seconds", "loss", "bpp", "psnr"]
    run("train", "fit", "clips.npz", "-o", "next.pt", *options).works()
    run("train", "fit", "clips", "-o", "next.pt", "--codec", "image", *options[:-2]).fails(
        3, "clips: no pictures found"
    )
    exporting = ["clips.npz", "-o", "mine.safetensors", "--threads", "1", "--frames", "2"]
    exported = run("train", "export", "next.pt", *exporting).works()
    assert exported.lines[:2] == ["1 clips", "networks in integers"]
    assert VideoModel(tmp_path / "mine.safetensors").info.name == "mine"
    run("train", "export", "next.pt", *exporting, "-f", "--no-ablation").fails(2, "--ablation is for pictures")


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("", 2, "Missing command"),
        ("fly", 2, "No such command 'fly'"),
        ("fit pictures", 2, "Missing option '-o'"),
        ("fit pictures -o run.pt", 2, "Missing option '--minutes'"),
        ("fit pictures -o run.pt --minutes 0", 2, "0 is not above 0"),
        ("fit pictures -o run.pt --minutes 1 --crop 100", 2, "--crop 100: not a multiple of 32"),
        ("fit pictures -o run.pt --minutes 1 --cache a.zip", 2, "--cache a.zip: a cache of clips ends in .npz"),
        ("fit pictures -o run.pt --minutes 1 --cache none/a.npz", 4, "there is no folder none"),
        ("fit missing -o run.pt --minutes 1", 3, "missing: no such file or folder"),
        ("fit pictures -o none/run.pt --minutes 1", 4, "there is no folder none"),
        ("fit pictures -o pictures --minutes 1", 4, "pictures: is a folder"),
        ("fit pictures -o run.pt --minutes 1", 3, "pictures: no pictures found"),
        ("fit pictures -o notes.txt --minutes 1 --crop 32", 3, "no pictures found"),
        ("export missing pictures -o a.safetensors", 3, "missing: no such file or folder"),
        ("export notes.txt pictures -o a.pt", 2, "a weight file ends in .safetensors or .safetensors.gz"),
        ("export notes.txt pictures -o a.safetensors --base notes.txt", 2, "--base notes.txt: a weight file ends in"),
        ("export notes.txt pictures -o a.safetensors.xz", 2, "ends in .safetensors or .safetensors.gz"),
        ("export notes.txt pictures -o a.safetensors", 3, "notes.txt: not a PyTorch file of tensors"),
        ("export notes.txt pictures -o a.safetensors --psnr 1,2", 2, "--psnr: 2 numbers, 8 levels"),
        ("export notes.txt pictures -o a.safetensors --psnr much", 2, "'much' is not a list of numbers"),
        ("export notes.txt pictures -o old.safetensors", 4, "old.safetensors: exists; use -f"),
        ("predictors missing pictures -o a.safetensors", 3, "missing: no such file or folder"),
        ("predictors notes.txt pictures -o a.safetensors", 2, "notes.txt: a weight file ends in .safetensors"),
        ("predictors old.safetensors pictures -o a.safetensors", 3, "old.safetensors: not a readable weight file"),
        ("predictors old.safetensors pictures -o old.safetensors", 4, "old.safetensors: exists; use -f"),
        ("predictors old.safetensors pictures -o a.safetensors --clips 0", 2, "0 is not in the range x>=1"),
        ("import notes.txt -o a.safetensors", 3, "notes.txt: not a PyTorch file of tensors"),
        ("import notes.txt -o old.safetensors", 4, "old.safetensors: exists; use -f"),
        ("import notes.txt -o none/a.safetensors", 4, "no folder"),
        ("import missing -o a.safetensors", 3, "missing: no such file or folder"),
        ("import pictures -o a.safetensors", 3, "pictures: Is a directory"),
        ("import -o a.safetensors", 2, "name one STATE_DICT, not 0"),
        ("import notes.txt notes.txt -o a.safetensors", 2, "name one STATE_DICT, not 2"),
        ("import notes.txt -o a.safetensors --zoo 3", 2, "--zoo is for ssf2020"),
        ("import notes.txt -o a.safetensors --flow-crop 256", 2, "--flow-crop is for ssf2020"),
        ("import ssf2020 -o a.safetensors", 2, "name one STATE_DICT, not 0"),
        ("import ssf2020 notes.txt -o a.safetensors", 3, "notes.txt: not a PyTorch file of tensors"),
        ("import ssf2020 notes.txt -o a.safetensors --zoo 3", 2, "--zoo comes without a STATE_DICT, not 1"),
        ("import ssf2020 -o a.safetensors --zoo 10", 2, "10 is not in the range 1<=x<=9"),
        ("import ssf2020 -o old.safetensors --zoo 1", 4, "old.safetensors: exists; use -f"),
    ],
)
def test_refused(
    line: str, code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The exit code of the matter, one line, and the folder as it was."""
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    Path("notes.txt").write_text("some notes")
    Path("old.safetensors").write_text("old")
    assert common.run(train.cli, line.split()) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("nvc-train: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "old.safetensors", "pictures"]
    assert Path("old.safetensors").read_text() == "old"


@pytest.mark.parametrize("command", ["", "fit", "export", "predictors", "label", "import"])
def test_help(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Every option and argument is explained."""
    assert common.run(train.cli, [*command.split(), "--help"]) == 0
    text = capfd.readouterr().out
    assert text.startswith(f"Usage: nvc-train {command}".rstrip())
    assert "Options:" in text
    for name, sub in train.cli.commands.items():
        if name == command:
            assert [p.name for p in sub.params if isinstance(p, click.Option) and not p.help] == []


def test_import_overwrites_when_told(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "relu.safetensors"
    target.write_text("old")
    assert common.run(train.cli, ["import", str(checkpoint), "-o", str(target), "-f"]) == 0
    assert target.stat().st_size > 10_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["relu.pth.tar", "relu.safetensors"]


def test_starts_light(python: Callable[[str], str]) -> None:
    """Help and refusals load no number library."""
    printed = python(
        "import sys; from nvc.cli import common, train; common.run(train.cli, ['import', '--help']); "
        "common.run(train.cli, ['import', 'missing', '-o', 'a.safetensors']); "
        "print(sorted({'torch', 'numba', 'numpy', 'PIL', 'safetensors'} & set(sys.modules)))"
    )
    assert printed.splitlines()[-1] == "[]"


def test_import_of_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The importer is given what the words and options say; from the zoo by way of a file that is gone afterwards."""
    from nvc.training import import_ssf, zoo

    asked = []

    def take(path: Path, name: str, flow_crop: int) -> tuple[bytes, str]:
        asked.append((path.name, path.read_text(), name, flow_crop))
        return b"weights", "01234567"

    def fetch(quality: int, target: Path) -> None:
        fetched.append(target)
        target.write_text(f"quality {quality}")

    fetched: list[Path] = []
    monkeypatch.setattr(import_ssf, "import_ssf", take)
    monkeypatch.setattr(zoo, "fetch", fetch)
    monkeypatch.chdir(tmp_path)
    Path("flow.pth").write_text("a checkpoint")
    assert common.run(train.cli, ["import", "ssf2020", "flow.pth", "-o", "one.safetensors"]) == 0
    assert (
        common.run(
            train.cli,
            ["import", "ssf2020", "--zoo", "3", "-o", "two.safetensors.gz", "--flow-crop", "256"],
        )
        == 0
    )
    assert asked == [("flow.pth", "a checkpoint", "one", 0), ("ssf2020-3.pth.tar", "quality 3", "two", 256)]
    assert capfd.readouterr().err == "one.safetensors: model id 01234567\ntwo.safetensors.gz: model id 01234567\n"
    assert Path("one.safetensors").read_bytes() == b"weights"
    assert gzip.decompress(Path("two.safetensors.gz").read_bytes()) == b"weights"
    assert not fetched[0].exists()
