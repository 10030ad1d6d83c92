"""The results block of README.md from the measurements on disk, as Markdown on stdout. Nothing is measured here.

    python benches/readme.py [docs/results] > results.md && python mk/readme.py README.md results.md

Takes what is there of kodak.json and clips.json (nvc-eval rd), ablation.json, gap.json (nvc-eval ablation, gap),
bench_pictures.json, bench_video.json and entropy_coding.json (benches of these names). Every table ends with the
command that made its numbers.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pictures
import video

from nvc.evaluation import gap_report, gap_results
from nvc.evaluation.ablation import ablation_table
from nvc.evaluation.compare import codec_names, compare, percent, summary_table
from nvc.evaluation.results import Results, Row, read

ROOT = Path(__file__).parents[1]
ANCHORS = ("jpeg", "webp")


def commands(found: Results) -> str:
    return "\n".join(["Made by:", "", *(f"    {command}" for command in found.commands)])


def rates(path: Path) -> str:
    """BD-rates of all codecs of one result file against each classical anchor that it has."""
    found = read(path)
    rows = list(found.rows.values())
    names = codec_names(sorted(rows, key=lambda row: _place(row.codec)))
    parts = [f"### Bytes: {len(found.pictures)} pictures of Kodak"]
    for anchor in ANCHORS:
        if anchor in names:
            parts.append(summary_table(rows, anchor, [anchor, *(name for name in names if name != anchor)]))
    if any(" -j " in command for command in found.commands):
        parts.append("Several pictures were coded at once: the seconds here are no measure of speed, those below are.")
    return "\n\n".join([*parts, commands(found)])


def _place(codec: str) -> tuple[bool, str]:
    """nvc first."""
    return not codec.startswith("nvc"), codec


def parts_of_the_codec(path: Path) -> str:
    found = read(path)
    known = ("base", "contexts", "contexts+rdoq", "magnitude", "magnitude+rdoq")
    names = [name for name in known if name in found.codecs]
    names += [name for name in found.codecs if name not in names]
    return "\n\n".join(["### What each part is worth", ablation_table(found, names), commands(found)])


def speeds(path: Path) -> str:
    return "### Time and memory\n\n" + pictures.tables(json.loads(path.read_text(encoding="utf-8")))


def coder(path: Path) -> str:
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    sections = {name: speeds for name, speeds in report.items() if isinstance(speeds, dict)}
    columns = ("estimate", "encode", "decode", "bits_per_symbol")
    lines = [
        f"### Entropy coder, {report['unit']}, one thread",
        "",
        "| tables | estimate | encode | decode | bits per symbol |",
        "|---|--:|--:|--:|--:|",
        *(f"| {name} | {' | '.join(str(speeds[c]) for c in columns)} |" for name, speeds in sections.items()),
        "",
        "`rows`: given, the same for a stretch of symbols; `shuffled`: given, another for every symbol; `walk`: chosen "
        "by the contexts of each symbol. Made by `python benches/entropy_coding.py`.",
    ]
    return "\n".join(lines)


def clips(path: Path) -> str:
    """BD-rates of our video codecs against x264 and x265 of their latency, each other, and I frames alone."""
    found = read(path)
    rows = list(found.rows.values())
    names = codec_names(rows)
    parts = [f"### Bytes: {len(found.pictures)} test clips"]
    titles = {
        "x264": ("x265", "aivc:gop=1", "ssf"),
        "x264:latency=normal": ("x265:latency=normal", "aivc", "lhbdc"),
        "x264:intra=0": ("x265:intra=0", "ssf:intra=0"),
        "lhbdc": ("aivc",),
        "ssf": ("aivc:gop=1", "lhbdc"),
        "ssf:intra=1": ("ssf", "lhbdc"),
    }
    for anchor, others in titles.items():
        known = [name for name in others if name in names]
        if anchor in names and known:
            parts.append(summary_table(rows, anchor, [anchor, *known], "yuv-psnr"))
    pairs = [pair for pair in CLIP_BY_CLIP if set(pair) <= set(names)]
    if pairs:
        parts += ["Clip by clip, BD-rate of the first against the second:", clip_table(rows, pairs)]
    parts.append(
        "x264 and x265: medium; zerolatency, or with B frames and look-ahead (`latency=normal`). Intra period 32, "
        "`intra=0` without limit, `intra=1` nothing but I frames. "
        "BD-rate by (6Y + U + V)/8 of PSNR, mean of frames; bytes of our file against those of the elementary stream."
    )
    return "\n\n".join([*parts, commands(found)])


def clip_table(rows: list[Row], pairs: list[tuple[str, str]]) -> str:
    """Markdown: BD-rate of each pair's first against its second, clip by clip, and the means."""
    found = [compare(rows, anchor, name, "yuv-psnr") for name, anchor in pairs]
    lines = [f"| clip | {' | '.join(f'{name} / {anchor}' for name, anchor in pairs)} |", "|---|" + "--:|" * len(pairs)]
    for clip in sorted({clip for comparison in found for clip in comparison.per_picture}):
        cells = [percent(c.per_picture[clip].percent) if clip in c.per_picture else "–" for c in found]
        lines.append(f"| {clip} | {' | '.join(cells)} |")
    lines.append(f"| mean | {' | '.join(percent(comparison.mean) for comparison in found)} |")
    return "\n".join(lines)


def gap(path: Path) -> str:
    """Paper 1's Table I for one of our codecs at three levels, and clip by clip at the lowest."""
    found = gap_results.read(path)
    files = [file for file in gap_results.gaps(found) if file.setting in (1, 4, 7)]
    lowest = [file for file in files if file.setting == 1]
    tables = [*gap_report.level_tables(files), gap_report.clip_table(lowest)]
    parts = [f"### Re-parameterised tables of {files[0].codec}: gap and saving", *tables]
    return "\n\n".join([*parts, commands(found)])


def video_speed(path: Path) -> str:
    return "### Video: time and memory\n\n" + video.tables(json.loads(path.read_text(encoding="utf-8")))


CLIP_BY_CLIP = (
    ("aivc", "x264:latency=normal"),
    ("aivc", "x265:latency=normal"),
    ("aivc", "lhbdc"),
    ("aivc:gop=1", "x264"),
    ("aivc:gop=1", "x265"),
    ("aivc:gop=1", "ssf"),
    ("lhbdc", "x264:latency=normal"),
    ("ssf", "x264"),
    ("ssf:intra=0", "x264:intra=0"),
)
BLOCKS = {
    "clips.json": clips,
    "bench_video.json": video_speed,
    "gap_aivc.json": gap,
    "gap.json": gap,
    "gap_lhbdc.json": gap,
    "kodak.json": rates,
    "ablation.json": parts_of_the_codec,
    "bench_pictures.json": speeds,
    "entropy_coding.json": coder,
}


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "results"
    blocks = [block(folder / name) for name, block in BLOCKS.items() if (folder / name).is_file()]
    if not blocks:
        print(f"{folder}: holds none of {', '.join(BLOCKS)}: run make bench first", file=sys.stderr)
        return 2
    print("\n\n".join(blocks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
