"""Training of video: start, loop, export, and a run that starts from what was exported."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nvc.bitstream.container import FrameType
from nvc.codec import borrowing
from nvc.codec.models import Tensors, model_id, read_tensors
from nvc.codec.video_backend import Place
from nvc.codec.video_model import VideoModel
from nvc.codec.weight_files import TensorFile
from nvc.errors import InputError
from nvc.networks.intra import TransformConfig
from nvc.networks.planes import PLANES
from nvc.networks.ssf import MotionConfig, SsfConfig
from nvc.training import checkpoints, coded_frames, export_video
from nvc.training.checkpoints import read_weights, slim
from nvc.training.clips import Clip
from nvc.training.kinds import codec_of, settings_for
from nvc.training.loop import Trainer, fit, task_of
from nvc.training.video_losses import code_chain
from nvc.training.video_task import VideoTask

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
CONFIG = SsfConfig(
    intra=TransformConfig(40, (4, 8), (8, 4), 4, 8),
    motion=MotionConfig(12, 8, 8, 4, 8),
    residual=TransformConfig(24, (4, 8), (8, 4), 4, 8, seen=PLANES),
)
# A cache is all that is read: no numba, no OpenCV, no av, no click.
SCRIPT = """
import sys
from pathlib import Path

absent = ["compressai", "av", "cv2", "numba", "imageio", "click", "tqdm", "safetensors", "crc32c", "scipy"]
sys.modules.update(dict.fromkeys(absent))

import torch
from nvc.networks.intra import TransformConfig
from nvc.networks.ssf import MotionConfig, SsfConfig
from nvc.training import checkpoints, loop

torch.set_num_threads(1)
source, whole, parts = map(Path, sys.argv[1:])
config = SsfConfig(
    intra=TransformConfig(40, (4, 8), (8, 4), 4, 8), motion=MotionConfig(12, 8, 8, 4, 8),
    residual=TransformConfig(24, (4, 8), (8, 4), 4, 8, seen=6),
)
assert loop.codec_of(source) == "ssf"
settings = loop.settings_for("ssf", 1e9, steps=6, batch=1, crop=96, save_every=0, warmup=2)
assert settings.rate == 3e-4

def fit(checkpoint):
    return list(loop.fit(source, checkpoint, settings, codec="ssf", config=config, device=torch.device("cpu")))

(report,) = fit(whole)
assert 12 < report["psnr"] < 40 and 0 < report["bpp"] < 10, report

class Stop(Exception): pass

save = loop.save_checkpoint
def save_and_stop(trainer, path):
    save(trainer, path)
    if trainer.step == 3:
        raise Stop

loop.save_checkpoint = save_and_stop
try:
    fit(parts)
except Stop:
    torch.manual_seed(99)
loop.save_checkpoint = save
fit(parts)
assert not any(sys.modules[name] for name in absent)
"""


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Checkpoints of 6 steps, the fifth of halved clips: in one go, and stopped after 3 and resumed."""
    place = tmp_path_factory.mktemp("video")
    paths = place / "whole.pt", place / "parts.pt"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, cache, *paths], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return paths


def test_resumes_where_it_stopped(trained: tuple[Path, Path]) -> None:
    whole, parts = (checkpoints.read_checkpoint(path) for path in trained)
    assert whole["step"] == parts["step"] == 6
    assert whole["codec"] == "ssf"
    for name, value in whole["net"].items():
        assert torch.equal(value, parts["net"][name]), name
    moments = [state["optimizer"]["state"] for state in (whole, parts)]
    assert all(torch.equal(moments[0][k]["exp_avg_sq"], moments[1][k]["exp_avg_sq"]) for k in moments[0])


def test_everything_is_trained(trained: tuple[Path, Path], clips: list[Clip]) -> None:
    """Every tensor has moved, as fast as its group says, and is finite; no parameter is in two groups or in none."""
    state = checkpoints.read_checkpoint(trained[0])
    torch.manual_seed(1)
    task = VideoTask(CONFIG)
    task.start(clips)
    grouped = [p for parameters, _ in task.groups() for p in parameters]
    assert {id(p) for p in grouped} == {id(p) for p in task.net.parameters()}
    assert len(grouped) == len({id(p) for p in grouped})
    for name, before in task.net.state_dict().items():
        value = state["net"][name]
        assert value.isfinite().all(), name
        # Side latents of P frames are all 0 yet: what they are multiplied with has no gradient.
        assert name.endswith("h_s.0.weight") or not torch.equal(value, before), name
        assert (value - before).abs().max() < 0.1, name


@torch.no_grad()
def test_starts_from_structure(clips: list[Clip]) -> None:
    """Before any step: a transform coder whose motion is nearly the flow, and whose P frames cost less than the I."""
    torch.manual_seed(1)
    config = SsfConfig(intra=TransformConfig(200), residual=TransformConfig(160, seen=PLANES))
    task = VideoTask(config)
    task.start(clips)
    planes, flows, level = VideoTask.sampler(clips, settings_for("ssf", 1, crop=96), CPU)(
        False, torch.Generator().manual_seed(4)
    )
    level[:] = 4
    intra, first, second = code_chain(task.net, planes, flows, level)
    for frame, x in zip((intra, first, second), planes.unbind(1), strict=True):
        assert -10 * (frame.decoded - x).square().mean().log10() > 26
    assert second.bits.sum() < 0.9 * intra.bits.sum()
    assert (first.parts["motion"].decoded - flows[:, 0]).abs().max() < 1


def test_sampler_of_the_finest_levels(clips: list[Clip]) -> None:
    draw = VideoTask.sampler(clips, settings_for("ssf", 1, crop=96, batch=3), CPU)
    planes, flows, level = draw(True, torch.Generator().manual_seed(1))
    assert planes.shape == (6, 3, 6, 32, 32)  # two thirds of 96
    assert flows.shape == (6, 2, 2, 8, 8)
    assert set(level.tolist()) <= {6, 7}


@pytest.fixture(scope="module")
def alive(clips: list[Clip]) -> VideoTask:
    """As training leaves a task: networks that say something beside the linear path."""
    torch.manual_seed(3)
    task = VideoTask(CONFIG)
    task.start(clips)
    with torch.no_grad():
        for part in (task.net.intra, task.net.motion, task.net.residual):
            for stack, size in ((part.g_a, 0.05), (part.g_s, 0.02), (part.coder.hyper.h_s, 0.5)):
                stack[-1].weight.normal_(0, size / stack[-1].weight[0].numel() ** 0.5)
                stack[-1].bias.normal_(0, 0.003)
            part.l_s.bias.add_(0.01)
            part.coder.hyper.h_a[-1].weight.mul_(80)
            part.coder.log_step.add_(0.1 * torch.randn_like(part.coder.log_step))
        task.net.motion.l_s.bias[8:] = 0.5
    return task


@pytest.fixture(scope="module")
def checkpoint(alive: VideoTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run.pt"
    torch.save(Trainer(copy.deepcopy(alive), settings_for("ssf", 1), CPU).state(), path)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> VideoModel:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    told = list(export_video.export(checkpoint, cache, path, name="tiny", threads=1, frames=2))
    assert told[:3] == ["3 clips", "networks in integers", "contexts"]
    assert told[3:11] == [f"symbols of level {n}" for n in range(1, 9)]
    model = VideoModel(path)
    assert told[11:] == [f"{path}: model id {model.id.hex()}"]
    return model


def test_export_codes_frames(exported: VideoModel, clips: list[Clip]) -> None:
    """Latents out, frames back: what the encoder kept, and like the original."""
    first, second = coded_frames.frames_of(clips[0], 2)
    backend = exported.backend
    _, intra = backend.encode(first, Place(FrameType.I), 5 * 4096)
    content, inter = backend.encode(second, Place(FrameType.P, [intra], [-1]), 5 * 4096)
    assert content.latents.keys() == {"motion", "residual"}
    for frame, shown in ((first, intra), (second, inter)):
        error = np.square(frame.y.astype(float) - shown.frame.y).mean()
        assert 10 * np.log10(255**2 / error) > 22
    assert (exported.info.name, exported.info.codec) == ("tiny", "ssf")
    for name in ("intra", "motion", "residual"):
        tables = exported.tables(name, 8)
        assert len(tables.main) == 64
        assert tables.context is not None
        other = exported.tables(name, 7).context
        assert tables.context is not other
        for part in ("predict", "expected", "mix", "row"):
            np.testing.assert_array_equal(getattr(tables.context, part), getattr(other, part))


def test_networks_of_the_encoder_are_small(exported: VideoModel) -> None:
    stored = read_tensors(exported.path, "encoder.")
    assert stored["intra.g_a.2.weight"].dtype == np.int8
    assert stored["intra.coder.hyper.h_a.0.weight"].dtype == np.int8
    assert stored["motion.l_a.weight"].dtype == np.float16


def test_starts_from_a_weight_file(exported: VideoModel, alive: VideoTask, clips: list[Clip]) -> None:
    """The networks of a weight file decode and rate as those it was made of do, to the error of 8-bit weights."""
    weights = read_weights(exported.path)
    assert weights["codec"] == "ssf"
    task = task_of(weights, exported.path)
    assert task.config == CONFIG
    for name, value in alive.net.state_dict().items():
        if name.endswith(("log_step", "offset", "logit", "log_scale")):
            assert torch.equal(weights["net"][name], value), name
        elif name.endswith("l_s.weight"):
            assert torch.allclose(weights["net"][name], value, atol=1e-4), name
        elif name.endswith("weight"):
            error = (weights["net"][name] - value).square().mean() / value.square().mean()
            # The last layer's grid is no finer than that of the linear path: coarse for weights as small as here.
            assert error < (0.05 if name == "motion.g_s.2.weight" else 0.002), name
    planes = torch.from_numpy(clips[0].planes[:3]).float()[None] / 255
    flows = torch.from_numpy(clips[0].flows[0, :2]).float()[None] / 16
    level = torch.tensor([4])
    torch.manual_seed(1)
    with torch.no_grad():
        for name in ("intra", "residual"):
            y = getattr(alive.net, name).analysis(planes[:, 0] - 0.5, *([planes[:, 1]] if name == "residual" else []))
            want, got = (getattr(net, name).synthesis(y) for net in (alive.net, task.net))
            assert (want - got).abs().max() < 0.01
        y = alive.net.motion.analysis(flows[:, 0], torch.zeros(1, 2, 16, 24))
        for want, got in zip(alive.net.motion.synthesis(y), task.net.motion.synthesis(y), strict=True):
            assert (want - got).abs().max() < 0.02
        totals = []
        for net in (alive.net, task.net):
            torch.manual_seed(1)
            totals.append(sum(float(frame.bits) for frame in code_chain(net, planes, flows, level)))
        assert totals[0] == pytest.approx(totals[1], rel=0.02)


def test_fit_from_weight_files_and_checkpoints(
    exported: VideoModel, checkpoint: Path, cache: Path, tmp_path: Path
) -> None:
    """A weight file, a whole and a slim checkpoint, and a bare state dict of the default widths."""
    small = tmp_path / "small.pt"
    slim(checkpoint, small)
    assert small.stat().st_size < checkpoint.stat().st_size * 0.6  # it has no moments yet
    settings = settings_for("ssf", 1e9, steps=1, batch=1, crop=64, rate=1e-9)
    for start in (exported.path, small, checkpoint):
        new = tmp_path / f"{start.stem}-new.pt"
        assert list(fit(cache, new, settings, codec="ssf", start=start, device=CPU))
        begun, given = checkpoints.read_checkpoint(new), read_weights(start)
        assert all(torch.allclose(v, begun["net"][n], atol=1e-6) for n, v in given["net"].items())
    torch.save({"net": VideoTask().net.state_dict(), "opt": {}, "prog": {"step": 3}}, tmp_path / "bare.pt")
    assert task_of(read_weights(tmp_path / "bare.pt"), tmp_path).config == SsfConfig()


def test_start_from_a_weight_file_with_a_base(exported: VideoModel, tmp_path: Path) -> None:
    """The networks of I frames stored in another one, their analysis and training state too."""
    tensors, metadata = read_tensors(exported.path, ""), TensorFile(exported.path).metadata
    intra: Tensors = {name: value for name, value in tensors.items() if ".intra." in name}
    base, thin = tmp_path / "base.safetensors.gz", tmp_path / "thin.safetensors.gz"
    borrowing.write(base, intra, metadata | {"id": model_id(intra).hex()})
    borrowing.write(thin, tensors, metadata, base)
    assert not intra.keys() & TensorFile(thin).tensors().keys()
    whole, again = read_weights(exported.path), read_weights(thin)
    assert (again["codec"], again["config"]) == (whole["codec"], whole["config"])
    assert again["net"].keys() == whole["net"].keys()
    assert all(torch.equal(value, again["net"][name]) for name, value in whole["net"].items())
    base.unlink()
    with pytest.raises(InputError, match="needs the weight file with the id"):
        read_weights(thin)


def test_networks_that_fit_no_grid(alive: VideoTask, cache: Path, tmp_path: Path) -> None:
    diverged = copy.deepcopy(alive)
    with torch.no_grad():
        diverged.net.residual.g_s[2].weight[0, 0, 0, 0] = 1e6
    torch.save(Trainer(diverged, settings_for("ssf", 1), CPU).state(), tmp_path / "run.pt")
    with pytest.raises(InputError, match=r"run\.pt: a layer's weights do not fit 8 bits at any scale"):
        list(export_video.export(tmp_path / "run.pt", cache, tmp_path / "x.safetensors", name="x", threads=1))


def test_refuses(exported: VideoModel, checkpoint: Path, cache: Path, tmp_path: Path) -> None:
    settings = settings_for("image", 1)
    with pytest.raises(InputError, match="of the codec ssf, but the training data is for image"):
        list(fit(ROOT / "tests" / "data", checkpoint, settings, codec="image", device=CPU))
    state = read_weights(checkpoint)
    del state["net"]["motion.l_a.weight"]
    with pytest.raises(InputError, match="its weights do not fit the networks"):
        task_of(state, checkpoint)
    small = tmp_path / "small.pt"
    slim(checkpoint, small)
    with pytest.raises(InputError, match="to resume from; --start takes its weights"):
        checkpoints.read_checkpoint(small)
    bare = tmp_path / "bare.safetensors"
    _rewrite(exported, bare, lambda name: not name.startswith("training."))
    with pytest.raises(InputError, match="holds no training state to start from"):
        read_weights(bare)
    _rewrite(exported, bare, lambda name: name != "training.net.intra.coder.log_step")
    with pytest.raises(InputError, match="not a sound weight file"):
        read_weights(bare)


def _rewrite(model: VideoModel, target: Path, keep: object) -> None:
    tensors: Tensors = {n: v for n, v in read_tensors(model.path, "").items() if keep(n)}  # type: ignore[operator]
    borrowing.write(target, tensors, TensorFile(model.path).metadata)


def test_kind_of_source(cache: Path, tmp_path: Path) -> None:
    assert codec_of(cache) == "ssf"
    assert codec_of(ROOT / "tests" / "data") == "image"
    (tmp_path / "a.mkv").touch()
    assert codec_of(tmp_path) == "ssf"
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.PNG").touch()
    with pytest.raises(InputError, match="both clips and pictures: say which with --codec"):
        codec_of(tmp_path)
