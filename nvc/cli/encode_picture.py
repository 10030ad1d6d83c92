"""nvc-encode of one picture."""

import math
import time
from typing import BinaryIO

from nvc.cli import common
from nvc.cli.batch import Done
from nvc.cli.encoding import Order
from nvc.cli.files import Item, read_all


def encode_picture(order: Order, item: Item, stream: BinaryIO | None) -> Done:
    """Read, code and describe one picture. stream: where a pipe stands, already opened. Raises NvcError."""
    from pathlib import Path

    from nvc.codec import rate_control
    from nvc.codec.picture import EncodeSettings, PictureEncoder
    from nvc.media.pictures import read_picture

    begun = time.perf_counter()
    source: Path | bytes
    if stream is not None:
        source = read_all(stream, limit=common.input_limit(order.max_pixels))
        source_bytes = len(source)
    else:
        source = Path(item.source)
        source_bytes = source.stat().st_size if source.is_file() else 0
    picture = read_picture(source, strict=order.strict, first_frame=order.first_frame, max_pixels=order.max_pixels)
    height, width = picture.pixels.shape[:2]
    encoder = PictureEncoder(
        picture,
        EncodeSettings(
            rdoq=order.rdoq,
            model=order.model,
            metadata=order.metadata,
            alpha=order.alpha,
            verify=order.verify is not False,
            threads=order.threads,
        ),
    )
    if order.target_psnr is not None:
        coded = rate_control.to_psnr(encoder, order.target_psnr)
    elif order.target_bpp is not None:
        coded = rate_control.to_size(encoder, math.floor(order.target_bpp * width * height / 8))
    elif order.target_size is not None:
        coded = rate_control.to_size(encoder, order.target_size)
    else:
        coded = encoder.encode(order.quality)
    digest = pixel_digest(coded.data, order) if order.md5 else None
    seconds = time.perf_counter() - begun

    warnings = list(picture.warnings)
    size = len(coded.data)
    if size > source_bytes:
        warnings.append(f"{item.target_name} is larger than its source ({size:,} B, {source_bytes:,} B)")
    bpp = 8 * size / (width * height)
    parts = [
        f"{item.source_name} -> {item.target_name}",
        f"{width}x{height}",
        f"{size:,} B",
        f"{bpp:.3f} bpp",
        *([f"{decibels(coded.psnr)} dB"] if order.target_psnr is not None else []),
        f"q {common.quality_text(coded.quality)}" + (f" ({coded.passes} passes)" if order.has_target else ""),
        f"{seconds:.1f} s",
        *([f"md5 {digest}"] if digest else []),
    ]
    record: dict[str, object] = {
        "path": item.source,
        "output": item.target,
        "bytes": size,
        "source_bytes": source_bytes,
        "width": width,
        "height": height,
        "bpp": bpp,
        "quality": coded.quality,
        "psnr": coded.psnr if math.isfinite(coded.psnr) else None,
        "passes": coded.passes,
        "bits": dict(coded.bits),
        "seconds": seconds,
        "warnings": warnings,
    }
    if digest:
        record["md5"] = digest
    bits = "  ".join(f"{name} {value:,.0f}" for name, value in coded.bits.items())
    details = (f"PSNR {decibels(coded.psnr)} dB  bits: {bits}",)
    return Done("  ".join(parts), record, payload=coded.data, details=details, warnings=tuple(warnings))


def pixel_digest(data: bytes, order: Order) -> str:
    """The digest that `nvc-decode --md5` prints of this file."""
    from nvc.cli.decode_picture import digest_of
    from nvc.codec.picture import decode_picture

    return digest_of(decode_picture(data, max_pixels=order.max_pixels, threads=order.threads, model=order.model))


def decibels(psnr: float) -> str:
    return f"{psnr:.2f}" if math.isfinite(psnr) else "inf"
