"""Makes tests/data/tiny_fine.safetensors: `python tests/golden/make_fine_model.py` from the repository.

That of make_overlap_model.py, whose frames also choose how finely their motion is coded. The rule of
make_video_model.py for when to run it holds here too.
"""

import numpy as np
from make_overlap_model import OVERLAPPED
from make_video_model import DATA

from nvc.codec import borrowing
from nvc.codec.models import model_id, read_tensors
from nvc.codec.weight_files import TensorFile

FINE = DATA / "tiny_fine.safetensors"


def main() -> None:
    tensors = read_tensors(OVERLAPPED, "") | {"decoder.fineness": np.ones(1, np.uint8)}
    metadata = {key: value for key, value in TensorFile(OVERLAPPED).metadata.items() if key != "same"}
    borrowing.write(FINE, tensors, metadata | {"name": "tiny-fine", "id": model_id(tensors).hex()})
    FINE.chmod(0o644)


if __name__ == "__main__":
    main()
