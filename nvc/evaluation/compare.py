"""Curves of measured rows, their BD-rates against an anchor, and the tables that show them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from nvc.errors import UsageError
from nvc.evaluation.bd_rate import BdRate, Point, bd_rate
from nvc.evaluation.results import MEAN, Row


@dataclass(frozen=True)
class Comparison:
    """One codec against the anchor.

    per_picture: BD-rate of each picture that both have rows of. mean: mean per cent over those with a common range.
    of_means: BD-rate of the two mean curves (mean bpp and mean PSNR per setting over the same pictures), as papers that
        publish only means are compared; NaN with a reason if settings or pictures are missing.
    """

    codec: str
    anchor: str
    per_picture: dict[str, BdRate]
    of_means: BdRate

    @property
    def valid(self) -> list[BdRate]:
        return [result for result in self.per_picture.values() if not math.isnan(result.percent)]

    @property
    def mean(self) -> float:
        return fmean(result.percent for result in self.valid) if self.valid else math.nan

    @property
    def low(self) -> float:
        """Mean lower end of the compared ranges, dB."""
        return fmean(result.low for result in self.valid) if self.valid else math.nan

    @property
    def high(self) -> float:
        return fmean(result.high for result in self.valid) if self.valid else math.nan

    @property
    def share(self) -> float:
        """Smallest part of any curve, of either codec, that lies in the compared range, 0..1."""
        return min((min(r.share_anchor, r.share_test) for r in self.valid), default=0.0)

    @property
    def dropped(self) -> int:
        """Dominated points left out, over all pictures and both codecs."""
        return sum(r.dropped_anchor + r.dropped_test for r in self.per_picture.values())


def curve(rows: Iterable[Row], codec: str, picture: str, metric: str = "psnr") -> list[Point]:
    """(bpp, dB) of one codec on one picture, by setting. metric: psnr, yuv-psnr or ms-ssim."""
    mine = [row for row in rows if row.codec == codec and row.picture == picture]
    return [(row.bpp, row.quality(metric)) for row in sorted(mine, key=lambda row: row.setting)]


def mean_curve(rows: Iterable[Row], codec: str, pictures: Sequence[str], metric: str = "psnr") -> list[Point]:
    """Mean bpp and mean dB over `pictures` at each setting that all of them have. MEAN rows stand for any pictures."""
    by_setting: dict[float, list[Row]] = {}
    for row in rows:
        if row.codec == codec and (row.picture in pictures or row.picture == MEAN):
            by_setting.setdefault(row.setting, []).append(row)
    whole = [rows for _, rows in sorted(by_setting.items()) if len(rows) == len(pictures) or rows[0].picture == MEAN]
    return [(fmean(row.bpp for row in rows), fmean(row.quality(metric) for row in rows)) for rows in whole]


def common_pictures(rows: Iterable[Row], codecs: Sequence[str]) -> list[str]:
    """Pictures that all of `codecs` have rows of; a codec known by published means alone (MEAN) excludes none."""
    by_codec: dict[str, set[str]] = {codec: set() for codec in codecs}
    for row in rows:
        if row.codec in by_codec and row.picture != MEAN:
            by_codec[row.codec].add(row.picture)
    found = [pictures for pictures in by_codec.values() if pictures]
    return sorted(set.intersection(*found)) if found else []


def compare(rows: Iterable[Row], anchor: str, codec: str, metric: str = "psnr") -> Comparison:
    """BD-rates of `codec` against `anchor` on the pictures that both have."""
    rows = list(rows)
    known = {row.codec for row in rows}
    for name in (anchor, codec):
        if name not in known:
            raise UsageError(f"no rows of codec {name!r}: there are {', '.join(sorted(known)) or 'none at all'}")
    common = common_pictures(rows, (anchor, codec))
    curves = {p: (curve(rows, anchor, p, metric), curve(rows, codec, p, metric)) for p in common}
    # where one side is published means alone, its curve of one picture is empty: only the means are compared
    per_picture = {p: bd_rate(*both) for p, both in curves.items() if all(both)}
    of_means = bd_rate(*(mean_curve(rows, name, common, metric) for name in (anchor, codec)))
    return Comparison(codec, anchor, per_picture, of_means)


def codec_names(rows: Iterable[Row]) -> list[str]:
    """Codecs in order of first appearance."""
    return list(dict.fromkeys(row.codec for row in rows))


def summary_table(rows: Iterable[Row], anchor: str, codecs: Sequence[str], metric: str = "psnr") -> str:
    """Markdown: one line per codec, its BD-rate against `anchor`, what was compared, and its mean seconds a file.

    Of clips, frames a second stand in place of seconds, and kbit/s beside bpp.
    """
    rows = list(rows)
    clips = any(row.fps is not None for row in rows)
    kind = "clips" if clips else "pictures"
    lines = [
        f"| codec | BD-rate against {anchor}, mean of {kind} | of the mean curves | {kind} | range compared, dB "
        "| smallest share of a curve | bpp | "
        + ("kbit/s | encode frames/s | decode frames/s |" if clips else "encode s | decode s |"),
        "|---|" + "--:|" * (9 if clips else 8),
    ]
    notes: list[str] = []
    for codec in codecs:
        mine = [row for row in rows if row.codec == codec]
        rates = f"{min(r.bpp for r in mine):.3f}–{max(r.bpp for r in mine):.3f}" if mine else "–"
        ends = [rates, *_clip_cells(mine)] if clips else [rates, *_second_cells(mine)]
        if codec == anchor:
            count = len({row.picture for row in mine})
            cells = [codec, "0", "0", str(count), "–", "–", *ends]
        else:
            result = compare(rows, anchor, codec, metric)
            notes += comparison_notes(result)
            cells = [codec, *comparison_cells(result), *ends]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _second_cells(rows: Sequence[Row]) -> list[str]:
    return [_number(fmean(s), "{:.3f}") for s in ([r.encode_s for r in rows], [r.decode_s for r in rows]) if s]


def _clip_cells(rows: Sequence[Row]) -> list[str]:
    """Range of kbit/s; frames in all over seconds in all."""
    frames, rates = sum(row.frames for row in rows), [row.kbits for row in rows]
    seconds = sum(row.encode_s for row in rows), sum(row.decode_s for row in rows)
    cells = [_number(frames / total, "{:.2f}") if total else "–" for total in seconds]
    return [f"{min(rates):.0f}–{max(rates):.0f}" if rates else "–", *cells]


def picture_table(rows: Iterable[Row], anchor: str, codecs: Sequence[str], metric: str = "psnr") -> str:
    """Markdown: BD-rate in per cent of each codec against `anchor`, picture by picture."""
    rows = list(rows)
    others = [codec for codec in codecs if codec != anchor]
    results = {codec: compare(rows, anchor, codec, metric).per_picture for codec in others}
    pictures = sorted({picture for result in results.values() for picture in result})
    kind = "clip" if any(row.fps is not None for row in rows) else "picture"
    lines = [f"| {kind} | {' | '.join(others)} |", "|---|" + "--:|" * len(others)]
    for picture in pictures:
        cells = [percent(results[c][picture].percent) if picture in results[c] else "–" for c in others]
        lines.append(f"| {picture} | {' | '.join(cells)} |")
    return "\n".join(lines)


def comparison_cells(result: Comparison) -> list[str]:
    """Mean of pictures, of the mean curves, pictures, range, smallest share."""
    span = (result.low, result.high) if result.valid else (result.of_means.low, result.of_means.high)
    share = result.share if result.valid else min(result.of_means.share_anchor, result.of_means.share_test)
    valid, pictures = len(result.valid), len(result.per_picture)
    count = f"{valid}" if valid == pictures else f"{valid} of {pictures}"
    known = not math.isnan(span[0])
    return [
        percent(result.mean),
        percent(result.of_means.percent),
        count if result.per_picture else "mean only",
        f"{span[0]:.1f}–{span[1]:.1f}" if known else "–",
        f"{100 * share:.0f} %" if known else "–",
    ]


def comparison_notes(result: Comparison) -> list[str]:
    """A line for each thing that a reader of the number must know."""
    lines = [
        f"- {result.codec}: {picture} is not compared, {bd.reason}"
        for picture, bd in result.per_picture.items()
        if math.isnan(bd.percent)
    ]
    if result.dropped:
        lines.append(f"- {result.codec} and {result.anchor}: {result.dropped} dominated points left out")
    return lines


def as_dict(result: Comparison) -> dict[str, Any]:
    """The comparison for a program: numbers unrounded, null where there is none."""

    def plain(bd: BdRate) -> dict[str, Any]:
        return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in vars(bd).items()}

    return {
        "codec": result.codec,
        "anchor": result.anchor,
        "percent": None if math.isnan(result.mean) else result.mean,
        "pictures": len(result.valid),
        "of_means": plain(result.of_means),
        "per_picture": {picture: plain(bd) for picture, bd in result.per_picture.items()},
    }


def percent(value: float) -> str:
    """`−12.34 %` with a true minus sign, `–` for NaN."""
    return _number(value, "{:+.2f} %").replace("-", "−")


def _number(value: float, pattern: str) -> str:
    return "–" if math.isnan(value) else pattern.format(value)
