"""One picture to the bytes of an .nvc file and back (FORMAT.md 4, 7 to 10)."""

import functools
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import (
    MAX_METADATA,
    Frame,
    PictureFile,
    picture_checksum,
    read_picture_file,
    write_picture_file,
)
from nvc.bitstream.header import MAX_PIXELS, MAX_SIDE, QUALITY_STEPS, Header, quality_code
from nvc.codec import models
from nvc.codec.catalogue import CATALOGUE, by_number
from nvc.codec.decoders import PictureSynthesis
from nvc.entropy_coding.coder import Decoder, Encoder, Estimator
from nvc.entropy_models import context
from nvc.entropy_models.context import ContextModel
from nvc.errors import BadStream, InputError, LimitError, NvcError
from nvc.media.pictures import Metadata, Picture
from nvc.networks.image_integer import BLOCK

QUANTISED_ROWS = 16  # rows of latents that are rounded at once


@dataclass(frozen=True)
class EncodeSettings:
    """How to encode. metadata: "all", "color" or "none"; alpha: "keep" or "drop"; threads: None for all cores.

    rdoq: passes; None for the model's default. UsageError where the model cannot do that many.
    """

    rdoq: int | None = None
    model: str | None = None
    metadata: str = "all"
    alpha: str = "keep"
    verify: bool = True
    threads: int | None = None
    tables: str = "tables"  # kind of context model; others are for evaluation and have no place in a file's header


@dataclass(frozen=True)
class EncodedPicture:
    """A coded picture.

    data: the file; quality: as stored, on the grid of 1/4096; psnr: dB of the decoded 8-bit picture;
    bits: of the payload, by part; passes: how many qualities were coded to find this one.
    """

    data: bytes
    quality: float
    psnr: float
    bits: dict[str, float] = field(default_factory=dict)
    passes: int = 1

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.data)


@functools.cache
def synthesis_of(model: models.ImageModel) -> PictureSynthesis:
    """The model's decoder on the engine that is best here (or that NVC_ENGINE asks for)."""
    return model.decoder.prepare()


@functools.cache
def _analysis_of(model: models.ImageModel) -> Any:
    from nvc.networks.image import ImageConfig
    from nvc.networks.image_analysis import load_analysis

    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in model.config.items()}
    try:
        return load_analysis(ImageConfig(**fields), model.encoder())
    except (TypeError, ValueError, RuntimeError) as exc:
        reason = str(exc).splitlines()[0]
        raise InputError(f"{model.path}: has no sound analysis, and cannot encode: {reason}") from exc


def thread_count(threads: int | None) -> int:
    """The number asked for, or of the cores that this process may use."""
    return threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def use_threads(threads: int | None) -> int:
    """Work on that many threads from here on (nvc.threads)."""
    count = thread_count(threads)
    if os.environ.get("NVC_ENGINE") != "numpy":
        import torch

        torch.set_num_threads(count)
    return count


def as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3), a grey plane (H, W) three times."""
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def to_grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) from (H, W, 3): the mean of the three, rounded (FORMAT.md 10)."""
    return ((rgb.astype(np.uint16).sum(axis=2) * 2 + 3) // 6).astype(np.uint8)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """dB over all samples; infinite for equal pictures."""
    error = 0
    for i in range(0, len(a), 256):  # in strips: a difference of whole pictures would take 8 bytes a sample
        difference = a[i : i + 256].astype(np.int32) - b[i : i + 256]
        error += int((difference * difference).sum(dtype=np.int64))
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 * a.size / error))


class PictureEncoder:
    """Codes one picture at any number of qualities; the analysis is done once."""

    def __init__(self, picture: Picture, settings: EncodeSettings | None = None) -> None:
        self.settings = settings or EncodeSettings()
        self.picture = picture
        if max(picture.width, picture.height) > MAX_SIDE:
            raise LimitError(f"{picture.width}x{picture.height}: a side has at most {MAX_SIDE} pixels")
        self.model = models.load(self.settings.model)
        self.rdoq = self.model.rdoq(self.settings.rdoq)
        use_threads(self.settings.threads)
        self.synthesis = synthesis_of(self.model)
        from nvc.networks.image_analysis import analyse, pad_to_blocks

        self.padded = pad_to_blocks(as_rgb(picture.pixels))
        self.latents = analyse(_analysis_of(self.model), self.padded)  # (M, h, w) in pixels of 0..1
        self.latents *= self.model.decoder.unit

    def symbols(self, code: int) -> NDArray[np.int32]:
        """Rounded latents at a quality code, (M, h, w)."""
        symbols = np.empty(self.latents.shape, np.int32)
        limits = -context.VALUE_LIMIT, context.VALUE_LIMIT
        for i in range(0, symbols.shape[1], QUANTISED_ROWS):  # in strips: whole temporaries would be the peak of memory
            rows = slice(i, i + QUANTISED_ROWS)
            symbols[:, rows] = np.clip(self.model.decoder.quantise(self.latents[:, rows], code), *limits)
        return symbols

    def reconstruct(self, symbols: NDArray[np.int32], code: int) -> NDArray[np.uint8]:
        """What the decoder will show for these symbols: (H, W, 3) uint8."""
        latents = self.model.decoder.dequantise(symbols, code)
        return self.synthesis.picture(latents, self.picture.height, self.picture.width)

    def encode(self, quality: float | None = None) -> EncodedPicture:
        """The file at one quality, 1.0 to 8.0, rounded to the grid of 1/4096. ValueError outside.

        None is the model's default. UsageError where the model has fewer qualities.
        """
        code = quality_code(self.model.quality(quality))
        symbols = self.symbols(code)
        table_set, tables = self._choose_tables(code, symbols)
        if self.rdoq:
            from nvc.codec.rdoq import optimise

            symbols = optimise(self, symbols, code, tables, self.rdoq)
        payload = payload_of(tables, symbols)
        shown = self.reconstruct(symbols, code)
        decoded = to_grey(shown) if self.picture.grey else shown
        header = Header(
            CATALOGUE["image"].number, self.model.id, code, self.picture.width, self.picture.height, table_set,
            self.picture.grey,
        )  # fmt: skip
        data = self._file(header, Frame(payload, picture_checksum(decoded)))
        if self.settings.verify:
            self._verify(data, decoded)
        return EncodedPicture(
            data, header.quality, psnr(decoded, self.picture.pixels), bits_by_part(tables, symbols, len(payload))
        )

    def _choose_tables(self, code: int, symbols: NDArray[np.int32]) -> tuple[int, ContextModel]:
        """The cheaper of the tables of the two neighbouring levels, and its number in the header."""
        below = code // QUALITY_STEPS + 1
        kind = self.settings.tables
        if code % QUALITY_STEPS == 0 or below == self.model.levels:
            return 0, self.model.tables(below, kind)
        costs = []
        for level in (below, below + 1):
            estimator = Estimator()
            context.code(estimator, self.model.tables(level, kind), symbols)
            costs.append(estimator.bits)
        best = int(costs[1] < costs[0])
        return best, self.model.tables(below + best, kind)

    def _file(self, header: Header, frame: Frame) -> bytes:
        settings, picture = self.settings, self.picture
        metadata = picture.metadata if settings.metadata != "none" else Metadata(None, None, None)
        everything = settings.metadata == "all"
        for name, raw in (("ICC", metadata.icc), ("Exif", metadata.exif), ("XMP", metadata.xmp)):
            if raw is not None and len(raw) > MAX_METADATA and (everything or name == "ICC"):
                raise LimitError(f"{name} metadata of {len(raw)} bytes, more than {MAX_METADATA} (--metadata none)")
        return write_picture_file(
            header,
            frame,
            alpha=picture.alpha if settings.alpha == "keep" else None,
            icc=metadata.icc,
            cicp=metadata.cicp,
            exif=metadata.exif if everything else None,
            xmp=metadata.xmp if everything else None,
        )

    def _verify(self, data: bytes, decoded: NDArray[np.uint8]) -> None:
        again = decode_pixels(read_picture_file(data, max_pixels=1 << 48), self.model, self.settings.tables)
        if not np.array_equal(again, decoded):
            raise NvcError("the coded picture does not decode to what was encoded: a bug, or a failing machine")


def payload_of(tables: ContextModel, symbols: NDArray[np.int32]) -> bytes:
    """The rANS stream of (M, h, w) symbols."""
    encoder = Encoder()
    context.code(encoder, tables, symbols)
    return encoder.finish()


def bits_by_part(tables: ContextModel, symbols: NDArray[np.int32], payload: int) -> dict[str, float]:
    """Bits of the payload: activation bits, values, and the end of the rANS stream (what rounding and state add)."""
    estimator = Estimator()
    context.code(estimator, tables, symbols)
    total = estimator.bits
    activation = context.activation_bits(tables, symbols)
    return {"activation": activation, "values": total - activation, "end": 8.0 * payload - total}


def _model_for(file: PictureFile, name: str | None = None) -> models.ImageModel:
    entry = by_number(file.header.codec)
    if entry is None or entry.kind != "picture":
        raise BadStream(f"codec number {file.header.codec} is unknown to this nvc; a newer one may read the file")
    return models.by_id(file.header.model_id, name)


def decode_symbols(file: PictureFile, model: models.ImageModel, kind: str = "tables") -> NDArray[Any]:
    """(M, h, w) int16 symbols of a parsed file. BadStream unless the payload is exactly one whole stream."""
    header = file.header
    if header.quality > model.levels or header.table_level > model.levels:
        raise BadStream(f"quality {header.quality:g}, but its model {model.info.name} ends at {model.levels}; damaged")
    tables = model.tables(header.table_level, kind)
    shape = (tables.channels, -(-header.height // BLOCK), -(-header.width // BLOCK))
    decoder = Decoder(file.frame.payload)
    symbols = context.code(decoder, tables, shape)
    decoder.finish()
    return symbols


def decode_pixels(file: PictureFile, model: models.ImageModel, kind: str = "tables") -> NDArray[np.uint8]:
    """Pixels, (H, W, 3) or (H, W), checked against the file's checksum."""
    header = file.header
    symbols = decode_symbols(file, model, kind)
    latents = model.decoder.dequantise(symbols, header.quality_code)
    del symbols
    pixels = synthesis_of(model).picture(latents, header.height, header.width)
    if header.grey:
        pixels = to_grey(pixels)
    if picture_checksum(pixels) != file.frame.checksum:
        raise BadStream(
            "the decoded picture is not the encoded one: the checksum differs (was the file damaged, or made by a "
            "faulty machine?)"
        )
    return pixels


def decode_picture(
    data: bytes, *, max_pixels: int = MAX_PIXELS, threads: int | None = None, model: str | None = None
) -> Picture:
    """A file to its picture. Raises BadStream, UnknownModel or LimitError; never shows a wrong picture."""
    file = read_picture_file(data, max_pixels=max_pixels)
    weights = _model_for(file, model)
    use_threads(threads)
    pixels = decode_pixels(file, weights)
    return Picture(pixels, file.alpha, Metadata(icc=file.icc, exif=file.exif, xmp=file.xmp, cicp=file.cicp))


def frame_bits(data: bytes, *, max_pixels: int = MAX_PIXELS) -> dict[str, float]:
    """Bits of the payload by part, from a parse of it."""
    file = read_picture_file(data, max_pixels=max_pixels)
    model = _model_for(file)
    symbols = decode_symbols(file, model)
    return bits_by_part(model.tables(file.header.table_level), symbols, len(file.frame.payload))
