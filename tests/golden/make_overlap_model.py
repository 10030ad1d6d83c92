"""Makes tests/data/tiny_overlap.safetensors: `python tests/golden/make_overlap_model.py` from the repository.

That of make_aivc_model.py, but that its predictions are overlapped. The rule of make_video_model.py for when to run it
holds here too.
"""

import numpy as np
from make_aivc_model import OUTPUT
from make_video_model import DATA

from nvc.codec import borrowing
from nvc.codec.models import model_id, read_tensors
from nvc.codec.weight_files import TensorFile

OVERLAPPED = DATA / "tiny_overlap.safetensors"


def main() -> None:
    tensors = read_tensors(OUTPUT, "") | {"decoder.compensation": np.ones(1, np.uint8)}
    metadata = {key: value for key, value in TensorFile(OUTPUT).metadata.items() if key != "same"}
    borrowing.write(OVERLAPPED, tensors, metadata | {"name": "tiny-overlap", "id": model_id(tensors).hex()})
    OVERLAPPED.chmod(0o644)


if __name__ == "__main__":
    main()
