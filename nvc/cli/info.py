"""nvc-info: what a .nvc file holds, and which models are installed. Without torch unless --per-frame asks for bits."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import click

from nvc.cli import common
from nvc.cli.batch import Batch, Done
from nvc.cli.files import Item, plan_reading, read_input
from nvc.cli.talk import Talk
from nvc.codec.catalogue import by_number
from nvc.errors import ExitCode, UsageError

PROGRAM: Final = "nvc-info"
NVC_SUFFIXES: Final = frozenset({".nvc"})


def describe_file(per_frame: bool, max_pixels: int, item: Item) -> Done:
    """One file as a line and as a JSON object. Raises NvcError."""
    data = read_input(item.source, limit=common.input_limit(max_pixels))  # before anything is loaded for it

    from nvc.bitstream.container import summary
    from nvc.codec.models import installed

    found = summary(data, max_pixels=max_pixels)
    codec = by_number(found["codec"])
    names = {info.id: info.name for info in installed()}
    record: dict[str, object] = {
        "path": item.source,
        **found,
        "codec": codec.name if codec else str(found["codec"]),
        "model": names.get(found["model_id"]),
        "fps": None,  # "num/den" of video
        "colour": "grey" if found["grey"] else "rgb",
    }
    lines = [line_of(item.source_name, record)]
    if per_frame:
        from nvc.codec.picture import frame_bits

        bits = {name: float(value) for name, value in frame_bits(data).items()}
        record["per_frame"] = [{"frame": 0, "type": "I", "bits": bits}]
        lines.append("  frame 0  I  bits: " + "  ".join(f"{name} {value:,.1f}" for name, value in bits.items()))
    details = (
        "bytes: " + "  ".join(f"{name} {value:,}" for name, value in found["parts"].items()),
        "checksums: " + "  ".join(f"{name} {value}" for name, value in found["checksums"].items()),
    )
    return Done("", record, details=details, product=tuple(lines))


def line_of(name: str, record: Mapping[str, Any]) -> str:
    """The readable line of a file."""
    kept = [*record["metadata"], *record["unknown"]]
    model = record["model"] or "not installed"
    return "  ".join(
        [
            name,
            f"{record['width']}x{record['height']}",
            record["colour"] + ("+alpha" if record["alpha"] else ""),
            f"{record['codec']} {model} ({record['model_id']})",
            f"q {common.quality_text(record['quality'])}",
            f"{record['bytes']:,} B",
            f"{record['bpp']:.3f} bpp",
            *([", ".join(kept)] if kept else []),
        ]
    )


def list_models(talk: Talk) -> int:
    """One line or JSON object for each installed model."""
    from nvc.codec.models import installed

    models = installed()
    for info in models:
        record = {"name": info.name, "id": info.id, "codec": info.codec, "path": str(info.path)}
        talk.product(f"{info.name}  {info.id}  {info.codec}  {info.path}")
        talk.record({**record, "psnr_range": info.psnr_range})
    if not models:
        talk.warning("", "no model is installed")
    return ExitCode.OK


def help_tail() -> str:
    return f"{common.EXIT_CODES}\n\n{common.completion_help(PROGRAM)}"


@click.command(PROGRAM, cls=common.Command, context_settings=common.CONTEXT, help_tail=help_tail)
@common.inputs_argument(required=False)
@click.option("--models", is_flag=True, help="List the installed models instead.")
@click.option("--per-frame", is_flag=True, help="Also the bits of each frame by part; loads the model.")
@common.max_pixels_option
@common.fail_fast_option
@common.talking_options
def command(
    inputs: tuple[str, ...],
    models: bool,
    per_frame: bool,
    max_pixels: int,
    fail_fast: bool,
    as_json: bool,
    quiet: bool,
    verbose: int,
    progress: bool | None,
) -> int:
    """Say what .nvc files hold: one line for each, on stdout.

    IN is a .nvc file, a folder of them, or - for stdin. All checksums of the boxes are verified.
    """
    talk = common.make_talk(PROGRAM, quiet=quiet, verbose=verbose, as_json=as_json, progress=progress)
    if models:
        if inputs or per_frame:
            raise UsageError("--models lists what is installed and takes no inputs")
        return list_models(talk)
    if not inputs:
        raise UsageError("missing argument IN...")
    todo = plan_reading(inputs, wanted=NVC_SUFFIXES)
    common.check_streams(inputs, [], as_json=as_json)
    with talk:
        return Batch(talk, partial(describe_file, per_frame, max_pixels), fail_fast=fail_fast).run(todo)


def main() -> None:
    common.leave(common.run(command))


if __name__ == "__main__":
    main()
