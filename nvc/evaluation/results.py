"""Measured rows and the JSON file that keeps them: compact, one row a line, without dates, the same for the same run.

File: {"format": "nvc-rd 1", "commands": [...], "codecs": {name: {"version", "model", "files": {setting: digest}}},
"pictures": {name: {"width", "height", "digest"}}, "columns": [...], "rows": [[...], ...]}.
A picture may be a clip, which has "frames" and "fps" as well. A "files" digest is that of the file which the codec
makes of a small fixed picture at that setting, a picture's digest is that of its pixels: rows are used again only while
both are the same (rd.measure).
"""

import contextlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from nvc.errors import InputError, OutputError
from nvc.evaluation.metrics import bpp, ms_ssim_db

FORMAT = "nvc-rd 1"
COLUMNS = ("picture", "codec", "setting", "bytes", "psnr", "ms_ssim", "encode_s", "decode_s", "yuv_psnr")
_LATER = ("yuv_psnr",)  # last of all: columns that files of pictures lack

MEAN = "(mean)"
"""Picture name of points that were published as means over a whole set, see `read_compressai`."""


@dataclass(frozen=True)
class Row:
    """One file made, and its picture or clip decoded.

    psnr: RGB, dB (inf: lossless); of a clip the mean of its frames. yuv_psnr: (6Y + U + V) / 8 dB, the mean of a clip's
    frames, or None; ms_ssim 0..1 or None; times in seconds. fps: frames a second of a clip, None of a picture.
    """

    picture: str
    codec: str
    setting: float
    bytes: int
    psnr: float
    ms_ssim: float | None
    encode_s: float
    decode_s: float
    width: int
    height: int
    yuv_psnr: float | None = None
    frames: int = 1
    fps: Fraction | None = None

    @property
    def bpp(self) -> float:
        """Bits per pixel of the whole file; of a clip, per pixel of all its frames."""
        return bpp(self.bytes, self.width, self.height * self.frames)

    @property
    def kbits(self) -> float:
        """Kilobits (1000) a second of a clip; NaN of a picture."""
        return math.nan if self.fps is None else float(8 * self.bytes * self.fps / self.frames / 1000)

    def quality(self, metric: str) -> float:
        """`psnr`, `yuv-psnr` or `ms-ssim`, all in dB; NaN where it was not measured."""
        if metric == "psnr":
            return self.psnr
        if metric == "yuv-psnr":
            return math.nan if self.yuv_psnr is None else self.yuv_psnr
        return math.nan if self.ms_ssim is None else ms_ssim_db(self.ms_ssim)

    def as_dict(self) -> dict[str, Any]:
        """Every field and bpp, by name."""
        return {**vars(self), "bpp": self.bpp, "fps": None if self.fps is None else str(self.fps)}


@dataclass
class Results:
    """Rows by (picture, codec, setting), with what is needed to know whether they still hold."""

    rows: dict[tuple[str, str, float], Row] = field(default_factory=dict)
    codecs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows[row.picture, row.codec, row.setting] = row

    def drop(self, *, picture: str | None = None, codec: str | None = None, setting: float | None = None) -> int:
        """Remove the rows that match everything given; returns how many."""
        wanted = (picture, codec, setting)
        gone = [key for key in self.rows if all(w is None or w == k for w, k in zip(wanted, key, strict=True))]
        for key in gone:
            del self.rows[key]
        return len(gone)

    def merge(self, other: "Results") -> None:
        """Take over everything of `other`; its rows win where both have one."""
        self.rows.update(other.rows)
        self.codecs.update(other.codecs)
        self.pictures.update(other.pictures)
        self.commands.extend(command for command in other.commands if command not in self.commands)

    def renamed(self, names: Mapping[str, str]) -> "Results":
        """A copy in which codecs go by other names, those not in `names` by their own."""
        copy = Results(
            codecs={names.get(codec, codec): about for codec, about in self.codecs.items()},
            pictures=dict(self.pictures),
            commands=list(self.commands),
        )
        for row in self.rows.values():
            copy.add(replace(row, codec=names.get(row.codec, row.codec)))
        return copy


def write(results: Results, path: Path) -> None:
    """Write `results` to `path` in one step: a reader sees the old file or the new one. Raises OutputError."""
    clips = any(row.yuv_psnr is not None for row in results.rows.values())
    columns = COLUMNS if clips else tuple(name for name in COLUMNS if name not in _LATER)
    rows = [_to_list(results.rows[key])[: len(columns)] for key in sorted(results.rows)]
    write_lines(path, head(results, FORMAT, columns), rows)


def head(results: Results, format: str, columns: Sequence[str]) -> dict[str, Any]:
    """What stands before the rows of a file."""
    return {
        "format": format,
        "commands": results.commands,
        "codecs": dict(sorted(results.codecs.items())),
        "pictures": dict(sorted(results.pictures.items())),
        "columns": columns,
    }


def write_lines(path: Path, head: Mapping[str, Any], rows: Sequence[Any]) -> None:
    """A JSON object of `head` and "rows", each on a line of its own, in one step. Raises OutputError."""
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    table = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    text = "{" + ",\n".join([*lines, f'"rows": [\n{table}\n]']) + "}\n"
    temporary = path.parent / f".{path.name}.tmp-{os.getpid()}"
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def load(path: Path) -> Any:
    """What a JSON file holds. Raises InputError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error


def read(path: Path, *, published: bool = False) -> Results:
    """A file of `write` or, if `published`, also a result file of CompressAI (`read_compressai`). Raises InputError."""
    content = load(path)
    try:
        if published and isinstance(content, dict) and "bpp" in content.get("results", {}):
            return read_compressai(content)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(f"{path}: not a result file of nvc-eval ({FORMAT})")
        return _from_lists(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: a damaged result file: {type(error).__name__}: {error}") from error


def read_compressai(content: Mapping[str, Any]) -> Results:
    """Points as CompressAI publishes them: {"name", "results": {"bpp": [...], "psnr-rgb": [...], …}}, means over a set.

    They become rows of one picture called MEAN, 10⁶ pixels by 10³, whose `bytes` give the bpp to better than 10⁻⁸.
    """
    points = content["results"]
    quality = points.get("psnr-rgb", points.get("psnr"))
    ssim = points.get("ms-ssim-rgb", points.get("ms-ssim", [None] * len(quality)))
    width, height = 10**6, 10**3
    results = Results(codecs={content["name"]: {"version": str(content.get("description", ""))}})
    for index, (rate, decibel, similarity) in enumerate(zip(points["bpp"], quality, ssim, strict=True), 1):
        size = round(rate * width * height / 8)
        results.add(Row(MEAN, content["name"], index, size, decibel, similarity, math.nan, math.nan, width, height))
    return results


def merged(parts: Iterable[Results]) -> Results:
    """All of `parts` in one; the later rows win."""
    whole = Results()
    for part in parts:
        whole.merge(part)
    return whole


def _to_list(row: Row) -> list[Any]:
    setting = int(row.setting) if row.setting == int(row.setting) else row.setting
    similarity = None if row.ms_ssim is None else round(row.ms_ssim, 5)
    decibel = round(row.psnr, 4) if math.isfinite(row.psnr) else None  # JSON has no infinity
    times = [float(f"{seconds:.3g}") for seconds in (row.encode_s, row.decode_s)]
    planes = None if row.yuv_psnr is None else round(row.yuv_psnr, 4)
    return [row.picture, row.codec, setting, row.bytes, decibel, similarity, *times, planes]


def _from_lists(content: Mapping[str, Any]) -> Results:
    results = Results(
        codecs=dict(content["codecs"]), pictures=dict(content["pictures"]), commands=list(content["commands"])
    )
    columns = content["columns"]
    for line in content["rows"]:
        values = dict(zip(columns, line, strict=True))
        size = results.pictures[values["picture"]]
        if values["psnr"] is None:
            values["psnr"] = math.inf
        known = {name: values[name] for name in COLUMNS if name in values or name not in _LATER}
        known["setting"] = float(values["setting"])
        fps = Fraction(size["fps"]) if "fps" in size else None
        frames = int(size.get("frames", 1))
        results.add(Row(**known, width=int(size["width"]), height=int(size["height"]), frames=frames, fps=fps))
    return results
