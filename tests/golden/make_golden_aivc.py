"""Makes tests/golden/aivc: `python tests/golden/make_golden_aivc.py` from the repository.

The streams of make_golden_lhbdc.py, of the tiny model of the codec aivc (make_aivc_model.py), and some where positions
are skipped.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import make_golden_lhbdc  # noqa: E402
from make_golden_lhbdc import GROUP, LONGER, STARTS, VIDEO, WORST, built, contents, level_of  # noqa: E402
from make_golden_video import forged, parts_of, write  # noqa: E402
from video_streams import HERE as TESTS  # noqa: E402
from video_streams import I, P, build, clip, content_of, encode, random_latents  # noqa: E402

from nvc.bitstream.container import FrameType  # noqa: E402
from nvc.bitstream.header import quality_code  # noqa: E402
from nvc.codec.aivc import AivcBackend  # noqa: E402
from nvc.codec.aivc_choices import CODEC, MODE  # noqa: E402
from nvc.codec.frame_coding import FrameCoder  # noqa: E402
from nvc.codec.latents import Content, Latents  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks.aivc_integer import SKIP_LATENT, SKIPPED, skipped  # noqa: E402
from nvc.networks.hyper_integer import dequantise  # noqa: E402

FOLDER = HERE / "aivc"
WEIGHTS = TESTS / "data" / "tiny_aivc.safetensors"


def half_still(height: int, width: int, count: int) -> list[Frame420]:
    """The left half stands still, the right one moves."""
    frames = clip(height, width, count, motion=(2, 1))
    made = []
    for frame in frames:
        planes = [plane.copy() for plane in frame.planes]
        for plane, first in zip(planes, frames[0].planes, strict=True):
            half = plane.shape[1] // 2
            plane[:, :half] = first[:, :half]
        made.append(Frame420(*planes))
    return made


def make_good(model: VideoModel) -> dict[str, bytes]:
    """Streams that must decode for ever."""
    random = np.random.default_rng(2031)

    def skipping(size: tuple[int, int], quality: float, symbols_there: bool) -> bytes:
        """The mode skips a third of all positions. symbols_there: whether symbols of those are other than 0."""
        frames = []
        for kind, chosen in zip(LONGER[0], STARTS, strict=True):
            given: Any = random_latents(model, kind, size, random, [0.2, 0.8])
            if kind in MODE:
                _, symbols = given[MODE[kind]]
                symbols[SKIP_LATENT] = random.choice([-1, 0, 0], symbols.shape[1:])
                symbols[SKIP_LATENT].flat[[0, -1]] = -1, 0
                code = quality_code(quality)
                nothing = where_skipped(model, kind, content_of(model, kind, given, chosen, code), code)
                assert 0 < nothing.mean() < 1
                if not symbols_there:
                    given[CODEC[kind]][1][:, nothing] = 0
            frames.append((kind, given, 0, chosen))
        coder = FrameCoder(model.backend, model.tables, False)
        return build(model, size, quality, frames, VIDEO, coder, LONGER[1])

    def threshold(size: tuple[int, int], quality: float) -> bytes:
        """A P frame with latents of the mode at the last value where something is coded, and others one mean below."""
        assert isinstance(model.backend, AivcBackend)
        name, code, chosen = MODE[P], quality_code(quality), (8,)
        steps = model.backend._parts[name].decoder.log_step
        while True:
            given: Any = random_latents(model, P, size, random, [100])
            given[CODEC[P]] = random_latents(model, P, size, random, [0.2, 0.9])[CODEC[P]]
            given[name][1][:] = 0
            given[name][1][SKIP_LATENT] = -1
            mode = content_of(model, P, given, chosen, code).latents[name]
            latents = dequantise(mode.symbols, mode.mean, steps, model.backend.frame_quality(P, chosen, code))
            last, mean = latents[..., SKIP_LATENT] == SKIPPED, mode.mean[SKIP_LATENT]
            if last.any() and (mean == mean[last].max() - 1).any():
                break
        given[CODEC[P]][1][:, ~last] = 0
        frames = [(I, random_latents(model, I, size, random, [0.2, 0.9]), 0, ()), (P, given, 0, chosen)]
        return build(model, size, quality, frames, VIDEO, FrameCoder(model.backend, model.tables, False))

    return make_golden_lhbdc.make_good(model, 2030) | {
        # Smaller than those of lhbdc, for there are more latents.
        "plain": built(model, (17, 31), 4.4, LONGER, [0.1, 0.4], [0] * 11, STARTS, random, False),
        "wild": built(model, (20, 35), 1.0, GROUP, [0, 2, 40, 500], [0] * 5, WORST, random),
        "still": encode(model, clip(40, 56, 1) * 6, 3.0, gop=4)[0],
        "half-still": encode(model, half_still(80, 96, 6), 1.5, gop=4)[0],
        "in-order-still": encode(model, half_still(50, 70, 4), 2.0, gop=1)[0],
        "skipping": skipping((31, 33), 3.3, symbols_there=False),
        "symbols-where-skipped": skipping((20, 33), 6.2, symbols_there=True),
        "threshold": threshold((40, 56), 3.0),
    }


def where_skipped(model: VideoModel, kind: FrameType, content: Content, code: int) -> NDArray[np.bool_]:
    """(h, w) of a P or B frame. code: quality of the file."""
    backend = model.backend
    assert isinstance(backend, AivcBackend)
    mode, steps = content.latents[MODE[kind]], backend._parts[MODE[kind]].decoder.log_step
    return skipped(mode.symbols, mode.mean, steps, backend.frame_quality(kind, content.choices, code))


def make_bad(model: VideoModel, good: dict[str, bytes]) -> dict[str, bytes]:
    """Streams that must be refused."""
    header, coded = parts_of(good["skipping"])
    frames, sent = [vars(frame) for frame in coded], contents(model, header, coded)
    code, coder = header.quality_code, FrameCoder(model.backend, model.tables, False)
    bad = make_golden_lhbdc.make_bad(model, good)
    for name, number in (("p", 1), ("b", 2)):
        kind, choices = coded[number].type, sent[number].choices
        quality = model.backend.frame_quality(kind, choices, code)
        latents = {
            name: Latents(old.z, old.symbols, *model.backend.parameters(name, old.z, quality, old.symbols.shape))
            for name, old in sent[number].latents.items()
        }
        payload = coder.encode(kind, Content(latents, choices), level_of(header)).data
        assert payload != coded[number].payload
        bad[f"tables-where-skipped-{name}"] = forged(
            header, [frame | {"payload": payload} if i == number else frame for i, frame in enumerate(frames)]
        )
    return bad


def main() -> None:
    model = VideoModel(WEIGHTS)
    good = make_good(model)
    write(FOLDER, model, good, make_bad(model, good))


if __name__ == "__main__":
    main()
