"""What the integers cost: PSNR of the integer decoder and of its float network on the same symbols, by level.

    python benches/integer_loss.py PICTURES CHECKPOINT > docs/results/integer_loss.json

PICTURES is a folder; CHECKPOINT is what the installed model was exported from, whole or slim (a weight file has its
synthesis only as integers: it would be its own reference). Symbols are plainly rounded (RDOQ would fit them to the
integer decoder). Prints JSON, means over the pictures in dB.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from nvc.bitstream.header import quality_code
from nvc.codec.picture import EncodeSettings, PictureEncoder, as_rgb, psnr
from nvc.media.pictures import read_picture
from nvc.networks.image import ImageNet
from nvc.training.export import load_task

LEVELS = range(1, 9)
SUFFIXES = {".png", ".webp"}


def decibels(encoder: PictureEncoder, net: ImageNet, level: int) -> tuple[float, float]:
    """PSNR of the integer and of the float picture."""
    code = quality_code(float(level))
    symbols = encoder.symbols(code)
    original = as_rgb(encoder.picture.pixels)
    step = net.step(torch.tensor([level - 1.0]))
    shown = net.synthesis(torch.from_numpy(symbols.astype(np.float32))[None] * step)[0]
    pixels = (shown.permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    pixels = pixels[: original.shape[0], : original.shape[1]]
    return psnr(encoder.reconstruct(symbols, code), original), psnr(pixels, original)


def main() -> None:
    folder, checkpoint = map(Path, sys.argv[1:])
    net = load_task(checkpoint).net
    rows = []
    for path in sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES):
        encoder = PictureEncoder(read_picture(path), EncodeSettings(rdoq=0))
        rows.append([decibels(encoder, net, level) for level in LEVELS])
    table = np.array(rows)  # (pictures, levels, 2)
    loss = table[:, :, 1] - table[:, :, 0]
    levels = [
        {
            "level": level,
            "integer_db": round(float(table[:, i, 0].mean()), 3),
            "float_db": round(float(table[:, i, 1].mean()), 3),
            "loss_db": round(float(loss[:, i].mean()), 4),
            "worst_loss_db": round(float(loss[:, i].max()), 4),
        }
        for i, level in enumerate(LEVELS)
    ]
    result = {"command": " ".join(["python", *sys.argv]), "pictures": len(rows), "levels": levels}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
