"""The gap of whole clips: measured as `rd.measure` measures, and kept in JSON that can be resumed.

File: {"format": "nvc-gap 1", "commands", "codecs", "pictures": as in results.py, "columns": [...], "rows": [[...], …]};
the last column holds [learned, limit, coded, said, coder] bits (gap.Bits) by "TYPE INFORMATION PART".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from nvc.errors import InputError, UsageError
from nvc.evaluation import results
from nvc.evaluation.clips import Clip, Clips
from nvc.evaluation.codecs import Codec
from nvc.evaluation.gap import Bits, Slices, account
from nvc.evaluation.metrics import bpp
from nvc.evaluation.results import Results
from nvc.evaluation.video_codecs import NvcVideo

FORMAT = "nvc-gap 1"
COLUMNS = ("picture", "codec", "setting", "frames", "bytes", "saved", "payload", "bpp", "bits")
_DECIMALS = 2  # of bits


@dataclass(frozen=True)
class FileGap:
    """One clip at one quality. parts: by frame type, information and part; frames: counted ones, by type.

    bytes, bpp: of the whole file; saved: bytes that re-parameterisation saves of the counted frames; payload: bytes of
    their streams.
    """

    picture: str
    codec: str
    setting: float
    frames: dict[str, int]
    bytes: int
    saved: int
    payload: int
    bpp: float
    parts: dict[tuple[str, str, str], Bits]

    def total(self, type: str | None = None, information: str | None = None, part: str | None = None) -> Bits:
        """The sum over all parts that match what is given."""
        wanted = (type, information, part)
        matching = [
            bits
            for key, bits in self.parts.items()
            if all(want is None or want == have for want, have in zip(wanted, key, strict=True))
        ]
        return sum(matching, Bits())


@dataclass(frozen=True)
class GapClips(Clips):
    """Clips as a medium of `rd.measure` whose rows are FileGap. Codecs are those of the catalogue (NvcVideo)."""

    def measure(self, name: str, clip: Clip, codec: Codec, setting: float, with_ms_ssim: bool = False) -> Any:
        """Code the clip's whole groups (`whole_groups`) into a file and count what is in it."""
        from nvc.codec.video_model import load

        ours = cast(NvcVideo, codec)
        counted = whole_groups(len(clip.frames), ours)
        coded = min(counted + ours.ends_open, len(clip.frames))
        data = ours.encode(Clip(clip.frames[:coded], clip.times[:coded], clip.info), setting)
        model = load(ours.model or None, ours.base)
        found = [frame for frame in account(BytesIO(data), model) if frame.display < counted]
        frames: dict[str, int] = {}
        parts: dict[tuple[str, str, str], Bits] = {}
        for frame in found:
            frames[frame.type] = frames.get(frame.type, 0) + 1
            for (information, part), bits in frame.bits.items():
                key = (frame.type, information, part)
                parts[key] = parts.get(key, Bits()) + bits
        return FileGap(
            name, ours.name, setting, frames, len(data),
            saved=sum(frame.plain - frame.payload for frame in found),
            payload=sum(frame.payload for frame in found),
            bpp=bpp(len(data), clip.info.width, clip.info.height * coded),
            parts=parts,
        )  # fmt: skip


def typical_frame(clip: Clip, codec: NvcVideo, setting: float) -> list[Slices]:
    """The parts of the frame, of the first eight that are not I frames, whose tables are replaced most often."""
    from nvc.codec.video_model import load

    data = codec.encode(Clip(clip.frames[:9], clip.times[:9], clip.info), setting)
    frames = [frame for frame in account(BytesIO(data), load(codec.model or None, codec.base)) if frame.type != "I"]
    if not frames:
        raise UsageError("a clip of one frame has no tables to draw")
    replaced = [sum(part.plan is not None and bool(part.plan.replaced) for part in f.parts.values()) for f in frames]
    return list(frames[replaced.index(max(replaced))].parts.values())


def whole_groups(frames: int, codec: NvcVideo) -> int:
    """How many of a clip's first frames are counted: whole intra periods; all of them where there is none.

    With B frames, unless groups are closed, one ends at the I frame that begins the next: coded, but counted there.
    """
    usable = frames - codec.ends_open
    return usable // codec.intra * codec.intra or frames if codec.intra else frames


def gaps(found: Results) -> list[FileGap]:
    """Rows of `rd.measure` with GapClips, in order."""
    return [cast(Any, found.rows[key]) for key in sorted(found.rows)]


def write(found: Results, path: Path) -> None:
    """Write to `path` in one step. Raises OutputError."""
    rows = []
    for gap in gaps(found):
        values = {**vars(gap), "bits": {}}
        for key, bits in sorted(gap.parts.items()):
            values["bits"][" ".join(key)] = [round(value, _DECIMALS) for value in vars(bits).values()]
        rows.append([round(v, 6) if isinstance(v := values[name], float) else v for name in COLUMNS])
    results.write_lines(path, results.head(found, FORMAT, COLUMNS), rows)


def read(path: Path) -> Results:
    """A file of `write`. Raises InputError."""
    content = results.load(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: not a result file of nvc-eval gap ({FORMAT})")
    try:
        found = Results(codecs=content["codecs"], pictures=content["pictures"], commands=content["commands"])
        for line in content["rows"]:
            found.add(cast(Any, _row(dict(zip(content["columns"], line, strict=True)))))
        return found
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: a damaged result file: {type(error).__name__}: {error}") from error


def _row(values: dict[str, Any]) -> FileGap:
    parts: dict[tuple[str, str, str], Bits] = {}
    for key, bits in values.pop("bits").items():
        kind, information, part = key.split(" ")
        parts[kind, information, part] = Bits(*bits)
    return FileGap(**{name: values[name] for name in COLUMNS[:-1]}, parts=parts)


def of_settings(found: Sequence[FileGap], codec: str) -> dict[float, list[FileGap]]:
    """Rows of a codec by setting, ascending."""
    mine = [gap for gap in found if gap.codec == codec]
    return {setting: [g for g in mine if g.setting == setting] for setting in sorted({g.setting for g in mine})}
