"""nvc-decode: .nvc files back to pictures."""

import hashlib
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from nvc.cli import common
from nvc.cli.batch import Batch, Done
from nvc.cli.files import STREAM, Item, Plan, plan, plan_reading, read_input
from nvc.errors import BadStream, UnknownModel, UsageError

if TYPE_CHECKING:
    from nvc.media.pictures import Picture

PROGRAM: Final = "nvc-decode"
NVC_SUFFIXES: Final = frozenset({".nvc"})
DEFAULT_FORMAT: Final = "png"
# nvc.media.pictures.formats(), written out because that module loads numpy and Pillow: format -> suffixes of its files,
# the first one for derived names.
FORMATS: Final = {
    "png": (".png",),
    "ppm": (".ppm", ".pnm"),
    "pgm": (".pgm",),
    "tiff": (".tif", ".tiff"),
    "webp": (".webp",),
    "bmp": (".bmp",),
    "jpeg": (".jpg", ".jpeg"),
}
VIDEO_VALUES: Final = ("--start", "--frames")


@dataclass(frozen=True)
class Order:
    """What is wanted of every input; sent to worker processes. write: False for --check."""

    format: str
    write: bool
    salvage: bool
    md5: bool
    model: str | None
    max_pixels: int
    threads: int | None


def decode_file(order: Order, item: Item) -> Done:
    """Decode, check and describe one file. Raises NvcError."""
    from nvc.codec.picture import decode_picture
    from nvc.media.pictures import encode_picture

    begun = time.perf_counter()
    data = read_input(item.source, limit=common.input_limit(order.max_pixels))
    damage = ""
    try:
        picture = decode_picture(data, max_pixels=order.max_pixels, threads=order.threads, model=order.model)
    except BadStream as error:
        if not order.salvage or isinstance(error, UnknownModel):
            raise
        picture, damage = decode_rest(data, order)
    payload = None
    warnings = picture.warnings
    if order.write:
        payload, lost = encode_picture(picture, order.format)
        warnings += lost
    digest = digest_of(picture) if order.md5 else None
    seconds = time.perf_counter() - begun

    height, width = picture.pixels.shape[:2]
    name = f"{item.source_name} -> {item.target_name}" if order.write else f"{item.source_name}: good"
    parts = [name, f"{width}x{height}", f"{seconds:.1f} s", *([f"md5 {digest}"] if digest else [])]
    record: dict[str, object] = {
        "path": item.source,
        "output": item.target,
        "bytes": len(data),
        "width": width,
        "height": height,
        "seconds": seconds,
        "warnings": list(warnings),
    }
    if payload is not None:
        record["output_bytes"] = len(payload)
    if digest:
        record["md5"] = digest
    if damage:
        record["damage"] = damage
    return Done("  ".join(parts), record, payload=payload, warnings=warnings, damage=damage)


def decode_rest(data: bytes, order: Order) -> "tuple[Picture, str]":
    """The picture of a damaged file without its damaged parts, and a line that names them. Raises BadStream."""
    from nvc.bitstream.salvage import salvage
    from nvc.codec.picture import decode_picture

    sound, lost = salvage(data)
    picture = decode_picture(sound, max_pixels=order.max_pixels, threads=order.threads, model=order.model)
    return picture, f"damaged, lost: {', '.join(lost)}"


def digest_of(picture: "Picture") -> str:
    """MD5 of the samples row by row: RGB or grey, each pixel followed by its alpha where there is one."""
    import numpy as np

    height, width = picture.pixels.shape[:2]
    samples = picture.pixels.reshape(height, width, -1)
    if picture.alpha is not None:
        samples = np.concatenate([samples, picture.alpha[:, :, None]], axis=2)
    return hashlib.md5(np.ascontiguousarray(samples).tobytes(), usedforsecurity=False).hexdigest()


def choose_format(wanted: str | None, output: str | None, inputs: tuple[str, ...]) -> str:
    """The format of the outputs. Raises UsageError where neither `--format` nor a name tells."""
    if wanted is not None:
        return wanted
    if output == STREAM or (output is None and STREAM in inputs):
        raise UsageError(f"decoding to stdout needs --format {'|'.join(FORMATS)}")
    if output is None or output.endswith(os.sep) or os.path.isdir(output):
        return DEFAULT_FORMAT
    suffix = os.path.splitext(output)[1].lower()
    for name, suffixes in FORMATS.items():
        if suffix in suffixes:
            return name
    raise UsageError(f"-o {output!r}: its name tells no format; add --format {'|'.join(FORMATS)}")


def help_tail() -> str:
    return "\n".join(
        [
            "Examples:",
            "  nvc-decode photo.nvc                         photo.png",
            "  nvc-decode -o out/ *.nvc archive/            many, one output each",
            "  nvc-decode --check *.nvc                     are they whole?",
            "  nvc-decode --format ppm - < a.nvc | display -",
            "",
            "NVC_ENGINE=onednn|float32|float64|numpy forces the integer engine; the pixels are the same with all.",
            "",
            common.EXIT_CODES,
            "",
            common.completion_help(PROGRAM),
        ]
    )


@click.command(PROGRAM, cls=common.Command, context_settings=common.CONTEXT, help_tail=help_tail)
@common.inputs_argument()
@click.option(
    "--format", "format_", type=click.Choice(list(FORMATS)), help="Format of the output.  [default: by -o, or png]"
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)
@click.option("--model", metavar="NAME|PATH", help="Weights to decode with, where they are not installed.")
@click.option("--md5", is_flag=True, help="Also say the digest of the pixels.")
@click.option("--check", is_flag=True, help="Decode and verify, write nothing.")
@click.option("--salvage", is_flag=True, help="Write what is good of a damaged file, and still exit 6.")
@common.writing_options
@common.working_options
@common.talking_options
@common.video_options(VIDEO_VALUES)
def command(
    inputs: tuple[str, ...],
    format_: str | None,
    device: str,
    model: str | None,
    md5: bool,
    check: bool,
    salvage: bool,
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
    """Decode .nvc files to pictures.

    IN is a .nvc file, a folder of them, or - for stdin. The checksum of every picture is verified.
    """
    existing = common.existing_rule(force=force, skip_existing=skip_existing)
    common.check_digest(md5=md5, quiet=quiet, as_json=as_json)
    talk = common.make_talk(PROGRAM, quiet=quiet, verbose=verbose, as_json=as_json, progress=progress)
    if device == "cuda":
        raise UsageError("--device cuda: this nvc has no engine for it; use auto or cpu, the pixels are the same")
    todo: Plan
    if check:
        writing = {"output": output, "format": format_, "force": force, "skip-existing": skip_existing}
        for name, value in {**writing, "salvage": salvage}.items():
            common.exclusive(check=check, **{name: value})
        format_ = DEFAULT_FORMAT
        todo = plan_reading(inputs, wanted=NVC_SUFFIXES)
    else:
        format_ = choose_format(format_, output, inputs)
        todo = plan(inputs, output, suffix=FORMATS[format_][0], wanted=NVC_SUFFIXES)
    common.check_streams(inputs, [item.target for item in todo.items], as_json=as_json)
    common.check_model(model)
    order = Order(
        format=format_,
        write=not check,
        salvage=salvage,
        md5=md5,
        model=model,
        max_pixels=max_pixels,
        threads=common.threads_each(threads, min(jobs, len(todo.items))),
    )
    with talk:
        return Batch(talk, partial(decode_file, order), jobs, existing, fail_fast).run(todo)


def main() -> None:
    common.leave(common.run(command))


if __name__ == "__main__":
    main()
