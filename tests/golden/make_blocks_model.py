"""Makes tests/data/tiny_blocks.safetensors: `python tests/golden/make_blocks_model.py` from the repository.

That of make_filters_model.py, but that its I frames may be predicted blocks. The rule of make_video_model.py for when
to run it holds here too.
"""

import numpy as np
from make_filters_model import FILTERS
from make_video_model import DATA, frame_of
from PIL import Image

from nvc.codec import borrowing
from nvc.codec.models import model_id, read_tensors
from nvc.codec.predictors import KINDS, PREFIX
from nvc.codec.weight_files import TensorFile
from nvc.entropy_models.predicted_blocks import PREDICTED_CONTEXTS
from nvc.training.predictors import learn

BLOCKS = DATA / "tiny_blocks.safetensors"
COUNTS = 8, 2, 4  # all different, so that no kind can be taken for another unseen


def main() -> None:
    random = np.random.default_rng(2035)
    frames = [frame_of(np.asarray(Image.open(DATA / f"{name}.png").convert("RGB"))) for name in ("demo", "stair")]
    made = learn([f.y for f in frames], [plane for f in frames for plane in (f.u, f.v)], COUNTS, (1500, 400, 400), 4)
    tensors = read_tensors(FILTERS, "") | {f"decoder.{PREFIX}{kind}": made[kind] for kind in KINDS}
    levels = np.arange(8)
    log_step = 4096 * 6 + np.stack([17100 - 1999 * levels, 18800 - 2055 * levels], 1)
    tensors[f"decoder.{PREFIX}log_step"] = log_step.astype(np.int32)
    # Each chance has its own beginning, at every level.
    chances = random.integers(6000, 40000, (8, PREDICTED_CONTEXTS))
    tensors[f"decoder.{PREFIX}chances"] = chances.astype(np.uint16)
    metadata = {key: value for key, value in TensorFile(FILTERS).metadata.items() if key != "same"}
    borrowing.write(BLOCKS, tensors, metadata | {"name": "tiny-blocks", "id": model_id(tensors).hex()})
    BLOCKS.chmod(0o644)


if __name__ == "__main__":
    main()
