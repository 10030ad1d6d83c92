"""A trained checkpoint to a weight file: integer synthesis, tables of every level, analysis, model id."""

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

from nvc.codec import weight_files
from nvc.codec.encoder_weights import pack
from nvc.codec.models import Tensors, context_tensors, model_id
from nvc.errors import InputError
from nvc.networks.image import LEVELS, ImageNet
from nvc.networks.image_analysis import analyse, pad_to_blocks
from nvc.networks.image_integer import STEP_ONE, UNIT, ImageDecoder
from nvc.training import tables
from nvc.training.checkpoints import read_weights
from nvc.training.data import halve, read_folder
from nvc.training.dequantize import training_tensors
from nvc.training.loop import task_of
from nvc.training.picture_task import PictureTask
from nvc.training.quantize import activation_ranges, quantise_synthesis
from nvc.training.task import FINE_LEVEL

RANGE_PICTURES = 48  # pictures whose activations set the ranges
ENCODER_PARTS = ("g_a.", "l_a.")


def load_task(checkpoint: Path) -> PictureTask:
    """The float networks of a checkpoint, whole or slim. InputError if it is none of pictures."""
    task = task_of(read_weights(checkpoint), checkpoint)
    if not isinstance(task, PictureTask):
        raise InputError(f"{checkpoint}: of the codec {task.codec}, not of pictures")
    for module in task.modules.values():
        module.eval().requires_grad_(False)
    return task


def training_latents(net: ImageNet, pictures: list[NDArray[np.uint8]], threads: int) -> list[NDArray[np.float32]]:
    """(M, h, w) float32 in latent units for every picture, padded to whole blocks."""
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.set_num_threads(threads)
    return [analyse(net, pad_to_blocks(p)) * UNIT for p in pictures]


def quantised(latents: list[NDArray[np.float32]], decoder: ImageDecoder, level: int) -> list[NDArray[np.int32]]:
    """Symbols at level 0..7."""
    return [decoder.quantise(y, level * STEP_ONE).astype(np.int32) for y in latents]


def ranges_of(net: ImageNet, latents: list[NDArray[np.float32]]) -> list[NDArray[np.float64]]:
    """Activation ranges of the synthesis, from some of the latents, at all levels."""
    some = latents[:: max(1, len(latents) // RANGE_PICTURES)]
    steps = net.log_step.exp()

    def dequantised() -> Iterator[torch.Tensor]:
        for i, y in enumerate(some):
            step = steps[i % LEVELS][:, None, None]
            yield (torch.round(torch.from_numpy(y / UNIT) / step) * step)[None]

    return activation_ranges(net.g_s, dequantised())


_shared: tuple[list[NDArray[np.float32]], ImageDecoder] | None = None  # what forked workers see of their parent


def _fit_one(level: int, kind: str, recipe: str) -> tuple[int, str, Tensors]:
    assert _shared is not None
    symbols = quantised(*_shared, level)
    return level, kind, context_tensors(tables.fit(symbols, tables.RECIPES[recipe]))


def _fit_tables(
    latents: list[NDArray[np.float32]], decoder: ImageDecoder, levels: range, kinds: dict[str, str], jobs: int
) -> Iterator[tuple[int, str, Tensors]]:
    """Context models of some levels, (level, kind, tensors). Workers are forked: the latents are not copied to them."""
    global _shared
    _shared = latents, decoder
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        tasks = [pool.submit(_fit_one, level, *kind) for level in levels for kind in kinds.items()]
        for task in tasks:
            yield task.result()
    _shared = None


def export(
    checkpoint: Path, source: Path, output: Path, *, name: str, ablation: bool = True, threads: int = 2,
    limit: int | None = None, psnr: tuple[float, ...] | None = None,
) -> Iterator[str]:  # fmt: skip
    """Write a weight file. source: the training pictures (folder or .zip). Yields a line for every step done.

    limit: use about so many of the pictures, evenly spread (memory: about 0.9 MB a picture of 400x400 pixels).
    psnr: dB of levels 1..8 on Kodak, for the help text, when they are known.
    """
    task = load_task(checkpoint)
    net = task.net
    pictures = read_folder(source)
    pictures = pictures[:: max(1, -(-len(pictures) // limit))] if limit else pictures
    latents = training_latents(net, pictures, threads)
    yield f"{len(pictures)} pictures analysed"
    ranges = ranges_of(net, latents)
    try:
        decoder = quantise_synthesis(net, ranges)
    except ValueError as exc:
        raise InputError(f"{checkpoint}: {exc}") from exc
    tensors: Tensors = {f"decoder.{part}": value for part, value in decoder.tensors().items()}
    tensors |= {f"training.{part}": value for part, value in training_tensors(task.modules, {"g_s": ranges}).items()}
    yield "synthesis in integers"
    kinds = {"tables": "magnitude"} | ({"ablation.base": "base", "ablation.count": "count"} if ablation else {})
    for levels in (range(FINE_LEVEL), range(FINE_LEVEL, LEVELS)):
        if levels[0] == FINE_LEVEL:
            # The pictures were coded at 40 dB: what the finest levels would see of them is denoised (data.halve).
            latents = training_latents(net, [halve(p) for p in pictures], threads)
        for level, kind, fitted in _fit_tables(latents, decoder, levels, kinds, threads):
            tensors |= {f"{kind}.{level + 1}.{part}": value for part, value in fitted.items()}
            yield f"{kind} of level {level + 1}"
    analysis = {name: value.numpy() for name, value in net.state_dict().items() if name.startswith(ENCODER_PARTS)}
    tensors |= {f"encoder.{part}": value for part, value in pack(analysis).items()}
    metadata: dict[str, Any] = {
        "codec": "image",
        "decoder": "integer",
        "name": name,
        "id": model_id(tensors).hex(),
        "config": json.dumps(asdict(net.config)),
    }
    if psnr:
        metadata["psnr"] = json.dumps(psnr)
    weight_files.write(output, tensors, metadata)
    yield f"{output}: model id {metadata['id']}"


def set_psnr(path: Path, psnr: tuple[float, ...]) -> None:
    """Put the Kodak PSNR of levels 1..8 into a weight file's metadata, in place; nothing else changes."""
    file = weight_files.TensorFile(path)  # as it lies: what it borrows of a base stays there
    weight_files.write(path, file.tensors(), file.metadata | {"psnr": json.dumps(psnr)})
