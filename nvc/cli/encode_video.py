"""nvc-encode of one video."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from nvc.cli import common, output
from nvc.cli.batch import Done
from nvc.cli.encoding import INTRA_PERIOD, MAX_FRAMES, Order
from nvc.cli.files import Item, is_pattern
from nvc.cli.kinds import spooled
from nvc.codec.clip_decoder import digest_of
from nvc.codec.clip_encoder import ClipEncoder, CodedClip, Progress, Target
from nvc.codec.gop import Gop
from nvc.codec.picture import use_threads
from nvc.codec.sequence_encoder import SequenceSettings
from nvc.codec.video_model import load
from nvc.errors import BadStream, NvcError, OutputError, UsageError
from nvc.media.video_reader import RawFormat, VideoReader, open_video
from nvc.media.video_sequence import numbered_files

_PACE = 0.1  # seconds between two lines of progress


def encode_video(order: Order, item: Item, stream: BinaryIO | None, tell: Callable[[str], None] | None) -> Done:
    """Read, code, write and describe one video. stream: where a pipe stands, already opened. Raises NvcError."""
    begun = time.perf_counter()
    use_threads(order.threads)
    model = load(order.model, order.entry().name)
    quality = model.quality(order.quality)
    if order.has_target and model.backend.levels == 1:
        raise UsageError(f"model {model.info.name}: a checkpoint of one rate meets no target; leave it out")
    source = _Source(order, item, stream)
    period = INTRA_PERIOD if order.intra_period is None else order.intra_period
    gop, reparameterise = Gop(order.gop_size, period, order.closed_gop), order.reparam is not False
    settings = SequenceSettings(gop, reparameterise, adaptive=not order.fixed_gop)
    digest = None
    try:
        with _target(order, item) as file:
            encoder = ClipEncoder(source.open, file, model, settings, _shown(item.source_name, tell))
            coded = encoder.meet(_wanted(order)) if order.has_target else encoder.encode(quality)
            if order.verify or order.md5:
                digest = _verified(file, coded, order)
    except OutputError as error:
        raise OutputError(f"{item.target_name}: {error}") from error
    finally:
        source.close()
    return _described(order, item, coded, source.bytes, digest, time.perf_counter() - begun)


class _Source:
    """What is coded, to be opened once or, for a target, again and again. bytes: of the source, 0 where not known."""

    def __init__(self, order: Order, item: Item, stream: BinaryIO | None) -> None:
        self._order = order
        self._stream = spooled(stream) if stream is not None and order.has_target else stream
        self._place = self._stream if self._stream is not None else Path(item.source)
        self.bytes = 0
        with contextlib.suppress(OSError):
            if self._stream is not None and self._stream.seekable():
                self.bytes = self._stream.seek(0, os.SEEK_END)
            elif is_pattern(item.source):
                self.bytes = sum(path.stat().st_size for path in numbered_files(Path(item.source)))
            elif self._stream is None:
                self.bytes = os.path.getsize(item.source)

    def open(self) -> VideoReader:
        order = self._order
        raw = RawFormat(*order.size, *([order.pix_fmt] if order.pix_fmt else [])) if order.size else None
        return open_video(
            self._place,
            raw=raw,
            fps=order.fps,
            start=order.start or 0,
            frames=order.frames,
            audio=order.audio == "copy",
            strict=order.strict,
            max_frames=order.max_frames or MAX_FRAMES,
            max_pixels=order.max_pixels,
            threads=order.threads or 0,
        )

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def _wanted(order: Order) -> Target:
    return Target(order.target_size, order.bitrate, order.target_bpp, order.target_psnr)


@contextlib.contextmanager
def _target(order: Order, item: Item) -> Iterator[BinaryIO]:
    """Where to write. What has to be sought or read back goes to a file in TMPDIR first where the output cannot."""
    assert item.target is not None
    with output.opened(item.target, order.existing, make_folder=item.make_folder) as file:
        if not (order.has_target or order.verify or order.md5) or file.seekable():
            yield file
            return
        with tempfile.TemporaryFile() as spool:
            yield cast(BinaryIO, spool)
            spool.seek(0)
            shutil.copyfileobj(spool, file)


def _verified(file: BinaryIO, coded: CodedClip, order: Order) -> str:
    """The digest of the planes that the finished file decodes to, every frame compared with its checksum."""
    file.flush()
    file.seek(0)
    try:
        digest, frames = digest_of(file, model=order.model, max_pixels=order.max_pixels)
    except BadStream as error:
        raise NvcError(f"the finished file does not decode to what was encoded: {error}; please report it") from error
    if frames != coded.length.frames:
        raise NvcError(f"the finished file has {frames} of {coded.length.frames} frames; please report it")
    file.seek(0, os.SEEK_END)
    return digest


def _shown(name: str, tell: Callable[[str], None] | None) -> Callable[[Progress], None] | None:
    """What makes lines of progress, not too many of them."""
    if tell is None:
        return None
    last = 0.0

    def show(at: Progress) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last < _PACE and at.frames != at.total:
            return
        last = now
        speed = at.frames / max(at.seconds, 1e-9)
        parts = [
            name,
            *([f"pass {at.turn}"] if at.turn > 1 else []),
            f"frame {at.frames}" + (f"/{at.total}" if at.total else ""),
            f"{speed:.1f} fps",
            f"{at.kilobits:.0f} kbit/s",
        ]
        if at.total and at.total >= at.frames:
            left = round((at.total - at.frames) / speed)
            parts.append(f"ETA {left // 3600}:{left // 60 % 60:02}:{left % 60:02}")
            parts.append(f"about {at.bytes * at.total // at.frames:,} B")
        tell("  ".join(parts))

    return show


def _described(
    order: Order, item: Item, coded: CodedClip, source_bytes: int, digest: str | None, seconds: float
) -> Done:
    warnings = list(coded.warnings)
    if source_bytes and coded.size > source_bytes and not (order.start or order.frames):
        warnings.append(f"{item.target_name} is larger than its source ({coded.size:,} B, {source_bytes:,} B)")
    frames = coded.length.frames
    parts = [
        f"{item.source_name} -> {item.target_name}",
        f"{coded.width}x{coded.height}",
        f"{frames} frame{'s' if frames != 1 else ''}",
        f"{coded.size:,} B",
        f"{coded.kilobits:.1f} kbit/s",
        *([f"{coded.psnr:.2f} dB"] if order.target_psnr is not None else []),
        f"q {common.quality_text(coded.quality)}" + (f" ({coded.passes} passes)" if order.has_target else ""),
        f"{seconds:.1f} s",
        *([f"md5 {digest}"] if order.md5 else []),
    ]
    record: dict[str, object] = {
        "path": item.source,
        "output": item.target,
        "bytes": coded.size,
        "source_bytes": source_bytes,
        "width": coded.width,
        "height": coded.height,
        "frames": frames,
        "duration": float(coded.length.seconds),
        "kbps": coded.kilobits,
        "bpp": coded.bpp,
        "quality": coded.quality,
        "psnr": coded.psnr,
        "passes": coded.passes,
        "intra_frames": coded.intra,
        "reparameterised_frames": coded.reparameterised,
        "seconds": seconds,
        "warnings": warnings,
    }
    if order.md5:
        record["md5"] = digest
    details = (
        f"PSNR {coded.psnr:.2f} dB  {coded.bpp:.4f} bpp  I frames: {coded.intra}  "
        f"with re-parameterised tables: {coded.reparameterised}",
    )
    return Done("  ".join(parts), record, details=details, warnings=tuple(warnings))
