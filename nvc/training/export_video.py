"""A trained video checkpoint to a weight file: integer networks, tables of every level, analysis, model id.

The tables are histograms of what the integer encoder makes of training clips, closed loop, at every level
(nvc.training.video_tables).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from nvc.bitstream.container import FrameType
from nvc.codec.encoder_weights import expand, pack
from nvc.codec.latents import Latents
from nvc.codec.models import Tensors, model_id
from nvc.codec.ssf import SsfBackend
from nvc.codec.video_backend import Reference, VideoBackend
from nvc.errors import InputError
from nvc.frames import Frame420
from nvc.networks.image import LEVELS
from nvc.networks.planes import crop_planes
from nvc.networks.ssf import SsfNet
from nvc.networks.ssf_analysis import SsfAnalysis, encoder_tensors
from nvc.networks.steps import STEP_ONE
from nvc.training.checkpoints import read_weights
from nvc.training.clips import FLOW_STEPS, Clip, read_folder
from nvc.training.dequantize import training_tensors
from nvc.training.loop import task_of
from nvc.training.quantize_video import Seen, decoder_tensors, ranges_of
from nvc.training.video_losses import code_chain
from nvc.training.video_tables import count_levels, fit_contexts, tables
from nvc.training.video_task import VideoTask

RANGE_CLIPS = 24  # clips whose activations set the ranges
FRAMES = 5  # of each clip
INTRA_BOOST = 2.5  # levels (docs/video_codec.md)


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


def code_forward(backend: VideoBackend, clip: Clip, level: int, frames: int) -> Iterator[Mapping[str, Latents]]:
    """Latents of the first frames of a clip, closed loop: an I frame, then P frames. See `video_tables.Coded`."""
    references: list[Reference] = []
    for i, frame in enumerate(frames_of(clip, frames)):
        kind = FrameType.P if i else FrameType.I
        parts, decoded = backend.encode(kind, frame, references, level * STEP_ONE)
        references = [decoded]
        yield parts


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
    coded = partial(code_forward, frames=frames)
    contexts = fit_contexts(backend, clips, coded, threads)
    yield "contexts"
    counts = []
    for level, found in enumerate(count_levels(backend, clips, coded, threads, contexts)):
        counts.append(found)
        yield f"symbols of level {level + 1}"
    tensors |= tables(counts, contexts)
    tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}  # as safetensors takes them to be
    metadata = {
        "codec": "ssf",
        "decoder": "integer",
        "name": name,
        "id": model_id(tensors).hex(),
        "config": json.dumps(asdict(net.config)),
    }
    save_file(tensors, output, metadata)
    yield f"{output}: model id {metadata['id']}"
