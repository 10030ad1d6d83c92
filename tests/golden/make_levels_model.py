"""Makes tests/data/tiny_levels.safetensors: `python tests/golden/make_levels_model.py` from the repository.

The tiny video model that has contexts (make_context_model.py), with main tables of each level: those of intra without
contexts, those of residual with them; motion keeps tables that all levels share. The rule of make_video_model.py for
when to run it holds here too.
"""

import json
from dataclasses import asdict

import numpy as np
import torch
from make_context_model import CONTEXTS
from make_video_model import CANDIDATES, CLIPS, CODED, CONFIG, DATA, MAIN_REACH, clip_of, cut
from safetensors.numpy import save_file

from nvc.codec.models import Tensors, model_id, read_tensors
from nvc.codec.video_model import VideoModel
from nvc.entropy_coding.gaussian import SCALES
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.entropy_models.hyperprior_fit import fit_main
from nvc.entropy_models.main_context import MainContext
from nvc.entropy_models.main_context_fit import by_row
from nvc.training import video_tables

LEVELLED = DATA / "tiny_levels.safetensors"
PLAIN = "intra"  # without contexts
SHARED = "motion"


def main() -> None:
    torch.set_num_threads(1)
    model, clips = VideoModel(CONTEXTS), [clip_of(*which) for which in CLIPS]
    contexts: dict[str, MainContext] = {}
    for name in video_tables.informations(model.backend):
        context = model.tables(name, 1).context
        assert context is not None
        contexts[name] = MainContext.neutral(context.channels) if name == PLAIN else context
    counts = list(video_tables.count_levels(model.backend, clips, CODED, 1, contexts))
    kept = read_tensors(CONTEXTS, "")
    tensors: Tensors = {n: v for n, v in kept.items() if not n.startswith("tables.") or f".{SHARED}." in n}
    for name in contexts.keys() - {SHARED}:
        context, cells = contexts[name], np.sum([level.main[name] for level in counts], axis=0, dtype=np.int64)
        everywhere = by_row(cells, context.row)
        for level, here in enumerate(counts, 1):
            # The clips are too few to choose other rows at some level, so they are moved by one, up or down.
            row = context.row if name == PLAIN else np.clip(context.row.astype(int) + level % 3 - 1, 0, SCALES - 1)
            fitted = fit_main(by_row(here.main[name], row), -video_tables.REACH, everywhere)
            found = HyperpriorTables.with_candidates(
                model.tables(name, level).side, cut(fitted, MAIN_REACH), CANDIDATES[0], CANDIDATES[1] - level,
                None if name == PLAIN else context.with_rows(row),
            )  # fmt: skip
            tensors |= video_tables.placed(name, level, found)
    tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    metadata = {
        "codec": "ssf", "decoder": "integer", "name": "tiny-levels", "id": model_id(tensors).hex(),
        "config": json.dumps(asdict(CONFIG)),
    }  # fmt: skip
    save_file(tensors, LEVELLED, metadata)
    LEVELLED.chmod(0o644)


if __name__ == "__main__":
    main()
