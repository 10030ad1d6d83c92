"""Makes tests/data/tiny_filters.safetensors: `python tests/golden/make_filters_model.py` from the repository.

That of make_layers_model.py, but that its frames choose a filter. The rule of make_video_model.py for when to run it
holds here too.
"""

import numpy as np
from make_layers_model import LAYERS
from make_video_model import DATA

from nvc.codec import borrowing
from nvc.codec.models import model_id, read_tensors
from nvc.codec.weight_files import TensorFile

FILTERS = DATA / "tiny_filters.safetensors"


def main() -> None:
    tensors = read_tensors(LAYERS, "") | {"decoder.filters": np.ones(1, np.uint8)}
    metadata = {key: value for key, value in TensorFile(LAYERS).metadata.items() if key != "same"}
    borrowing.write(FILTERS, tensors, metadata | {"name": "tiny-filters", "id": model_id(tensors).hex()})
    FILTERS.chmod(0o644)


if __name__ == "__main__":
    main()
