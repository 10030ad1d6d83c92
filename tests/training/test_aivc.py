"""Training of the conditional codec: start, steps, resume, from other codecs' networks, export, clips coded."""

import copy
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import clip as cut_clip  # noqa: E402
from video_streams import encode, show  # noqa: E402

from nvc.bitstream.container import FrameType  # noqa: E402
from nvc.codec import borrowing  # noqa: E402
from nvc.codec.models import model_id, read_tensors  # noqa: E402
from nvc.codec.video_backend import Place  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.codec.weight_files import TensorFile  # noqa: E402
from nvc.errors import InputError  # noqa: E402
from nvc.networks.aivc import GREY, SKIP_LATENT, AivcConfig, AivcNet, CodecConfig, CodecNet, ModeConfig  # noqa: E402
from nvc.networks.image import ImageConfig, ImageNet  # noqa: E402
from nvc.networks.intra import TransformConfig, TransformNet  # noqa: E402
from nvc.networks.lhbdc import LhbdcConfig, LhbdcNet  # noqa: E402
from nvc.networks.planes import PLANES, pad_planes  # noqa: E402
from nvc.networks.ssf import MotionConfig  # noqa: E402
from nvc.training import aivc_task, checkpoints, export_video, loop  # noqa: E402
from nvc.training.aivc_start import (  # noqa: E402
    _yuv_of_rgb,
    keep_latents,
    start_from_image,
    start_from_motion,
    start_residual,
)
from nvc.training.aivc_task import AivcTask, TripleSampler  # noqa: E402
from nvc.training.checkpoints import read_weights  # noqa: E402
from nvc.training.clips import Clip  # noqa: E402
from nvc.training.kinds import settings_for  # noqa: E402
from nvc.training.lhbdc_task import LhbdcTask  # noqa: E402
from nvc.training.loop import Trainer, fit, task_of  # noqa: E402
from nvc.training.picture_task import PictureTask  # noqa: E402
from nvc.training.task import FitSettings  # noqa: E402

CPU = torch.device("cpu")
CONFIG = AivcConfig(
    CodecConfig(24, (4, 6, 8), (4, 6), (8, 6, 4), shortcut=4, side=4, hidden=8),
    ModeConfig(latents=44, analysis=8, synthesis=8, side=4, hidden=8, shortcut=4),
)
IMAGE = ImageConfig(24, (4, 6, 8), (8, 6, 4))
LHBDC = LhbdcConfig(
    intra=TransformConfig(20, (4, 6), (6, 4), 4, 8),
    motion=MotionConfig(12, 8, 8, 4, 8),
    residual=TransformConfig(20, (4, 6), (6, 4), 4, 8, seen=PLANES),
    bimotion=MotionConfig(24, 8, 8, 4, 8, coded=5, made=5, seen=3),
    biresidual=TransformConfig(20, (4, 6), (6, 4), 4, 8, seen=PLANES),
)
GAINS = "log_step", "offset", "log_scale", "logit"  # what each frame type has of its own


@pytest.fixture(scope="module")
def moving_clips() -> list[Clip]:
    """Two clips of five frames or more; the flow between them is not needed."""
    made = []
    for height, width, frames, name, motion in ((64, 96, 5, "stair", (1, 3)), (64, 128, 9, "sign", (2, 4))):
        planes = [pad_planes(f).transpose(2, 0, 1) for f in cut_clip(height, width, frames, name, motion)]
        made.append(Clip(np.stack(planes), np.zeros((2, frames - 1, 2, height // 8, width // 8), np.int16)))
    return made


@pytest.fixture(scope="module")
def source(moving_clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("five") / "clips.npz"
    arrays = {f"p{i}": clip.planes for i, clip in enumerate(moving_clips)}
    np.savez(path, **arrays, **{f"f{i}": clip.flows for i, clip in enumerate(moving_clips)})
    return path


def settings(steps: int) -> FitSettings:
    return settings_for("aivc", 1e9, steps=steps, batch=1, crop=64, save_every=0, warmup=2)


def run(source: Path, checkpoint: Path, steps: int, **how: object) -> list[dict[str, float]]:
    options = {"codec": "aivc", "config": CONFIG, "device": CPU} | how
    return list(fit(source, checkpoint, settings(steps), **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, float]]]:
    """Four steps in one go."""
    path = tmp_path_factory.mktemp("run") / "whole.pt"
    return path, run(source, path, 4)


def test_learns(trained: tuple[Path, list[dict[str, float]]], moving_clips: list[Clip]) -> None:
    """Everything has moved, is finite, and frame types still share their networks and nothing else."""
    path, (report, *_) = trained
    assert 12 < report["psnr"] < 45
    assert 0 < report["bpp"] < 10
    state = checkpoints.read_checkpoint(path)
    assert state["codec"] == "aivc"
    torch.manual_seed(1)
    task = AivcTask(CONFIG)
    task.start(moving_clips)
    for name, before in task.net.state_dict().items():
        value = state["net"][name]
        assert value.isfinite().all(), name
        if "hyper.h_s.0.weight" not in name:  # no gradient while all side latents are 0
            assert not torch.equal(value, before), name
        part, rest = name.split(".", 1)
        first = {"codec": "codec_i", "mode": "mode_p"}[part.split("_")[0]]
        if rest.startswith(("g_a.", "l_a.")) and part in ("codec_p", "codec_b"):
            first = "codec_p"  # predicted frames have an analysis of their own
        theirs = state["net"][f"{first}.{rest}"]
        assert torch.equal(value, theirs) == (part == first or rest.split(".")[-1] not in GAINS), name


def test_every_parameter_is_in_one_group() -> None:
    task = AivcTask(CONFIG)
    grouped = [id(parameter) for group, _ in task.groups() for parameter in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in task.net.parameters()}


def test_resumes_where_it_stopped(
    trained: tuple[Path, list[dict[str, float]]], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception): ...

    save = loop.save_checkpoint

    def save_and_stop(trainer: Trainer, path: Path) -> None:
        save(trainer, path)
        if trainer.step == 1:
            raise Stop

    monkeypatch.setattr(loop, "save_checkpoint", save_and_stop)
    with pytest.raises(Stop):
        run(source, tmp_path / "parts.pt", 4)
    monkeypatch.undo()
    torch.manual_seed(99)
    run(source, tmp_path / "parts.pt", 4)
    whole, parts = (checkpoints.read_checkpoint(path) for path in (trained[0], tmp_path / "parts.pt"))
    assert whole["step"] == parts["step"] == 4
    for name, value in whole["net"].items():
        assert torch.equal(value, parts["net"][name]), name


def test_every_frame_type_is_trained(moving_clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    """In coding order, each from decoded frames, at qualities around that of the sample."""
    task = AivcTask(CONFIG)
    task.start(moving_clips)
    planes = TripleSampler(moving_clips, 64, CPU)(1, torch.Generator().manual_seed(1))[0]
    coded, plain = [], task._code

    def code(x, kind, t, decoded, level, quality):  # type: ignore[no-untyped-def]
        coded.append((kind, t, sorted(decoded)))
        low, high = aivc_task.ABOVE[kind]
        assert low <= float(quality[0] - level[0]) <= high
        assert not any(torch.equal(frame, planes[:, i]) for frame in decoded.values() for i in range(3))
        return plain(x, kind, t, decoded, level, quality)

    monkeypatch.setattr(task, "_code", code)
    for chain, want in (
        (0.0, [("i", 0, []), ("p", 1, [0]), ("p", 2, [0, 1])]),
        (0.9, [("i", 0, []), ("p", 2, [0]), ("b", 1, [0, 2])]),
    ):
        coded.clear()
        assert task.loss(planes, torch.tensor(chain), torch.tensor([5])).total.isfinite()
        assert coded == want


def test_sampler() -> None:
    """Three frames as far apart, forwards and backwards, near and far."""
    planes = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None], (20, 6, 48, 64)).copy()
    planes[:, 1], planes[:, 2] = np.arange(64), np.arange(48)[:, None]
    sampler, steps = TripleSampler([Clip(planes, np.zeros(0, np.int16))], 64, CPU), set()
    for seed in range(40):
        found, chain = sampler(1, torch.Generator().manual_seed(seed))
        assert 0 <= chain < 1
        frames = (found[0] * 255).round().int()
        assert frames.shape == (3, 6, 32, 32)
        assert (frames[:, 1] == frames[:1, 1, :1]).all()  # the same place of every frame
        assert (frames[:, 2] == frames[:1, 2, :, :1]).all()
        (step,) = set(frames[:, 0, 0, 0].diff().tolist())
        steps.add(step)
    assert steps == {sign * stride for sign in (-1, 1) for stride in aivc_task.STRIDES}
    with pytest.raises(InputError, match="no clip has 3 frames of 128 pixels"):
        TripleSampler([Clip(planes, np.zeros(0, np.int16))], 128, CPU)


def rgb_of(planes: Tensor) -> Tensor:
    """The picture whose planes these are, of pixels that share their chroma; (B, 3, H, W) in 0..1."""
    centred = torch.cat([F.pixel_shuffle(planes[:, :4], 2), F.interpolate(planes[:, 4:], scale_factor=2)], 1) - GREY
    return torch.einsum("cy,byhw->bchw", torch.linalg.inv(_yuv_of_rgb()), centred) + 0.5


@torch.no_grad()
def test_the_picture_codec_in_planes(moving_clips: list[Clip]) -> None:
    """The networks of pictures do in planes what they do in RGB, to the border; the shortcut alone is new."""
    torch.manual_seed(2)
    image, codec = ImageNet(IMAGE), CodecNet(CONFIG.codec)
    start_from_image(codec, image)
    x = torch.from_numpy(moving_clips[0].planes[:1]).float() / 255
    grey = torch.full_like(x, GREY)
    y = codec.analysis(x, grey)
    torch.testing.assert_close(y, image.analysis(rgb_of(x)), atol=1e-4, rtol=1e-4)
    codec.shortcut[2].weight.zero_()
    codec.shortcut[2].bias.zero_()
    made = codec.synthesis(y, F.pixel_unshuffle(grey, 2))
    shown = torch.einsum("yc,bchw->byhw", _yuv_of_rgb(), image.synthesis(y) - 0.5)
    want = torch.cat([F.pixel_unshuffle(shown[:, :1], 2), F.avg_pool2d(shown[:, 1:], 2)], 1)
    torch.testing.assert_close(made, want, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_fewer_latents_than_pictures_have() -> None:
    """Those that are kept are what they were; the others are as if they were 0."""
    torch.manual_seed(7)
    whole = AivcNet(CONFIG)
    few = AivcNet(dataclasses.replace(CONFIG, codec=dataclasses.replace(CONFIG.codec, latents=10)))
    keep = torch.tensor([0, 2, 3, 7, 8, 11, 14, 20, 21, 23])
    for kind in "ipb":
        keep_latents(getattr(few, f"codec_{kind}"), getattr(whole, f"codec_{kind}"), keep)
    x, prediction, given = torch.rand(1, 6, 32, 48), torch.rand(1, 6, 32, 48), torch.rand(1, 24, 16, 24)
    for kind in "ipb":
        one, two = (getattr(net, f"codec_{kind}") for net in (few, whole))
        y = one.analysis(x, prediction)
        torch.testing.assert_close(y, two.analysis(x, prediction)[:, keep])
        spread = torch.zeros(1, 24, *y.shape[2:]).index_copy_(1, keep, y)
        torch.testing.assert_close(one.synthesis(y, given), two.synthesis(spread, given))
        level = torch.tensor([3.5])
        torch.testing.assert_close(one.coder.step(level), two.coder.step(level)[:, keep])
        z = torch.randn(1, 4, 1, 1)
        for ours, theirs in zip(
            one.coder.hyper.synthesis(z, level, 2, 3), two.coder.hyper.synthesis(z, level, 2, 3), strict=True
        ):
            torch.testing.assert_close(ours, theirs[:, keep])


@torch.no_grad()
def test_the_motion_of_b_frames_in_the_mode() -> None:
    """What is not skip is coded as it was, flows by the linear path alone; skip goes by its own latents."""
    torch.manual_seed(3)
    other, net = LhbdcNet(LHBDC), AivcNet(CONFIG)
    start_from_motion(net, other)
    net.mode_b.shortcut[2].weight.zero_()
    net.mode_b.shortcut[2].bias.zero_()
    numbers, errors, steady = torch.randn(1, 6, 8, 12) * 4, torch.rand(1, 3, 8, 12), torch.zeros(1, 4, 8, 12)
    y, theirs = net.mode_b.analysis(numbers, errors), other.bimotion.analysis(numbers[:, :5], errors)
    torch.testing.assert_close(y[:, : LHBDC.bimotion.latents], theirs)
    given = F.pixel_unshuffle(steady, 2)
    made = net.mode_b.decode(y, given)
    straight = F.pixel_shuffle(other.bimotion.l_s(theirs), 2)
    torch.testing.assert_close(made[:, :4], straight[:, :4], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made[:, 4:5], other.bimotion.samples(theirs)[:, 4:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made[:, 5:], numbers[:, 5:], atol=1e-4, rtol=1e-4)
    skipped = torch.zeros_like(numbers)
    skipped[:, 5, :4] = -8.0
    y = net.mode_b.analysis(skipped, errors)
    assert y[:, SKIP_LATENT, :2].max() < -15.9
    *_, decoded = net.mode_b.coder(y, torch.tensor([3]), torch.tensor([3.0]))
    assert (net.mode_b.kept(decoded)[0, 0] == torch.tensor([0, 0, 1, 1.0])[:, None]).all()
    p, b = net.mode_p.coder, net.mode_b.coder
    assert (p.log_step[:, :2] - other.motion.coder.log_step[:, :2]).allclose(torch.tensor(0.5 * np.log(2)).float())
    assert torch.equal(b.log_step[:, : LHBDC.bimotion.latents], other.bimotion.coder.log_step)


@torch.no_grad()
def test_the_analysis_of_residuals() -> None:
    """Where latents suffice, this linear synthesis makes of them what the other one makes of its own."""
    torch.manual_seed(6)
    other = TransformNet(LHBDC.residual)
    codec = CodecNet(dataclasses.replace(CONFIG.codec, latents=384), residual=True)
    codec.l_s.weight.copy_(torch.linalg.qr(torch.randn(384, 384))[0].unflatten(1, (6, 8, 8)))
    start_residual(codec, other)
    x, prediction = torch.rand(2, 6, 32, 48), torch.rand(2, 6, 32, 48)
    ours, theirs = codec.analysis(x, prediction), other.analysis(x - prediction, prediction - GREY)
    made, want = (net.l_s(y) - net.l_s.bias[:, None, None] for net, y in ((codec, ours), (other, theirs)))
    torch.testing.assert_close(made, want, atol=1e-3, rtol=1e-3)


def donor(task: type, config: object, data: object, path: Path) -> Path:
    """A checkpoint of another codec."""
    torch.manual_seed(4)
    made = task(config)
    if data is not None:
        made.start(data)
    torch.save(Trainer(made, settings_for(made.codec, 1), CPU).state(), path)
    return path


def test_no_side_information_at_the_start(moving_clips: list[Clip]) -> None:
    """Whatever networks it begins with: offsets alone describe the latents."""
    torch.manual_seed(8)
    for others in ({}, {"image": ImageNet(IMAGE)}, {"image": ImageNet(IMAGE), "lhbdc": LhbdcNet(LHBDC)}):
        task = AivcTask(CONFIG)
        task.start_from(moving_clips, others)
        for kind in "ipb":
            hyper = getattr(task.net, f"codec_{kind}").coder.hyper
            mean, index = hyper.synthesis(torch.randn(1, 4, 1, 1), torch.tensor([2.0]), 3, 4)
            assert not mean.any()
            assert (index == hyper.offset[2][None, :, None, None]).all()


def test_start_from_other_codecs(source: Path, moving_clips: list[Clip], tmp_path: Path) -> None:
    image = donor(PictureTask, IMAGE, None, tmp_path / "image.pt")
    lhbdc = donor(LhbdcTask, LHBDC, moving_clips, tmp_path / "lhbdc.pt")
    run(source, tmp_path / "both.pt", 1, start=[image, lhbdc])
    run(source, tmp_path / "one.pt", 1, start=lhbdc)
    run(source, tmp_path / "next.pt", 1, start=tmp_path / "both.pt")
    both, one, after, pictures, motion = (
        checkpoints.read_checkpoint(path)["net"]
        for path in (tmp_path / "both.pt", tmp_path / "one.pt", tmp_path / "next.pt", image, lhbdc)
    )
    near = {"atol": 0.05, "rtol": 0.0}  # less a step
    torch.testing.assert_close(both["codec_i.g_a.2.weight"], pictures["g_a.2.weight"], **near)
    assert not torch.allclose(one["codec_i.g_a.2.weight"], pictures["g_a.2.weight"], **near)
    for state in (both, one):
        torch.testing.assert_close(state["mode_b.g_a.2.weight"], motion["bimotion.g_a.2.weight"], **near)
    for name, value in both.items():
        assert torch.allclose(value, after[name], **near), name
    with pytest.raises(InputError, match="starts from one file, or from one of each of image, lhbdc"):
        run(source, tmp_path / "x.pt", 1, start=[tmp_path / "both.pt", lhbdc])


@torch.no_grad()
def enliven(task: AivcTask) -> None:
    """Networks that say something beside the linear path."""
    net = task.net
    for part in (net.codec_i, net.codec_p, net.mode_p):
        for stack, size in ((part.g_a, 0.05), (part.g_s, 0.02), (part.coder.hyper.h_s, 0.5)):
            stack[-1].weight.normal_(0, size / stack[-1].weight[0].numel() ** 0.5)
            stack[-1].bias.normal_(0, 0.003)
        part.coder.hyper.h_a[-1].weight.mul_(40)
    net.mode_p.l_s.bias.normal_(0, 1)


@pytest.fixture(scope="module")
def exported(moving_clips: list[Clip], source: Path, tmp_path_factory: pytest.TempPathFactory) -> VideoModel:
    """A weight file, as of a run."""
    torch.manual_seed(3)
    task = AivcTask(CONFIG)
    task.start(moving_clips)
    enliven(task)
    folder = tmp_path_factory.mktemp("export")
    torch.save(Trainer(copy.deepcopy(task), settings(1), CPU).state(), folder / "run.pt")
    lines = list(
        export_video.export(folder / "run.pt", source, folder / "tiny.safetensors.gz", name="tiny", threads=1, frames=5)
    )
    assert "model id" in lines[-1]
    return VideoModel(folder / "tiny.safetensors.gz")


@pytest.mark.parametrize(("gop", "types"), [(4, "IPBBBP"), (1, "IPPPPP")])
def test_exported_model_codes_clips(gop: int, types: str, exported: VideoModel) -> None:
    """In groups and in order, better at higher qualities."""
    assert exported.info.codec == "aivc"
    frames = cut_clip(64, 80, 6, motion=(1, 2))
    quality = []
    for level in (1.5, 6.0):
        data, reports = encode(exported, frames, level, gop=gop, adaptive=False)
        assert "".join(report.type.name for report in reports) == types
        shown = sorted(show(data, exported), key=lambda frame: frame.display)
        errors = [np.mean((a.y.astype(float) - b.frame.y) ** 2) for a, b in zip(frames, shown, strict=True)]
        quality.append(np.mean(errors))
        inter = [report.payload for report in reports if report.type != FrameType.I]
        assert np.mean(inter) < reports[0].payload  # of which they mend much: it is bad
    assert quality[1] < quality[0] < 250  # 24 dB


def test_networks_are_shared_in_the_file(exported: VideoModel) -> None:
    """Frame types have the same networks in integers, the hyper-synthesis too, and gains of their own."""
    tensors = read_tensors(exported.path, "decoder.")
    assert all(tensors.pop(name).tolist() == [1] for name in ("compensation", "fineness", "filters"))
    assert (np.diff(tensors.pop("transform.log_step"), axis=0) < 0).all()
    assert all(np.unique(tensors.pop(f"transform.{name}")).size > 50 for name in "pb")  # learned from the clips
    numbers = tensors["mode_p.conv1.weight"].reshape(4, 6, -1)  # phase, number
    assert not numbers[:, :4].any()  # flows are linear in their latents
    assert numbers[:, 4:].any()
    for name, value in tensors.items():
        part, rest = name.split(".", 1)
        first = {"codec": "codec_i", "mode": "mode_p"}[part.split("_")[0]]
        if rest not in ("log_step", "hyper.offset"):
            np.testing.assert_array_equal(value, tensors[f"{first}.{rest}"], name)


def test_start_from_a_weight_file(exported: VideoModel, moving_clips: list[Clip], source: Path, tmp_path: Path) -> None:
    """Networks come back but for rounding; and a weight file exported again has the same ones, and the same predictors
    of blocks, but for which its tables are made as without."""
    task = task_of(read_weights(exported.path), exported.path)
    assert isinstance(task, AivcTask)
    assert task.config == CONFIG
    run(source, tmp_path / "next.pt", 1, start=exported.path)
    more, output = tmp_path / "more.safetensors", tmp_path / "again.safetensors"
    tensors, others = read_tensors(exported.path, ""), read_tensors(TESTS / "data" / "tiny_blocks.safetensors", "")
    predictors = {name: value for name, value in others.items() if name.startswith("decoder.predictors.")}
    metadata = {key: value for key, value in TensorFile(exported.path).metadata.items() if key != "same"}
    identity = model_id(tensors | predictors)
    borrowing.write(more, tensors | predictors, metadata | {"id": identity.hex()})
    list(export_video.export(more, source, output, name="again", threads=1, frames=5))
    again = VideoModel(output)
    assert again.id == identity != exported.id  # that of all tensors
    assert again.backend.encode(cut_clip(32, 32, 1)[0], Place(FrameType.I), 8192)[0].latents == {}
    before = task_of(checkpoints.read_weights(exported.path.parent / "run.pt"), exported.path)
    assert isinstance(before, AivcTask)
    x = torch.from_numpy(moving_clips[1].planes[:2]).float() / 255
    given = F.pixel_unshuffle(x, 2)
    steady = torch.zeros(1, 16, 4, 8)
    with torch.no_grad():
        y = before.net.codec_p.analysis(x, x.flip(0))
        made = [t.net.codec_p.synthesis(y, given) for t in (before, task)]
        torch.testing.assert_close(*made, atol=2 / 255, rtol=0.02)
        y = before.net.mode_b.analysis(4 * torch.randn(1, 6, 8, 16), torch.rand(1, 3, 8, 16))
        made = [t.net.mode_b.decode(y, steady) for t in (before, task)]
        torch.testing.assert_close(*made, atol=0.1, rtol=0.02)
