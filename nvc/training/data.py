"""Pictures for training: read once, kept as uint8 on the device, cropped there."""

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nvc.errors import InputError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".ppm", ".tif", ".tiff", ".bmp"}


def read_folder(source: Path) -> list[np.ndarray]:
    """All pictures below a folder, or inside a .zip pack, in order of name: (H, W, 3) uint8 each."""
    pictures = []
    if source.suffix == ".zip":
        try:
            with zipfile.ZipFile(source) as pack:
                for name in sorted(pack.namelist()):
                    if Path(name).suffix.lower() in SUFFIXES:
                        pictures.append(_read(io.BytesIO(pack.read(name)), f"{source}: {name}"))
        except (OSError, zipfile.BadZipFile) as exc:
            raise InputError(f"{source}: {exc}") from exc
    else:
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                pictures.append(_read(path, str(path)))
    if not pictures:
        raise InputError(f"{source}: no pictures found ({', '.join(sorted(SUFFIXES))})")
    return pictures


def _read(file: Path | io.BytesIO, name: str) -> np.ndarray:
    try:
        with Image.open(file) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise InputError(f"{name}: cannot be read as a picture: {exc}") from exc


def halve(picture: np.ndarray) -> np.ndarray:
    """Half the size both ways: pictures coded at 40 dB have lost their noise, a smaller one has grain again."""
    size = (max(picture.shape[1] // 2, 1), max(picture.shape[0] // 2, 1))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


class CropSampler:
    """Random square crops, flipped and transposed, gathered on the device without a per-picture loop."""

    def __init__(self, pictures: list[np.ndarray], crop: int, device: torch.device) -> None:
        pictures = [p for p in pictures if min(p.shape[:2]) >= crop]
        if not pictures:
            raise InputError(f"no picture is {crop} pixels in both directions: take smaller crops")
        self.crop = crop
        self.device = device
        self.data = torch.from_numpy(np.concatenate([p.reshape(-1) for p in pictures])).to(device)
        sizes = torch.tensor([p.shape[:2] for p in pictures])
        lengths = sizes.prod(1) * 3
        self.start = (lengths.cumsum(0) - lengths).to(device)
        self.height, self.width = (sizes[:, i].to(device) for i in (0, 1))
        # Large pictures are drawn more often: every pixel has the same chance.
        self.weight = sizes.prod(1).float().to(device)

    def __call__(self, batch: int, generator: torch.Generator) -> Tensor:
        """(batch, 3, crop, crop) float32 in 0..1."""
        n, device = self.crop, self.device
        which = torch.multinomial(self.weight, batch, replacement=True, generator=generator)
        u = torch.rand(batch, 2, device=device, generator=generator)
        height, width = self.height[which], self.width[which]
        top = (u[:, 0] * (height - n + 1)).long()
        left = (u[:, 1] * (width - n + 1)).long()
        turns = torch.rand(batch, 3, device=device, generator=generator) < 0.5
        ramp = torch.arange(n, device=device).expand(batch, n)
        row = torch.where(turns[:, :1], n - 1 - ramp, ramp)[:, :, None]
        column = torch.where(turns[:, 1:2], n - 1 - ramp, ramp)[:, None, :]
        swap = turns[:, 2, None, None]
        row, column = torch.where(swap, row.mT, row), torch.where(swap, column.mT, column)
        position = (top[:, None, None] + row) * width[:, None, None] + left[:, None, None] + column
        index = self.start[which][:, None, None, None] + 3 * position[:, None]  # (batch, 1, n, n)
        index = index + torch.arange(3, device=device)[None, :, None, None]
        return self.data[index].float() / 255


def klt(pictures: list[np.ndarray], count: int, block: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The `count` principal components of block x block x 3 pieces of the pictures (facts: KLT).

    Returns the basis (count, 3, block, block), orthonormal, and the standard deviation of each coefficient,
    in pixels of 0..1 minus one half (the mean is kept in: the codec has no other place for it).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for picture in pictures:
        height, width = picture.shape[:2]
        if min(height, width) < block:
            continue
        for _ in range(max(1, height * width // (4 * block * block))):
            i, j = rng.integers(0, height - block + 1), rng.integers(0, width - block + 1)
            rows.append(picture[i : i + block, j : j + block].transpose(2, 0, 1).reshape(-1))
    if not rows:
        raise InputError(f"no picture is {block} pixels in both directions")
    basis, deviation = principal_components(torch.from_numpy(np.stack(rows)).float() / 255 - 0.5, count)
    return basis.reshape(count, 3, block, block), deviation


def principal_components(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(n, d) -> the `count` strongest directions (count, d), orthonormal, and the root mean square along each."""
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    order = values.argsort(descending=True)[:count]
    return vectors[:, order].T.contiguous(), values[order].clamp_min(0).sqrt()
