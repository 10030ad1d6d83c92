"""Clips cut out of the test photographs, and hands to code them with the tiny video model and to show the files."""

import copy
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nvc.bitstream.container import FrameType
from nvc.bitstream.header import Header, VideoParameters, quality_code
from nvc.bitstream.video_frame import VideoFrame, planes_checksum
from nvc.bitstream.video_reader import VideoReader
from nvc.bitstream.video_writer import VideoWriter
from nvc.codec.frame_coding import FrameCoder
from nvc.codec.gop import Gop
from nvc.codec.latents import Content, Latents
from nvc.codec.sequence_decoder import DecodedFrame, SequenceDecoder
from nvc.codec.sequence_encoder import FrameReport, SequenceEncoder, SequenceSettings
from nvc.codec.video_backend import Place, Reference
from nvc.codec.video_model import VideoModel
from nvc.coefficients import PLACES, Coefficients
from nvc.entropy_models.coefficients import LARGEST
from nvc.entropy_models.predicted_blocks import Counts
from nvc.frames import Frame420
from nvc.media.video_info import VideoInfo

HERE = Path(__file__).resolve().parent
I, P, B = FrameType.I, FrameType.P, FrameType.B  # noqa: E741  # the field's own names


def gop_of(model: VideoModel) -> int:
    """The smallest that the codec has; B frames are tried with four."""
    return min(model.entry.gops)


def clip(height: int, width: int, count: int, name: str = "sign", motion: tuple[int, int] = (1, 3)) -> list[Frame420]:
    """Frames of a window that moves over a photograph by so many rows and columns."""
    pixels = np.asarray(Image.open(HERE / "data" / f"{name}.png").convert("RGB")).astype(np.float64)
    r, g, b = pixels.transpose(2, 0, 1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    planes = [np.rint(p).clip(0, 255).astype(np.uint8) for p in (y, 128 + (b - y) * 0.564, 128 + (r - y) * 0.713)]
    frames = []
    for i in range(count):
        top, left = motion[0] * i, motion[1] * i
        y, u, v = (plane[top : top + height, left : left + width] for plane in planes)
        frames.append(Frame420(y.copy(), u[::2, ::2].copy(), v[::2, ::2].copy()))
    assert frames[-1].y.shape == (height, width)
    return frames


def encode(
    model: VideoModel, frames: Sequence[Frame420], quality: float, *, times: Sequence[int] | None = None,
    end: int | None = None, gop: int = 1, period: int = 32, closed: bool = False, audio: Any = None,
    packets: Iterable[tuple[int, int, bytes]] = (), **settings: Any,
) -> tuple[bytes, list[FrameReport]]:  # fmt: skip
    """A file, and what the encoder says of its frames. Times are in 1/1000 s, 25 frames/s where not given."""
    stream = io.BytesIO()
    info = VideoInfo(frames[0].width, frames[0].height, Fraction(25), Fraction(1, 1000), audio=audio)
    encoder = SequenceEncoder(stream, model, info, quality, SequenceSettings(gop=Gop(gop, period, closed), **settings))
    reports: list[FrameReport] = []
    for packet in packets:
        encoder.audio(*packet)
    for i, frame in enumerate(frames):
        reports += encoder.push(frame, times[i] if times is not None else 40 * i)
    reports += encoder.finish(end)
    return stream.getvalue(), reports


def build(
    model: VideoModel, size: tuple[int, int], quality: float, frames: Iterable[tuple[Any, ...]],
    video: VideoParameters | None = None, coder: FrameCoder | None = None, displays: Sequence[int] | None = None,
) -> bytes:  # fmt: skip
    """A file of given latents, in coding order. size: height, width; displays: display indexes, as coded if not given.

    frames: type, (z, symbols) by information, table set; choices too where frames of the type have some, and
    coefficients where the choices say so
    """
    quality, backend = quality_code(quality), model.backend
    stream = io.BytesIO()
    number = model.entry.number
    writer = VideoWriter(
        stream, Header(number, model.id, quality, size[1], size[0], video=video or VideoParameters(1, 25))
    )
    coder = coder or FrameCoder(backend, model.tables)
    decoded: dict[int, Reference] = {}
    for index, (kind, given, table_set, *more) in enumerate(frames):
        display = index if displays is None else displays[index]
        chosen, coefficients = [*more, None][:2] if more else [(), None]
        content = replace(content_of(model, kind, given, chosen, quality), coefficients=coefficients)
        payload = coder.encode(kind, content, quality // 4096 + 1 + table_set)
        before, behind = [d for d in decoded if d < display], [d for d in decoded if d > display]
        near = {I: [], P: [max(before, default=0)], B: [max(before, default=0), min(behind, default=0)]}[kind]
        place = Place(kind, [decoded[d] for d in near], [d - display for d in near])
        decoded[display] = backend.decode(content, place, quality, *size)
        writer.frame(
            kind, payload.data, planes_checksum(decoded[display].frame.planes), display=display,
            reparameterised=payload.reparameterised, table_set=table_set,
        )  # fmt: skip
    writer.finish()
    return stream.getvalue()


def content_of(
    model: VideoModel, kind: FrameType, given: Mapping[str, tuple[NDArray[np.int32], NDArray[np.int32]]],
    choices: tuple[int, ...], code: int,
) -> Content:  # fmt: skip
    """What a frame sends: (z, symbols) by information, and the tables that code them. code: quality of the file."""
    backend, latents = model.backend, {}
    quality = backend.frame_quality(kind, choices, code)
    for name in backend.sent(kind, choices):
        z, symbols = given[name]
        at = backend.latent_quality(name, choices, quality)
        latents[name] = Latents(z, symbols, *backend.parameters(name, z, at, symbols.shape, dict(latents)))
    return Content(latents, choices)


def random_latents(
    model: VideoModel, kind: FrameType, size: tuple[int, int], random: np.random.Generator, spread: Any
) -> dict[str, tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Symbols of no picture, up to ±32767. spread: of each channel, those to choose from."""
    found = {}
    for name in model.backend.informations[kind]:
        shapes = model.backend.shapes(name, *size)
        values = []
        for shape in (shapes.side, shapes.main):
            scale = random.choice(spread, (shape[0], 1, 1))
            values.append(np.clip(np.rint(random.laplace(0, scale, shape)), -32767, 32767).astype(np.int32))
        found[name] = values[0], values[1]
    return found


def random_choices(model: VideoModel, kind: FrameType, random: np.random.Generator) -> tuple[int, ...]:
    """Any that a frame can have."""
    choices = tuple(int(random.integers(1 << width)) for width in model.backend.choice_bits.get(kind, ()))
    if kind == I:
        return choosing(model, kind, choices, blocks=int(random.integers(3))) if choices else ()
    return choosing(model, kind, choices, layers=int(random.integers(3)), filter=int(random.integers(3)))


def choosing(model: VideoModel, kind: FrameType, choices: tuple[int, ...], **chosen: int) -> tuple[int, ...]:
    """Choices with those called blocks, layers and filter made anew, where frames of the type have such."""
    made, tensors = list(choices), model.decoder_tensors()
    if kind == I:
        last = ["blocks"] if "predictors.log_step" in tensors else []
    else:
        there = [("layers", "transform.log_step" in tensors), ("filter", "filters" in tensors)]
        last = [name for name, found in there if found]
    for place, name in enumerate(last, -len(last)):
        if name in chosen:
            made[place] = chosen[name]
    return tuple(made)


def random_coefficients(size: tuple[int, int], random: np.random.Generator, share: float, scale: float) -> Coefficients:
    """Of no picture. share: of those that are not 0; scale: of their magnitudes."""
    h, w = (-(-n // 16) for n in size)
    there = (random.random((h, w, PLACES)) < share) & (random.random((h, w, 1)) < 0.7)
    values = np.rint(random.laplace(0, scale, there.shape)) + random.choice([-1, 1], there.shape)
    blocks: NDArray[np.int16] = (there * values).clip(-LARGEST, LARGEST).astype(np.int16)
    whole = (random.random((h, w)) < 0.5) & (blocks != 0).any(2)
    return Coefficients(blocks, whole.astype(np.uint8))


def random_predicted(
    size: tuple[int, int], counts: Counts, random: np.random.Generator, share: float, scale: float
) -> Coefficients:
    """Predicted blocks of no picture, with 0 in all places that a payload says nothing of. counts: predictors."""
    plain = random_coefficients(size, random, share, scale)
    made = Coefficients.predicted(*size)
    assert made.predictors is not None
    blocks, predictors = made.blocks, made.predictors
    blocks[:], made.whole[:] = plain.blocks, random.random(made.whole.shape) < 0.5
    small, large, chroma = (random.integers(0, count, (*made.whole.shape, 4)) for count in counts)
    rows, columns = (-(-n // 8) for n in size)
    for i, j in np.ndindex(made.whole.shape):
        if made.whole[i, j]:
            predictors[i, j, 0] = large[i, j, 0]
        for k in range(0 if made.whole[i, j] else 4):
            if 2 * i + (k >> 1) < rows and 2 * j + (k & 1) < columns:
                predictors[i, j, k] = small[i, j, k]
            else:
                blocks[i, j, 64 * k : 64 * k + 64] = 0
    predictors[..., 4:] = chroma[..., :2]
    return made


def any_coefficients(
    model: VideoModel, kind: FrameType, choices: tuple[int, ...], size: tuple[int, int], random: np.random.Generator,
    share: float | None = None, scale: float | None = None,
) -> Coefficients | None:  # fmt: skip
    """Where the choices say that there are some. share, scale: see `random_coefficients`; None: few or many, of any."""
    if model.backend.chances(kind, choices, 1) is None:
        return None
    share = float(random.choice([0.01, 0.3])) if share is None else share
    scale = float(random.choice([0.5, 5000.0])) if scale is None else scale
    if kind == I:
        return random_predicted(size, model.backend.predictors, random, share, scale)
    return random_coefficients(size, random, share, scale)


def show(data: bytes, model: VideoModel, **limits: Any) -> list[DecodedFrame]:
    """All frames of a sound file."""
    reader = VideoReader(io.BytesIO(data), **limits)
    decoder = SequenceDecoder(reader.header, model)
    return [decoder.frame(part) for part in reader if isinstance(part, VideoFrame)]


def going_on(decoder: SequenceDecoder, model: VideoModel, frames: Iterable[VideoFrame]) -> list[DecodedFrame]:
    """Those that follow what the decoder has decoded; it stays as it is, to go on from the same place again."""
    shared: list[object] = [model, model.backend]  # a copy of its tables would be of other types for compiled code
    for name in {name for names in model.backend.informations.values() for name in names}:
        for level in range(1, model.backend.levels + 1):
            tables = model.tables(name, level)
            shared += [tables.side, tables.main]
    copied = copy.deepcopy(decoder, {id(part): part for part in shared})
    return [copied.frame(frame) for frame in frames]
