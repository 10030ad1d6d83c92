"""Training of the bi-directional codec: start, steps, resume, from another codec's weights, export, a clip coded."""

import copy
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import clip as cut_clip  # noqa: E402
from video_streams import encode, show  # noqa: E402

from nvc.bitstream.container import FrameType  # noqa: E402
from nvc.codec.models import read_tensors  # noqa: E402
from nvc.codec.video_backend import Place, Reference  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.errors import InputError  # noqa: E402
from nvc.networks.intra import TransformConfig  # noqa: E402
from nvc.networks.lambdas import LAMBDAS  # noqa: E402
from nvc.networks.lhbdc import LhbdcConfig  # noqa: E402
from nvc.networks.planes import PLANES, pad_planes  # noqa: E402
from nvc.networks.ssf import MotionConfig, SsfConfig  # noqa: E402
from nvc.training import checkpoints, export_video, lhbdc_task, loop  # noqa: E402
from nvc.training.checkpoints import read_weights, slim  # noqa: E402
from nvc.training.clips import FLOW_STEPS, Clip  # noqa: E402
from nvc.training.kinds import settings_for  # noqa: E402
from nvc.training.lhbdc_task import LhbdcTask, SpreadSampler, lambda_at, searched  # noqa: E402
from nvc.training.loop import Trainer, fit, task_of  # noqa: E402
from nvc.training.task import FitSettings  # noqa: E402
from nvc.training.video_task import VideoTask  # noqa: E402

CPU = torch.device("cpu")
CONFIG = LhbdcConfig(
    intra=TransformConfig(40, (4, 8), (8, 4), 4, 8),
    motion=MotionConfig(12, 8, 8, 4, 8),
    residual=TransformConfig(24, (4, 8), (8, 4), 4, 8, seen=PLANES),
    bimotion=MotionConfig(24, 8, 8, 4, 8, coded=5, made=5, seen=3),
    biresidual=TransformConfig(20, (4, 8), (8, 4), 4, 8, seen=PLANES),
)
ANCHORS = "intra", "motion", "residual"
SSF = SsfConfig(*(getattr(CONFIG, name) for name in ANCHORS))


@pytest.fixture(scope="module")
def five() -> list[Clip]:
    """Two clips of five frames or more."""
    made = []
    for height, width, frames, name, motion in ((64, 96, 5, "stair", (1, 3)), (64, 128, 9, "sign", (2, 4))):
        planes = [pad_planes(f).transpose(2, 0, 1) for f in cut_clip(height, width, frames, name, motion)]
        flows = np.empty((2, frames - 1, 2, height // 8, width // 8), np.int16)
        flows[:] = np.multiply(motion[::-1], FLOW_STEPS)[:, None, None]
        made.append(Clip(np.stack(planes), flows))
    return made


@pytest.fixture(scope="module")
def source(five: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("five") / "clips.npz"
    arrays = {f"p{i}": clip.planes for i, clip in enumerate(five)} | {f"f{i}": c.flows for i, c in enumerate(five)}
    np.savez(path, **arrays)
    return path


def settings(steps: int) -> FitSettings:
    return settings_for("lhbdc", 1e9, steps=steps, batch=1, crop=64, save_every=0, warmup=2)


def run(source: Path, checkpoint: Path, steps: int, **how: object) -> list[dict[str, float]]:
    options = {"codec": "lhbdc", "config": CONFIG, "device": CPU} | how
    return list(fit(source, checkpoint, settings(steps), **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, float]]]:
    """Four steps in one go."""
    path = tmp_path_factory.mktemp("run") / "whole.pt"
    return path, run(source, path, 4)


def test_learns(trained: tuple[Path, list[dict[str, float]]], five: list[Clip]) -> None:
    """Everything but the networks of I and P frames has moved, and is finite."""
    path, (report, *_) = trained
    assert 12 < report["psnr"] < 45
    assert 0 < report["bpp"] < 10
    state = checkpoints.read_checkpoint(path)
    assert state["codec"] == "lhbdc"
    torch.manual_seed(1)
    task = LhbdcTask(CONFIG)
    task.start(five)
    for name, before in task.net.state_dict().items():
        value = state["net"][name]
        assert value.isfinite().all(), name
        if name.startswith(ANCHORS):
            assert torch.equal(value, before), name
        elif not name.endswith("h_s.0.weight"):  # no gradient while all side latents are 0
            assert not torch.equal(value, before), name


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


def test_every_frame_is_trained(five: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    """B frames of two levels, early and late, from decoded frames; I frames of all qualities that anchors have."""
    task = LhbdcTask(CONFIG)
    task.start(five)
    planes = SpreadSampler(five, 64, CPU)(1, torch.Generator().manual_seed(1))[0]
    coded, anchors = [], []
    plain, intra = task._inter, task._anchor

    def inter(x, references, before, after, level, quality):  # type: ignore[no-untyped-def]
        shown = next(i for i in range(5) if torch.equal(x, planes[:, i]))
        coded.append((shown, before, after, float(level[0] - quality[0])))
        assert not any(torch.equal(reference, planes[:, i]) for reference in references for i in range(5))
        return plain(x, references, before, after, level, quality)

    def anchor(x, level, quality):  # type: ignore[no-untyped-def]
        anchors.append((next(i for i in range(5) if torch.equal(x, planes[:, i])), float(quality[0] - level[0])))
        return intra(x, level, quality)

    monkeypatch.setattr(task, "_inter", inter)
    monkeypatch.setattr(task, "_anchor", anchor)
    torch.manual_seed(4)
    for _ in range(4):
        for late, deeper in enumerate((1, 3)):
            coded.clear()
            assert task.loss(planes, torch.tensor(late), torch.tensor([5])).total.isfinite()
            assert [entry[:3] for entry in coded] == [(2, 2, 2), (deeper, 1, 1)]
            assert 0 <= coded[0][3] <= coded[1][3] <= lhbdc_task.DEEPEST
    assert [shown for shown, _ in anchors] == [0, 4] * 8
    above = [quality for _, quality in anchors]
    most, least = lhbdc_task.INTRA_ABOVE, lhbdc_task.INTRA_ABOVE - lhbdc_task.ANCHORS_FALL
    assert least <= min(above) < least + 0.5 < most - 0.5 < max(above) <= most
    assert len(set(above)) == 16  # each by itself
    draw = LhbdcTask.sampler(five, settings(1), CPU)
    assert {int(draw(False, torch.Generator().manual_seed(i))[1]) for i in range(20)} == {0, 1}


def test_sampler(five: list[Clip]) -> None:
    """Five frames as far apart, forwards and backwards; halved clips at the finest levels."""
    planes = np.broadcast_to(np.arange(9, dtype=np.uint8)[:, None, None, None], (9, 6, 48, 64)).copy()
    planes[:, 1], planes[:, 2] = np.arange(64), np.arange(48)[:, None]
    sampler, ways, strides = SpreadSampler([Clip(planes, np.zeros(0, np.int16))], 64, CPU), set(), set()
    for seed in range(20):
        found = (sampler(1, torch.Generator().manual_seed(seed))[0][0] * 255).round().int()
        assert found.shape == (5, 6, 32, 32)
        assert (found[:, 1] == found[:1, 1, :1]).all()  # the same place of every frame
        assert (found[:, 2] == found[:1, 2, :, :1]).all()
        (step,) = set(found[:, 0, 0, 0].diff().tolist())
        ways.add(step > 0)
        strides.add(abs(step))
    assert ways == {False, True}
    assert strides == {1, 2}  # nine frames have no more
    drawn, late, level = LhbdcTask.sampler(five[1:], settings_for("lhbdc", 1, crop=64, batch=3), CPU)(
        True, torch.Generator().manual_seed(1)
    )
    assert drawn.shape == (6, 5, 6, 16, 16)
    assert late.shape == ()
    assert set(level.tolist()) <= {6, 7}
    with pytest.raises(InputError, match="no clip has 5 frames of 128 pixels"):
        SpreadSampler(five, 128, CPU)


def test_lambdas_between_levels() -> None:
    quality = torch.tensor([0.0, 2.5, 7.0, 6.25])
    want = [LAMBDAS[0], (LAMBDAS[2] * LAMBDAS[3]) ** 0.5, LAMBDAS[7], LAMBDAS[6] ** 0.75 * LAMBDAS[7] ** 0.25]
    np.testing.assert_allclose(lambda_at(quality).numpy(), want, rtol=1e-5)


def test_searched_in_pictures(five: list[Clip]) -> None:
    """Flows are those of the frames, to both sides; of steady ones the decoder needs to be told next to nothing."""
    planes = torch.from_numpy(five[1].planes[:5]).float()[None] / 255
    flows, steady = searched(planes[:, 2], [planes[:, 0], planes[:, 4]], 2, 2)
    inside = flows[0, :, 3:-3, 3:-3].median(2)[0].median(1)[0]
    np.testing.assert_allclose(inside, [8, 4, -8, -4], atol=0.5)
    assert (flows - steady).abs().median() < 0.5


@torch.no_grad()
def enliven(task: VideoTask) -> None:
    """Networks that say something beside the linear path."""
    for part in task.net.children():
        for stack, size in ((part.g_a, 0.05), (part.g_s, 0.02), (part.coder.hyper.h_s, 0.5)):
            stack[-1].weight.normal_(0, size / stack[-1].weight[0].numel() ** 0.5)
            stack[-1].bias.normal_(0, 0.003)
        part.coder.hyper.h_a[-1].weight.mul_(400)


def scale_space_flow(clips: list[Clip], checkpoint: Path) -> VideoTask:
    """A model of the other codec, and its checkpoint."""
    torch.manual_seed(5)
    task = VideoTask(SSF)
    task.start(clips)
    enliven(task)
    torch.save(Trainer(copy.deepcopy(task), settings_for("ssf", 1), CPU).state(), checkpoint)
    return task


def test_start_from_another_codec(source: Path, five: list[Clip], tmp_path: Path) -> None:
    """The networks of I and P frames are taken, those of B frames are new; where widths differ none are."""
    weights = tmp_path / "ssf.pt"
    given = scale_space_flow(five, weights).net.state_dict()
    run(source, tmp_path / "new.pt", 2, start=weights)
    state = checkpoints.read_checkpoint(tmp_path / "new.pt")
    assert given.keys() < state["net"].keys()
    for name, value in given.items():
        assert torch.equal(value, state["net"][name]), name
    assert state["net"]["bimotion.l_a.weight"].shape[1] == 5
    run(source, tmp_path / "next.pt", 1, start=tmp_path / "new.pt")
    after = checkpoints.read_checkpoint(tmp_path / "next.pt")
    for name, value in state["net"].items():  # all of its own codec, less the last step
        assert torch.allclose(value, after["net"][name], atol=0.05), name
    wide = {name: dataclasses.replace(getattr(CONFIG, name), side=6) for name in ANCHORS}
    other = dataclasses.replace(CONFIG, **wide)
    with pytest.raises(InputError, match="none of its networks is of the widths that lhbdc has"):
        run(source, tmp_path / "other.pt", 1, start=weights, config=other)


@pytest.mark.parametrize("frames", [2, 3])
def test_seen_of_short_clips(frames: int, five: list[Clip]) -> None:
    """Clips of two frames are training data too."""
    task = LhbdcTask(CONFIG)
    seen = task.seen([Clip(clip.planes[:frames], clip.flows) for clip in five])
    chains = 2 * (frames - 1)
    want = {"intra": 2, "motion": chains, "residual": chains, "bimotion": 2, "biresidual": 2}
    assert {name: len(pairs) for name, pairs in seen.items()} == want
    assert all(y.isfinite().all() for pairs in seen.values() for _, y in pairs)


@pytest.fixture(scope="module")
def exported(five: list[Clip], source: Path, tmp_path_factory: pytest.TempPathFactory) -> VideoModel:
    """A weight file, as of a run."""
    torch.manual_seed(3)
    task = LhbdcTask(CONFIG)
    task.start(five)
    enliven(task)
    folder = tmp_path_factory.mktemp("export")
    torch.save(Trainer(copy.deepcopy(task), settings(1), CPU).state(), folder / "run.pt")
    lines = list(
        export_video.export(folder / "run.pt", source, folder / "tiny.safetensors.gz", name="tiny", threads=1, frames=5)
    )
    assert "model id" in lines[-1]
    return VideoModel(folder / "tiny.safetensors.gz")


def test_exported_model_codes_clips(exported: VideoModel) -> None:
    """With B frames, better at higher qualities; and a run may start from the file."""
    assert exported.info.codec == "lhbdc"
    frames = cut_clip(64, 80, 6, motion=(1, 2))
    quality = []
    for level in (1.5, 6.0):
        data, reports = encode(exported, frames, level, gop=4, adaptive=False)
        assert "".join(report.type.name for report in reports) == "IPBBBP"
        shown = sorted(show(data, exported), key=lambda frame: frame.display)
        errors = [np.mean((a.y.astype(float) - b.frame.y) ** 2) for a, b in zip(frames, shown, strict=True)]
        quality.append(np.mean(errors))
        inter = [report.payload for report in reports if report.type != FrameType.I]
        assert np.mean(inter) < 0.8 * reports[0].payload
    assert quality[1] < quality[0] < 250  # 24 dB
    task = task_of(read_weights(exported.path), exported.path)
    assert isinstance(task, LhbdcTask)
    assert task.config == CONFIG


def test_export_with_a_base(
    exported: VideoModel, five: list[Clip], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What both codecs have is in the file as it is in the other; the rest as without; tables are new."""
    scale_space_flow(five, tmp_path / "ssf.pt")
    slim(exported.path, tmp_path / "b.pt")
    base, output = tmp_path / "ssf.safetensors", tmp_path / "b.safetensors"
    list(export_video.export(tmp_path / "ssf.pt", source, base, name="a", threads=1, frames=3))
    lines = list(export_video.export(tmp_path / "b.pt", source, output, name="b", threads=1, frames=5, base=base))
    assert "networks in integers, of the other file: intra, motion, residual" in lines
    made, other, alone = (read_tensors(path, "") for path in (output, base, exported.path))
    assert made.keys() == alone.keys()
    parts = {name.split(".")[0] for name in made}
    assert parts == {"decoder", "encoder", "training", "tables"}
    taken = {name for name in made if not name.startswith("tables.") and set(ANCHORS) & set(name.split("."))}
    assert taken == {name for name in other if not name.startswith("tables.")}
    for name in taken:
        assert made[name].dtype == other[name].dtype
        np.testing.assert_array_equal(made[name], other[name], name)
    for name in made.keys() - taken:
        assert name.startswith("tables.") or made[name].shape == alone[name].shape, name
    frames = cut_clip(64, 80, 4, motion=(1, 2))
    model = VideoModel(output)
    data, _ = encode(model, frames, 4.0, gop=2)
    assert len(show(data, model)) == 4
    place = Place(FrameType.P, [Reference(frames[0])], [-1])  # so near that it is coded at the file's quality
    (ours, shown), (theirs, same) = (m.backend.encode(frames[1], place, 12288) for m in (model, VideoModel(base)))
    assert list(ours.latents) == list(theirs.latents) == ["motion", "residual"]
    for name, latents in ours.latents.items():
        np.testing.assert_array_equal(latents.z, theirs.latents[name].z)
        np.testing.assert_array_equal(latents.symbols, theirs.latents[name].symbols)
    np.testing.assert_array_equal(shown.frame.y, same.frame.y)


@pytest.mark.parametrize("level_tables", [False, True])
def test_export_of_a_weight_file(exported: VideoModel, source: Path, tmp_path: Path, level_tables: bool) -> None:
    """Networks bit for bit, of all informations; tables of what these make of the clips: the same of the same."""
    output = tmp_path / "again.safetensors"
    lines = export_video.export(
        exported.path, source, output, name="again", threads=1, frames=5, level_tables=level_tables
    )
    assert "networks in integers" in list(lines)
    made, before = read_tensors(output, ""), read_tensors(exported.path, "")
    tables = {name for name in before if name.startswith("tables.")}
    assert {name for name in made if not name.startswith("tables.")} == before.keys() - tables
    for name in before.keys() - (tables if level_tables else set()):
        assert made[name].dtype == before[name].dtype
        np.testing.assert_array_equal(made[name], before[name], name)
    assert (made.keys() == before.keys()) == (not level_tables)
    assert (VideoModel(output).id == exported.id) == (not level_tables)


def test_a_base_is_a_weight_file(trained: tuple[Path, list[dict[str, float]]], source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable weight file"):
        list(export_video.export(trained[0], source, tmp_path / "x.safetensors", name="x", base=trained[0]))
