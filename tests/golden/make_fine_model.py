"""Makes tests/data/tiny_fine.safetensors: `python tests/golden/make_fine_model.py` from the repository.

That of make_overlap_model.py, but that its frames choose how finely their motion is coded. The rule of
make_video_model.py for when to run it holds here too.
"""

import numpy as np
from make_overlap_model import OVERLAPPED
from make_video_model import DATA

from nvc.codec import borrowing
from nvc.codec.aivc_choices import MODE
from nvc.codec.models import model_id, read_tensors
from nvc.codec.weight_files import TensorFile
from nvc.networks.aivc_integer import SKIP_LATENT

FINE = DATA / "tiny_fine.safetensors"


def main() -> None:
    tensors = read_tensors(OVERLAPPED, "") | {"decoder.fineness": np.ones(1, np.uint8)}
    for name in MODE.values():
        log_step, offset = (tensors[f"decoder.{name}.{table}"].copy() for table in ("log_step", "hyper.offset"))
        levels = np.arange(len(log_step), dtype=np.int32)[:, None]
        # Else a decoder that reads these more finely too would go unseen: other streams have them alike at all levels.
        log_step[:, SKIP_LATENT:] += 500 * levels
        offset[:, SKIP_LATENT:] += offset[:, :1] - offset[:1, :1] + 4000 * levels
        log_step[:, 5] = 6000 - 800 * levels[:, 0]  # beyond the last level the step is the finest that there is
        tensors |= {f"decoder.{name}.log_step": log_step, f"decoder.{name}.hyper.offset": offset}
    metadata = {key: value for key, value in TensorFile(OVERLAPPED).metadata.items() if key != "same"}
    borrowing.write(FINE, tensors, metadata | {"name": "tiny-fine", "id": model_id(tensors).hex()})
    FINE.chmod(0o644)


if __name__ == "__main__":
    main()
