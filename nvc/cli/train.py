"""nvc-train: fit a model on pictures or clips, make a weight file of it, or of a published checkpoint."""

import tempfile
from pathlib import Path

import click

from nvc.cli import common, output
from nvc.cli.output import Existing
from nvc.cli.talk import say
from nvc.codec import weight_files
from nvc.codec.catalogue import CATALOGUE
from nvc.errors import InputError, OutputError, UsageError
from nvc.version import __version__

VERBOSE = click.option("-v", "--verbose", count=True, expose_value=False, help="-vv: tracebacks of internal errors.")
FORCE = click.option("-f", "--force", is_flag=True, help="Overwrite the weight file.")
WEIGHTS = click.option(
    "-o", "--output", "target", required=True, metavar="FILE", type=click.Path(path_type=Path),
    help="The weight file: NAME.safetensors, or NAME.safetensors.gz, which is compressed.",
)  # fmt: skip
NAME = click.option(
    "--name", help="The model's name, as nvc-info --models lists it.  [default: FILE without its suffix]"
)
CACHE = click.option(
    "--cache", metavar="FILE.npz", type=click.Path(path_type=Path),
    help="Clips: keep their frames and flow in this file, or take them from it. It may also be the SOURCE.",
)  # fmt: skip
LEVELS = 8


@click.group("nvc-train", context_settings=common.CONTEXT, no_args_is_help=False)
@click.version_option(__version__, "-V", "--version", prog_name="nvc-train", message="%(prog)s %(version)s")
def cli() -> None:
    """Make models: train them on pictures or clips, then make the weight files that nvc-encode and nvc-decode read.

    \b
    nvc-train fit pictures/ -o run.pt --minutes 600
    nvc-train export run.pt pictures/ -o mine.safetensors.gz
    nvc-encode --model mine.safetensors.gz photo.png

    A weight file in the folder models/ of a checkout, or of the installed package, needs no --model.
    """


@cli.command(context_settings=common.CONTEXT)
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "checkpoint", required=True, metavar="FILE", type=click.Path(path_type=Path),
    help="The checkpoint: written every two minutes and at the end. Where it exists, training goes on from it.",
)  # fmt: skip
@click.option(
    "--minutes", type=common.Real(0, above=True), required=True,
    help="The whole budget, over all resumed parts: the learning rate falls to its end within it.",
)  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(1), help="End after so many updates, where that is sooner; counts resumed parts too."
)
@click.option("--batch", type=click.IntRange(1), help="Crops in one update.  [default: 4; clips 2]")
@click.option(
    "--crop", type=click.IntRange(32),
    help="Side of a crop in pixels, a multiple of 32. Smaller sources are left out.  [default: 256; clips 192]",
)  # fmt: skip
@click.option(
    "--rate", type=common.Real(0, above=True),
    help="Learning rate of the networks at its highest.  [default: 2e-4; clips 3e-4]",
)  # fmt: skip
@click.option(
    "--codec", type=click.Choice(list(CATALOGUE)), help="What to train.  [default: image for pictures, ssf for clips]"
)
@CACHE
@click.option("--seed", type=int, default=1, show_default=True, help="Of crops, levels and start values.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: all cores]")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
    help="auto is the GPU where torch has one.",
)  # fmt: skip
@click.option(
    "--start", "starts", type=click.Path(path_type=Path), multiple=True,
    help="Begin a new run with the weights of this checkpoint (whole or slim) or weight file instead of the KLT; "
    "aivc takes networks of an image and of an lhbdc file, each by its own --start.",
)  # fmt: skip
@click.option("--compile", "compile_net", is_flag=True, help="torch.compile the loss: pays on a GPU, after minutes.")
@VERBOSE
def fit(
    source: Path, checkpoint: Path, minutes: float, steps: int | None, batch: int | None, crop: int | None,
    rate: float | None, codec: str | None, cache: Path | None, seed: int, threads: int | None, device: str,
    starts: tuple[Path, ...], compile_net: bool,
) -> None:  # fmt: skip
    """Train a codec on SOURCE: a folder of pictures or of clips, a .zip of pictures.

    A report a line on stderr, about every ten seconds: updates and seconds so far, the loss, and bits per pixel and
    PSNR of the last batch, which is of mixed levels. Ctrl-C loses what came after the last checkpoint.

    Torch, numpy and Pillow (and click) are enough for this command; for clips numba and OpenCV too, or a --cache.
    """
    if crop and crop % 32:
        raise UsageError(f"--crop {crop}: not a multiple of 32")
    check_cache(cache)
    check_inputs(source, *starts)
    check_folder(checkpoint)
    import torch

    from nvc.training import loop

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU here")
    if threads:
        torch.set_num_threads(threads)
    codec = codec or loop.codec_of(source)
    settings = loop.settings_for(codec, minutes, steps=steps, batch=batch, crop=crop, rate=rate, seed=seed)
    reports = loop.fit(
        source, checkpoint, settings, codec=codec, device=None if device == "auto" else torch.device(device),
        compile_net=compile_net, start=starts, cache=cache,
    )  # fmt: skip
    for report in reports:
        say("  ".join(f"{key} {value:.6g}" for key, value in report.items()))


@cli.command(context_settings=common.CONTEXT)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path))
@WEIGHTS
@NAME
@click.option(
    "--ablation/--no-ablation", default=None,
    help="Pictures: also fit the tables that nvc-eval ablation compares; no file is coded with them.  [default: yes]",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Strips and tables at once.")
@click.option(
    "--pictures", "--clips", "limit", type=click.IntRange(1), help="Use about so many of them.  [default: all]"
)
@click.option("--frames", type=click.IntRange(2), help="Clips: frames of each, from its first.  [default: 5; lhbdc 9]")
@click.option(
    "--base", metavar="FILE", type=click.Path(path_type=Path),
    help="Clips: take the networks that both have, as lhbdc has those of ssf, from this weight file as they are.",
)  # fmt: skip
@click.option(
    "--encoder-bits", type=click.IntRange(2, 8), default=8, show_default=True,
    help="Clips: bits of each weight of the analysis; fewer make a smaller file and no other pictures.",
)  # fmt: skip
@click.option("--level-tables", is_flag=True, help="Clips: main tables of each level, not such as all levels share.")
@CACHE
@click.option(
    "--psnr", metavar="DB,…", help="What levels 1 to 8 reach on Kodak, eight numbers: nvc-encode --help says them."
)
@FORCE
@VERBOSE
def export(
    checkpoint: Path, source: Path, target: Path, name: str | None, ablation: bool | None, threads: int,
    limit: int | None, frames: int | None, base: Path | None, encoder_bits: int, level_tables: bool,
    cache: Path | None, psnr: str | None, force: bool,
) -> None:  # fmt: skip
    """Make a weight file of CHECKPOINT, which nvc-train fit wrote.

    Of a weight file of video too: its networks stay as they are, its tables are fitted anew. Else the synthesis is
    turned into integers and proven exact; the entropy tables of every level are fitted on SOURCE, the pictures or clips
    it was trained on. Takes some minutes.
    """
    levels = parse_levels(psnr) if psnr else None
    check_cache(cache)
    check_inputs(checkpoint, source, *([base] if base else []))
    if base and not weight_files.is_named(base):
        raise UsageError(f"--base {base}: a weight file ends in .safetensors or .safetensors.gz")
    check_target(target, force)
    from nvc.training.checkpoints import read_weights

    name = name or weight_files.stem(target)
    if read_weights(checkpoint)["codec"] == "image":
        refuse(
            frames=frames,
            base=base,
            level_tables=level_tables or None,
            encoder_bits=None if encoder_bits == 8 else encoder_bits,
            cache=cache,
            what="is for clips",
        )
        from nvc.training.export import export as export_pictures

        lines = export_pictures(
            checkpoint, source, target, name=name, ablation=ablation is not False, threads=threads, limit=limit,
            psnr=levels,
        )  # fmt: skip
    else:
        refuse(ablation=ablation, psnr=psnr, what="is for pictures")
        from nvc.training import export_video

        lines = export_video.export(
            checkpoint, source, target, name=name, threads=threads, frames=frames, limit=limit,
            cache=cache, base=base, level_tables=level_tables, encoder_bits=encoder_bits,
        )  # fmt: skip
    for line in lines:
        say(line)


@cli.command(context_settings=common.CONTEXT)
@click.argument("weights", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path))
@WEIGHTS
@NAME
@click.option("--clips", "limit", type=click.IntRange(1), help="Use about so many of them.  [default: all]")
@CACHE
@FORCE
@VERBOSE
def predictors(
    weights: Path, source: Path, target: Path, name: str | None, limit: int | None, cache: Path | None, force: bool
) -> None:
    """Add predictors of blocks to WEIGHTS, a weight file of aivc, or learn them anew; the rest stays as it is.

    They are learned from the first frames of SOURCE, the clips that it was trained on. Takes some minutes.
    """
    check_cache(cache)
    check_inputs(weights, source)
    if not weight_files.is_named(weights):
        raise UsageError(f"{weights}: a weight file ends in .safetensors or .safetensors.gz")
    check_target(target, force)
    from nvc.training.predictor_export import add

    for line in add(weights, source, target, name=name or weight_files.stem(target), limit=limit, cache=cache):
        say(line)


@cli.command(context_settings=common.CONTEXT)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, metavar="FILE", type=click.Path(path_type=Path), help="Where to write.")
@VERBOSE
def slim(checkpoint: Path, output: Path) -> None:
    """Keep only the weights of CHECKPOINT, in 16 bits: small enough to hand on, and to --start another run from.

    CHECKPOINT may also be a weight file, for a machine whose torch comes without safetensors.
    """
    check_inputs(checkpoint)
    check_folder(output)
    from nvc.training import checkpoints

    checkpoints.slim(checkpoint, output)


@cli.command(context_settings=common.CONTEXT)
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--psnr", metavar="DB,…", required=True, help="What levels 1 to 8 reach on Kodak, eight numbers.")
@VERBOSE
def label(weights: Path, psnr: str) -> None:
    """Write measured PSNRs into WEIGHTS, for the help of nvc-encode. Tensors and model id stay as they are."""
    levels = parse_levels(psnr)
    check_inputs(weights)
    from nvc.training.export import set_psnr

    set_psnr(weights, levels)


@cli.command("import", context_settings=common.CONTEXT)
@click.argument("words", nargs=-1, metavar="[ssf2020] [STATE_DICT]")
@WEIGHTS
@NAME
@click.option(
    "--zoo", type=click.IntRange(1, 9), metavar="1..9",
    help="ssf2020: fetch compressai's checkpoint of this quality (137 MB) instead of reading STATE_DICT.",
)  # fmt: skip
@click.option(
    "--flow-crop", type=click.IntRange(1, 1 << 16), metavar="PIXELS",
    help="ssf2020: side of the square crops it was trained on, 256 for the zoo's: motion then means the same at every "
    "picture size.  [default: motion grows with the picture, as published]",
)  # fmt: skip
@FORCE
@VERBOSE
def import_(
    words: tuple[str, ...], target: Path, name: str | None, zoo: int | None, flow_crop: int | None, force: bool
) -> None:
    """Make a weight file of STATE_DICT, a checkpoint of compressai.

    \b
    nvc-train import relu.pth.tar -o relu.safetensors              FactorizedPriorReLU, for pictures
    nvc-train import ssf2020 ssf.pth.tar -o ssf.safetensors        ScaleSpaceFlow, for video
    nvc-train import ssf2020 --zoo 3 --flow-crop 256 -o ssf.safetensors

    STATE_DICT is what torch.save wrote of the model's state dict, or of a training script's dictionary around it; only
    tensors are read out of it, no code. The widths are those of the shapes. Tables that are filled in are kept; else
    they are made as compressai's update() makes them.

    One checkpoint codes one rate: the file that nvc-encode --model FILE makes with it has quality 1, and --quality,
    targets and --rdoq are not for it. Its network stays in float32: the entropy decoding is exact everywhere, but the
    pixels may differ on another machine, which the checksum in the file then tells.
    """
    video = words[:1] == ("ssf2020",)
    if not video and (zoo or flow_crop):
        raise UsageError(f"{'--zoo' if zoo else '--flow-crop'} is for ssf2020")
    paths = [Path(word) for word in words[video:]]
    if len(paths) != (0 if zoo else 1):
        wanted = "--zoo comes without a STATE_DICT" if zoo else "name one STATE_DICT"
        raise UsageError(f"{wanted}, not {len(paths)}")
    check_inputs(*paths)
    check_target(target, force)
    if video:
        data, identity = _import_video(paths, zoo, name or weight_files.stem(target), flow_crop or 0)
    else:
        from nvc.training.importer import import_state_dict

        data, identity = import_state_dict(paths[0], name or weight_files.stem(target))
    try:
        output.write(str(target), weight_files.pack(data, target), Existing.OVERWRITE if force else Existing.REFUSE)
    except OutputError as error:
        raise OutputError(f"{target}: {error}") from error
    say(f"{target}: model id {identity}")


def _import_video(paths: list[Path], zoo: int | None, name: str, flow_crop: int) -> tuple[bytes, str]:
    from nvc.training.import_ssf import import_ssf

    if zoo is None:
        return import_ssf(paths[0], name, flow_crop)
    from nvc.training.zoo import fetch

    with tempfile.TemporaryDirectory() as folder:
        fetched = Path(folder) / f"ssf2020-{zoo}.pth.tar"
        fetch(zoo, fetched)
        return import_ssf(fetched, name, flow_crop)


def check_inputs(*paths: Path) -> None:
    """Raise InputError before anything heavy is loaded."""
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")


def check_cache(path: Path | None) -> None:
    """Raise UsageError or OutputError for a cache that could not be written."""
    if path is not None:
        if path.suffix != ".npz":
            raise UsageError(f"--cache {path}: a cache of clips ends in .npz")
        check_folder(path)


def refuse(what: str, **options: object) -> None:
    """Raise UsageError where one of the options is given."""
    for option, value in options.items():
        if value is not None:
            raise UsageError(f"--{option} {what}")


def check_folder(path: Path) -> None:
    """Raise OutputError unless a file can be written there, or exists."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")


def check_target(path: Path, force: bool) -> None:
    """Raise UsageError or OutputError, before the work, where the weight file must not be written."""
    if not weight_files.is_named(path):
        raise UsageError(f"-o {path}: a weight file ends in .safetensors or .safetensors.gz")
    try:
        output.should_write(str(path), Existing.OVERWRITE if force else Existing.REFUSE)
    except OutputError as error:
        raise OutputError(f"{path}: {error}") from error


def parse_levels(text: str) -> tuple[float, ...]:
    """`27.1,28.4,…` -> eight numbers of dB."""
    try:
        levels = tuple(float(value) for value in text.split(","))
    except ValueError as error:
        raise UsageError(f"--psnr: {text!r} is not a list of numbers A,B,…") from error
    if len(levels) != LEVELS:
        raise UsageError(f"--psnr: {len(levels)} numbers, {LEVELS} levels")
    return levels


def main() -> None:
    """Entry point: errors are one line on stderr and an exit code."""
    common.leave(common.run(cli))


if __name__ == "__main__":
    main()
