"""Read a folder of odd pictures and write what nvc does with each: docs/odd_inputs.md.

    python benches/odd_inputs.py --data DIR [--out docs/odd_inputs.md]

DIR holds manifest.json (rows with file, odd, verdict: CODE, REFUSE or EITHER, sha256) and the files. Every picture
that is read is compared with Pillow's own reading of it, made here without nvc's code. Exit code 1 if a verdict
does not hold, or if pixels differ where no reason is known.
"""

import argparse
import hashlib
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from nvc.errors import InputError, LimitError, NvcError
from nvc.media.pictures import Picture, encode_picture, read_picture

# Where Pillow's own reading is wrong, and why.
KNOWN = {
    "png_grey4_trns.png": "Pillow compares 8-bit samples with the 4-bit key",
}


def pillow_reading(data: bytes) -> np.ndarray | None:
    """(H, W, 4) uint8 as Pillow shows the file, upright by Exif; None where colours are converted by profile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data))
        if image.mode in ("CMYK", "LAB"):
            return None
        image.load()
        if "exif" in image.info:
            try:
                image = ImageOps.exif_transpose(image)
            except Exception as error:  # Pillow cannot; then nothing is turned
                print(f"  Pillow's exif_transpose: {error}", file=sys.stderr)
        if image.mode.startswith("I"):
            grey = np.rint(np.asarray(image).astype(np.float64) / 257).astype(np.uint8)
            return np.dstack([grey, grey, grey, np.full_like(grey, 255)])
        return np.asarray(image.convert("RGBA"))


def difference(picture: Picture, data: bytes) -> int | None:
    """Largest difference of any sample, alpha included, from Pillow's reading."""
    reference = pillow_reading(data)
    if reference is None:
        return None
    colour = picture.pixels if picture.pixels.ndim == 3 else np.repeat(picture.pixels[..., None], 3, axis=2)
    alpha = np.full(colour.shape[:2], 255, np.uint8) if picture.alpha is None else picture.alpha
    ours = np.dstack([colour, alpha]).astype(int)
    return int(np.abs(ours - reference).max()) if ours.shape == reference.shape else 256


def examine(path: Path) -> dict[str, Any]:
    """What nvc does with one file, by default and with strict."""
    try:
        picture = read_picture(path)
    except (InputError, LimitError) as error:
        return {"does": "refused", "line": str(error), "exit": int(error.exit_code)}
    try:
        read_picture(path, strict=True)
        strict = "coded"
    except NvcError:
        strict = "refused"
    again = read_picture(encode_picture(picture, "png")[0])
    same = np.array_equal(again.pixels, picture.pixels) and again.metadata == picture.metadata
    kept = [name for name in ("icc", "cicp", "exif", "xmp") if getattr(picture.metadata, name)]
    planes = ("grey" if picture.grey else "RGB") + ("+alpha" if picture.alpha is not None else "")
    return {
        "does": "coded",
        "line": f"{picture.width}x{picture.height} {planes}" + (f", keeps {' '.join(kept)}" if kept else ""),
        "warnings": list(picture.warnings),
        "strict": strict,
        "png": same,
        "difference": difference(picture, path.read_bytes()),
    }


def holds(row: dict[str, str], found: dict[str, Any]) -> bool:
    """Whether nvc does what the manifest asks for, with Pillow's pixels or others for a known reason."""
    name = Path(row["file"]).name
    if found["does"] == "refused":
        return row["verdict"] != "CODE" and "\n" not in found["line"]
    fine = found["difference"] in (0, None) or name in KNOWN
    return row["verdict"] != "REFUSE" and fine and found["png"]


def table(rows: list[tuple[dict[str, str], dict[str, Any]]]) -> str:
    """The Markdown page."""
    good = sum(holds(row, found) for row, found in rows)
    counts = {
        verdict: (
            sum(row["verdict"] == verdict for row, _ in rows),
            sum(row["verdict"] == verdict and found["does"] == "coded" for row, found in rows),
            sum(row["verdict"] == verdict and holds(row, found) for row, found in rows),
        )
        for verdict in ("CODE", "REFUSE", "EITHER")
    }
    lines = [
        "# Odd pictures",
        "",
        "What nvc's picture reader does with files that break readers:",
        "written by `python benches/odd_inputs.py --data DIR`.",
        f"{good} of {len(rows)} verdicts hold (Pillow {Image.__version__}).",
        "",
        "| wanted | files | coded | refused | holds |",
        "|---|---|---|---|---|",
        *(f"| {name} | {n} | {coded} | {n - coded} | {ok} |" for name, (n, coded, ok) in counts.items()),
        "",
        "*difference*: the largest difference of any sample, alpha included, from Pillow's own reading, out of 255;",
        "`-` where colours are converted (CMYK, Lab). Each coded picture was also written as PNG and read again, with",
        "equal pixels and metadata. A refused file ends in exit code 3, or 7 where it is a matter of size.",
        "*strict*: `--strict` refuses the file.",
        "",
        "| file | what is odd | wanted | nvc | difference | warnings, notes |",
        "|---|---|---|---|---|---|",
    ]
    for row, found in rows:
        name = Path(row["file"]).name
        notes = list(found.get("warnings", ()))
        if found["does"] == "coded" and found["strict"] == "refused":
            notes.append("*strict*")
        if name in KNOWN:
            notes.append(f"({KNOWN[name]})")
        if not holds(row, found):
            notes.append("**does not hold**")
        does = found["line"] if found["does"] == "coded" else f"refused ({found['exit']}): {found['line']}"
        delta = "" if found["does"] == "refused" else "-" if found["difference"] is None else str(found["difference"])
        cells = (f"`{name}`", row["odd"], row["verdict"], does, delta, "; ".join(notes))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json")
    parser.add_argument("--out", type=Path, default=Path("docs/odd_inputs.md"))
    options = parser.parse_args()
    rows = []
    for row in json.loads((options.data / "manifest.json").read_text()):
        if not row["file"].startswith("image/"):
            continue
        path = options.data / row["file"]
        if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            print(f"{path}: not the file that the manifest describes", file=sys.stderr)
            return 1
        rows.append((row, examine(path)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(table(rows))
    bad = [row["file"] for row, found in rows if not holds(row, found)]
    print(f"{len(rows) - len(bad)} of {len(rows)} verdicts hold" + "".join(f"\n  not: {name}" for name in bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
