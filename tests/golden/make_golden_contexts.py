"""Makes tests/golden/contexts: `python tests/golden/make_golden_contexts.py` from the repository.

As make_golden_video.py, of the tiny video model that has contexts (make_context_model.py).
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from make_golden_video import forged, parts_of, write  # noqa: E402
from video_streams import HERE as TESTS  # noqa: E402
from video_streams import I, P, build, clip, encode, random_latents  # noqa: E402

from nvc.bitstream.header import Header  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.entropy_coding.coder import Encoder  # noqa: E402
from nvc.entropy_models.hyperprior import code_side  # noqa: E402
from nvc.entropy_models.main_context import known  # noqa: E402

FOLDER = HERE / "contexts"
WEIGHTS = TESTS / "data" / "tiny_contexts.safetensors"


def make_good(model: VideoModel) -> dict[str, bytes]:
    """Streams that must decode for ever."""
    random = np.random.default_rng(2027)

    def frames(size: tuple[int, int], kinds: list[Any], spread: list[float], sets: list[int]) -> list[Any]:
        return [
            (kind, random_latents(model, kind, size, random, spread), table_set)
            for kind, table_set in zip(kinds, sets, strict=True)
        ]

    steady = np.random.default_rng(7)
    foreign = [(I, random_latents(model, I, (64, 80), steady, [0.3]), 0)]
    for _ in range(4):
        foreign.append((P, random_latents(model, P, (64, 80), steady, [1.5]), 0))
    return {
        "odd": encode(model, clip(33, 47, 4), 4.0)[0],
        "pixel": encode(model, clip(1, 1, 2), 1.0)[0],
        "replaced": encode(model, clip(160, 200, 3, "sign", (1, 2)), 7.3)[0],
        "cuts": encode(model, clip(32, 32, 2) + clip(32, 32, 4, "stair"), 3.25, period=3)[0],
        "foreign": build(model, (64, 80), 2.0, foreign),
        "sets": build(model, (31, 64), 3.7, frames((31, 64), [I, P, P, I], [0.3, 1.5], [1, 1, 0, 0])),
        "extreme": build(
            model, (37, 50), 7 + 4095 / 4096, frames((37, 50), [I, P, P], [0, 0.3, 3, 30, 3000, 60000], [1, 0, 1])
        ),
        "wild": build(model, (130, 70), 1.0, frames((130, 70), [I, P], [0, 2, 40, 500], [0, 0])),
    }  # fmt: skip


def make_bad(model: VideoModel, good: dict[str, bytes]) -> dict[str, bytes]:
    """Streams that must be refused; every CRC32C is right."""
    header, coded = parts_of(good["replaced"])
    plain = [{name: value for name, value in vars(frame).items() if name != "display"} for frame in coded]

    def changed(number: int, head: Header = header, **values: Any) -> bytes:
        return forged(head, [frame | values if i == number else frame for i, frame in enumerate(plain)])

    def header_with(**changes: Any) -> Header:
        return Header(**({name: getattr(header, name) for name in header.__dataclass_fields__} | changes))

    def beyond(value: int) -> bytes:
        """An I frame at level 7 whose symbols of channel 0, which is predicted, are all this one."""
        shapes = model.backend.shapes("intra", header.height, header.width)
        z, symbols = np.zeros(shapes.side, np.int32), np.zeros(shapes.main, np.int32)
        symbols[0] = value
        index, _ = model.backend.parameters("intra", z, header.quality_code, shapes.main)
        tables, encoder = model.tables("intra", 7), Encoder()
        assert tables.context is not None
        code_side(encoder, tables.side, z)
        encoder.code(*known(tables.context, symbols, index), tables.main)
        return encoder.finish()

    words = coded[1].payload
    return {
        "not-re-parameterised": changed(1, reparameterised=False),
        "re-parameterised": changed(0, reparameterised=not coded[0].reparameterised),
        "other-table-set": changed(1, table_set=1 - coded[1].table_set),
        "other-checksum": changed(2, checksum=coded[2].checksum ^ 1),
        "other-quality": forged(header_with(quality_code=header.quality_code + 100), plain),
        "repeated-frame": changed(2, payload=words),
        "word-missing": changed(1, payload=words[:-4]),
        "word-too-many": changed(1, payload=words + bytes(4)),
        "flipped-bit": changed(1, payload=words[:200] + bytes([words[200] ^ 4]) + words[201:]),
        "wider": forged(header_with(width=header.width + 16), plain),
        "main-symbol-beyond": changed(0, table_set=0, reparameterised=False, payload=beyond(32768)),
        "main-symbol-below": changed(0, table_set=0, reparameterised=False, payload=beyond(-32768)),
    }  # fmt: skip


def main() -> None:
    model = VideoModel(WEIGHTS)
    good = make_good(model)
    write(FOLDER, model, good, make_bad(model, good))


if __name__ == "__main__":
    main()
