"""nvc-decode: .nvc files back to pictures and videos."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import click

from nvc.bitstream.header import Kind
from nvc.cli import common
from nvc.cli.batch import Batch, Done
from nvc.cli.decoding import ALL_FORMATS, FORMATS, MAX_FRAMES, VIDEO_FORMATS, Order, choose_format
from nvc.cli.files import STREAM, Item, Plan, is_special, plan, plan_reading
from nvc.cli.kinds import open_input, peeked
from nvc.errors import UsageError

__all__ = ["FORMATS", "VIDEO_FORMATS", "command", "decode_file", "main"]

PROGRAM: Final = "nvc-decode"
NVC_SUFFIXES: Final = frozenset({".nvc"})


def decode_file(order: Order, item: Item, tell: Callable[[str], None] | None = None) -> Done:
    """Decode, check, and describe one file. tell: takes the line of progress of a video. Raises NvcError."""
    stream = None
    if item.source == STREAM or is_special(item.source):
        head, stream = peeked(open_input(item.source))
        kind = order.kind_of(item.source, item.source_name, item.target, head)
    else:
        kind = order.kind_of(item.source, item.source_name, item.target)
    if kind == Kind.VIDEO:
        from nvc.cli.decode_video import decode_video

        return decode_video(order, item, stream, tell)
    from nvc.cli.decode_picture import decode_picture_file

    return decode_picture_file(order, item, stream)


def help_tail() -> str:
    return "\n".join(
        [
            "Examples:",
            "  nvc-decode photo.nvc                         photo.png",
            "  nvc-decode clip.nvc                          clip.mkv, lossless (FFV1)",
            "  nvc-decode --start 100 --frames 50 -o part.mp4 clip.nvc",
            "  nvc-decode --format y4m -o - clip.nvc | ffplay -",
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
    "--format",
    "format_",
    type=click.Choice(list(ALL_FORMATS)),
    help="Format of the output.  [default: by -o, else png for a picture, mkv for a video]",
)
@click.option("--start", type=click.IntRange(0), metavar="N", help="Video: the first frame to decode, counted from 0.")
@click.option("--frames", type=click.IntRange(1), metavar="N", help="Video: how many frames to decode at most.")
@click.option("--max-frames", type=click.IntRange(1), help=f"Refuse longer videos.  [default: {MAX_FRAMES}]")
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
def command(
    inputs: tuple[str, ...],
    format_: str | None,
    start: int | None,
    frames: int | None,
    max_frames: int | None,
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
    """Decode .nvc files to pictures and videos.

    IN is a .nvc file, a folder of them, or - for stdin. The checksum of every picture and frame is verified.
    """
    existing = common.existing_rule(force=force, skip_existing=skip_existing)
    common.check_digest(md5=md5, quiet=quiet, as_json=as_json)
    talk = common.make_talk(PROGRAM, quiet=quiet, verbose=verbose, as_json=as_json, progress=progress)
    if device == "cuda":
        raise UsageError("--device cuda: this nvc has no engine for it; use auto or cpu, the pixels are the same")
    if check:
        writing = {"output": output, "format": format_, "force": force, "skip-existing": skip_existing}
        for name, value in {**writing, "salvage": salvage}.items():
            common.exclusive(check=check, **{name: value})
    order = Order(
        format=None if check else choose_format(format_, output, inputs),
        write=not check,
        salvage=salvage,
        md5=md5,
        model=model,
        max_pixels=max_pixels,
        max_frames=max_frames,
        start=start,
        frames=frames,
        existing=existing,
    )
    todo: Plan
    if check:
        todo = plan_reading(inputs, wanted=NVC_SUFFIXES)
    else:
        todo = plan(inputs, output, suffix=order.suffix, wanted=NVC_SUFFIXES)
    common.check_streams(inputs, [item.target for item in todo.items], as_json=as_json)
    common.check_model(model)
    for item in todo.items:
        order.kind_of(item.source, item.source_name, item.target)
    order = replace(order, threads=common.threads_each(threads, min(jobs, len(todo.items))))
    alone = jobs == 1 or len(todo.items) == 1
    with talk:
        work = partial(decode_file, order, tell=talk.frames if alone else None)
        return Batch(talk, work, jobs, existing, fail_fast).run(todo)


def main() -> None:
    common.leave(common.run(command))


if __name__ == "__main__":
    main()
