"""How long video takes, and how much memory: a table on stdout, numbers in JSON. Everything is measured in this run.

    python benches/video.py CLIP [-o docs/results/bench_video.json] [--frames 17] [--threads 2]

in process   frames of the clip after a first group of a few, two threads: every video codec of the catalogue with its
             default model, each also with NVC_ENGINE=float32; beside them compressai's ScaleSpaceFlow (random weights:
             they cost no time) decoding one I and one P frame of the same size
processes    nvc-encode and nvc-decode from start to end, and the peak of their resident memory
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pictures

# Frames a second at 1920x1080: at least, and aims.
LIMITS = {
    "aivc": {"decode": 4.0, "encode": 1.5},
    "ssf": {"decode": 4.0, "encode": 1.5},
    "lhbdc": {"decode": 3.0, "encode": 1.0},
}
AIMS = {
    "aivc": {"decode": 15.0, "encode": 5.0},
    "ssf": {"decode": 15.0, "encode": 5.0},
    "lhbdc": {"decode": 10.0, "encode": 4.0},
}
WARM = 3  # frames that are coded before anything is timed: buffers, compiled code, the motion search
MOST_MIB = 1500e6 / 2**20
COMPRESSAI_RATIO = 20.0  # at least


def ours(clip: str, codec: str, frames: int, threads: int) -> dict[str, float]:
    """Seconds of a frame that is no I frame, in this process and with its NVC_ENGINE: encode mean, decode median."""
    import torch

    from nvc.bitstream.video_frame import VideoFrame
    from nvc.bitstream.video_reader import VideoReader
    from nvc.codec import video_model
    from nvc.codec.catalogue import CATALOGUE
    from nvc.codec.gop import Gop
    from nvc.codec.sequence_decoder import SequenceDecoder
    from nvc.codec.sequence_encoder import SequenceEncoder, SequenceSettings
    from nvc.media.video_reader import open_video

    torch.set_num_threads(threads)
    model = video_model.load(codec=codec)
    settings = SequenceSettings(Gop(CATALOGUE[codec].gops[0], 0), scene_cuts=False)
    with open_video(clip, frames=frames) as reader:
        source, info = list(reader), reader.info
    warm = SequenceEncoder(io.BytesIO(), model, info, 4.0, settings)
    for frame, time_stamp in source[:WARM]:
        list(warm.push(frame, time_stamp))
    list(warm.finish())
    stream = io.BytesIO()
    encoder = SequenceEncoder(stream, model, info, 4.0, settings)
    list(encoder.push(*source[0]))
    begin = time.perf_counter()
    for frame, time_stamp in source[1:]:
        list(encoder.push(frame, time_stamp))
    list(encoder.finish())
    encoding = (time.perf_counter() - begin) / (len(source) - 1)
    stream.seek(0)
    reader_of_boxes = VideoReader(stream)
    decoder = SequenceDecoder(reader_of_boxes.header, model)
    decoding = []
    for part in reader_of_boxes:
        if isinstance(part, VideoFrame):
            begin = time.perf_counter()
            decoder.frame(part)
            decoding.append(time.perf_counter() - begin)
    return {
        "encode": encoding,
        "decode": statistics.median(decoding[1:]),
        "bytes": len(stream.getvalue()),
    }


def published(height: int, width: int, threads: int) -> dict[str, float]:
    """Seconds that compressai's model takes to decode an I and a P frame."""
    import torch
    from compressai.models.video import ScaleSpaceFlow

    torch.manual_seed(1)
    torch.set_num_threads(threads)
    net = ScaleSpaceFlow().eval()
    net.update()
    high, wide = (-(-side // 128) * 128 for side in (height, width))
    frames = [torch.rand(1, 3, high // 8, wide // 8) for _ in range(2)]
    frames = [torch.nn.functional.interpolate(frame, size=(high, wide), mode="bilinear") for frame in frames]
    seconds = {}
    with torch.inference_mode():
        first, coded = net.encode_keyframe(frames[0])
        begin = time.perf_counter()
        first = net.decode_keyframe(coded["strings"], coded["shape"])
        seconds["I"] = time.perf_counter() - begin
        _, coded = net.encode_inter(frames[1], first)
        begin = time.perf_counter()
        net.decode_inter(first, coded["strings"], coded["shape"])
        seconds["P"] = time.perf_counter() - begin
    return seconds


def in_child(arguments: list[str], engine: str | None = None) -> Any:
    environment = {key: value for key, value in os.environ.items() if key != "NVC_ENGINE"}
    environment |= {"NVC_ENGINE": engine} if engine else {}
    done = subprocess.run(
        [sys.executable, __file__, *arguments], env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(clip: str, frames: int, threads: int) -> dict[str, Any]:
    from nvc.media.video_reader import open_video

    with open_video(clip, frames=1) as reader:
        height, width = reader.info.height, reader.info.width
    report: dict[str, Any] = {
        "command": f"python benches/video.py {Path(clip).name} --frames {frames} --threads {threads}",
        "clip": Path(clip).name, "size": [width, height], "frames": frames, "threads": threads,
        "machine": f"{pictures.processor()}, {os.cpu_count()} cores", "codecs": {},
    }  # fmt: skip
    size = [str(height), str(width)]
    report["compressai"] = in_child(["--part", "published", "--threads", str(threads), "--size", *size, clip])
    for codec in LIMITS:
        part = ["--part", "ours", "--codec", codec, "--frames", str(frames), "--threads", str(threads), clip]
        found = report["codecs"][codec] = {"ours": in_child(part), "float32": in_child(part, "float32")}
        with tempfile.TemporaryDirectory() as folder:
            coded, shown = f"{folder}/clip.nvc", f"{folder}/clip.y4m"
            asked = ["--frames", str(frames), "-q", "4", "-c", codec]
            for name, arguments in (
                ("nvc-encode", [pictures.command_of("nvc-encode"), *asked, clip, "-o", coded]),
                ("nvc-decode", [pictures.command_of("nvc-decode"), coded, "-o", shown]),
            ):
                seconds, peak = pictures.run(arguments)
                found[name] = {"seconds": seconds, "mib": peak}
    return report


def tables(report: dict[str, Any]) -> str:
    """Markdown."""
    width, height = report["size"]
    lines = [
        f"{width}x{height} ({report['clip']}), {report['threads']} threads, in process, frames that are no I frames:",
        "",
        "| codec | what | frames/s | at least | aim | with NVC_ENGINE=float32 |",
        "|---|---|--:|--:|--:|--:|",
    ]
    other = report["compressai"]["P"]
    notes, processes = [], []
    for codec, found in report["codecs"].items():
        for what in ("decode", "encode"):
            fps = {engine: 1 / found[engine][what] for engine in ("ours", "float32")}
            limit, aim = LIMITS[codec][what], AIMS[codec][what]
            lines.append(f"| {codec} | {what} | {fps['ours']:.1f} | {limit:g} | {aim:g} | {fps['float32']:.1f} |")
        notes.append(f"**{other / found['ours']['decode']:.1f} times** our time with {codec}")
        for name in ("nvc-encode", "nvc-decode"):
            entry = found[name]
            processes.append(f"| `{name}` | {codec} | {entry['seconds']:.1f} | {entry['mib']:.0f} | {MOST_MIB:.0f} |")
    lines += [
        "",
        f"compressai's ScaleSpaceFlow decodes a P frame of that size in {other:.1f} s, an I frame in "
        f"{report['compressai']['I']:.1f} s: {', '.join(notes)} (at least {COMPRESSAI_RATIO:g}).",
        "",
        f"| whole process, {report['frames']} frames | codec | s | peak, MiB | at most |",
        "|---|---|--:|--:|--:|",
        *processes,
    ]
    lines += ["", f"{report['machine']}: `{report['command']}`"]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("clip")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--codec", default="ssf", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--part", choices=("ours", "published"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "ours":
        print(json.dumps(ours(given.clip, given.codec, given.frames, given.threads)))
    elif given.part == "published":
        print(json.dumps(published(*given.size, given.threads)))
    else:
        report = measure(given.clip, given.frames, given.threads)
        if given.output:
            given.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(tables(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
