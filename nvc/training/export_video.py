"""A trained video checkpoint to a weight file: integer networks, tables of every level, analysis, model id.

The tables are histograms of what the integer encoder makes of training clips, closed loop, at every level.
"""

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec import weight_files
from nvc.codec.encoder_weights import expand, pack
from nvc.codec.models import Tensors, model_id
from nvc.codec.ssf import SsfBackend
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.entropy_models.hyperprior_fit import fit_main, fit_side
from nvc.errors import InputError
from nvc.frames import Frame420
from nvc.networks.image import LEVELS
from nvc.networks.planes import crop_planes
from nvc.networks.ssf import SsfNet
from nvc.networks.ssf_analysis import SsfAnalysis, encoder_tensors
from nvc.networks.steps import STEP_ONE
from nvc.training.checkpoints import read_weights
from nvc.training.clips import FLOW_STEPS, Clip, halve, read_folder
from nvc.training.dequantize import training_tensors
from nvc.training.loop import task_of
from nvc.training.quantize_video import Seen, decoder_tensors, ranges_of
from nvc.training.task import FINE_LEVEL
from nvc.training.video_losses import code_chain
from nvc.training.video_task import VideoTask

REACH = 2047  # largest value that is counted by itself; what is beyond falls to the escape
RANGE_CLIPS = 24  # clips whose activations set the ranges
FRAMES = 5  # of each clip
SCALES = 64
INTRA_BOOST = 2.5  # levels (docs/video_codec.md)
CANDIDATES = 64, 64  # side and main tables of each information that a frame may replace, at most


def frames_of(clip: Clip, count: int) -> Iterator[Frame420]:
    """The first frames of a clip."""
    for planes in clip.planes[:count]:
        h, w = planes.shape[1:]
        yield crop_planes(np.ascontiguousarray(planes.transpose(1, 2, 0)), 2 * h, 2 * w)


@torch.no_grad()
def seen_latents(net: SsfNet, clips: list[Clip]) -> Seen:
    """Side and dequantised main latents of three frames of each clip, levels in turn."""
    seen: Seen = {"intra": [], "motion": [], "residual": []}
    for i, clip in enumerate(clips):
        planes = torch.from_numpy(clip.planes[:3]).float()[None] / 255
        flows = torch.from_numpy(clip.flows[0, :2]).float()[None] / FLOW_STEPS
        for frame in code_chain(net, planes, flows, torch.tensor([i % LEVELS])):
            for name, coded in frame.parts.items():
                seen[name].append((coded.z, coded.y))
    return seen


class Counts:
    """Histograms of one level: side by channel, main by scale index, for every information."""

    def __init__(self, backend: SsfBackend) -> None:
        names = sorted({name for names in backend.informations.values() for name in names})
        self.side = {n: np.zeros((backend.shapes(n, 16, 16).side[0], 2 * REACH + 1), np.int64) for n in names}
        self.main = {n: np.zeros((SCALES, 2 * REACH + 1), np.int64) for n in names}

    def add(self, backend: SsfBackend, clip: Clip, level: int, frames: int) -> None:
        """Code the first frames of a clip, closed loop; level 0..7."""
        references: list[Any] = []
        for i, frame in enumerate(frames_of(clip, frames)):
            kind = FrameType.P if i else FrameType.I
            parts, decoded = backend.encode(kind, frame, references, level * STEP_ONE)
            references = [decoded]
            for name, latents in parts.items():
                channel = np.broadcast_to(np.arange(len(latents.z))[:, None, None], latents.z.shape)
                _count(self.side[name], channel, latents.z)
                _count(self.main[name], latents.index, latents.symbols)


def _count(counts: NDArray[np.int64], rows: NDArray[Any], values: NDArray[np.int32]) -> None:
    clipped = np.clip(values, -REACH, REACH) + REACH
    flat = rows.astype(np.int64).ravel() * counts.shape[1] + clipped.ravel()
    counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)


_shared: tuple[SsfBackend, list[Clip], int] | None = None  # what forked workers see of their parent


def _count_level(level: int) -> Counts:
    assert _shared is not None
    backend, clips, frames = _shared
    torch.set_num_threads(1)
    counts = Counts(backend)
    for clip in clips:
        counts.add(backend, halve(clip) if level >= FINE_LEVEL else clip, level, frames)
    return counts


def count_levels(backend: SsfBackend, clips: list[Clip], frames: int, jobs: int) -> Iterator[Counts]:
    """Histograms of levels 1..8, from the first frames of the clips."""
    global _shared
    _shared = backend, clips, frames
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        yield from pool.map(_count_level, range(LEVELS))
    _shared = None


def tables(counts: list[Counts]) -> Tensors:
    """`tables.` of a weight file."""
    tensors: Tensors = {}
    for name in counts[0].main:
        main = fit_main(np.sum([level.main[name] for level in counts], axis=0), -REACH)
        for level, here in enumerate(counts):
            side = fit_side(here.side[name], -REACH)
            found = HyperpriorTables.with_candidates(side, main, *CANDIDATES).tensors()
            for key, value in found.items():
                part, kind = key.split(".")
                place = f"{name}.main.{kind}" if part == "main" else f"{name}.{level + 1}.side.{kind}"
                tensors[f"tables.{place}"] = value
    return tensors


def load_task(checkpoint: Path) -> VideoTask:
    """The float networks of a checkpoint, whole or slim. InputError if it is none of video."""
    task = task_of(read_weights(checkpoint), checkpoint)
    if not isinstance(task, VideoTask):
        raise InputError(f"{checkpoint}: of the codec {task.codec}, not of video")
    task.net.eval().requires_grad_(False)
    return task


def export(
    checkpoint: Path, source: Path, output: Path, *, name: str, threads: int = 2, frames: int = FRAMES,
    limit: int | None = None, cache: Path | None = None,
) -> Iterator[str]:  # fmt: skip
    """Write a weight file. source: the training clips (folder or cache). Yields a line for every step done.

    frames: of each clip, for the tables; limit: use about so many of the clips, evenly spread;
    cache: see `read_folder`.
    """
    task = load_task(checkpoint)
    net = task.net
    clips = read_folder(source, cache)
    clips = clips[:: max(1, -(-len(clips) // limit))] if limit else clips
    yield f"{len(clips)} clips"
    torch.set_num_threads(threads)
    ranges = ranges_of(net, seen_latents(net, clips[:: max(1, len(clips) // RANGE_CLIPS)]))
    try:
        decoder = decoder_tensors(net, ranges, INTRA_BOOST)
    except ValueError as exc:
        raise InputError(f"{checkpoint}: {exc}") from exc
    tensors: Tensors = {f"decoder.{part}": value for part, value in decoder.items()}
    tensors |= {f"training.{part}": value for part, value in training_tensors(task.modules, ranges).items()}
    analysis = pack(encoder_tensors(net))
    tensors |= {f"encoder.{part}": value for part, value in analysis.items()}
    yield "networks in integers"
    backend = SsfBackend(decoder, lambda: SsfAnalysis(net.config, expand(analysis)))
    counts = []
    for level, found in enumerate(count_levels(backend, clips, frames, threads)):
        counts.append(found)
        yield f"symbols of level {level + 1}"
    tensors |= tables(counts)
    metadata = {
        "codec": "ssf",
        "decoder": "integer",
        "name": name,
        "id": model_id(tensors).hex(),
        "config": json.dumps(asdict(net.config)),
    }
    weight_files.write(output, tensors, metadata)
    yield f"{output}: model id {metadata['id']}"
