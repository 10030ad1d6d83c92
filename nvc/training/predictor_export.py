"""A weight file with predictors of blocks, from one without: learned from clips, and chances to begin with.

Networks, tables and analysis stay as they are (`nvc-train predictors`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvc.codec import borrowing
from nvc.codec.models import model_id, read_tensors
from nvc.codec.prediction_choice import BLOCK_WORTH, choose
from nvc.codec.predictors import KINDS, Prediction, untrained_prediction
from nvc.codec.same_tensors import SAME
from nvc.codec.transform_choice import CHROMA_WEIGHT, LUMA_WEIGHT
from nvc.codec.weight_files import TensorFile
from nvc.entropy_coding.adaptive import LEAST, MOST, beginning
from nvc.errors import InputError
from nvc.frames import Frame420
from nvc.networks.lambdas import LAMBDAS
from nvc.networks.steps import STEP_ONE
from nvc.training.clips import read_folder
from nvc.training.coded_frames import frames_of
from nvc.training.predictors import learn

CHANCE_FRAMES = 40  # that chances are learned from


def add(
    weights: Path, source: Path, output: Path, *, name: str, limit: int | None = None, cache: Path | None = None
) -> Iterator[str]:
    """Write a weight file of aivc with predictors. source: training clips, whose first frames are used.

    limit: use about so many of the clips, evenly spread; cache: see `read_folder`. Yields a line for every step done.
    InputError for weights of another codec.
    """
    metadata = TensorFile(weights).metadata
    if metadata.get("codec") != "aivc":
        raise InputError(f"{weights}: of the codec {metadata.get('codec')}, whose I frames are no predicted blocks")
    clips = read_folder(source, cache)
    clips = clips[:: max(1, -(-len(clips) // limit))] if limit else clips
    frames = [frame for clip in clips for frame in frames_of(clip, 1)]
    yield f"{len(frames)} frames"
    made = learn([frame.y for frame in frames], [plane for frame in frames for plane in (frame.u, frame.v)])
    yield "predictors"
    luma_8, luma_16, chroma = (made[kind] for kind in KINDS)
    prediction = untrained_prediction(
        (luma_8, luma_16, chroma), BLOCK_WORTH * np.outer(LAMBDAS, (LUMA_WEIGHT, CHROMA_WEIGHT))
    )
    some = frames[:: max(1, -(-len(frames) // CHANCE_FRAMES))]
    rows = [chances(prediction, some, level) for level in range(len(LAMBDAS))]
    yield "chances"
    tensors = read_tensors(weights, "")
    prediction = Prediction(prediction.predictors, prediction.log_step, np.stack(rows))
    tensors |= {f"decoder.{key}": value for key, value in prediction.tensors().items()}
    kept = {key: value for key, value in metadata.items() if key not in (SAME, borrowing.BASE, borrowing.BORROWED)}
    identity = model_id(tensors).hex()
    borrowing.write(output, tensors, kept | {"name": name, "id": identity}, None)
    yield f"{output}: model id {identity}"


def chances(prediction: Prediction, frames: Sequence[Frame420], level: int) -> NDArray[np.uint16]:
    """Of one level 0..7 at the beginning of a frame: the mean of what is in force behind each.

    Each begins with what frames before have left, in a first round; then all with the same.
    """
    code = level * STEP_ONE
    worth = BLOCK_WORTH * float(LAMBDAS[level])
    state = beginning(prediction.chances[level])
    for frame in frames:
        choose(frame, prediction, code, worth, state)
    first, ends = _mean([state]), []
    for frame in frames:
        state = beginning(first)
        choose(frame, prediction, code, worth, state)
        ends.append(state)
    return _mean(ends)


def _mean(states: Sequence[NDArray[np.int32]]) -> NDArray[np.uint16]:
    return np.rint(np.mean(states, axis=(0, 2))).clip(LEAST, MOST).astype(np.uint16)
