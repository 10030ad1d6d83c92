"""Clips for training: read once as uint8 planes, with the flow between neighbouring frames, both ways."""

import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nvc.errors import InputError
from nvc.frames import Frame420
from nvc.networks.planes import LATENT_STRIDE, pad_planes

SUFFIXES = {".mp4", ".mkv", ".webm", ".mov", ".y4m", ".avi"}
CACHE = ".npz"  # suffix of planes and flows kept between runs
SMALLEST = 64  # luma pixels, both ways
FLOW_STEPS = 16.0  # stored vectors: 1/16 luma pixel


@dataclass(frozen=True, eq=False)
class Clip:
    """planes: (T, 6, H/2, W/2) uint8, H and W multiples of 32; flows: (2, T-1, 2, H/8, W/8) int16, 1/16 luma pixel.

    flows[0][t] predicts frame t + 1 from frame t, flows[1][t] frame t from frame t + 1.
    """

    planes: NDArray[np.uint8]
    flows: NDArray[np.int16]


def read_folder(source: Path, cache: Path | None = None) -> list[Clip]:
    """All clips below a folder, cropped to whole latents; or those of a cache. Raises InputError.

    cache: a file that keeps planes and flows between runs, and is all that a machine without numba and OpenCV needs.
    """
    if source.suffix == CACHE:
        return _load(source)
    if cache is not None and cache.exists():
        return _load(cache)
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"{source}: no clips found ({', '.join(sorted(SUFFIXES))})")
    with ThreadPoolExecutor() as pool:
        clips = [clip for clip in pool.map(_read, paths) if clip is not None]
    if not clips:
        raise InputError(f"{source}: no clip has two frames of {SMALLEST} pixels in both directions")
    if cache is not None:
        _save(clips, cache)
    return clips


def _read(path: Path) -> Clip | None:
    """None for a clip of one frame, or smaller than SMALLEST."""
    from nvc.networks.motion_search import estimate  # here: it loads numba and OpenCV, which a cache makes needless

    frames = []
    for frame in _frames(path):
        high, wide = (side // (2 * LATENT_STRIDE) * 2 * LATENT_STRIDE for side in frame.y.shape)
        sizes = ((high, wide), (high // 2, wide // 2), (high // 2, wide // 2))
        cut = [np.ascontiguousarray(plane[:h, :w]) for plane, (h, w) in zip(frame.planes, sizes, strict=True)]
        frames.append(Frame420(*cut))
    if len(frames) < 2 or min(frames[0].y.shape) < SMALLEST:
        return None
    flows = [
        [estimate(after, before) for before, after in pairwise(frames)],
        [estimate(before, after) for before, after in pairwise(frames)],
    ]
    planes = np.stack([pad_planes(frame).transpose(2, 0, 1) for frame in frames])
    limits = -32768, 32767
    return Clip(planes, np.clip(np.rint(np.array(flows) * FLOW_STEPS), *limits).astype(np.int16))


def _frames(path: Path) -> Iterator[Frame420]:
    """Planes as stored where PyAV is installed; else through OpenCV's RGB."""
    try:
        import av
    except ImportError:
        import cv2

        capture = cv2.VideoCapture(str(path))
        while True:
            more, bgr = capture.read()
            if not more:
                return
            high, wide = (side // 2 * 2 for side in bgr.shape[:2])
            i420: NDArray[Any] = cv2.cvtColor(np.ascontiguousarray(bgr[:high, :wide]), cv2.COLOR_BGR2YUV_I420)
            u, v = i420[high:].reshape(2, high // 2, wide // 2)
            yield Frame420(i420[:high], u.copy(), v.copy())
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                high, wide = frame.height // 2 * 2, frame.width // 2 * 2
                i420 = frame.to_ndarray(format="yuv420p")
                if (frame.height, frame.width) != (high, wide):
                    continue
                u, v = i420[high:].reshape(2, high // 2, wide // 2)
                yield Frame420(np.ascontiguousarray(i420[:high]), u.copy(), v.copy())
    except (OSError, ValueError) as exc:  # av's errors are of both kinds
        raise InputError(f"{path}: cannot be read as video: {exc}") from exc


def _save(clips: list[Clip], cache: Path) -> None:
    arrays = {f"p{i}": clip.planes for i, clip in enumerate(clips)} | {f"f{i}": c.flows for i, c in enumerate(clips)}
    temporary = cache.with_name(f".{cache.name}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(cache)


def _load(cache: Path) -> list[Clip]:
    try:
        with np.load(cache) as arrays:
            return [Clip(arrays[f"p{i}"], arrays[f"f{i}"]) for i in range(len(arrays.files) // 2)]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
        raise InputError(f"{cache}: not a cache of clips: {exc}") from exc


def halve(clip: Clip) -> Clip:
    """Half the size both ways: clips coded at 43 dB have lost their noise, smaller ones have grain again."""
    t, _, h, w = clip.planes.shape
    h, w = h // 16 * 16, w // 16 * 16
    planes = torch.from_numpy(clip.planes[:, :, :h, :w]).float()
    luma = F.avg_pool2d(F.pixel_shuffle(planes[:, :4], 2), 2)
    chroma = F.avg_pool2d(planes[:, 4:], 2)
    small = torch.cat([F.pixel_unshuffle(luma, 2), chroma], 1).round().to(torch.uint8).numpy()
    flows = clip.flows[..., : h // 4, : w // 4].reshape(2, t - 1, 2, h // 8, 2, w // 8, 2).mean((4, 6)) / 2
    return Clip(small, np.rint(flows).astype(np.int16))


class ChainSampler:
    """Random crops of chains of neighbouring frames, also backwards in time, gathered on the device."""

    def __init__(self, clips: list[Clip], crop: int, length: int, device: torch.device) -> None:
        clips = [c for c in clips if min(c.planes.shape[2:]) * 2 >= crop and len(c.planes) >= length]
        if not clips:
            raise InputError(f"no clip has {length} frames of {crop} pixels in both directions: take smaller crops")
        self.crop, self.length, self.device = crop, length, device
        self.planes = [torch.from_numpy(clip.planes).to(device) for clip in clips]
        self.flows = [torch.from_numpy(clip.flows).to(device) for clip in clips]
        self.weight = torch.tensor([c.planes.size for c in clips]).float()

    def __call__(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Planes (B, T, 6, crop/2, crop/2) in 0..1; flows (B, T-1, 2, crop/8, crop/8) in pixels, to the frame before.

        generator: of the CPU. Flips and transposes are left out: flows would have to follow.
        """
        planes, flows = [], []
        for which in torch.multinomial(self.weight, batch, replacement=True, generator=generator).tolist():
            source = self.planes[which]
            frames, _, h, w = source.shape
            span = self.crop // 2
            first, top, left, way = (
                int(torch.randint(0, n, (), generator=generator))
                for n in (frames - self.length + 1, (h - span) // 8 + 1, (w - span) // 8 + 1, 2)
            )
            part = source[first : first + self.length, :, 8 * top : 8 * top + span, 8 * left : 8 * left + span]
            rows, columns = slice(2 * top, 2 * top + span // 4), slice(2 * left, 2 * left + span // 4)
            flow = self.flows[which][way, first : first + self.length - 1, :, rows, columns]
            planes.append(part.flip(0) if way else part)
            flows.append(flow.flip(0) if way else flow)
        return torch.stack(planes).float() / 255, torch.stack(flows).float() / FLOW_STEPS
