"""nvc-encode: pictures to .nvc files."""

import math
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

import click

from nvc.cli import common
from nvc.cli.batch import Batch, Done
from nvc.cli.files import STREAM, Item, plan, read_input
from nvc.codec.catalogue import CATALOGUE
from nvc.errors import NvcError, UsageError

PROGRAM: Final = "nvc-encode"
# Of nvc.codec.models, written out because that module loads numpy, numba and Pillow.
DEFAULT_QUALITY: Final = 4.0
DEFAULT_RDOQ: Final = 2

# What a walk through a folder takes. A file named by itself is judged by its content alone.
PICTURE_SUFFIXES: Final = frozenset(
    [
        *(".avif", ".bmp", ".dib", ".gif", ".ico", ".jpe", ".jpeg", ".jpg", ".jfif", ".jp2", ".pbm", ".pcx", ".pgm"),
        *(".apng", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".sgi", ".tga", ".tif", ".tiff", ".webp"),
    ]
)

# Options of the contract that say something about time. On a picture they are errors, never ignored.
VIDEO_VALUES: Final = (
    *("--bitrate", "--gop", "--intra-period", "--latency", "--start", "--frames", "--max-frames"),
    *("--fps", "--size", "--pix-fmt"),
)
VIDEO_SWITCHES: Final = ("--reparam/--no-reparam",)


@dataclass(frozen=True)
class Order:
    """What is wanted of every input; sent to worker processes.

    quality: None where one of the targets is given (at most one is).
    """

    quality: float | None
    target_size: int | None
    target_bpp: float | None
    target_psnr: float | None
    rdoq: int | None
    model: str | None
    metadata: str
    alpha: str
    strict: bool
    first_frame: bool
    verify: bool
    md5: bool
    max_pixels: int
    threads: int | None


def encode_file(order: Order, item: Item) -> Done:
    """Read, code and describe one picture. Raises NvcError."""
    from pathlib import Path

    from nvc.codec import rate_control
    from nvc.codec.picture import EncodeSettings, PictureEncoder
    from nvc.media.pictures import read_picture

    begun = time.perf_counter()
    if item.source != STREAM and os.path.isfile(item.source):
        source: Path | bytes = Path(item.source)
        source_bytes = os.path.getsize(item.source)
    else:
        source = read_input(item.source, limit=common.input_limit(order.max_pixels))
        source_bytes = len(source)
    picture = read_picture(source, strict=order.strict, first_frame=order.first_frame, max_pixels=order.max_pixels)
    height, width = picture.pixels.shape[:2]
    encoder = PictureEncoder(
        picture,
        EncodeSettings(
            rdoq=order.rdoq,
            model=order.model,
            metadata=order.metadata,
            alpha=order.alpha,
            verify=order.verify,
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
    has_target = any(target is not None for target in (order.target_size, order.target_bpp, order.target_psnr))
    parts = [
        f"{item.source_name} -> {item.target_name}",
        f"{width}x{height}",
        f"{size:,} B",
        f"{bpp:.3f} bpp",
        *([f"{decibels(coded.psnr)} dB"] if order.target_psnr is not None else []),
        f"q {common.quality_text(coded.quality)}" + (f" ({coded.passes} passes)" if has_target else ""),
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
    from nvc.cli.decode import digest_of
    from nvc.codec.picture import decode_picture

    return digest_of(decode_picture(data, max_pixels=order.max_pixels, threads=order.threads, model=order.model))


def decibels(psnr: float) -> str:
    return f"{psnr:.2f}" if math.isfinite(psnr) else "inf"


def check_codec(name: str) -> None:
    """Raise UsageError unless `name` is `auto` or a codec for pictures."""
    if name != "auto" and CATALOGUE[name].kind != "picture":
        raise UsageError(f"--codec: {name} codes video, and the inputs are pictures")


def check_ability(name: str, quality: float | None, rdoq: int | None, has_target: bool) -> None:
    """Raise UsageError where the model cannot do what was asked for: once, before any work."""
    from nvc.codec import models

    model = models.load(name)
    model.quality(quality)
    model.rdoq(rdoq)
    if has_target and model.levels == 1:
        raise UsageError(f"--model {name}: a checkpoint of one rate meets no target; leave --target-… out")


def help_tail() -> str:
    """What the help says of the quality scale, with the numbers of the model's card, and then of everything else."""
    try:
        from nvc.codec import models

        ranges = [(info.name, info.psnr_range) for info in models.installed() if info.psnr_range]
    except (NvcError, OSError):  # a broken installation is no reason to have no help
        ranges = []
    scale = [
        f"  {name}: PSNR on Kodak from {values[0]:.1f} dB (-q 1) to {values[-1]:.1f} dB (-q {len(values)}),\n"
        f"  level by level {' '.join(f'{value:.1f}' for value in values)}"
        for name, values in ranges
    ]
    return "\n".join(
        [
            f"Quality: real-valued, default {DEFAULT_QUALITY}; size and PSNR grow with it.",
            *scale,
            "",
            "Examples:",
            "  nvc-encode photo.jpg                         photo.nvc at the default quality",
            "  nvc-encode -q 6 -o out/ *.png pictures/      many, one output each",
            "  nvc-encode --target-size 40KiB a.png -o b.nvc",
            "  cat a.png | nvc-encode - > a.nvc",
            "",
            common.EXIT_CODES,
            "",
            common.completion_help(PROGRAM),
        ]
    )


@click.command(PROGRAM, cls=common.Command, context_settings=common.CONTEXT, help_tail=help_tail)
@common.inputs_argument()
@click.option("-q", "--quality", type=common.Real(1, 8), help=f"Level 1..8, real-valued.  [default: {DEFAULT_QUALITY}]")
@click.option(
    "--target-size", type=common.Size(), metavar="BYTES|KiB|MiB", help="At most so large, and at most 3 % smaller."
)
@click.option("--target-bpp", type=common.Real(0, above=True), metavar="BPP", help="The same in bits per pixel.")
@click.option(
    "--target-psnr", type=common.Real(0, 100, above=True), metavar="DB", help="So good, within 0.05 dB (RGB PSNR)."
)
@click.option(
    "-c", "--codec", type=click.Choice(["auto", *CATALOGUE]), default="auto", show_default=True, help="Which codec."
)
@click.option("--model", metavar="NAME|PATH", help="Weights to code with (nvc-info --models lists them).")
@click.option(
    "--rdoq", type=click.IntRange(0, 3), help="Passes of rate-distortion optimised quantisation: 0 is off, more is "
    f"smaller and slower.  [default: {DEFAULT_RDOQ}]",
)  # fmt: skip
@click.option(
    "--metadata", type=click.Choice(["all", "color", "none"]), default="all", show_default=True,
    help="Keep ICC, CICP, EXIF and XMP; the colour description only; nothing.",
)  # fmt: skip
@click.option(
    "--alpha", type=click.Choice(["keep", "drop"]), default="keep", show_default=True, help="Alpha is coded losslessly."
)
@click.option("--audio", type=click.Choice(["copy", "drop"]), hidden=True, expose_value=False)  # absent in pictures
@click.option("--strict", is_flag=True, help="Refuse what would lose something (16 bits, CMYK) instead of warning.")
@click.option("--first-frame", is_flag=True, help="Code the first frame of an animated picture.")
@click.option(
    "--verify/--no-verify", default=True, show_default=True, help="Decode and compare before the file is in place."
)
@click.option("--md5", is_flag=True, help="Also say the digest of the pixels that the file decodes to.")
@common.writing_options
@common.working_options
@common.talking_options
@common.video_options(VIDEO_VALUES, VIDEO_SWITCHES)
def command(
    inputs: tuple[str, ...],
    quality: float | None,
    target_size: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    codec: str,
    model: str | None,
    rdoq: int | None,
    metadata: str,
    alpha: str,
    strict: bool,
    first_frame: bool,
    verify: bool,
    md5: bool,
    output: str | None,
    force: bool,
    skip_existing: bool,
    jobs: int,
    threads: int | None,
    max_pixels: int,
    fail_fast: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    progress: bool | None,
) -> int:
    """Code pictures as .nvc files.

    IN is a picture, a folder of pictures, or - for stdin. PNG, JPEG, WebP, AVIF, TIFF, PNM, BMP and GIF are read.
    """
    common.exclusive(quality=quality, target_size=target_size, target_bpp=target_bpp, target_psnr=target_psnr)
    common.check_digest(md5=md5, quiet=quiet, as_json=as_json)
    existing = common.existing_rule(force=force, skip_existing=skip_existing)
    talk = common.make_talk(PROGRAM, quiet=quiet, verbose=verbose, as_json=as_json, progress=progress)
    todo = plan(inputs, output, suffix=".nvc", wanted=PICTURE_SUFFIXES)
    common.check_streams(inputs, [item.target for item in todo.items], as_json=as_json)
    check_codec(codec)
    common.check_model(model)
    if model is not None:
        has_target = any(target is not None for target in (target_size, target_bpp, target_psnr))
        check_ability(model, quality, rdoq, has_target)
    order = Order(
        quality=quality,
        target_size=target_size,
        target_bpp=target_bpp,
        target_psnr=target_psnr,
        rdoq=rdoq,
        model=model,
        metadata=metadata,
        alpha=alpha,
        strict=strict,
        first_frame=first_frame,
        verify=verify,
        md5=md5,
        max_pixels=max_pixels,
        threads=common.threads_each(threads, min(jobs, len(todo.items))),
    )
    with talk:
        return Batch(talk, partial(encode_file, order), jobs, existing, fail_fast).run(todo)


def main() -> None:
    common.leave(common.run(command))


if __name__ == "__main__":
    main()
