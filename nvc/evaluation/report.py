"""Rate–distortion plots as SVG, PNG or PDF. matplotlib (extra `research`) is imported when one is drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvc.errors import NvcError, OutputError, UsageError
from nvc.evaluation.compare import common_pictures, curve, mean_curve
from nvc.evaluation.results import Row

SUFFIXES = (".svg", ".png", ".pdf")

# Okabe and Ito's palette: told apart with any colour vision; markers repeat the difference for print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

AXIS = {"psnr": "RGB PSNR, dB", "yuv-psnr": "(6Y + U + V) / 8 PSNR, dB", "ms-ssim": "MS-SSIM, −10·log₁₀(1 − x) dB"}


def plot(
    rows: Sequence[Row],
    path: Path,
    codecs: Sequence[str],
    *,
    metric: str = "psnr",
    picture: str | None = None,
    log_x: bool = False,
    max_bpp: float | None = None,
    title: str = "",
) -> None:
    """Draw bits per pixel against quality, one curve a codec, named at its right end; the suffix chooses the format.

    picture: one picture's points; None = the mean, at each setting, of the pictures that all `codecs` have.
    max_bpp: right end of the axis.
    Raises UsageError on an unknown suffix or nothing to draw, OutputError when the file cannot be written.
    """
    check_suffix(path)
    if picture is not None and picture not in {row.picture for row in rows}:
        raise UsageError(f"no rows of picture {picture!r}")
    pictures = common_pictures(rows, codecs)
    curves = {
        codec: mean_curve(rows, codec, pictures, metric) if picture is None else curve(rows, codec, picture, metric)
        for codec in codecs
    }
    empty = [codec for codec, points in curves.items() if not points]
    if empty or not curves:
        raise UsageError(f"no setting measured on all pictures, or no such codec: {', '.join(empty) or 'none named'}")
    figure, (axes,) = new_figure(path, 1, 1)
    for index, (codec, points) in enumerate(curves.items()):
        shown = [point for point in points if max_bpp is None or point[0] <= max_bpp]
        if shown:
            _draw(axes, codec, shown, index)
    _label_ends(figure, axes, log_x, max_bpp)
    axes.set_xlabel("bits per pixel (whole file)" + (", log scale" if log_x else ""))
    axes.set_ylabel(AXIS[metric])
    kind = "clips" if any(row.fps is not None for row in rows) else "pictures"
    over = picture or f"mean of {len(pictures)} {kind}"
    axes.set_title(title or f"Rate and distortion, {over}", loc="left", fontsize=11)
    save_figure(figure, path)


def check_suffix(path: Path) -> None:
    """Raise UsageError unless it is one of SUFFIXES."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: a plot is written as {', '.join(SUFFIXES)}")


def save_figure(figure: Any, path: Path) -> None:
    """Raises OutputError."""
    try:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def new_figure(path: Path, rows: int, columns: int) -> tuple[Any, list[Any]]:
    """A figure for `path` and its axes, row by row. UsageError for an unknown suffix, NvcError without matplotlib."""
    check_suffix(path)
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NvcError("plots need matplotlib: install nvc with the extra `research`") from error
    matplotlib.rcParams["svg.hashsalt"] = "nvc"  # the same plot gives the same bytes
    wide = 8 if columns == 1 else 4.2 * columns
    figure = Figure(figsize=(wide, 5.2 if columns == 1 else 4.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)  # never a window
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.grid(True, which="both", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, grid


def _draw(axes: Any, codec: str, points: Sequence[tuple[float, float]], index: int) -> None:
    rate, quality = zip(*points, strict=True)
    style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
    axes.plot(rate, quality, label=codec, linewidth=1.6, markersize=4.5, **style)


def _label_ends(figure: Any, axes: Any, log_x: bool, max_bpp: float | None) -> None:
    """Names beside the right ends, moved apart where they would overlap; so no legend has to be matched by colour."""
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        axes.tick_params(axis="x", which="both", length=4, pad=4)
    else:
        axes.set_xlim(left=0, right=max_bpp)
    figure.canvas.draw()  # settles the limits, which the spacing below is measured in
    low, high = axes.get_ylim()
    room = (high - low) * 0.045
    ends = sorted(((line.get_ydata()[-1], line) for line in axes.get_lines()), key=lambda end: end[0])
    heights: list[float] = []
    for height, _ in ends:
        heights.append(max(height, heights[-1] + room) if heights else height)
    ceiling = high
    for index in reversed(range(len(heights))):  # what was pushed out at the top comes back down
        heights[index] = min(heights[index], ceiling)
        ceiling = heights[index] - room
    for height, (_, line) in zip(heights, ends, strict=True):
        # on the right edge of the axes, as curves end at different rates
        axes.annotate(
            line.get_label(),
            xy=(line.get_xdata()[-1], line.get_ydata()[-1]),
            xytext=(1.015, height),
            textcoords=axes.get_yaxis_transform(),
            color=line.get_color(),
            va="center",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.6, "alpha": 0.5},
        )
