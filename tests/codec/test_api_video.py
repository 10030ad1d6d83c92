"""nvc.encode_frames and nvc.decode_frames: frames in, a file, the frames that the encoder kept out."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nvc
from nvc.bitstream.container import FrameType
from nvc.bitstream.video_frame import VideoFrame
from nvc.bitstream.video_reader import VideoReader
from nvc.codec.catalogue import CATALOGUE
from nvc.errors import BadStream, InputError, UsageError
from nvc.frames import Frame420

DATA = Path(__file__).parents[1] / "data"
MODEL = str(DATA / "tiny_video.safetensors")


@pytest.fixture(scope="module")
def frames() -> list[Frame420]:
    """Six frames of 47x33: a window that wanders over a photograph."""
    photo = np.asarray(Image.open(DATA / "stair.png").convert("YCbCr"))
    windows = [photo[i : i + 33, 2 * i : 2 * i + 47] for i in range(6)]
    return [Frame420(w[:, :, 0].copy(), w[::2, ::2, 1].copy(), w[::2, ::2, 2].copy()) for w in windows]


def test_out_and_back(frames: list[Frame420]) -> None:
    stream = io.BytesIO()
    size = nvc.encode_frames(iter(frames), stream, 8, fps=30, intra_period=3, model=MODEL)
    assert size == len(stream.getvalue())
    stream.seek(0)
    whole = list(nvc.decode_frames(stream, model=MODEL))
    assert [frame.y.shape for frame in whole] == [(33, 47)] * 6
    for frame, decoded in zip(frames, whole, strict=True):  # the tiny model is not trained: only that it is this frame
        assert np.corrcoef(frame.y.ravel(), decoded.y.ravel())[0, 1] > 0.9
    part = list(nvc.decode_frames(stream, start=4, count=1, model=MODEL))
    assert len(part) == 1
    assert all(np.array_equal(a, b) for a, b in zip(part[0].planes, whole[4].planes, strict=True))


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.kind == "video"])
def test_closed_groups(name: str, frames: list[Frame420], tiny_models: dict[str, str]) -> None:
    """Any intra period will do, whatever the codec's groups; the file holds I frames that far apart."""
    model, stream = tiny_models[name], io.BytesIO()
    gop = max(CATALOGUE[name].gops)
    nvc.encode_frames(frames, stream, fps=30, codec=name, gop=gop, intra_period=5, closed_gop=True, model=model)
    stream.seek(0)
    kinds = {part.display: part.type for part in VideoReader(stream) if isinstance(part, VideoFrame)}
    assert [display for display, kind in kinds.items() if kind == FrameType.I] == [0, 5]
    assert list(kinds).index(5) == 5
    stream.seek(0)
    assert len(list(nvc.decode_frames(stream, model=model))) == 6
    if gop > 1:
        with pytest.raises(UsageError, match=f"no groups of {gop} frames with an intra period of 5"):
            nvc.encode_frames(frames, io.BytesIO(), codec=name, gop=gop, intra_period=5, model=model)


def test_refused(frames: list[Frame420]) -> None:
    with pytest.raises(InputError, match="no frames"):
        nvc.encode_frames([], io.BytesIO(), model=MODEL)
    other = Frame420(*(np.zeros((16, 16), np.uint8)[: 16 // d, : 16 // d] for d in (1, 2, 2)))
    with pytest.raises(InputError, match="frame 1 is 16x16, those before 47x33"):
        nvc.encode_frames([frames[0], other], io.BytesIO(), model=MODEL)
    for wrong in ({"quality": 9}, {"fps": 0}, {"intra_period": -1}, {"threads": 0}):
        with pytest.raises(UsageError):
            nvc.encode_frames(frames, io.BytesIO(), **{"model": MODEL, **wrong})
    with pytest.raises(BadStream):
        list(nvc.decode_frames(io.BytesIO(b"no video"), model=MODEL))
