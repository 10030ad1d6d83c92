"""Rate and distortion of codecs on pictures: files are made in memory, decoded from their bytes alone, and measured."""

import hashlib
import multiprocessing
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from nvc.errors import BadStream, InputError, LimitError, UsageError
from nvc.evaluation.codecs import Codec
from nvc.evaluation.metrics import MS_SSIM_SIDE, UInt8Array, as_rgb, ms_ssim, psnr
from nvc.evaluation.results import Results, Row

SUFFIXES = frozenset({".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".avif"})
"""What a folder of pictures is searched for."""

Ladders = Mapping[str, Sequence[float]]
"""Settings by codec name, in place of the codec's own ladder."""

Save = Callable[[Results], None]


def measure(
    codecs: Sequence[Codec],
    pictures: Sequence[Path],
    *,
    ladders: Ladders | None = None,
    resume: Results | None = None,
    with_ms_ssim: bool = True,
    jobs: int = 1,
    save: Save | None = None,
    start: Callable[[int], None] | None = None,
    advance: Callable[[], None] | None = None,
) -> Results:
    """Measure every codec at every setting on every picture.

    pictures: files and folders (`find_pictures`); a picture goes by its file name. Alpha and metadata are not coded.
    resume: earlier results. Rows whose picture and codec are still the same (`fingerprints`, `digest`) are used again,
        others of the codecs and pictures named here are measured anew; rows of codecs not named here stay as they are.
    jobs: processes; seconds are only worth quoting with one. MS-SSIM is left out of pictures too small for it.
    save: called with all results after each picture and codec.
    start: called once with the number of files to make; advance: once a file. For showing progress.
    Same arguments, same rows, but for the seconds.
    """
    if len({codec.name for codec in codecs}) < len(codecs):
        raise UsageError("a codec is named twice")
    paths = find_pictures(pictures)
    ladders = {codec.name: _ladder(codec, ladders or {}) for codec in codecs}
    results = resume or Results()
    for codec in codecs:
        _describe(codec, ladders[codec.name], results)

    tasks = []
    for path in paths:
        pixels = _read(path)
        if _note_picture(path.name, pixels, results):
            results.drop(picture=path.name)
        for codec in codecs:
            keys = [(path.name, codec.name, setting) for setting in ladders[codec.name]]
            want_ssim = with_ms_ssim and min(pixels.shape[:2]) >= MS_SSIM_SIDE
            missing = tuple(key[2] for key in keys if not _holds(results.rows.get(key), want_ssim))
            if missing:
                tasks.append((path, codec, missing, with_ms_ssim))

    if start:
        start(sum(len(settings) for _, _, settings, _ in tasks))
    for rows in _run(tasks, jobs):
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


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """Files as given and, of folders, the pictures directly inside by name. Two of one name cannot be told apart."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise InputError(f"{path}: no pictures in this folder")
            found += inside
        else:
            found.append(path)
    names: dict[str, Path] = {}
    for path in found:
        if path.name in names:
            raise UsageError(f"{path} and {names[path.name]}: results are kept by file name, give one of them another")
        names[path.name] = path
    return found


def probe() -> UInt8Array:
    """A fixed picture (64, 96, 3): ramps, an edge and noise, made of integers alone. Small files of it name a codec."""
    row, column = np.mgrid[0:64, 0:96].astype(np.uint32)
    noise = (row * 96 + column + 1) * np.uint32(2654435761) >> np.uint32(26)  # Knuth's multiplicative hash: 0..63
    ramps = np.stack([2 * column, 3 * row, 190 - row - column], axis=2)
    edge = np.where((row + 2 * column) % 61 < 20, np.uint32(60), np.uint32(0))
    samples: UInt8Array = np.clip(ramps + (noise + edge)[:, :, None] // 2, 0, 255).astype(np.uint8)
    return samples


def fingerprints(codec: Codec, settings: Sequence[float]) -> tuple[dict[str, str], str]:
    """Setting -> digest of the file that the codec makes of `probe()`, 8 hex digits; and the model that a file names.

    Another model, encoder, table or library that codes in another way shows here, whatever it calls itself. The first
    decode of a codec loads its model too, so it is done here once and never timed.
    """
    picture = probe()
    files = {f"{setting:g}": codec.encode(picture, setting) for setting in settings}
    first = next(iter(files.values()))
    codec.decode(first)
    return {setting: hashlib.sha256(data).hexdigest()[:8] for setting, data in files.items()}, codec.model_id(first)


def digest(pixels: UInt8Array) -> str:
    """SHA-256 of the size and the samples of a picture, 16 hex digits."""
    shape = struct.pack("<3Q", *pixels.shape[:2], pixels.shape[2] if pixels.ndim == 3 else 1)
    return hashlib.sha256(shape + pixels.tobytes()).hexdigest()[:16]


Task = tuple[Path, Codec, tuple[float, ...], bool]


def _run(tasks: Sequence[Task], jobs: int) -> Iterator[list[Row]]:
    if jobs <= 1 or len(tasks) <= 1:
        yield from map(_run_task, tasks)
        return
    # spawn: torch's and numba's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    jobs = min(jobs, len(tasks))
    with ProcessPoolExecutor(jobs, context, initializer=_share_cores, initargs=(jobs,)) as pool:
        futures = [pool.submit(_run_task, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_task(task: Task) -> list[Row]:
    path, codec, settings, with_ms_ssim = task
    pixels = _read(path)
    if multiprocessing.parent_process() is not None and codec.name not in _warm:
        codec.decode(codec.encode(probe(), settings[0]))  # models are loaded outside the timing
        _warm.add(codec.name)
    return [measure_picture(path.name, pixels, codec, setting, with_ms_ssim) for setting in settings]


_warm: set[str] = set()
"""Codecs that this worker process has loaded."""


def _share_cores(jobs: int) -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))


def _read(path: Path) -> UInt8Array:
    from nvc.media.pictures import read_picture

    try:
        return read_picture(path).pixels
    except (InputError, LimitError) as error:
        raise type(error)(f"{path}: {error}") from error


def _ladder(codec: Codec, ladders: Ladders) -> tuple[float, ...]:
    settings = tuple(float(setting) for setting in ladders.get(codec.name, codec.ladder))
    if not settings or len(set(settings)) < len(settings):
        raise UsageError(f"{codec.name}: a ladder needs settings, each once, not {settings}")
    return settings


def _describe(codec: Codec, settings: Sequence[float], results: Results) -> None:
    """Record what `codec` is now; drop the rows of it that were made by something else."""
    before = results.codecs.get(codec.name, {}).get("files", {})
    files, model = fingerprints(codec, sorted({*settings, *map(float, before)}))
    for setting, file_digest in before.items():
        if files[setting] != file_digest:
            results.drop(codec=codec.name, setting=float(setting))
    results.codecs[codec.name] = {"version": codec.version(), "model": model, "files": files}


def _note_picture(name: str, pixels: UInt8Array, results: Results) -> bool:
    """Record the picture; True if the results knew another one by this name."""
    now = {"width": pixels.shape[1], "height": pixels.shape[0], "digest": digest(pixels)}
    before = results.pictures.get(name)
    results.pictures[name] = now
    return before is not None and before != now


def _holds(row: Row | None, want_ssim: bool) -> bool:
    return row is not None and (row.ms_ssim is not None or not want_ssim)
