"""Code a photograph at three qualities with the installed commands, decode each, and draw them side by side.

    python examples/demo.py PHOTO FOLDER [QUALITY...]

Writes FOLDER/side_by_side.png and the files that it was drawn from, and prints a table. nvc is used through its
commands alone; PSNR is computed here, from the pixels of the files.
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

QUALITIES = ("2", "4", "6")
COMMANDS = Path(sys.executable).parent  # of the environment that runs this file

CELL = 476  # width of a column, pixels
ZOOM = 4  # of the detail, which shows the pixels as they are
DETAIL = (CELL // ZOOM, 96)  # pixels of the photograph
GAP, LINE = 12, 22
PAPER, INK, QUIET = (255, 255, 255), (20, 20, 20), (110, 110, 110)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Coded:
    """One quality: what came back, and what it cost. Seconds are of the whole command, start included."""

    quality: str
    pixels: Pixels
    size: int
    psnr: float
    encode_seconds: float
    decode_seconds: float

    @property
    def bpp(self) -> float:
        return 8 * self.size / (self.pixels.shape[0] * self.pixels.shape[1])


def command(name: str, *arguments: object) -> float:
    """Run a command; seconds. Ends the demo with the command's own message and exit code if it fails."""
    begun = time.perf_counter()
    done = subprocess.run([COMMANDS / name, "--quiet", *map(str, arguments)], check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return time.perf_counter() - begun


def pixels_of(path: Path) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


def psnr(a: Pixels, b: Pixels) -> float:
    """dB, over all pixels and the three channels."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def code(photo: Path, folder: Path, quality: str) -> Coded:
    original = pixels_of(photo)
    coded, decoded = folder / f"q{quality}.nvc", folder / f"q{quality}.png"
    encode_seconds = command("nvc-encode", "-f", "-q", quality, "-o", coded, photo)
    decode_seconds = command("nvc-decode", "-f", "-o", decoded, coded)
    pixels = pixels_of(decoded)
    return Coded(quality, pixels, coded.stat().st_size, psnr(original, pixels), encode_seconds, decode_seconds)


def busiest(pixels: Pixels, width: int, height: int) -> tuple[int, int]:
    """Upper left corner of the window with the most contrast between neighbours, where coding is hardest."""
    grey = pixels.astype(np.float64).mean(axis=2)
    contrast = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    total = np.zeros((contrast.shape[0] + 1, contrast.shape[1] + 1))
    total[1:, 1:] = contrast.cumsum(axis=0).cumsum(axis=1)
    h, w = min(height, total.shape[0] - 1), min(width, total.shape[1] - 1)
    inside = total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(left), int(top)


def column(pixels: Pixels, corner: tuple[int, int], title: str, numbers: str) -> Image.Image:
    """A picture as large as the column, its detail enlarged, and two lines of text above them."""
    whole = Image.fromarray(pixels)
    height = max(1, round(CELL * whole.height / whole.width))
    filtering = Image.Resampling.LANCZOS if whole.width >= CELL else Image.Resampling.NEAREST
    shown = whole if whole.width == CELL else whole.resize((CELL, height), filtering)
    width, tall = min(DETAIL[0], whole.width), min(DETAIL[1], whole.height)
    left, top = corner
    detail = whole.crop((left, top, left + width, top + tall))
    detail = detail.resize((width * ZOOM, tall * ZOOM), Image.Resampling.NEAREST)

    sheet = Image.new("RGB", (CELL, 2 * LINE + GAP + shown.height + GAP + detail.height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((0, 0), title, INK, ImageFont.load_default(18))
    draw.text((0, LINE), numbers, QUIET, ImageFont.load_default(15))
    sheet.paste(shown, (0, 2 * LINE + GAP))
    sheet.paste(detail, (0, 2 * LINE + GAP + shown.height + GAP))
    return sheet


def side_by_side(photo: Path, original: Pixels, results: list[Coded]) -> Image.Image:
    corner = busiest(original, *DETAIL)
    height, width = original.shape[:2]
    columns = [column(original, corner, photo.name, f"original  {width}x{height}  {3 * width * height:,} B of pixels")]
    for r in results:
        numbers = f"{r.size:,} B  {r.bpp:.3f} bpp  {r.psnr:.2f} dB  {r.encode_seconds:.1f} s + {r.decode_seconds:.1f} s"
        columns.append(column(r.pixels, corner, f"nvc-encode -q {r.quality}", numbers))
    sheet = Image.new("RGB", (GAP + len(columns) * (CELL + GAP), columns[0].height + 2 * GAP), PAPER)
    for index, one in enumerate(columns):
        sheet.paste(one, (GAP + index * (CELL + GAP), GAP))
    return sheet


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # What a viewer shows: upright, 8-bit RGB. The commands get exactly these pixels.
        picture = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
    except OSError as error:
        print(f"{source}: {error}", file=sys.stderr)
        return 3
    photo = folder / f"{source.stem}.png"
    picture.save(photo)

    small = folder / "first.png"
    picture.resize((64, 48)).save(small)
    seconds = code(small, folder, QUALITIES[0])
    first = seconds.encode_seconds + seconds.decode_seconds
    small.unlink()
    print(f"first run on this machine: {first:.1f} s (compiled code is kept for the next)\n")

    results = [code(photo, folder, quality) for quality in sys.argv[3:] or QUALITIES]
    print(f"{photo.name}, {picture.width}x{picture.height}")
    print(f"{'quality':>7} {'bytes':>9} {'bpp':>6} {'PSNR dB':>8} {'encode s':>9} {'decode s':>9}")
    for r in results:
        numbers = f"{r.quality:>7} {r.size:>9,} {r.bpp:>6.3f} {r.psnr:>8.2f}"
        print(f"{numbers} {r.encode_seconds:>9.2f} {r.decode_seconds:>9.2f}")
    sheet = folder / "side_by_side.png"
    side_by_side(photo, np.asarray(picture), results).save(sheet)
    print(f"\n{sheet}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
