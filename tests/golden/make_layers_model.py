"""Makes tests/data/tiny_layers.safetensors: `python tests/golden/make_layers_model.py` from the repository.

That of make_fine_model.py, but that its frames may have coefficients. The rule of make_video_model.py for when to run
it holds here too.
"""

import numpy as np
from make_fine_model import FINE
from make_video_model import DATA

from nvc.codec import borrowing
from nvc.codec.models import model_id, read_tensors
from nvc.codec.transform import CHANCES, PREFIX
from nvc.codec.weight_files import TensorFile
from nvc.entropy_models.coefficients import CONTEXTS

LAYERS = DATA / "tiny_layers.safetensors"


def main() -> None:
    random = np.random.default_rng(2034)
    tensors = read_tensors(FINE, "")
    # Each chance has its own beginning, so that no two contexts can be taken for each other unseen.
    for name in CHANCES.values():
        tensors[f"decoder.{PREFIX}{name}"] = random.integers(6000, 40000, CONTEXTS).astype(np.uint16)
    levels = np.arange(8)
    log_step = 4096 * 6 + np.stack([21000 - 2111 * levels, 22500 - 2222 * levels], 1)
    tensors[f"decoder.{PREFIX}log_step"] = log_step.astype(np.int32)
    metadata = {key: value for key, value in TensorFile(FINE).metadata.items() if key != "same"}
    borrowing.write(LAYERS, tensors, metadata | {"name": "tiny-layers", "id": model_id(tensors).hex()})
    LAYERS.chmod(0o644)


if __name__ == "__main__":
    main()
