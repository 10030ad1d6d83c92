"""nvc-info: what a .nvc file holds, and which models are installed. Without torch unless --per-frame asks for bits."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, BinaryIO, Final

import click

from nvc.bitstream.header import Kind
from nvc.cli import common
from nvc.cli.batch import Batch, Done
from nvc.cli.files import Item, plan_reading, read_all
from nvc.cli.kinds import kind_of_nvc, open_input, peeked, spooled
from nvc.cli.talk import Talk
from nvc.codec.catalogue import by_number
from nvc.errors import ExitCode, InputError, UsageError

PROGRAM: Final = "nvc-info"
NVC_SUFFIXES: Final = frozenset({".nvc"})
MAX_FRAMES: Final = 1 << 20


@dataclass(frozen=True)
class Question:
    """What is asked of every file."""

    per_frame: bool
    max_pixels: int
    max_frames: int


def describe_file(question: Question, item: Item) -> Done:
    """One file as a line and as a JSON object. Raises NvcError."""
    head, stream = peeked(open_input(item.source))
    with stream:
        if kind_of_nvc(item.source, head) == Kind.VIDEO:  # it is read as a stream, and lies nowhere as a whole
            return describe_video(question, item, spooled(stream) if question.per_frame else stream)
        try:
            data = read_all(stream, limit=common.input_limit(question.max_pixels))  # before anything is loaded for it
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}") from error
    return describe_picture(question, item, data)


def describe_picture(question: Question, item: Item, data: bytes) -> Done:
    """A picture: everything is checked, nothing decoded unless its bits are asked for."""
    from nvc.bitstream.container import summary

    found = summary(data, max_pixels=question.max_pixels)
    colour = "grey" if found["grey"] else "rgb"
    record = {"path": item.source, **found, **named(found), "fps": None, "colour": colour}
    lines = [line_of(item.source_name, record, colour + ("+alpha" if found["alpha"] else ""))]
    if question.per_frame:
        from nvc.codec.picture import frame_bits

        bits = {name: float(value) for name, value in frame_bits(data).items()}
        record["per_frame"] = [{"frame": 0, "type": "I", "bits": bits}]
        lines.append(f"  frame 0  I  bits: {bits_text(bits)}")
    return Done("", record, details=details_of(found), product=tuple(lines))


def describe_video(question: Question, item: Item, stream: BinaryIO) -> Done:
    """A video, the same way. stream: the file, at its beginning."""
    from nvc.bitstream.video_summary import video_summary

    limits = {"max_pixels": question.max_pixels, "max_frames": question.max_frames}
    found = video_summary(stream, **limits)
    record = {"path": item.source, **found, **named(found)}
    lines = [line_of(item.source_name, record, *video_words(found))]
    if question.per_frame:
        from nvc.codec.frame_bits import parse_frames
        from nvc.codec.video_model import by_id

        stream.seek(0)
        model = by_id(bytes.fromhex(found["model_id"]), str(record["codec"]))
        frames = record["per_frame"] = []
        for frame in parse_frames(stream, model, **limits):
            coded, bits = frame.coded, nested(frame.bits)
            frames.append(
                {
                    "frame": coded.display, "type": coded.type.name, "bytes": coded.size,
                    "reparameterised": coded.reparameterised, "bits": bits,
                }
            )  # fmt: skip
            parts = "   ".join(f"{name}: {bits_text(here)}" for name, here in bits.items())
            lines.append(f"  frame {coded.display}  {coded.type.name}  {coded.size:,} B  bits of {parts}")
    return Done("", record, details=details_of(found), product=tuple(lines))


def nested(bits: Mapping[tuple[str, str], float]) -> dict[str, dict[str, float]]:
    """Bits by information, then by part."""
    found: dict[str, dict[str, float]] = {}
    for (information, part), value in bits.items():
        found.setdefault(information, {})[part] = float(value)
    return found


def bits_text(bits: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:,.1f}" for name, value in bits.items())


def named(found: Mapping[str, Any]) -> dict[str, str | None]:
    """The codec's name, and that of its model if it is installed."""
    from nvc.codec.models import installed

    codec = by_number(found["codec"])
    names = {info.id: info.name for info in installed()}
    return {"codec": codec.name if codec else str(found["codec"]), "model": names.get(found["model_id"])}


def details_of(found: Mapping[str, Any]) -> tuple[str, ...]:
    """What -v adds."""
    return (
        "bytes: " + "  ".join(f"{name} {value:,}" for name, value in found["parts"].items()),
        "checksums: " + "  ".join(f"{name} {value}" for name, value in found["checksums"].items()),
    )


def video_words(found: Mapping[str, Any]) -> list[str]:
    """What a line says of a video beside what it says of a picture."""
    types = "".join(f" {kind} {count}" for kind, count in found["frame_types"].items())
    seconds = found["duration"]
    mean = found["variable_rate"] and seconds > 0  # which says more where times do not follow the nominal rate
    return [
        f"~{found['frames'] / seconds:.4g} fps" if mean else f"{float(Fraction(found['fps'])):.5g} fps",
        f"{found['frames']} frames ({types.strip()})",
        *([f"{seconds:.2f} s", f"{8 * found['bytes'] / seconds / 1000:,.1f} kbit/s"] if seconds > 0 else []),
        *(f"audio {track['codec']} {track['rate']} Hz" for track in found["audio"]),
    ]


def line_of(name: str, record: Mapping[str, Any], *more: str) -> str:
    """The readable line of a file. more: what only its kind has."""
    kept = [*record["metadata"], *record["unknown"]]
    model = record["model"] or "not installed"
    return "  ".join(
        [
            name,
            f"{record['width']}x{record['height']}",
            *more,
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
@click.option(
    "--max-frames", type=click.IntRange(1), default=MAX_FRAMES, show_default=True, help="Refuse longer videos."
)
@common.fail_fast_option
@common.talking_options
def command(
    inputs: tuple[str, ...],
    models: bool,
    per_frame: bool,
    max_pixels: int,
    max_frames: int,
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
        question = Question(per_frame, max_pixels, max_frames)
        return Batch(talk, partial(describe_file, question), fail_fast=fail_fast).run(todo)


def main() -> None:
    common.leave(common.run(command))


if __name__ == "__main__":
    main()
