"""The training loop on real pictures, on the machine it is meant for: torch, numpy and Pillow alone."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nvc.errors import InputError
from nvc.networks.image import ImageConfig, ImageNet
from nvc.training.checkpoints import read_checkpoint, read_weights, slim
from nvc.training.data import klt
from nvc.training.loop import FitSettings, Trainer, fit
from nvc.training.picture_task import PictureTask

ROOT = Path(__file__).parents[2]

# Everything that a bare machine lacks. A budget of years leaves the schedule to the steps; save_every 0 is every step.
SCRIPT = """
import sys
from pathlib import Path

absent = ["compressai", "av", "numba", "imageio", "click", "tqdm", "safetensors", "crc32c", "scipy", "matplotlib"]
sys.modules.update(dict.fromkeys(absent))  # None: importing it fails, looking for it finds nothing

import torch
from nvc.networks.image import ImageConfig
from nvc.training import checkpoints, loop

torch.set_num_threads(1)
source, whole, parts = map(Path, sys.argv[1:])
settings = loop.FitSettings(minutes=1e9, steps=6, batch=2, crop=64, warmup=3, save_every=0)

def fit(checkpoint):
    config = ImageConfig(24, (8, 8, 8), (16, 12, 8))
    return list(loop.fit(source, checkpoint, settings, config=config, device=torch.device("cpu")))

reports = fit(whole)
assert [sorted(r) for r in reports] == [["bpp", "loss", "psnr", "seconds", "step"]], reports
assert 10 < reports[0]["psnr"] < 40 and 0 < reports[0]["bpp"] < 10, reports

class Stop(Exception): pass

save = loop.save_checkpoint
def save_and_stop(trainer, path):
    save(trainer, path)
    if trainer.step == 3:
        raise Stop

loop.save_checkpoint = save_and_stop  # the power fails after the third step's checkpoint
try:
    fit(parts)
except Stop:
    assert checkpoints.read_checkpoint(parts)["step"] == 3
    torch.manual_seed(99)  # another process would not have the first one's generator either
loop.save_checkpoint = save
fit(parts)
assert not any(sys.modules[name] for name in absent)
"""


@pytest.fixture(scope="module")
def trained(folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Checkpoints of 6 steps: in one go, and stopped after 3 and resumed."""
    place = tmp_path_factory.mktemp("run")
    whole, parts = place / "whole.pt", place / "parts.pt"
    source = folder("sign", "stair", "hall")
    command = [sys.executable, "-c", SCRIPT, source, whole, parts]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in place.iterdir()) == ["parts.pt", "whole.pt"]
    return whole, parts


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested dicts and lists as one dict by path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else None
    if items is None:
        return {name: value}
    return {path: leaf for key, part in items for path, leaf in flat(part, f"{name}/{key}").items()}


def test_resumes_where_it_stopped(trained: tuple[Path, Path]) -> None:
    """One thread of one processor: every weight, moment, learning rate and random state is equal to the last bit."""
    whole, parts = (flat(read_checkpoint(path)) for path in trained)
    assert whole.keys() == parts.keys()
    assert whole["/step"] == 6
    for name, value in whole.items():
        if name != "/seconds":
            same = torch.equal(value, parts[name]) if isinstance(value, torch.Tensor) else value == parts[name]
            assert same, name


def test_everything_is_trained(trained: tuple[Path, Path], pictures: dict) -> None:
    """Every tensor of the net and the prior has moved and is finite."""
    state = read_checkpoint(trained[0])
    torch.manual_seed(state["settings"]["seed"])
    start = PictureTask(state["config"])
    start.start([pictures[n] for n in ("hall", "sign", "stair")])
    for part in ("net", "prior"):
        before = start.modules[part].state_dict()
        for name, value in state[part].items():
            assert value.isfinite().all(), name
            assert not torch.equal(value, before[name]), name
            assert (value - before[name]).abs().max() < 0.5, name


def test_starts_from_the_klt(pictures: dict) -> None:
    """Before any step the net is a linear transform: it gives back what its basis holds."""
    net = ImageNet(ImageConfig(96, (8, 8, 8), (8, 8, 8))).requires_grad_(False)
    net.start_from_klt(*klt([pictures["demo"]], 96, 16))
    x = torch.from_numpy(pictures["demo"][:64, :96]).permute(2, 0, 1)[None].float() / 255
    error = (net.synthesis(net.analysis(x)) - x).square().mean()
    assert -10 * error.log10() > 27
    steps = net.log_step.exp()[:, 0] * 255
    assert (steps.diff() < 0).all()
    assert float(steps[3]) == pytest.approx((18 / 0.6931 / 0.013) ** 0.5, rel=1e-3)


def test_not_a_checkpoint(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "other.pt").read_bytes()[:100])
    with pytest.raises(InputError, match="not a checkpoint of nvc-train fit"):
        read_checkpoint(tmp_path / "other.pt")
    with pytest.raises(InputError, match="not a PyTorch file"):
        read_checkpoint(tmp_path / "cut.pt")


def test_checkpoint_before_the_noise_was_kept(trained: tuple[Path, Path]) -> None:
    """Older checkpoints resume; only their noise is drawn anew."""
    state = read_checkpoint(trained[0])
    del state["noise"]
    trainer = Trainer(PictureTask(state["config"]), FitSettings(minutes=1), torch.device("cpu"))
    trainer.load(state)
    assert trainer.step == 6
    assert all(torch.equal(value, state["net"][name]) for name, value in trainer.task.net.state_dict().items())


def test_starts_from_a_slim_checkpoint(trained: tuple[Path, Path], folder: Callable[..., Path], tmp_path: Path) -> None:
    """A slim checkpoint is far smaller, holds the weights to 11 bits, and is where a run begins that is told so."""
    small, new = tmp_path / "small.pt", tmp_path / "new.pt"
    slim(trained[0], small)
    assert small.stat().st_size < trained[0].stat().st_size / 5
    whole, halves = read_weights(trained[0]), read_weights(small)
    for part in ("net", "prior"):
        for name, value in whole[part].items():
            assert torch.allclose(value, halves[part][name], rtol=2**-10, atol=1e-4), name
    settings = FitSettings(minutes=1e9, steps=1, batch=1, crop=64, rate=1e-9)
    assert list(fit(folder("sign"), new, settings, device=torch.device("cpu"), start=small))
    begun = read_checkpoint(new)
    assert begun["step"] == 1
    for name, value in halves["net"].items():
        assert torch.allclose(value, begun["net"][name], atol=1e-6), name
    with pytest.raises(InputError, match="not a checkpoint"):
        read_weights(_not_a_checkpoint(tmp_path))


def _not_a_checkpoint(folder: Path) -> Path:
    torch.save({"net": {}}, folder / "other.pt")
    return folder / "other.pt"
