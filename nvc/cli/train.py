"""nvc-train: fit a model on pictures."""

from pathlib import Path

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train models and make weight files of them."""


@main.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", "checkpoint", required=True, type=click.Path(path_type=Path), help="Checkpoint file; training resumes from it.")
@click.option("--minutes", type=float, required=True, help="Whole budget, over all resumed parts.")
@click.option("--steps", type=int, default=10**9, help="Stop after so many steps, if that is sooner.")
@click.option("--batch", type=int, default=4, show_default=True)
@click.option("--crop", type=int, default=256, show_default=True, help="Pixels.")
@click.option("--rate", type=float, default=2e-4, show_default=True, help="Learning rate of the networks.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--threads", type=int, help="CPU threads.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--compile", "compile_net", is_flag=True, help="torch.compile the loss: pays on a GPU.")
def fit(
    source: Path, checkpoint: Path, minutes: float, steps: int, batch: int, crop: int, rate: float, seed: int,
    threads: int | None, device: str, compile_net: bool,
) -> None:  # fmt: skip
    """Train the image codec on the pictures below SOURCE (a folder, or a .zip of pictures)."""
    import torch

    from nvc.training import loop

    if threads:
        torch.set_num_threads(threads)
    settings = loop.FitSettings(minutes=minutes, steps=steps, batch=batch, crop=crop, rate=rate, seed=seed)
    where = None if device == "auto" else torch.device(device)
    for report in loop.fit(source, checkpoint, settings, device=where, compile_net=compile_net):
        line = "  ".join(f"{k} {v:.6g}" for k, v in report.items())
        click.echo(line, err=True)


@main.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Weight file, .safetensors.")
@click.option("--name", help="Model name; default: the output's stem.")
@click.option("--ablation/--no-ablation", default=True, help="Also fit the tables that nvc-eval ablation compares.")
@click.option("--threads", type=int, default=2, show_default=True)
@click.option("--psnr", help="Kodak PSNR of levels 1..8, comma-separated, for the help text.")
def export(
    checkpoint: Path, source: Path, output: Path, name: str | None, ablation: bool, threads: int, psnr: str | None
) -> None:
    """Make a weight file of CHECKPOINT: integer synthesis, and tables fitted on the pictures below SOURCE."""
    from nvc.training.export import export as run

    levels = tuple(float(x) for x in psnr.split(",")) if psnr else None
    steps = run(checkpoint, source, output, name=name or output.stem, ablation=ablation, threads=threads, psnr=levels)
    for line in steps:
        click.echo(line, err=True)


if __name__ == "__main__":
    main()
