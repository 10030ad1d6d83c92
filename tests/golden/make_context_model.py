"""Makes tests/data/tiny_contexts.safetensors: `python tests/golden/make_context_model.py` from the repository.

The tiny video model (make_video_model.py) with contexts for its main symbols. Their predictions, expectations and rows
are fitted to the same clips; their weights are given, so that there is one of each kind: cross alone, neighbours alone,
and both, no two alike. The rule of make_video_model.py for when to run it holds here too.
"""

import json
from dataclasses import asdict, replace

import numpy as np
import torch
from make_video_model import CLIPS, CODED, CONFIG, DATA, OUTPUT, clip_of, tables_of
from safetensors.numpy import save_file

from nvc.codec.models import Tensors, model_id, read_tensors
from nvc.codec.video_model import VideoModel
from nvc.entropy_coding.gaussian import SCALES
from nvc.entropy_models.main_context import CLASSES
from nvc.entropy_models.main_context_fit import fit_rows
from nvc.training import video_tables

CONTEXTS = DATA / "tiny_contexts.safetensors"
MIXES = {
    "intra": (0, 0, 0, 0, 1, 4, 1024),
    "motion": (2, 2, 1, 1, 0, 0, 2048),
    "residual": (3, 2, 0, 1, 2, 3, 700),
}
PREDICTED = {"intra": 0, "motion": 1, "residual": 2}  # a channel that has a prediction, whatever the fit says of it
PREDICT = (15, 18, -5, 3)


def main() -> None:
    torch.set_num_threads(1)
    model, clips = VideoModel(OUTPUT), [clip_of(*which) for which in CLIPS]
    contexts = video_tables.fit_contexts(model.backend, clips, CODED, 1)
    for name, context in contexts.items():
        predict = context.predict.copy()
        predict[PREDICTED[name]] = PREDICT
        contexts[name] = replace(context, predict=predict, mix=np.array(MIXES[name]))
    counts = list(video_tables.count_levels(model.backend, clips, CODED, 1, contexts))
    for name, context in contexts.items():
        row, index = fit_rows(np.sum([level.main[name] for level in counts], axis=0)), np.arange(SCALES)[:, None]
        # Cells that the clips hardly have, which streams of random symbols do: each class another table.
        spread = np.clip(index + 2 * np.arange(-CLASSES // 2 + 1, CLASSES // 2 + 1), 0, SCALES - 1)
        contexts[name] = context.with_rows(np.where(row == index, spread, row))
    tensors: Tensors = {n: v for n, v in read_tensors(OUTPUT, "").items() if not n.startswith("tables.")}
    tensors |= tables_of(counts, contexts, kept=True)
    tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    metadata = {
        "codec": "ssf", "decoder": "integer", "name": "tiny-contexts", "id": model_id(tensors).hex(),
        "config": json.dumps(asdict(CONFIG)),
    }  # fmt: skip
    save_file(tensors, CONTEXTS, metadata)
    CONTEXTS.chmod(0o644)


if __name__ == "__main__":
    main()
