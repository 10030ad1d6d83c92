"""nvc-encode: pictures and videos to .nvc files."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import click

from nvc.bitstream.header import Kind
from nvc.cli import common
from nvc.cli.batch import Batch, Done
from nvc.cli.encoding import INTRA_PERIOD, MAX_FRAMES, Order
from nvc.cli.files import Item, plan
from nvc.cli.kinds import PICTURE_SUFFIXES, VIDEO_SUFFIXES, open_input, peeked
from nvc.codec.catalogue import CATALOGUE
from nvc.errors import NvcError, UsageError

PROGRAM: Final = "nvc-encode"
# Of nvc.codec.models, written out because that module loads numpy, numba and Pillow.
DEFAULT_QUALITY: Final = 4.0
DEFAULT_RDOQ: Final = 2


def encode_file(order: Order, item: Item, tell: Callable[[str], None] | None = None) -> Done:
    """Read, code and describe one input. tell: takes the line of progress of a video. Raises NvcError."""
    stream = None
    kind = order.kind_of(item.source, item.source_name)
    if kind is None:
        head, stream = peeked(open_input(item.source))
        kind = order.kind_of(item.source, item.source_name, head)
    if kind == Kind.PICTURE:
        from nvc.cli.encode_picture import encode_picture

        return encode_picture(order, item, stream)
    from nvc.cli.encode_video import encode_video

    return encode_video(order, item, stream, tell)


def check_inputs(order: Order, items: Sequence[Item]) -> None:
    """Raise UsageError before any work where an option cannot apply to one of the inputs."""
    kinds = {order.kind_of(item.source, item.source_name) for item in items}
    order.check_structure()
    if Kind.PICTURE in kinds and order.model is not None:
        check_ability(order.model, order)


def check_ability(name: str, order: Order) -> None:
    """Raise UsageError where the picture model cannot do what was asked for."""
    from nvc.codec import models

    model = models.load(name)
    model.quality(order.quality)
    model.rdoq(order.rdoq)
    if order.has_target and model.levels == 1:
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
            "  nvc-encode --bitrate 800 --intra-period 64 clip.mp4",
            "  nvc-encode --fps 24 -o film.nvc frame%04d.png",
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
@click.option(
    "--bitrate", type=common.Real(0, above=True), metavar="KBIT", help="Video: the same in kbit/s, audio included."
)
@click.option("--target-bpp", type=common.Real(0, above=True), metavar="BPP", help="The same in bits per pixel.")
@click.option(
    "--target-psnr",
    type=common.Real(0, 100, above=True),
    metavar="DB",
    help="So good, within 0.05 dB: RGB PSNR, or (6Y+U+V)/8 of video.",
)
@click.option(
    "-c", "--codec", type=click.Choice(["auto", *CATALOGUE]), default="auto", show_default=True, help="Which codec."
)
@click.option("--model", metavar="NAME|PATH", help="Weights to code with (nvc-info --models lists them).")
@click.option(
    "--rdoq", type=click.IntRange(0, 3),
    help="Pictures: passes of rate-distortion optimised quantisation; 0 is off, more "
    f"is smaller and slower.  [default: {DEFAULT_RDOQ}]",
)  # fmt: skip
@click.option(
    "--metadata", type=click.Choice(["all", "color", "none"]), default="all", show_default=True,
    help="Keep ICC, CICP, EXIF and XMP; the colour description only; nothing.",
)  # fmt: skip
@click.option(
    "--alpha", type=click.Choice(["keep", "drop"]), default="keep", show_default=True, help="Alpha is coded losslessly."
)
@click.option(
    "--audio", type=click.Choice(["copy", "drop"]), default="copy", show_default=True,
    help="Packets of sound go along as they are.",
)  # fmt: skip
@click.option(
    "--gop", type=click.IntRange(1, 32), metavar="N",
    help="Video: frames of a GOP, fewer where that is better.  [default: the codec's]",
)  # fmt: skip
@click.option("--fixed-gop", is_flag=True, help="Video: all GOPs as long as that; faster.")
@click.option(
    "--closed-gop", is_flag=True,
    help="Video: no frame refers to an I frame that is shown after it; the intra period need not fit the GOP.",
)  # fmt: skip
@click.option(
    "--intra-period", type=click.IntRange(0, (1 << 31) - 1), metavar="N",
    help="Video: at most so many frames from one I frame to the next; 1 is all intra, 0 without limit.  "
    f"[default: {INTRA_PERIOD}]",
)  # fmt: skip
@click.option(
    "--latency", type=click.Choice(["low", "normal"]), help="Video: low codes every frame before the next is read.",
)  # fmt: skip
@click.option(
    "--reparam/--no-reparam", default=None, help="Video: fit entropy tables to each frame where it pays (default: yes)."
)
@click.option("--start", type=click.IntRange(0), metavar="N", help="Video: the first frame to code, counted from 0.")
@click.option("--frames", type=click.IntRange(1), metavar="N", help="Video: how many frames to code at most.")
@click.option(
    "--fps",
    type=common.Rate(),
    metavar="F",
    help="Frame rate of headerless YUV and numbered pictures: 25, 30000/1001.",
)
@click.option("--size", type=common.Sides(), metavar="WxH", help="Of headerless YUV.")
@click.option("--pix-fmt", metavar="F", help="Of headerless YUV, as libav names it.  [default: yuv420p]")
@click.option("--max-frames", type=click.IntRange(1), help=f"Refuse longer videos.  [default: {MAX_FRAMES}]")
@click.option("--strict", is_flag=True, help="Refuse what would lose something (16 bits, CMYK) instead of warning.")
@click.option("--first-frame", is_flag=True, help="Code the first frame of an animated picture.")
@click.option(
    "--verify/--no-verify", default=None,
    help="Decode and compare before the file is in place (default: yes for pictures, no for video).",
)  # fmt: skip
@click.option("--md5", is_flag=True, help="Also say the digest of the pixels that the file decodes to.")
@common.writing_options
@common.working_options
@common.talking_options
def command(
    inputs: tuple[str, ...],
    output: str | None,
    force: bool,
    skip_existing: bool,
    jobs: int,
    fail_fast: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    progress: bool | None,
    **asked: Any,
) -> int:
    """Code pictures and videos as .nvc files.

    IN is a picture, a video, a pattern of numbered pictures (frame%04d.png) that are one video, a folder, or - for
    stdin. PNG, JPEG, WebP, AVIF, TIFF, PNM, BMP and GIF are read; MP4, MKV, WebM, MOV, y4m and most that libav knows.
    """
    ways = ("quality", "target_size", "target_bpp", "target_psnr", "bitrate")
    common.exclusive(**{name: asked[name] for name in ways})
    common.check_digest(md5=asked["md5"], quiet=quiet, as_json=as_json)
    existing = common.existing_rule(force=force, skip_existing=skip_existing)
    talk = common.make_talk(PROGRAM, quiet=quiet, verbose=verbose, as_json=as_json, progress=progress)
    kinds = {entry.kind for name, entry in CATALOGUE.items() if asked["codec"] in ("auto", name)}
    wanted = (PICTURE_SUFFIXES if "picture" in kinds else set()) | (VIDEO_SUFFIXES if "video" in kinds else set())
    todo = plan(inputs, output, suffix=".nvc", wanted=frozenset(wanted))
    common.check_streams(inputs, [item.target for item in todo.items], as_json=as_json)
    common.check_model(asked["model"])
    asked["threads"] = common.threads_each(asked["threads"], min(jobs, len(todo.items)))
    order = Order(**asked, existing=existing)
    check_inputs(order, todo.items)
    alone = jobs == 1 or len(todo.items) == 1
    with talk:
        work = partial(encode_file, order, tell=talk.frames if alone else None)
        return Batch(talk, work, jobs, existing, fail_fast).run(todo)


def main() -> None:
    common.leave(common.run(command))


if __name__ == "__main__":
    main()
