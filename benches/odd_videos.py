"""Read a folder of odd videos, as frames and back through FFV1, and print where nvc does not do what is wanted.

    python benches/odd_videos.py --data DIR [--megapixels 5]

DIR holds manifest.json (rows with file, odd, verdict: CODE, REFUSE or EITHER, sha256, megapixels) and the files. Of
heavy files only the first frames are read. Exit code 1 if a verdict does not hold.
"""

import argparse
import hashlib
import io
import json
import sys
from pathlib import Path

from nvc.errors import InputError, LimitError
from nvc.media.frame_digest import PlanesDigest
from nvc.media.video_reader import RawFormat, open_video
from nvc.media.video_writer import open_writer


def examine(path: Path, frames: int | None) -> tuple[bool, str]:
    """(whether it was coded, what is to be said of it). ValueError where FFV1 does not give the same planes back."""
    digest, stream, count = PlanesDigest(), io.BytesIO(), 0
    try:
        with open_video(path, frames=frames) as reader, open_writer(stream, "mkv", reader.info) as writer:
            for frame, pts in reader:
                digest.update(frame)
                writer.write(frame, pts)
                count += 1
                for packet in reader.take_audio():
                    writer.write_audio(packet)
            for packet in reader.take_audio():
                writer.write_audio(packet)
    except (InputError, LimitError) as error:
        return False, f"refused ({int(error.exit_code)}): {error}"
    again = PlanesDigest()
    with open_video(io.BytesIO(stream.getvalue())) as back:
        for frame, _ in back:
            again.update(frame)
    if again.hexdigest() != digest.hexdigest():
        raise ValueError("FFV1 gives other planes")
    info = reader.info
    said = [f"{info.width}x{info.height}, {count} frames, {float(info.frame_rate):.4g}/s"]
    said += [info.audio.codec] if info.audio else []
    said += [info.guess] if info.guess else []
    return True, "; ".join([*said, *reader.warnings, *writer.warnings])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json")
    parser.add_argument("--megapixels", type=float, default=30, help="read files of more than this only in part")
    options = parser.parse_args()
    rows = [row for row in json.loads((options.data / "manifest.json").read_text()) if row["file"].startswith("video/")]
    bad = []
    for row in rows:
        path = options.data / row["file"]
        if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            print(f"{path}: not the file that the manifest describes", file=sys.stderr)
            return 1
        heavy = (row.get("megapixels") or 0) > options.megapixels
        coded, line = examine(path, 8 if heavy else None)
        fine = row["verdict"] in ("EITHER", "CODE" if coded else "REFUSE") and "\n" not in line
        bad += [] if fine else [path.name]
        print(f"{'ok ' if fine else 'NOT'} {row['verdict']:6} {path.name}: {line}")
    print(f"{len(rows) - len(bad)} of {len(rows)} verdicts hold" + "".join(f"\n  not: {name}" for name in bad))
    raw = options.data / "video" / "gen_raw_32x24_420.yuv"
    if raw.exists():
        with open_video(raw, raw=RawFormat(32, 24)) as reader:
            print(f"{raw.name}, size stated: {sum(1 for _ in reader)} frames")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
