"""A trained video checkpoint to a weight file: integer networks, tables of every level, analysis, model id.

The tables are histograms of what the integer encoder makes of training clips, closed loop, at every level
(nvc.training.video_tables).
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from nvc.codec import weight_files
from nvc.codec.encoder_weights import expand, pack
from nvc.codec.models import Tensors, model_id
from nvc.errors import InputError
from nvc.networks.video_analysis import VideoAnalysis, encoder_tensors
from nvc.training.checkpoints import read_weights
from nvc.training.clips import read_folder
from nvc.training.coded_frames import coded_frames
from nvc.training.dequantize import training_tensors
from nvc.training.loop import adopt, task_of
from nvc.training.quantize_video import decoder_tensors, ranges_of
from nvc.training.video_tables import count_levels, fit_contexts, tables
from nvc.training.video_task import VideoTask

RANGE_CLIPS = 24  # clips whose activations set the ranges


def load_task(checkpoint: Path) -> VideoTask:
    """The float networks of a checkpoint, whole or slim. InputError if it is none of video."""
    task = task_of(read_weights(checkpoint), checkpoint)
    if not isinstance(task, VideoTask):
        raise InputError(f"{checkpoint}: of the codec {task.codec}, not of video")
    task.net.eval().requires_grad_(False)
    return task


def export(
    checkpoint: Path, source: Path, output: Path, *, name: str, threads: int = 2, frames: int | None = None,
    limit: int | None = None, cache: Path | None = None, intra: Path | None = None,
) -> Iterator[str]:  # fmt: skip
    """Write a weight file. source: the training clips (folder or cache). Yields a line for every step done.

    frames: of each clip, for the tables; None: as many as suit the codec
    limit: use about so many of the clips, evenly spread; cache: see `read_folder`
    intra: a checkpoint or weight file, also of another video codec, that the networks of I frames are taken from
    """
    task = load_task(checkpoint)
    if intra is not None:
        adopt(task, read_weights(intra), intra, only="intra")
    net, kind = task.net, task.backend()
    clips = read_folder(source, cache)
    clips = clips[:: max(1, -(-len(clips) // limit))] if limit else clips
    yield f"{len(clips)} clips"
    torch.set_num_threads(threads)
    ranges = ranges_of(net, task.seen(clips[:: max(1, len(clips) // RANGE_CLIPS)]))
    try:
        decoder = decoder_tensors(net, kind.kinds, ranges, task.balance)
    except ValueError as exc:
        raise InputError(f"{checkpoint}: {exc}") from exc
    tensors: Tensors = {f"decoder.{part}": value for part, value in decoder.items()}
    tensors |= {f"training.{part}": value for part, value in training_tensors(task.modules, ranges).items()}
    analysis = pack(encoder_tensors(net))
    tensors |= {f"encoder.{part}": value for part, value in analysis.items()}
    yield "networks in integers"
    backend = kind(decoder, lambda: VideoAnalysis(type(net)(net.config), expand(analysis)))
    coded = partial(coded_frames, frames=frames or task.table_frames)
    contexts = fit_contexts(backend, clips, coded, threads)
    yield "contexts"
    counts = []
    for level, found in enumerate(count_levels(backend, clips, coded, threads, contexts)):
        counts.append(found)
        yield f"symbols of level {level + 1}"
    tensors |= tables(counts, contexts)
    metadata = {
        "codec": task.codec,
        "decoder": "integer",
        "name": name,
        "id": model_id(tensors).hex(),
        "config": json.dumps(asdict(net.config)),
    }
    weight_files.write(output, tensors, metadata)
    yield f"{output}: model id {metadata['id']}"
