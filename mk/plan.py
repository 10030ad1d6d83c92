"""Plan `make encode` and `make decode`: which file of DST is made of which file of SRC, as rules for mk/folder.mk.

    python mk/plan.py encode|decode WORK

What is asked for is read from the environment, where make exports it (no quoting to go wrong): SRC, DST, Q, FLAGS,
FORMAT, CLIP_FORMAT, SUFFIXES (of the files to take, without dots), SUFFIX (of the files to make; pictures', where there
are clips too), NVC_ENCODE, NVC_DECODE, NVC_INFO.

WORK/plan.mk   OUTPUTS, one line `OUTPUT: SOURCE` for each, STAMP, and CHANGED where the stamp has to be rewritten
WORK/stamp     everything but the sources that the outputs depend on, for DST/.nvc-encode or DST/.nvc-decode
WORK/left      one line for each source that make cannot do, said on stderr as well

Exit code 0, or 2 with one line on stderr where nothing can be planned.
"""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nvc.bitstream.header import Kind, sniff_kind
from nvc.errors import BadStream

# Each of these ends a word of make, or means something else in a rule. make has no quoting that covers them all.
NOT_IN_MAKE = frozenset("#$%:;=|*?[]()\\")


class PlanError(Exception):
    """Nothing can be planned; one line for the user."""


@dataclass(frozen=True)
class Wanted:
    """What the user asked for. suffixes in lower case with dots; suffix with its dot."""

    command: str
    source: str
    target: str
    quality: str
    flags: str
    format: str
    clip_format: str
    suffixes: frozenset[str]
    suffix: str
    program: str
    info: str

    @property
    def options(self) -> list[str]:
        """The options of the command that decide about the bytes it writes."""
        given = shlex.split(self.flags)
        if self.command == "decode":
            return given
        has_target = any(flag.startswith(("--target-", "--bitrate")) for flag in given)
        return [*([] if has_target else ["-q", self.quality]), *given]

    def suffix_for(self, source: str) -> str:
        """Of the file to make, with its dot."""
        return f".{self.clip_format}" if self.command == "decode" and is_clip(source) else self.suffix


def is_clip(path: str) -> bool:
    """Whether a .nvc file says that it holds a video."""
    try:
        with open(path, "rb") as file:
            return sniff_kind(file.read(64)) == Kind.VIDEO
    except (OSError, BadStream):  # said by nvc-decode
        return False


def from_environment(command: str) -> Wanted:
    get = os.environ.get
    source, target = (os.path.expanduser(get(name, "")) for name in ("SRC", "DST"))
    if not source or not target:
        raise PlanError(f"name the folders: make {command} SRC=dir DST=dir" + (" Q=4" if command == "encode" else ""))
    if not os.path.isdir(source):
        raise PlanError(f"{shown(source)}: not a folder")
    quality = get("Q", "")
    if command == "encode":
        try:
            number = float(quality)
        except ValueError:
            number = 0.0
        if not 1 <= number <= 8:
            raise PlanError(f"Q={quality}: not a quality from 1 to 8")
        quality = f"{number:g}"
    return Wanted(
        command=command,
        source=source.rstrip("/") or "/",
        target=target.rstrip("/") or "/",
        quality=quality,
        flags=get("FLAGS", ""),
        format=get("FORMAT", "png"),
        clip_format=get("CLIP_FORMAT", "mkv"),
        suffixes=frozenset("." + name.lower() for name in get("SUFFIXES", "").split()),
        suffix="." + get("SUFFIX", "nvc"),
        program=get(f"NVC_{command.upper()}", f"nvc-{command}"),
        info=get("NVC_INFO", "nvc-info"),
    )


def shown(text: str) -> str:
    """A name as one word of a shell (bash, where it holds control characters or is not UTF-8)."""
    if text.isprintable():
        return shlex.quote(text)
    raw = os.fsencode(text)
    return "$'" + "".join(chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in raw) + "'"


def fits_make(path: str) -> bool:
    return not any(c in NOT_IN_MAKE or c.isspace() or ord(c) < 32 or ord(c) == 127 for c in path)


def walk(folder: str, suffixes: frozenset[str], without: str) -> Iterator[str]:
    """Files below `folder` with one of the suffixes, as paths relative to it; hidden ones and `without` left out."""
    apart = os.path.realpath(without)
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and os.path.realpath(os.path.join(here, name)) != apart
        )
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                yield os.path.relpath(os.path.join(here, name), folder)


def model_id(wanted: Wanted) -> str:
    """Which weights `nvc-encode` would use: ids of the named or of each codec's first model, or a file's digest."""
    given = shlex.split(wanted.flags)
    name = None
    for flag, value in zip(given, [*given[1:], ""], strict=False):
        if flag == "--model":
            name = value
        elif flag.startswith("--model="):
            name = flag.removeprefix("--model=")
    if name is not None and os.path.isfile(name):
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    listed = subprocess.run([*shlex.split(wanted.info), "--models", "--json"], stdout=subprocess.PIPE, check=False)
    if listed.returncode:
        raise PlanError(f"{wanted.info} --models failed (exit {listed.returncode})")
    found: dict[str, str] = {}
    for line in listed.stdout.decode().splitlines():
        model = json.loads(line)
        if name in (None, model["name"]):
            found.setdefault(model["codec"], str(model["id"]))
    return " ".join(found.values()) or "none"


def command_for(wanted: Wanted, inside: str, output: str) -> str:
    """The command line that does one source by hand."""
    source = os.path.join(wanted.source, inside)
    folder = os.path.dirname(output)
    parts = [*shlex.split(wanted.program), *wanted.options, "--threads", "1"]
    if wanted.command == "decode":
        parts += ["--format", wanted.clip_format if is_clip(source) else wanted.format]
    if os.path.exists(output):
        parts.append("-f")
    return " ".join([shlex.join(parts), "-o", shown(folder + "/"), "--", shown(source)])


def is_current(output: str, source: str, stamp: str) -> bool:
    """make's own rule, for the outputs that make is not asked for."""
    try:
        newest = max(os.stat(source).st_mtime_ns, os.stat(stamp).st_mtime_ns)
        return os.stat(output).st_mtime_ns >= newest
    except FileNotFoundError:
        return False


def plan(wanted: Wanted, work: Path) -> list[str]:
    """Write the files of WORK; the lines about sources that are left out."""
    if not fits_make(wanted.source + wanted.target):
        form = ["--format", wanted.format] if wanted.command == "decode" and wanted.format != "png" else []
        whole = [*shlex.split(wanted.program), *form, *wanted.options, "-n", "-o"]
        command = f"{shlex.join(whole)} {shown(wanted.target + '/')} -- {shown(wanted.source)}"
        raise PlanError(f"make cannot hold the name of SRC or DST; run: {command}")
    stamp = os.path.join(wanted.target, f".nvc-{wanted.command}")
    outputs: dict[str, list[str]] = defaultdict(list)
    for inside in walk(wanted.source, wanted.suffixes, wanted.target):
        suffix = wanted.suffix_for(os.path.join(wanted.source, inside))
        outputs[os.path.join(wanted.target, os.path.splitext(inside)[0] + suffix)].append(inside)
    if not outputs:
        raise PlanError(f"{shown(wanted.source)}: holds nothing to {wanted.command}")
    content = json.dumps(
        {"options": wanted.options, "model": model_id(wanted) if wanted.command == "encode" else None}, sort_keys=True
    )
    known = Path(stamp).read_text() if os.path.exists(stamp) else None
    changed = known != content
    if known is None:  # without our stamp, what lies there is not ours to overwrite
        for output in outputs:
            if os.path.lexists(output):
                raise PlanError(f"{shown(output)}: exists, and make has made nothing in this DST; name another folder")

    left, rules = [], []
    for output, insides in outputs.items():
        sources = [os.path.join(wanted.source, inside) for inside in insides]
        if len(sources) > 1:
            left.append(f"{' and '.join(map(shown, sources))}: would both become {shown(output)}; rename one")
        elif fits_make(output + sources[0]):
            rules.append((output, sources[0]))
        elif changed or not is_current(output, sources[0], stamp):
            left.append(
                f"{shown(sources[0])}: make cannot hold this name; run: {command_for(wanted, insides[0], output)}"
            )

    lines = [f"STAMP := {stamp}", *(["CHANGED := yes"] if changed else []), "OUTPUTS :="]
    for output, source in rules:
        lines += [f"OUTPUTS += {output}", f"{output}: {source}"]
    work.mkdir(parents=True, exist_ok=True)
    (work / "plan.mk").write_bytes(os.fsencode("\n".join(lines) + "\n"))
    (work / "stamp").write_text(content)
    (work / "left").write_text("".join(line + "\n" for line in left))
    return left


def main() -> int:
    command, work = sys.argv[1:]
    try:
        left = plan(from_environment(command), Path(work))
    except (PlanError, OSError, ValueError) as error:
        print(f"make {command}: {error}", file=sys.stderr)
        return 2
    for line in left:
        print(f"make {command}: {line}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
