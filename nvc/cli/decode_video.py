"""nvc-decode of one video."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from nvc.bitstream.header import Kind
from nvc.cli import output
from nvc.cli.batch import Done
from nvc.cli.decoding import MAX_FRAMES, Order
from nvc.cli.files import Item, numbered
from nvc.cli.kinds import open_input, spooled
from nvc.codec.clip_decoder import ClipDecoder, named
from nvc.codec.picture import use_threads
from nvc.codec.sequence_decoder import DecodedFrame
from nvc.errors import OutputError
from nvc.media.frame_digest import PlanesDigest
from nvc.media.video_info import VideoInfo
from nvc.media.video_writer import VideoWriter, open_writer

_PACE = 0.1  # seconds between two lines of progress


def decode_video(order: Order, item: Item, stream: BinaryIO | None, tell: Callable[[str], None] | None) -> Done:
    """Decode, check, write and describe one video. stream: where a pipe stands, already opened. Raises NvcError."""
    begun = time.perf_counter()
    use_threads(order.threads)
    opened = open_input(item.source) if stream is None else stream
    with spooled(opened) if order.salvage else opened as file:
        decoder = ClipDecoder(
            file,
            start=order.start or 0,
            frames=order.frames,
            salvage=order.salvage,
            model=order.model,
            max_pixels=order.max_pixels,
            max_frames=order.max_frames or MAX_FRAMES,
        )
        size = os.fstat(file.fileno()).st_size if file.seekable() else None
        digest = PlanesDigest() if order.md5 else None
        count = 0
        warnings: list[str] = []
        show = _shown(item.source_name, decoder.info.frames, tell)
        try:
            with _writer(order, item, decoder.info) as writer:
                for event in decoder:
                    if not isinstance(event, DecodedFrame):
                        if writer is not None:
                            writer.write_audio(event)
                        continue
                    if writer is not None:
                        writer.write(event.frame, event.time)
                    if digest is not None:
                        digest.update(event.frame)
                    count += 1
                    show(count)
            warnings += writer.warnings if writer is not None else ()
        except OutputError as error:
            raise OutputError(f"{item.target_name}: {error}") from error
    warnings = [*decoder.warnings, *warnings, *_left_over(order, item, count)]
    seconds = time.perf_counter() - begun
    info = decoder.info
    name = f"{item.source_name} -> {item.target_name}" if order.write else f"{item.source_name}: good"
    if decoder.losses and not order.write:
        name = item.source_name
    parts = [
        name,
        f"{info.width}x{info.height}",
        f"{count} frame{'s' if count != 1 else ''}",
        f"{seconds:.1f} s",
        *([f"md5 {digest.hexdigest()}"] if digest else []),
    ]
    record: dict[str, object] = {
        "path": item.source,
        "output": item.target,
        "bytes": size,
        "width": info.width,
        "height": info.height,
        "frames": count,
        "fps": f"{info.frame_rate.numerator}/{info.frame_rate.denominator}",
        "seconds": seconds,
        "warnings": warnings,
    }
    if digest is not None:
        record["md5"] = digest.hexdigest()
    damage = f"damaged: {named(decoder.losses)}" if decoder.losses else ""
    if damage:
        record["damage"] = damage
    return Done("  ".join(parts), record, warnings=tuple(warnings), damage=damage)


@contextlib.contextmanager
def _writer(order: Order, item: Item, info: VideoInfo) -> Iterator[VideoWriter | None]:
    """What writes the output, in place once the block ends; None for --check."""
    if not order.write or item.target is None:
        yield None
        return
    wanted, threads = order.format_of(Kind.VIDEO), order.threads or 0
    if wanted == "png":
        with output.opened_folder(item.target, order.existing, make_folder=item.make_folder) as folder:
            pattern = Path(folder) / os.path.basename(item.target)
            with open_writer(pattern, wanted, info, threads=threads) as writer:
                yield writer
        return
    place = output.opened(item.target, order.existing, make_folder=item.make_folder)
    with place as file, open_writer(file, wanted, info, threads=threads) as writer:
        yield writer


def _left_over(order: Order, item: Item, count: int) -> list[str]:
    """A warning where pictures of an older, longer video stand behind those just written."""
    if not order.write or item.target is None or order.format_of(Kind.VIDEO) != "png":
        return []
    more = len(numbered(item.target)) - count
    return [f"{more} more pictures have names of this pattern, and are not of this video"] if more > 0 else []


def _shown(name: str, total: int | None, tell: Callable[[str], None] | None) -> Callable[[int], None]:
    """What makes lines of progress, not too many of them."""
    begun = last = time.perf_counter()

    def show(count: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if tell is None or (now - last < _PACE and count != total):
            return
        last = now
        speed = count / max(now - begun, 1e-9)
        parts = [name, f"frame {count}" + (f"/{total}" if total else ""), f"{speed:.1f} fps"]
        if total:
            left = round((total - count) / speed)
            parts.append(f"ETA {left // 3600}:{left // 60 % 60:02}:{left % 60:02}")
        tell("  ".join(parts))

    return show
