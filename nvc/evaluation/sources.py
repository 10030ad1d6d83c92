"""What measurements are made of: files and folders of them, and a fixed picture that needs no file."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from nvc.errors import InputError, UsageError
from nvc.evaluation.metrics import UInt8Array


def find(paths: Sequence[Path], suffixes: Collection[str], what: str) -> list[Path]:
    """Files as given and, of folders, those directly inside with such suffixes, by name.

    what: in messages. Two of one name cannot be told apart in results: UsageError.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes and p.is_file())
            if not inside:
                raise InputError(f"{path}: no {what} in this folder")
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
