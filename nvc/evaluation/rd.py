"""Rate and distortion of codecs on pictures or clips: files in memory, decoded from their bytes alone, measured."""

import hashlib
import multiprocessing
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from nvc.errors import BadStream, InputError, LimitError, UsageError
from nvc.evaluation.codecs import Codec
from nvc.evaluation.metrics import MS_SSIM_SIDE, UInt8Array, as_rgb, ms_ssim, psnr
from nvc.evaluation.parallel import run
from nvc.evaluation.results import Results, Row
from nvc.evaluation.sources import find, probe

SUFFIXES = frozenset({".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".avif"})
"""What a folder of pictures is searched for."""

Ladders = Mapping[str, Sequence[float]]
"""Settings by codec name, in place of the codec's own ladder."""

Save = Callable[[Results], None]


class Medium(Protocol):
    """What is measured: pictures or clips. Instances are picklable."""

    def find(self, paths: Sequence[Path]) -> list[Path]:
        """Files to measure; of folders, those that are of this kind."""

    def read(self, path: Path) -> Any:
        """What codecs are given. Raises InputError, LimitError."""

    def about(self, subject: Any) -> dict[str, Any]:
        """What results keep of it: "width", "height", "digest" and more."""

    def probe(self) -> Any:
        """A small fixed one."""

    def has_ms_ssim(self, subject: Any) -> bool:
        """Whether MS-SSIM can be measured."""

    def measure(self, name: str, subject: Any, codec: Codec, setting: float, with_ms_ssim: bool) -> Row:
        """One file: encode, decode the bytes, compare."""


class Pictures:
    """The medium of files with one picture each."""

    def find(self, paths: Sequence[Path]) -> list[Path]:
        """See Medium."""
        return find(paths, SUFFIXES, "pictures")

    def read(self, path: Path) -> UInt8Array:
        """(H, W, 3) or (H, W)."""
        from nvc.media.pictures import read_picture

        try:
            return read_picture(path).pixels
        except (InputError, LimitError) as error:
            raise type(error)(f"{path}: {error}") from error

    def about(self, pixels: UInt8Array) -> dict[str, Any]:
        """See Medium."""
        return {"width": pixels.shape[1], "height": pixels.shape[0], "digest": digest(pixels)}

    def probe(self) -> UInt8Array:
        """See Medium."""
        return probe()

    def has_ms_ssim(self, pixels: UInt8Array) -> bool:
        """It needs a size."""
        return min(pixels.shape[:2]) >= MS_SSIM_SIDE

    def measure(self, name: str, pixels: UInt8Array, codec: Codec, setting: float, with_ms_ssim: bool = True) -> Row:
        """See `measure_picture`."""
        return measure_picture(name, pixels, codec, setting, with_ms_ssim)


def measure(
    codecs: Sequence[Codec],
    pictures: Sequence[Path],
    *,
    medium: Medium | None = None,
    ladders: Ladders | None = None,
    resume: Results | None = None,
    with_ms_ssim: bool = True,
    jobs: int = 1,
    save: Save | None = None,
    start: Callable[[int], None] | None = None,
    advance: Callable[[], None] | None = None,
) -> Results:
    """Measure every codec at every setting on every picture, or clip.

    pictures: files and folders (`Medium.find`); a picture goes by its file name. Alpha and metadata are not coded.
    medium: of all codecs; None = Pictures.
    resume: earlier results. Rows whose picture and codec are still the same (`fingerprints`, `digest`) are used again,
        others of the codecs and pictures named here are measured anew; rows of codecs not named here stay as they are.
    jobs: processes; seconds are only worth quoting with one. MS-SSIM is left out of pictures too small for it.
    save: called with all results after each picture and codec.
    start: called once with the number of files to make; advance: once a file. For showing progress.
    Same arguments, same rows, but for the seconds.
    """
    if len({codec.name for codec in codecs}) < len(codecs):
        raise UsageError("a codec is named twice")
    medium = medium or Pictures()
    paths = medium.find(pictures)
    ladders = {codec.name: _ladder(codec, ladders or {}) for codec in codecs}
    results = resume or Results()
    for codec in codecs:
        _describe(codec, ladders[codec.name], results, medium.probe())

    tasks = []
    for path in paths:
        subject = medium.read(path)
        if _note_picture(path.name, medium.about(subject), results):
            results.drop(picture=path.name)
        want_ssim = with_ms_ssim and medium.has_ms_ssim(subject)
        for codec in codecs:
            keys = [(path.name, codec.name, setting) for setting in ladders[codec.name]]
            missing = tuple(key[2] for key in keys if not _holds(results.rows.get(key), want_ssim))
            if missing:
                tasks.append((medium, path, codec, missing, with_ms_ssim))

    if start:
        start(sum(len(task[3]) for task in tasks))
    for rows in run(_run_task, tasks, jobs):
        for row in rows:
            results.add(row)
            if advance:
                advance()
        if save:
            save(results)
    return results


def measure_picture(name: str, pixels: UInt8Array, codec: Codec, setting: float, with_ms_ssim: bool = True) -> Row:
    """One file: encode `pixels`, (H, W, 3) or (H, W) uint8, decode the bytes, compare.

    Raises BadStream where a picture of another size comes back.
    """
    start = time.perf_counter()
    data = codec.encode(pixels, setting)
    encoded = time.perf_counter()
    decoded = codec.decode(data)
    stop = time.perf_counter()
    height, width = pixels.shape[:2]
    if decoded.shape[:2] != (height, width):
        raise BadStream(f"{name}: {codec.name} made {decoded.shape[1]}x{decoded.shape[0]} of {width}x{height} pixels")
    before, after = as_rgb(pixels), as_rgb(decoded)
    return Row(
        picture=name,
        codec=codec.name,
        setting=setting,
        bytes=len(data),
        psnr=psnr(before, after),
        ms_ssim=ms_ssim(before, after) if with_ms_ssim and min(height, width) >= MS_SSIM_SIDE else None,
        encode_s=encoded - start,
        decode_s=stop - encoded,
        width=width,
        height=height,
    )


def fingerprints(codec: Codec, settings: Sequence[float], subject: Any = None) -> tuple[dict[str, str], str]:
    """Setting -> digest of the file that the codec makes of `subject`, 8 hex digits; and the model that a file names.

    subject: what its medium has as a probe; None = `sources.probe`.

    Another model, encoder, table or library that codes in another way shows here, whatever it calls itself. The first
    decode of a codec loads its model too, so it is done here once and never timed.
    """
    subject = probe() if subject is None else subject
    files = {f"{setting:g}": codec.encode(subject, setting) for setting in settings}
    first = next(iter(files.values()))
    codec.decode(first)
    return {setting: hashlib.sha256(data).hexdigest()[:8] for setting, data in files.items()}, codec.model_id(first)


def digest(pixels: UInt8Array) -> str:
    """SHA-256 of the size and the samples of a picture, 16 hex digits."""
    shape = struct.pack("<3Q", *pixels.shape[:2], pixels.shape[2] if pixels.ndim == 3 else 1)
    return hashlib.sha256(shape + pixels.tobytes()).hexdigest()[:16]


Task = tuple[Medium, Path, Codec, tuple[float, ...], bool]


def _run_task(task: Task) -> list[Row]:
    medium, path, codec, settings, with_ms_ssim = task
    subject = medium.read(path)
    if multiprocessing.parent_process() is not None and codec.name not in _warm:
        codec.decode(codec.encode(medium.probe(), settings[0]))  # models are loaded outside the timing
        _warm.add(codec.name)
    return [medium.measure(path.name, subject, codec, setting, with_ms_ssim) for setting in settings]


_warm: set[str] = set()
"""Codecs that this worker process has loaded."""


def _ladder(codec: Codec, ladders: Ladders) -> tuple[float, ...]:
    settings = tuple(float(setting) for setting in ladders.get(codec.name, codec.ladder))
    if not settings or len(set(settings)) < len(settings):
        raise UsageError(f"{codec.name}: a ladder needs settings, each once, not {settings}")
    return settings


def _describe(codec: Codec, settings: Sequence[float], results: Results, subject: Any) -> None:
    """Record what `codec` is now; drop the rows of it that were made by something else."""
    before = results.codecs.get(codec.name, {}).get("files", {})
    files, model = fingerprints(codec, sorted({*settings, *map(float, before)}), subject)
    for setting, file_digest in before.items():
        if files[setting] != file_digest:
            results.drop(codec=codec.name, setting=float(setting))
    results.codecs[codec.name] = {"version": codec.version(), "model": model, "files": files}


def _note_picture(name: str, now: dict[str, Any], results: Results) -> bool:
    """Record the picture; True if the results knew another one by this name."""
    before = results.pictures.get(name)
    results.pictures[name] = now
    return before is not None and before != now


def _holds(row: Row | None, want_ssim: bool) -> bool:
    return row is not None and (not want_ssim or row.ms_ssim is not None)
