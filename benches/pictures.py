"""How long pictures take, and how much memory: tables on stdout, numbers in JSON. Everything is measured in this run.

    python benches/pictures.py [PICTURE] [-o docs/results/bench_pictures.json] [--only codec,processes,memory] [--quick]

codec      a 768x512 picture inside one warm process, two threads (benches/pictures_codec.py): entropy decode and
           network, encode with 0 to 3 passes of RDOQ; each also with NVC_ENGINE=float32; beside them the same network
           in plain float32, and compressai's model of published width
processes  the commands from start to end, median of five
memory     peak of resident memory, and seconds, of the commands on 4000x3000 and 8192x8192 pixels, which are the
           picture mirrored until it fills them

This file imports nothing large: a child's peak would include what its parent held when it was started.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PARTS = ("codec", "processes", "memory")
REPEATS = 5
LARGE = ((4000, 3000), (8192, 8192))
TIME_LIMIT = 900  # seconds of one command

Report = dict[str, Any]

# What issue 10 asks: seconds, or MiB of memory, at most.
SECONDS = {
    "entropy decode + network": 0.15,
    "encode, 0 passes": 0.3,
    "encode, 3 passes": 20.0,
}
PROCESS_SECONDS = {
    "nvc-decode": 3.0,
    "nvc-info": 0.4,
    "nvc-info --json": 0.4,
    "nvc-encode --help": 0.4,
}
DECODE_MIB = {"4000x3000": 2000e6 / 2**20, "8192x8192": 3000e6 / 2**20}
RATIOS = {"float32 network / network": 1.0, "compressai decode / entropy decode + network": 3.0}  # at least


def command_of(name: str) -> str:
    """An installed command beside this python."""
    return str(Path(sys.executable).parent / name)


def run(arguments: list[str], limit: float = TIME_LIMIT) -> tuple[float, float]:
    """Seconds from start to end, and MiB of resident memory at the peak. Raises RuntimeError where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "NVC_ENGINE"}
    with tempfile.TemporaryFile("w+") as said:
        begun = time.perf_counter()
        child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=said, env=environment)
        timer = threading.Timer(limit, child.kill)
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            reason = said.read().strip() or f"took more than {limit:g} s"
            raise RuntimeError(f"{shlex.join(arguments)}: exit {child.returncode}: {reason}")
    return seconds, usage.ru_maxrss / 1024


def measure_codec(picture: Path, quick: bool) -> Report:
    script = str(Path(__file__).with_name("pictures_codec.py"))
    arguments = [sys.executable, "-W", "ignore", script, str(picture), *(["--quick"] if quick else [])]
    found: Report = json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout)
    seconds = found["seconds"]
    float_network = min(value for name, value in seconds.items() if name.startswith("float32 network"))
    ratios = {}
    for ending in ("", ", NVC_ENGINE=float32"):
        ratios[f"float32 network / network{ending}"] = float_network / seconds[f"network{ending}"]
        ours = seconds[f"entropy decode + network{ending}"]
        for theirs in ("compressai decode", "compressai network"):
            if theirs in seconds:
                ratios[f"{theirs} / entropy decode + network{ending}"] = seconds[theirs] / ours
    return {**found, "ratios": {name: round(value, 2) for name, value in ratios.items()}}


def measure_processes(picture: Path, folder: Path, quick: bool) -> Report:
    """Seconds by command line, each as a user would call it."""
    source, coded, back = make_picture(picture, 768, 512, folder), folder / "small.nvc", folder / "back.png"
    run([command_of("nvc-encode"), "-f", "-q", "4", str(source), "-o", str(coded)])
    decode = ["-f", str(coded), "-o", str(back)]
    encode = ["-f", "-q", "4", str(source), "-o", str(folder / "again.nvc")]
    lines = {
        "nvc-decode": ["nvc-decode", *decode],
        "nvc-encode -q 4": ["nvc-encode", *encode],
        "nvc-encode -q 4 --rdoq 0": ["nvc-encode", "--rdoq", "0", *encode],
        "nvc-info": ["nvc-info", str(coded)],
        "nvc-info --json": ["nvc-info", "--json", str(coded)],
        "nvc-encode --help": ["nvc-encode", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in lines}
    for _ in range(2 if quick else REPEATS):
        for name, (program, *arguments) in lines.items():
            seconds[name].append(run([command_of(program), *arguments])[0])
    return {"seconds": {name: round(statistics.median(values), 3) for name, values in seconds.items()}}


def measure_memory(picture: Path, folder: Path, quick: bool) -> Report:
    """By size: {command: {"seconds", "mib"}}."""
    found: Report = {}
    for width, height in LARGE[:1] if quick else LARGE:
        source = make_picture(picture, width, height, folder)
        coded, back = source.with_suffix(".nvc"), source.with_suffix(".png")
        size = f"{width}x{height}"
        found[size] = {}
        lines = {
            "nvc-encode --rdoq 0": ["nvc-encode", "-f", "--rdoq", "0", str(source), "-o", str(coded)],
            "nvc-decode": ["nvc-decode", "-f", str(coded), "-o", str(back)],
            "nvc-encode": ["nvc-encode", "-f", str(source), "-o", str(coded)],
        }
        for name, (program, *arguments) in list(lines.items())[: 2 if quick else 3]:
            print(f"{name} {size} ...", file=sys.stderr)
            try:
                seconds, mib = run([command_of(program), *arguments])
            except RuntimeError as error:
                if name == "nvc-decode":
                    raise
                found[size][name] = {"failed": str(error).rpartition(": ")[2]}
                continue
            found[size][name] = {"seconds": round(seconds, 1), "mib": round(mib)}
        for path in (source, coded, back):
            path.unlink()
    return found


def make_picture(picture: Path, width: int, height: int, folder: Path) -> Path:
    """A PPM of that size, made of the picture: in a process of its own, see above."""
    path = folder / f"{width}x{height}.ppm"
    run([sys.executable, __file__, str(picture), "--make", str(width), str(height), str(path)])
    return path


def mirrored(picture: Path, width: int, height: int, target: Path) -> None:
    """Write the picture, cut or mirrored until it fills width x height."""
    import numpy as np
    from PIL import Image

    pixels = np.asarray(Image.open(picture).convert("RGB"))
    rows, columns = (
        np.pad(np.arange(have), (0, max(0, want - have)), mode="symmetric")[:want]
        for have, want in zip(pixels.shape[:2], (height, width), strict=True)
    )
    Image.fromarray(pixels[rows[:, None], columns[None]]).save(target)


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def tables(report: Report) -> str:
    """The report as Markdown."""
    lines: list[str] = []
    if codec := report.get("codec"):
        about, seconds = codec["about"], codec["seconds"]
        lines += [
            f"{about['width']}x{about['height']} ({about['picture']}), model {about['model']['name']} "
            f"({about['model']['id']}), level {about['level']:g}, {about['threads']} threads, engine "
            f"{about['engine']}, in process after warm-up, medians:",
            "",
            "| what | s | at most | with NVC_ENGINE=float32 |",
            "|---|--:|--:|--:|",
        ]
        for name, value in seconds.items():
            if "NVC_ENGINE" not in name:
                plain = seconds.get(f"{name}, NVC_ENGINE=float32")
                lines.append(f"| {name} | {value:.3f} | {_number(SECONDS.get(name), 'g')} | {_number(plain, '.3f')} |")
        lines += ["", "| ratio | | at least | with NVC_ENGINE=float32 |", "|---|--:|--:|--:|"]
        for name, value in codec["ratios"].items():
            if "NVC_ENGINE" not in name:
                plain = codec["ratios"][f"{name}, NVC_ENGINE=float32"]
                lines.append(f"| {name} | {value:.2f} | {_number(RATIOS.get(name), 'g')} | {plain:.2f} |")
        lines += [
            "",
            "- The float32 network has the shapes and weights of the integer one; of four ways to write it (5x5 "
            "transposed or 3x3 with depth to space, channels first or last) the ratio takes the fastest.",
            "- Encoding decodes its file again to verify it. Bytes by passes: "
            + ", ".join(f"{n}: {size:,}" for n, size in about["bytes_by_passes"].items())
            + ".",
        ]
        if rival := about["compressai"]:
            lines.append(
                f"- compressai: {rival['model']} with random weights, {rival['bytes']:,} bytes, untypically many. Its "
                "entropy decoder may gain a little from trained weights, its network takes the same: the ratio of its "
                "network alone is the lower bound."
            )
        lines.append("")
    if processes := report.get("processes"):
        lines += ["| whole process, 768x512 | s | at most |", "|---|--:|--:|"]
        for name, value in processes["seconds"].items():
            lines.append(f"| `{name}` | {value:.2f} | {_number(PROCESS_SECONDS.get(name), 'g')} |")
        lines.append("")
    if memory := report.get("memory"):
        lines += ["| large pictures | pixels | s | peak, MiB | at most |", "|---|--:|--:|--:|--:|"]
        for size, commands in memory.items():
            for name, found in commands.items():
                limit = DECODE_MIB.get(size) if name == "nvc-decode" else None
                cells = [found["failed"], "–"] if "failed" in found else [f"{found['seconds']:.1f}", str(found["mib"])]
                lines.append(f"| `{name}` | {size} | {' | '.join(cells)} | {_number(limit, '.0f')} |")
        lines.append("")
    about = report["machine"]
    lines.append(f"{about['processor']}, {about['cores']} cores, python {about['python']}: `{report['command']}`")
    return "\n".join(lines)


def _number(value: float | None, pattern: str) -> str:
    return "" if value is None else format(value, pattern)


def default_picture() -> Path:
    return next(iter(sorted((ROOT / "tests" / "data").glob("demo.*"))))


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of nvc on pictures.")
    parser.add_argument("picture", nargs="?", type=Path, help="a photograph; default: that of make demo")
    parser.add_argument("-o", "--output", type=Path, help="keep the numbers in this JSON file")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure, of " + ",".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="few repetitions, no 8192x8192: to see that it works")
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    picture = options.picture or default_picture()
    if options.make:
        width, height, target = options.make
        mirrored(picture, int(width), int(height), Path(target))
        return
    wanted = options.only.split(",")
    if not set(wanted) <= set(PARTS):
        parser.error(f"--only takes {', '.join(PARTS)}")
    report: Report = {
        "format": "nvc-bench-pictures 1",
        "command": shlex.join(
            ["python", "benches/pictures.py", *(Path(a).name if a == str(picture) else a for a in sys.argv[1:])]
        ),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()},
    }
    if "codec" in wanted:
        report["codec"] = measure_codec(picture, options.quick)
    with tempfile.TemporaryDirectory(prefix="nvc-bench-") as folder:
        if "processes" in wanted:
            report["processes"] = measure_processes(picture, Path(folder), options.quick)
        if "memory" in wanted:
            report["memory"] = measure_memory(picture, Path(folder), options.quick)
    if options.output:
        options.output.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(tables(report))


if __name__ == "__main__":
    main()
