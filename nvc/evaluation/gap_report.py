"""Paper 1's Table I for measured files, and its two figures."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from nvc.entropy_coding.tables import TOTAL
from nvc.entropy_models.reparameterized import replaced_tables
from nvc.errors import UsageError
from nvc.evaluation.gap import MOTION, RESIDUAL, Slices
from nvc.evaluation.gap_results import FileGap, of_settings
from nvc.evaluation.report import COLOURS, MARKERS, new_figure, save_figure

PARTS = ((MOTION, "side"), (MOTION, "main"), (RESIDUAL, "side"), (RESIDUAL, "main"))
TYPES = ("I", "P", "B")

PUBLISHED = "SSF video 4.1 / 2.0, 49 % of the gap; LHBDC 6.1 / 4.1, 67 %; AIVC 7.7 / 4.7, 61 %"
"""All gap / saving and share filled of paper 1: lowest rate, UVG 1080p, groups of 16, official models."""


def part_table(files: Sequence[FileGap]) -> str:
    """Markdown: per frame type and part, gap / saving (ratio) in per cent, each the mean over clips.

    files: of one codec at one setting. Ratio: share of the frames' bits with learned tables.
    """
    kinds = [kind for kind in TYPES if any(kind in file.frames for file in files)]
    heads = [f"{information} {part}" for information, part in PARTS]
    lines = [f"| frames | {' | '.join(heads)} | all |", "|---|" + "--:|" * (len(PARTS) + 1)]
    for kind in [*kinds, None]:
        cells = [_cell(files, kind, *which) for which in (*PARTS, (None, None))]
        lines.append(f"| {kind or 'video'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def level_tables(files: Sequence[FileGap]) -> list[str]:
    """A title and a `part_table` for each setting. files: of one codec."""
    levels = sorted({file.setting for file in files})
    return [
        f"Level {level:g}, gap / saving (ratio), %, mean of clips:\n\n"
        + part_table([file for file in files if file.setting == level])
        for level in levels
    ]


def _cell(files: Sequence[FileGap], kind: str | None, information: str | None, part: str | None) -> str:
    here = [(file.total(kind, information, part), file.total(kind)) for file in files]
    present = [(bits, whole) for bits, whole in here if bits.learned]
    if not present:
        return "–"
    gap, saving = (fmean(getattr(bits, name) for bits, _ in present) for name in ("gap", "saving"))
    ratio = fmean(100 * bits.learned / whole.learned for bits, whole in present)
    return f"{gap:.1f} / {saving:.1f} ({ratio:.1f})".replace("-", "−")


def clip_table(files: Sequence[FileGap]) -> str:
    """Markdown: a line for each clip and setting, and the mean of the clips at each setting.

    On disk: bytes that the file is smaller than without re-parameterisation, per cent of that. Coder: its bits over the
    tables' bits.
    """
    lines = [
        "| clip | level | bpp | file, bytes | gap, % | saving, % | share of the gap filled, % | saved on disk, % "
        "| tables' bits, bytes | streams, bytes | coder − tables, % |",
        "|---|" + "--:|" * 10,
    ]
    for setting in sorted({file.setting for file in files}):
        mine = [file for file in files if file.setting == setting]
        lines += [_clip_line(file) for file in mine]
        if len(mine) > 1:
            total = [file.total() for file in mine]
            means = (
                fmean(bits.gap for bits in total), fmean(bits.saving for bits in total),
                fmean(bits.filled for bits in total), fmean(_on_disk(file) for file in mine),
            )  # fmt: skip
            cells = " | ".join(f"{value:.2f}" for value in means)
            lines.append(f"| mean | {setting:g} | {fmean(f.bpp for f in mine):.4f} | – | {cells} | – | – | – |")
    return "\n".join(lines).replace("| -", "| −")


def _clip_line(file: FileGap) -> str:
    bits = file.total()
    excess = 100 * ((bits.coder + bits.said) / bits.coded - 1)
    return (
        f"| {file.picture} | {file.setting:g} | {file.bpp:.4f} | {file.bytes:,} | {bits.gap:.2f} | {bits.saving:.2f} "
        f"| {bits.filled:.1f} | {_on_disk(file):.2f} | {bits.coded / 8:,.0f} | {file.payload:,} | {excess:+.4f} |"
    )


def _on_disk(file: FileGap) -> float:
    return 100 * file.saved / (file.bytes + file.saved)


def as_dict(file: FileGap) -> dict[str, Any]:
    """For a program: numbers unrounded."""
    bits = file.total()
    parts = {" ".join(key): vars(value) for key, value in file.parts.items()}
    derived = {"gap": bits.gap, "saving": bits.saving, "filled": bits.filled, "saved_on_disk": _on_disk(file)}
    return {**vars(file), **derived, "parts": parts}


def plot_rates(files: Sequence[FileGap], path: Path) -> None:
    """Gap and saving over rate, means of clips, of one codec: of everything, and of each part. See `report.plot`."""
    codecs = sorted({file.codec for file in files})
    if len(codecs) != 1:
        raise UsageError(f"the plot is of one codec, and there are {len(codecs)}")
    levels = of_settings(files, codecs[0])
    figure, grid = new_figure(path, 1, 2)
    rates = [fmean(file.bpp for file in here) for here in levels.values()]
    kinds: list[tuple[str | None, str | None]] = [(None, None), *PARTS]
    for axes, whole in zip(grid, (True, False), strict=True):
        for index, which in enumerate(kinds):
            if whole != (which == (None, None)):
                continue
            totals = [[file.total(None, *which) for file in here] for here in levels.values()]
            for name, style in (("gap", "-"), ("saving", "--")):
                heights = [fmean(getattr(bits, name) for bits in here) for here in totals]
                label = f"{' '.join(filter(None, which)) or 'all'}: {name}"
                axes.plot(
                    rates, heights, style, color=COLOURS[index], marker=MARKERS[index], label=label, linewidth=1.6,
                    markersize=4.5,
                )  # fmt: skip
        axes.set_xlabel("bits per pixel (whole file)")
        axes.set_ylabel("% of the bits with learned tables")
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    clips = len({file.picture for file in files})
    grid[0].set_title("Gap and saving" + (f", mean of {clips} clips" if clips > 1 else ""), loc="left", fontsize=11)
    grid[1].set_title("By part", loc="left", fontsize=11)
    save_figure(figure, path)


def plot_tables(slices: Sequence[Slices], path: Path, title: str) -> None:
    """Histogram, learned and replacement table of one table of each part: of those replaced, what saves the most."""
    figure, grid = new_figure(path, 1, len(slices))
    for axes, part in zip(grid, slices, strict=True):
        row = typical_row(part)
        values, counts, learned, replaced = _row(part, row)
        seen = np.flatnonzero(counts)
        near = slice(max(seen[0] - 2, 0), seen[-1] + 3)
        axes.bar(values[near], (counts / counts.sum())[near], color="#cccccc", label="histogram")
        axes.plot(values[near], learned[near], color=COLOURS[0], marker="o", markersize=3, label="learned")
        if not np.array_equal(learned, replaced):
            axes.plot(values[near], replaced[near], color=COLOURS[1], marker="s", markersize=3, label="replacement")
        which = "channel" if part.key[1] == "side" else "table"
        axes.set_yscale("log")  # what is rare costs the bits
        axes.set_title(f"{' '.join(part.key)}, {which} {row}", loc="left", fontsize=10)
        axes.set_xlabel(f"value of {counts.sum()} symbols")
        axes.legend(fontsize=8, frameon=False)
    grid[0].set_ylabel("probability")
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def typical_row(part: Slices) -> int:
    """The table with the most bits saved among those with some shape; where none is replaced, with the widest gap."""
    found = []
    for row in range(len(part.part.tables)):
        _, counts, learned, replaced = _row(part, row)
        if counts.any():
            here = counts > 0
            saved = float((counts * np.log2(replaced / learned)).sum())
            gap = float((counts[here] * np.log2(counts[here] / counts.sum() / learned[here])).sum())
            found.append((np.count_nonzero(counts) > 2, saved, gap, row))
    return int(max(found)[-1])


def _row(part: Slices, row: int) -> tuple[Any, Any, Any, Any]:
    """Values, counts, learned and replaced probabilities of a table, without its escape."""
    tables = part.part.tables
    used = tables if part.plan is None else replaced_tables(part.part, part.plan)
    base, size = int(tables.start[row]), int(tables.size[row]) - 1
    learned, replaced = (np.diff(t.row(row).astype(np.int64))[:-1] / TOTAL for t in (tables, used))
    return np.arange(size) + int(tables.offset[row]), part.counts[base : base + size], learned, replaced
