"""nvc-eval: measure codecs on pictures and clips, compare curves, draw them."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nvc.cli import common
from nvc.errors import OutputError, UsageError
from nvc.version import __version__

if TYPE_CHECKING:
    from nvc.evaluation.codecs import Codec
    from nvc.evaluation.rd import Medium
    from nvc.evaluation.results import Results, Row

VERBOSE = click.option("-v", "--verbose", count=True, expose_value=False, help="-vv: tracebacks of internal errors.")
PICTURES = click.argument("pictures", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
METRIC = click.option(
    "--metric", type=click.Choice(["psnr", "yuv-psnr", "ms-ssim"]), default="psnr", show_default=True,
    help="What is compared: RGB PSNR; of clips also (6Y + U + V) / 8; of pictures also MS-SSIM.",
)  # fmt: skip
FRAMES = click.option(
    "--frames", type=click.IntRange(1), help="Frames of each clip, from its first.  [default: 33, or what it has]"
)
PER_PICTURE = click.option("--per-picture", is_flag=True, help="Add a table of the BD-rate of every picture.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per codec, no tables.")


MS_SSIM = click.option(
    "--ms-ssim/--no-ms-ssim", default=True, show_default=True, help="Measure MS-SSIM as well (slow; pictures alone)."
)


def measuring_options(command: Any) -> Any:
    """Options of the commands that measure."""
    for option in (
        click.option("-o", "--output", type=click.Path(path_type=Path), help="Keep all rows in this JSON file."),
        click.option("--resume", is_flag=True, help="Use the rows of the output file that still hold; add to it."),
        click.option("-f", "--force", is_flag=True, help="Overwrite the output file."),
        click.option(
            "-j", "--jobs", type=click.IntRange(1), default=1, show_default=True,
            help="Processes. More than one makes the seconds meaningless.",
        ),
        click.option("--quiet", is_flag=True, help="Errors and the tables only."),
        click.option(
            "--progress/--no-progress", default=None, help="Show progress.  [default: where stderr is a terminal]"
        ),
        VERBOSE,
    ):  # fmt: skip
        command = option(command)
    return command


@click.group("nvc-eval", context_settings=common.CONTEXT)
@click.version_option(__version__, "-V", "--version", prog_name="nvc-eval", message="%(prog)s %(version)s")
def cli() -> None:
    """Measure codecs: bytes of real files against the quality of the pictures that come back.

    Tables go to stdout as Markdown. Every number is defined in docs/evaluation.md. BD-rate: per cent of bits more (+)
    or fewer (−) at the same quality, over the range that both curves have, nothing extrapolated.
    """


@cli.command(context_settings=common.CONTEXT)
@PICTURES
@click.option(
    "-c", "--codec", "specs", multiple=True, required=True, metavar="CODEC[:OPTION=VALUE,…]",
    help="Pictures: nvc (rdoq=0..3, model=NAME), jpeg (progressive=1, chroma=444), webp (method=0..6), "
    "avif (speed=0..10, chroma=444, threads=N). Clips: ssf (intra=N, reparam=0, model=NAME), "
    "x264 and x265 (latency=normal, intra=N, preset=NAME, psy=0, threads=N). Once for each codec.",
)  # fmt: skip
@click.option(
    "-s", "--settings", "ladders", multiple=True, metavar="CODEC=A,B,…",
    help="Settings of a codec in place of its ladder, e.g. nvc:rdoq=3=1,2.5,4. Qualities: nvc and ssf 1..8, "
    "x264 and x265 rate factors 0..51, others 0..100.",
)  # fmt: skip
@click.option("--anchor", help="Codec that the others are compared with.  [default: the first]")
@METRIC
@FRAMES
@PER_PICTURE
@AS_JSON
@MS_SSIM
@measuring_options
def rd(
    pictures: tuple[Path, ...], specs: tuple[str, ...], ladders: tuple[str, ...], anchor: str | None, metric: str,
    frames: int | None, per_picture: bool, as_json: bool, **measuring: Any,
) -> None:  # fmt: skip
    """Rate and distortion of codecs on PICTURES: files, or folders of them. With codecs of video they are clips.

    Each codec codes each picture at each of its settings into a real file, which is decoded from its bytes alone.

    \b
    nvc-eval rd -c jpeg -c webp -c nvc -o kodak.json kodak/
    nvc-eval rd -c nvc -s nvc=1,2,3.5 --resume -o kodak.json kodak/
    nvc-eval rd -c x264 -c x265 -c ssf -c ssf:intra=1 -o clips.json clips/
    """
    from nvc.evaluation.codecs import parse

    codecs = [parse(spec) for spec in specs]
    names = [codec.name for codec in codecs]
    chosen = dict(parse_ladder(text) for text in ladders)
    for name in chosen:
        if name not in names:
            raise UsageError(f"--settings {name}=…: no such -c, there are {', '.join(names)}")
    if anchor is not None and anchor not in names and not measuring["resume"]:
        raise UsageError(f"--anchor {anchor}: no such -c, there are {', '.join(names)}")
    results = run(codecs, pictures, chosen, medium=medium_of(codecs, frames), **measuring)
    rows = list(results.rows.values())
    show(rows, anchor or names[0], names, metric, per_picture, as_json)


@cli.command(context_settings=common.CONTEXT)
@PICTURES
@click.option(
    "--levels", default="1,2,3,4,5,6,7", show_default=True, help="Levels to compare; the published table has seven."
)
@PER_PICTURE
@MS_SSIM
@measuring_options
def ablation(pictures: tuple[Path, ...], levels: str, per_picture: bool, **measuring: Any) -> None:
    """The parts of the picture codec one by one, beside the published gains.

    Base (one table per channel and level, no contexts, no activation bits, no RDOQ), Contexts, Contexts+RDOQ, and
    FillGap (tables re-parameterised for each picture): BD-rate against Base in bytes of files.
    """
    from nvc.evaluation import ablation as parts
    from nvc.evaluation.compare import picture_table

    variants = parts.installed_variants()
    names = [variant.name for variant in variants]
    settings = parse_settings(levels, "--levels")
    results = run(variants, pictures, dict.fromkeys(names, settings), **measuring)
    # a resumed file may hold other levels, and what it holds beside the variants is not compared
    results.rows = {key: row for key, row in results.rows.items() if row.setting in settings and row.codec in names}
    click.echo(parts.ablation_table(results, names))
    if per_picture:
        click.echo("\n" + picture_table(results.rows.values(), names[0], names))


@cli.command(context_settings=common.CONTEXT)
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-c", "--codec", "spec", default="ssf", show_default=True, metavar="CODEC[:OPTION=VALUE,…]",
    help="A video codec of nvc, with intra=N, model=NAME; the period is 16 unless stated.",
)  # fmt: skip
@click.option("--levels", help="Qualities, as 1,2.5,8.  [default: all whole ones]")
@FRAMES
@click.option("--rate-plot", type=click.Path(path_type=Path), help="Draw gap and saving over rate: .svg, .png or .pdf.")
@click.option(
    "--table-plot", type=click.Path(path_type=Path),
    help="Draw some tables of the first clip at the first level: histogram, learned, replacement.",
)  # fmt: skip
@AS_JSON
@measuring_options
def gap(
    clips: tuple[Path, ...], spec: str, levels: str | None, frames: int | None, rate_plot: Path | None,
    table_plot: Path | None, as_json: bool, **measuring: Any,
) -> None:  # fmt: skip
    """How far learned tables are from what they code in CLIPS, and how much of that re-parameterisation saves.

    Table I of "Reducing the Mismatch Between Marginal and Learned Distributions in Neural Video Compression" for real
    files, in whole groups of an I frame and those that follow it.

    \b
    nvc-eval gap -o gap.json --rate-plot gap.svg --table-plot tables.svg clips/
    """
    from nvc.evaluation import gap_report, gap_results, report
    from nvc.evaluation.codecs import parse
    from nvc.evaluation.video_codecs import NvcVideo

    codec = parse(spec if "intra=" in spec else f"{spec}{',' if ':' in spec else ':'}intra=16")
    if not isinstance(codec, NvcVideo):
        raise UsageError(f"-c {spec}: the gap is that of a video codec of nvc")
    for plot in filter(None, (rate_plot, table_plot)):
        report.check_suffix(plot)
        refuse_existing(plot, bool(measuring["force"] or measuring["resume"]))
    settings = parse_settings(levels, "--levels") if levels else codec.ladder
    medium = medium_of([codec], frames)
    medium = gap_results.GapClips(medium.frames)  # type: ignore[attr-defined]  # Clips have them
    results = run([codec], clips, {codec.name: settings}, medium=medium, store=gap_results, **measuring)
    found = [file for file in gap_results.gaps(results) if file.codec == codec.name and file.setting in settings]
    if rate_plot:
        gap_report.plot_rates(found, rate_plot)
    if table_plot:
        first = medium.find(clips)[0]
        slices = gap_results.typical_frame(medium.read(first), codec, settings[0])
        gap_report.plot_tables(slices, table_plot, f"{first.name}, {codec.name} at quality {settings[0]:g}")
    if as_json:
        for file in found:
            click.echo(json.dumps(gap_report.as_dict(file), ensure_ascii=False))
        return
    click.echo("\n\n".join([*gap_report.level_tables(found), gap_report.clip_table(found)]))
    click.echo(f"\n- Published, paper's models at their lowest rate, gap / saving: {gap_report.PUBLISHED}.")


@cli.command(context_settings=common.CONTEXT)
@FILES
@click.option("-c", "--codec", "wanted", multiple=True, help="Codecs to compare, by name.  [default: all]")
@click.option("--anchor", help="Codec that the others are compared with.  [default: the first]")
@METRIC
@PER_PICTURE
@AS_JSON
@VERBOSE
def bd(
    files: tuple[Path, ...], wanted: tuple[str, ...], anchor: str | None, metric: str, per_picture: bool, as_json: bool
) -> None:
    """BD-rates from FILES: results of `nvc-eval rd -o`, or result files as CompressAI publishes them.

    Where two files have a codec of one name, both are called FILE/codec.

    \b
    nvc-eval bd kodak.json --anchor jpeg
    nvc-eval bd before.json after.json -c before/nvc -c after/nvc
    """
    from nvc.evaluation.compare import codec_names

    rows = list(read_all(files).rows.values())
    names = list(wanted) or codec_names(rows)
    if not names:
        raise UsageError("there are no rows in " + ", ".join(map(str, files)))
    show(rows, anchor or names[0], names, metric, per_picture, as_json)


@cli.command(context_settings=common.CONTEXT)
@FILES
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Plot: .svg, .png or .pdf.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the plot.")
@click.option("-c", "--codec", "wanted", multiple=True, help="Codecs to draw, by name.  [default: all]")
@click.option("--picture", help="Draw one picture.  [default: the mean of all at each setting]")
@METRIC
@click.option("--log-x", is_flag=True, help="Logarithmic rate.")
@click.option("--max-bpp", type=click.FloatRange(0, min_open=True), help="Right end of the rate axis.")
@click.option("--title", default="", help="Title in place of the usual one.")
@VERBOSE
def plot(
    files: tuple[Path, ...], output: Path, force: bool, wanted: tuple[str, ...], picture: str | None, metric: str,
    log_x: bool, max_bpp: float | None, title: str,
) -> None:  # fmt: skip
    """Draw the curves of FILES: bits per pixel against quality."""
    from nvc.evaluation import report
    from nvc.evaluation.compare import codec_names

    refuse_existing(output, force)
    rows = list(read_all(files).rows.values())
    names = list(wanted) or codec_names(rows)
    report.plot(rows, output, names, metric=metric, picture=picture, log_x=log_x, max_bpp=max_bpp, title=title)


def run(
    codecs: "Sequence[Codec]", pictures: Sequence[Path], ladders: dict[str, tuple[float, ...]], *, output: Path | None,
    resume: bool, force: bool, jobs: int, quiet: bool, progress: bool | None, ms_ssim: bool = False,
    medium: "Medium | None" = None, store: Any = None,
) -> "Results":  # fmt: skip
    """Measure, with the file and the progress that the options ask for. store: the module that reads and writes it."""
    from nvc.evaluation import rd, results

    store = store or results

    common.exclusive(resume=resume, force=force)
    if resume and output is None:
        raise UsageError("--resume needs the file to resume: -o FILE")
    known = results.Results()
    if output is not None:
        if resume and output.exists():
            known = store.read(output)
        else:
            refuse_existing(output, force)
    command = shlex.join(["nvc-eval", *sys.argv[1:]])
    if command not in known.commands:
        known.commands.append(command)

    def save(found: results.Results) -> None:
        if output is not None:
            store.write(found, output)

    with common.make_talk("nvc-eval", quiet=quiet, verbose=0, as_json=False, progress=progress) as talk:
        found = rd.measure(
            codecs, pictures, medium=medium, ladders=ladders, resume=known, with_ms_ssim=ms_ssim, jobs=jobs, save=save,
            start=talk.start, advance=talk.advance,
        )  # fmt: skip
    save(found)
    return found


def medium_of(codecs: "Sequence[Codec]", frames: int | None) -> "Medium":
    """What all of the codecs code."""
    kinds = {codec.medium: codec.name for codec in codecs}
    if len(kinds) > 1:
        raise UsageError(f"-c: {' and '.join(kinds.values())} code different things, pictures and clips")
    if "video" in kinds:
        from nvc.evaluation.clips import FRAMES, Clips

        return Clips(frames or FRAMES)
    if frames is not None:
        raise UsageError("--frames is for clips, and the codecs named code pictures")
    from nvc.evaluation.rd import Pictures

    return Pictures()


def show(
    rows: "Sequence[Row]", anchor: str, names: Sequence[str], metric: str, per_picture: bool, as_json: bool
) -> None:
    """Print what was compared."""
    from nvc.evaluation.compare import as_dict, compare, picture_table, summary_table

    others = [name for name in names if name != anchor]
    if as_json:
        for name in others:
            click.echo(json.dumps(as_dict(compare(rows, anchor, name, metric)), ensure_ascii=False))
        return
    click.echo(summary_table(rows, anchor, [anchor, *others], metric))
    if per_picture and others:
        click.echo("\n" + picture_table(rows, anchor, others, metric))


def read_all(files: Sequence[Path]) -> "Results":
    """All files in one; codecs that several files have are told apart by the files' names."""
    from nvc.evaluation import results

    parts = [results.read(path, published=True) for path in files]
    owners: dict[str, set[int]] = {}
    for index, part in enumerate(parts):
        for row in part.rows.values():
            owners.setdefault(row.codec, set()).add(index)
    shared = {codec for codec, files_of in owners.items() if len(files_of) > 1}
    if shared and len({path.stem for path in files}) < len(files):
        raise UsageError("files of one name that share a codec cannot be told apart: rename one of them")
    renamed = [part.renamed({c: f"{path.stem}/{c}" for c in shared}) for path, part in zip(files, parts, strict=True)]
    return results.merged(renamed)


def parse_ladder(text: str) -> tuple[str, tuple[float, ...]]:
    """`CODEC=1,2,3` -> name and settings; the name may itself hold `=`."""
    name, equals, values = text.rpartition("=")
    if not equals or not name:
        raise UsageError(f"--settings {text}: give CODEC=A,B,…")
    return name, parse_settings(values, f"--settings {name}")


def parse_settings(text: str, option: str) -> tuple[float, ...]:
    """`1,2.5,4` -> numbers."""
    try:
        return tuple(float(value) for value in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option}: {text!r} is not a list of numbers A,B,…") from error


def refuse_existing(path: Path, force: bool) -> None:
    """Before the work, not after it."""
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")
    if path.exists() and not force:
        raise OutputError(f"{path}: exists; use -f")


def main() -> None:
    """Entry point: errors are one line on stderr and an exit code."""
    common.leave(common.run(cli))


if __name__ == "__main__":
    main()
