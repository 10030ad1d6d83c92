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

from nvc.codec import borrowing, weight_files
from nvc.codec.encoder_weights import expand, pack
from nvc.codec.models import Tensors, model_id, read_tensors
from nvc.codec.predictors import PREFIX as PREDICTORS
from nvc.codec.transform import CHANCES, PREFIX
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.errors import InputError
from nvc.networks.video_analysis import VideoAnalysis, encoder_tensors
from nvc.training.checkpoints import read_weights
from nvc.training.clips import read_folder
from nvc.training.coded_frames import coded_frames
from nvc.training.dequantize import training_tensors
from nvc.training.loop import adopt, task_of
from nvc.training.quantize_video import Ranges, decoder_tensors, ranges_of
from nvc.training.video_chances import learn
from nvc.training.video_tables import count_levels, fit_contexts, opened, tables
from nvc.training.video_task import VideoTask

RANGE_CLIPS = 24  # clips whose activations set the ranges
CHANCE_CLIPS = 16  # that chances of coefficients are learned from
CHANCE_NAMES = {PREFIX + name for name in CHANCES.values()}
FIRST_CLIPS = 24  # whose symbols make the tables that an encoder looks at while the others are coded
NETWORKS = "decoder", "encoder", "training.net", "training.scale"  # what stands before an information's name


def load_task(checkpoint: Path) -> VideoTask:
    """The float networks of a checkpoint, whole or slim. InputError if it is none of video."""
    task = task_of(read_weights(checkpoint), checkpoint)
    if not isinstance(task, VideoTask):
        raise InputError(f"{checkpoint}: of the codec {task.codec}, not of video")
    task.net.eval().requires_grad_(False)
    return task


def export(
    checkpoint: Path, source: Path, output: Path, *, name: str, threads: int = 2, frames: int | None = None,
    limit: int | None = None, cache: Path | None = None, base: Path | None = None,
    level_tables: bool = False, encoder_bits: int = 8,
) -> Iterator[str]:  # fmt: skip
    """Write a weight file. source: the training clips (folder or cache). Yields a line for every step done.

    checkpoint: of a run; or a weight file, whose networks stay as they are and whose tables are fitted anew
    frames: of each clip, for the tables; None: as many as suit the codec
    limit: use about so many of the clips, evenly spread; cache: see `read_folder`
    encoder_bits: of the weights of the analysis, see nvc.codec.encoder_weights.pack
    level_tables: main tables of each level, in place of such as all share
    base: a weight file of another video codec. Networks whose name and widths both codecs share, those of I and P
    frames, are taken from it bit for bit, and the file leaves them out (nvc.codec.borrowing); tables are fitted anew.
    """
    task = load_task(checkpoint)
    shared = adopt(task, read_weights(base), base) if base else []
    ready = weight_files.is_named(checkpoint)  # with networks in integers, which stay as they are
    net, kind = task.net, task.backend()
    kept = [name for name in kind.kinds if name not in shared] if ready else []
    clips = read_folder(source, cache)
    clips = clips[:: max(1, -(-len(clips) // limit))] if limit else clips
    yield f"{len(clips)} clips"
    torch.set_num_threads(threads)
    seen = {} if ready else task.seen(clips[:: max(1, len(clips) // RANGE_CLIPS)])
    ranges = ranges_of(net, {name: latents for name, latents in seen.items() if name not in shared})
    try:
        tensors = networks(task, ranges, [*shared, *kept], encoder_bits)
    except ValueError as exc:
        raise InputError(f"{checkpoint}: {exc}") from exc
    predictors: Tensors = {}
    if ready:  # and so do what their predictions are made by
        made = read_tensors(checkpoint, "decoder.")
        for name in task.backend().written:
            tensors.pop(f"decoder.{name}")
            tensors |= {f"decoder.{name}": made[name]} if name in made else {}
        predictors = {f"decoder.{name}": value for name, value in made.items() if name.startswith(PREDICTORS)}
    for file, names in ((base, shared), (checkpoint, kept)):
        if names and file is not None:
            tensors |= {n: v for n, v in read_tensors(file, "").items() if of_any(n, names)}
    yield f"networks in integers{', of the other file: ' if shared else ''}{', '.join(shared)}"
    analysis = expand(_below(tensors, "encoder."))
    known: dict[tuple[str, int], HyperpriorTables] = {}
    decoder = _below(tensors, "decoder.")
    if layered := f"{PREFIX}log_step" in decoder:  # chances are fitted anew, as tables are
        decoder |= {name: value for name, value in kind.written.items() if name in CHANCE_NAMES}
    backend = kind(
        decoder, lambda: VideoAnalysis(type(net)(net.config), analysis), lambda name, level: known.get((name, level))
    )
    coded = partial(coded_frames, frames=frames or task.table_frames)
    contexts = fit_contexts(backend, clips, coded, threads)
    yield "contexts"
    if kind.refines:
        some = list(count_levels(backend, clips[:: max(1, -(-len(clips) // FIRST_CLIPS))], coded, threads, contexts))
        known |= opened(tables(some, contexts, level_tables), contexts)
        yield "tables for the encoder, of some clips"
    counts = []
    for level, found in enumerate(count_levels(backend, clips, coded, threads, contexts)):
        counts.append(found)
        yield f"symbols of level {level + 1}"
    tensors |= tables(counts, contexts, level_tables)
    if layered:
        known |= opened(tensors, contexts)
        tensors |= learn(
            backend, clips[:: max(1, -(-len(clips) // CHANCE_CLIPS))], lambda name, level: known[name, level]
        )
        yield "chances of coefficients"
    tensors |= predictors  # from here on: I frames of latents are to have tables, too
    metadata = {
        "codec": task.codec,
        "decoder": "integer",
        "name": name,
        "id": model_id(tensors).hex(),
        "config": json.dumps(asdict(net.config)),
    }
    borrowing.write(output, tensors, metadata, base if shared else None)
    yield f"{output}: model id {metadata['id']}"


def networks(task: VideoTask, ranges: Ranges, without: list[str], encoder_bits: int = 8) -> Tensors:
    """All of a weight file but tables, and some informations. ValueError where no grid of integers is fine enough."""
    kinds = {name: kind for name, kind in task.backend().kinds.items() if name not in without}
    parts = {
        "decoder": decoder_tensors(task.net, kinds, ranges, task.balance) | dict(task.backend().written),
        "encoder": pack(encoder_tensors(task.net), encoder_bits),
        "training": training_tensors(task.modules, ranges),
    }
    named = {f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()}
    return {name: value for name, value in named.items() if not of_any(name, without)}


def of_any(tensor: str, informations: list[str]) -> bool:
    """Whether a tensor is of the networks of one of these informations."""
    return tensor.startswith(tuple(f"{part}.{name}." for part in NETWORKS for name in informations))


def _below(tensors: Tensors, prefix: str) -> Tensors:
    return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}
