"""Streams of video of the past: they must decode for ever, or be refused with the same line for ever."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from video_streams import show  # noqa: E402

import nvc.errors  # noqa: E402
from nvc.bitstream.container import FrameType  # noqa: E402
from nvc.bitstream.header import QUALITY_STEPS, Header  # noqa: E402
from nvc.bitstream.video_boxes import AudioPacket  # noqa: E402
from nvc.bitstream.video_frame import VideoFrame  # noqa: E402
from nvc.bitstream.video_reader import VideoReader  # noqa: E402
from nvc.codec.aivc import AivcBackend  # noqa: E402
from nvc.codec.aivc_choices import CODEC, FINENESSES, MODE  # noqa: E402
from nvc.codec.frame_coding import FrameCoder  # noqa: E402
from nvc.codec.latents import Content  # noqa: E402
from nvc.codec.predictors import Blocks  # noqa: E402
from nvc.codec.transform import Layers  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.networks.aivc_integer import SKIP_LATENT, SKIPPED, skipped  # noqa: E402
from nvc.networks.filters import Filter  # noqa: E402
from nvc.networks.hyper_integer import dequantise  # noqa: E402

MODELS = {
    "video": "tiny_video", "contexts": "tiny_contexts", "levels": "tiny_levels", "lhbdc": "tiny_lhbdc",
    "aivc": "tiny_aivc", "overlap": "tiny_overlap", "fine": "tiny_fine", "layers": "tiny_layers",
    "filters": "tiny_filters", "blocks": "tiny_blocks",
}  # fmt: skip
LISTINGS: dict[str, Any] = {folder: json.loads((HERE / folder / "golden.json").read_text()) for folder in MODELS}
GOOD, BAD = ([(folder, name) for folder in MODELS for name in LISTINGS[folder][kind]] for kind in ("good", "bad"))


@pytest.fixture(scope="module")
def models() -> dict[str, VideoModel]:
    return {folder: VideoModel(HERE.parent / "data" / f"{name}.safetensors") for folder, name in MODELS.items()}


def parts_of(name: str, folder: str = "video") -> tuple[VideoReader, list[Any]]:
    reader = VideoReader(io.BytesIO((HERE / folder / f"{name}.nvc").read_bytes()))
    return reader, list(reader)


@pytest.mark.parametrize(
    ("folder", "good", "bad"),
    [
        ("video", 11, 31),
        ("contexts", 8, 12),
        ("levels", 4, 2),
        ("lhbdc", 15, 31),
        ("aivc", 21, 33),
        ("overlap", 10, 2),
        ("fine", 8, 2),
        ("layers", 10, 9),
        ("filters", 7, 4),
        ("blocks", 17, 20),
    ],
)
def test_nothing_is_left_out(folder: str, good: int, bad: int) -> None:
    listing = LISTINGS[folder]
    assert {p.stem for p in (HERE / folder).glob("*.nvc")} == set(listing["good"])
    assert {p.stem for p in (HERE / folder / "bad").glob("*.nvc")} == set(listing["bad"])
    assert len(listing["good"]) >= good
    assert len(listing["bad"]) >= bad
    assert sum(path.stat().st_size for path in (HERE / folder).rglob("*.nvc")) < 60_000


@pytest.mark.parametrize("folder", MODELS)
def test_the_model_is_that_of_the_streams(folder: str, models: dict[str, VideoModel]) -> None:
    assert models[folder].info.id == LISTINGS[folder]["model"]


@pytest.mark.parametrize(("folder", "name"), GOOD)
def test_decodes(folder: str, name: str, models: dict[str, VideoModel]) -> None:
    expected = LISTINGS[folder]["good"][name]
    frames = show((HERE / folder / f"{name}.nvc").read_bytes(), models[folder])
    assert [frames[0].frame.height, frames[0].frame.width] == expected["shape"]
    assert [frame.time for frame in frames] == expected["times"]
    found = [hashlib.sha256(b"".join(plane.tobytes() for plane in frame.frame.planes)) for frame in frames]
    assert [digest.hexdigest()[:32] for digest in found] == expected["frames"]


def test_what_they_cover() -> None:
    """Both frame types, re-parameterised or not, both table sets, tables that change level at a P frame, the ends of
    the quality scale, sizes that are no whole blocks, uneven times, audio, I frames in the middle."""
    readers = {name: parts_of(name) for name in LISTINGS["video"]["good"]}
    headers = [reader.header for reader, _ in readers.values()]
    assert {h.quality_code for h in headers} >= {0, 28671, 28672}
    assert {h.width % 16 == 0 for h in headers} == {h.height % 2 == 0 for h in headers} == {False, True}
    frames = {name: [p for p in parts if isinstance(p, VideoFrame)] for name, (_, parts) in readers.items()}
    everything = [frame for each in frames.values() for frame in each]
    assert {f.reparameterised for f in everything if f.type == FrameType.P} == {False, True}
    assert {f.table_set for f in frames["sets"] if f.type == FrameType.P} == {0, 1}
    assert [f.type for f in frames["cuts"]].count(FrameType.I) == 3
    assert any(f.step for f in frames["sounding"])
    assert any(isinstance(part, AudioPacket) for part in readers["sounding"][1])


def test_what_those_with_tables_of_each_level_cover(models: dict[str, VideoModel]) -> None:
    """All forms of the tables; tables that change level at I and P frames, some of them replaced there."""
    model = models["levels"]
    levels = [{name: model.tables(name, level) for name in ("intra", "motion", "residual")} for level in (1, 2)]
    first, second = ({name: tables.main for name, tables in level.items()} for level in levels)
    assert [np.array_equal(first[name].cdf, second[name].cdf) for name in first] == [False, True, False]
    assert [tables.context is None for tables in levels[0].values()] == [True, False, False]
    rows = [level["residual"].context for level in levels]
    assert rows[0] is not None
    assert rows[1] is not None
    assert (rows[0].row != rows[1].row).any()
    sets, foreign = (parts_of(name, "levels")[1] for name in ("sets", "foreign"))
    assert {(f.type, f.table_set) for f in sets} == {(kind, n) for kind in (FrameType.I, FrameType.P) for n in (0, 1)}
    assert {f.table_set for f in foreign if f.reparameterised} == {0, 1}


@pytest.mark.parametrize("folder", ["lhbdc", "aivc"])
def test_what_those_with_b_frames_cover(folder: str, models: dict[str, VideoModel]) -> None:
    """All starts, drops of nothing to the most, P frames above and below the file's quality, above level 8 and below
    level 1; tails and their P frames, groups of 32, I frames as anchors, re-parameterised B frames, tables that change
    level at one, uneven times."""
    readers = {name: parts_of(name, folder) for name in LISTINGS[folder]["good"]}
    coder = FrameCoder(models[folder].backend, models[folder].tables)
    backend, choices, dropped, qualities = models[folder].backend, set(), set(), set()
    for reader, parts in readers.values():
        header = reader.header
        for part in parts:
            assert isinstance(part, VideoFrame)
            level = header.quality_code // QUALITY_STEPS + 1 + part.table_set
            sent = coder.decode(
                part.type, part.payload, part.reparameterised, level, header.quality_code, (header.height, header.width)
            )
            choices.add((part.type, *sent.choices[1:]))
            code = backend.frame_quality(part.type, sent.choices, header.quality_code)
            qualities.add((part.type, np.sign(code - header.quality_code), code < 0, code > 7 * QUALITY_STEPS))
            dropped |= {(part.type, drop) for drop in sent.choices[:1]}
    assert choices == {(FrameType.I,), (FrameType.P,), *((FrameType.B, start) for start in range(4))}
    assert dropped >= {(FrameType.P, 0), (FrameType.P, 8), (FrameType.P, 15)}
    assert dropped >= {(FrameType.B, 0), (FrameType.B, 3), (FrameType.B, 15)}
    p = {quality[1:] for quality in qualities if quality[0] == FrameType.P}
    assert p >= {(1, False, False), (0, False, False), (-1, False, False), (1, False, True), (-1, True, False)}
    assert (FrameType.B, -1, True, False) in qualities
    frames = {name: parts for name, (_, parts) in readers.items()}
    assert {reader.header.video.gop for reader, _ in readers.values()} == {1, 2, 4, 8, 32}
    assert all(f.reparameterised for f in frames["foreign"] if f.type == FrameType.B)
    assert {f.table_set for f in frames["sets"] if f.type == FrameType.B} == {0, 1}
    assert any(f.type == FrameType.B and f.step for f in frames["uneven"])
    assert any(f.gap for f in frames["odd"] if f.type == FrameType.P)
    assert "".join(f.type.name for f in frames["intra-anchors"]) == "IIBBBIBBB"
    assert {f.type for f in frames["in-order"]} == {FrameType.I, FrameType.P}


def all_sent(folder: str, models: dict[str, VideoModel]) -> Iterator[tuple[str, VideoFrame, Content, Header]]:
    """Of the frames of all good streams: stream, frame, content and header."""
    backend, tables = models[folder].backend, models[folder].tables
    coder = FrameCoder(backend, tables)
    for name in LISTINGS[folder]["good"]:
        reader, parts = parts_of(name, folder)
        header = reader.header
        for part in parts:
            level = header.quality_code // QUALITY_STEPS + 1 + part.table_set
            size = header.height, header.width
            sent = coder.decode(part.type, part.payload, part.reparameterised, level, header.quality_code, size)
            yield name, part, sent, header


def sent_behind_a_mode(folder: str, models: dict[str, VideoModel]) -> Iterator[tuple[str, FrameType, Content, int]]:
    """Of the P and B frames of all good streams: stream, type, content and quality code of the frame."""
    for name, part, sent, header in all_sent(folder, models):
        if part.type != FrameType.I:
            code = models[folder].backend.frame_quality(part.type, sent.choices, header.quality_code)
            yield name, part.type, sent, code


def test_what_those_with_a_fineness_cover(models: dict[str, VideoModel]) -> None:
    """All that there are, of both frame types; tables read beyond both ends; blocks skipped and not, however finely."""
    backend = models["fine"].backend
    assert isinstance(backend, AivcBackend)
    found, codes, skips = set(), [], set()
    for _, kind, sent, code in sent_behind_a_mode("fine", models):
        found.add((kind, sent.choices[-1]))
        codes.append((code, code + QUALITY_STEPS * sent.choices[-1]))
        mode, log_step = sent.latents[MODE[kind]], backend._parts[MODE[kind]].decoder.log_step
        assert (np.diff(log_step[:, SKIP_LATENT], axis=0) != 0).all()
        nothing = skipped(mode.symbols, mode.mean, log_step, code)
        skips |= {(bool(value), sent.choices[-1] > 0) for value in np.unique(nothing)}
    assert found == {(kind, fineness) for kind in MODE for fineness in range(FINENESSES)}
    assert max(finer for _, finer in codes) >= 14 * QUALITY_STEPS
    assert any(code < 0 < finer for code, finer in codes)
    assert skips == {(value, finely) for value in (False, True) for finely in (False, True)}


def test_what_those_with_layers_cover(models: dict[str, VideoModel]) -> None:
    """All layers of both frame types; blocks of both sizes, the largest coefficients, frames that have none of those
    that they announce, chances that go on from frame to frame."""
    layers, sizes, largest, nothing, counts = set(), set(), 0, set(), dict.fromkeys(MODE, 0)
    for name, kind, sent, _ in sent_behind_a_mode("layers", models):
        layers.add((kind, sent.choices[-1]))
        if sent.coefficients is None:
            continue
        coded = sent.coefficients.blocks.any(2)
        sizes |= {(kind, int(size)) for size in sent.coefficients.whole[coded]}
        largest = max(largest, int(np.abs(sent.coefficients.blocks.astype(int)).max()))
        nothing.add(bool(coded.any()))
        counts[kind] += name == "every"
    assert layers == {(kind, int(layer)) for kind in MODE for layer in Layers}
    assert sizes == {(kind, size) for kind in MODE for size in (0, 1)}
    assert largest == 32767
    assert nothing == {False, True}
    assert min(counts.values()) >= 2


def test_what_those_with_filters_cover(models: dict[str, VideoModel]) -> None:
    """All filters of both frame types, before all layers."""
    found = {(kind, sent.choices[-1], sent.choices[-2]) for _, kind, sent, _ in sent_behind_a_mode("filters", models)}
    assert {some[:2] for some in found} == {(kind, int(one)) for kind in MODE for one in Filter}
    assert {some[1:] for some in found} == {(int(one), int(layers)) for one in Filter for layers in Layers}


def test_what_those_with_predicted_blocks_cover(models: dict[str, VideoModel]) -> None:
    """I frames of latents and of blocks with both kinds of edges, of both table sets, and such blocks that are called
    re-parameterised; all predictors of all blocks, of V those of U and others; blocks of both sizes, with coefficients
    and without, the largest; squares of which the frame has a half or a quarter; P and B frames behind such frames."""
    frames, predictors, like, sizes, some, parts, kinds = (set[Any]() for _ in range(7))
    largest, before = 0, 0
    for _, part, sent, header in all_sent("blocks", models):
        if part.type != FrameType.I:
            kinds |= {part.type} if before else set()
            continue
        [before] = sent.choices
        frames.add((before, part.table_set, part.reparameterised))
        if sent.coefficients is None:
            continue
        blocks, chosen, whole = sent.coefficients.blocks, sent.coefficients.predictors, sent.coefficients.whole
        assert chosen is not None
        predictors |= {("luma 8", int(n)) for n in chosen[whole == 0][:, :4].flat}
        predictors |= {("luma 16", int(n)) for n in chosen[whole == 1][:, 0].flat}
        unlike = chosen[..., 4] != chosen[..., 5]
        predictors |= {("U", int(n)) for n in chosen[..., 4].flat} | {("V", int(n)) for n in chosen[unlike][:, 5].flat}
        like |= set(unlike.flat)
        sizes |= set(whole.flat)
        some |= set(blocks.any(2).flat)
        largest = max(largest, int(np.abs(blocks.astype(int)).max()))
        parts.add(((header.height - 1) // 8 % 2, (header.width - 1) // 8 % 2, int(whole[-1, -1])))
    assert frames >= {(int(choice), table_set, False) for choice in Blocks for table_set in (0, 1)}
    assert frames >= {(int(choice), 0, True) for choice in (Blocks.PREDICTED, Blocks.SMOOTHED)}
    small, large, chroma = models["blocks"].backend.predictors
    counts = {"luma 8": small, "luma 16": large, "U": chroma, "V": chroma}
    assert predictors == {(kind, n) for kind, count in counts.items() for n in range(count)}
    assert like == sizes == some == {False, True}
    assert largest == 32767
    assert parts == {(down, across, whole) for down in (0, 1) for across in (0, 1) for whole in (0, 1)}
    assert kinds == {FrameType.P, FrameType.B}


def test_what_those_with_a_mode_cover(models: dict[str, VideoModel]) -> None:
    """Frames that skip nothing, a part, all, and all but what is at the last value that is coded; with and without
    symbols there; weights, shares and flows at both ends."""
    backend = models["aivc"].backend
    assert isinstance(backend, AivcBackend)
    skips, ends = set(), {kind: set() for kind in MODE}
    last = []
    for name, kind, sent, code in sent_behind_a_mode("aivc", models):
        mode, codec, information = sent.latents[MODE[kind]], sent.latents[CODEC[kind]], backend._parts[MODE[kind]]
        nothing = skipped(mode.symbols, mode.mean, information.decoder.log_step, code)
        if name == "threshold":
            latents = dequantise(mode.symbols, mode.mean, information.decoder.log_step, code)
            last.append(latents[..., SKIP_LATENT][~nothing])
        skips.add((kind, nothing.any(), nothing.all(), bool(codec.symbols[:, nothing].any())))
        still = np.zeros((*mode.symbols.shape[1:], 16), np.int16)
        numbers = information.samples(mode.symbols, mode.mean, code, residual=True, given=still)
        for n, reach in ((0, 4095), (3, 4095), (4, 64), (5, 128)):
            ends[kind] |= {(n, side) for side in (-1, 1) if (side * numbers[..., n] >= reach).any()}
    assert (np.concatenate(last) == SKIPPED).any()
    for kind in MODE:
        assert skips >= {(kind, False, False, False), (kind, True, False, False), (kind, True, False, True)}
        assert (kind, True, True, False) in skips
        assert ends[kind] >= {(n, side) for n in (0, 3, 4) for side in (-1, 1)} | {(5, -1)}


@pytest.mark.parametrize(
    "environment",
    [
        {"NVC_ENGINE": "numpy"},
        {"NVC_ENGINE": "float32", "THREADS": "2"},
        {"NVC_ENGINE": "float64"},
        {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
        {"THREADS": "2"},
    ],
    ids=lambda environment: " ".join(f"{k}={v}" for k, v in environment.items()),
)
def test_every_machine_agrees(environment: dict[str, str]) -> None:
    """Whatever computes it, in a process of its own; that of the referee must not load torch."""
    code = (
        "import hashlib, json, os, sys; from pathlib import Path\n"
        "from nvc.codec.video_model import VideoModel; from video_streams import show\n"
        "if 'THREADS' in os.environ: import torch; torch.set_num_threads(int(os.environ['THREADS']))\n"
        f"here, found = Path({str(HERE)!r}), {{}}\n"
        f"for folder, name in {MODELS}.items():\n"
        "    model = VideoModel(here.parent / 'data' / f'{name}.safetensors')\n"
        "    found[folder] = {p.stem: [hashlib.sha256(b''.join(x.tobytes() for x in f.frame.planes)).hexdigest()[:32]"
        " for f in show(p.read_bytes(), model)] for p in sorted((here / folder).glob('*.nvc'))}\n"
        "print(json.dumps([found, 'torch' in sys.modules]))"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("NVC_ENGINE", "ONEDNN_MAX_CPU_ISA")}
    clean |= {"PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{HERE.parent}", **environment}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, torch_loaded = json.loads(done.stdout)
    for folder, listing in LISTINGS.items():
        assert found[folder] == {name: value["frames"] for name, value in listing["good"].items()}
    assert torch_loaded == (environment.get("NVC_ENGINE") != "numpy")


@pytest.mark.parametrize(("folder", "name"), BAD)
def test_is_refused(folder: str, name: str, models: dict[str, VideoModel]) -> None:
    kind, message = LISTINGS[folder]["bad"][name]
    with pytest.raises(nvc.errors.NvcError) as refused:
        show((HERE / folder / "bad" / f"{name}.nvc").read_bytes(), models[folder])
    assert type(refused.value) is getattr(nvc.errors, kind)
    assert str(refused.value) == message
    assert "\n" not in message
    assert kind in ("BadStream", "LimitError")
