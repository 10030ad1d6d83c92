"""What the commands share: the way in and out, options, and the kinds of their values."""

import contextlib
import math
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from types import FrameType
from typing import Any, Final, NoReturn, TypeVar

import click

from nvc.cli.files import STREAM
from nvc.cli.output import Existing
from nvc.cli.talk import Talk, one_line, say
from nvc.errors import ExitCode, NvcError, UsageError
from nvc.version import __version__

MAX_PIXELS: Final = 1 << 28
BYTES_PER_PIXEL: Final = 8  # 16-bit RGBA, uncompressed: the most that an input of so many pixels holds
METADATA_ALLOWANCE: Final = 1 << 28  # ICC, EXIF and XMP, 64 MiB each at most, and whatever wraps them

F = TypeVar("F", bound=Callable[..., Any])


class Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP.

    Neither KeyboardInterrupt, which click answers in its own way, nor an Exception, which libraries eat.
    """


class Command(click.Command):
    """A click command whose help ends in text that is made only when help is asked for."""

    def __init__(self, *args: Any, help_tail: Callable[[], str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._help_tail = help_tail

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self._help_tail is not None:
            formatter.write_paragraph()
            for line in self._help_tail().splitlines():
                formatter.write(f"{line}\n")


def run(command: click.Command, argv: Sequence[str] | None = None) -> int:
    """Run a command on `argv` (default: the process's): the exit code of the process. Never raises."""
    name = command.name or "nvc"
    warnings.simplefilter("ignore")  # libraries talk in warnings; ours go through Talk
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # the same for the part of torch that knows no filters
    try:
        with _interruptible():
            result = command.main(args=argv, prog_name=name, standalone_mode=False)
        return int(result or ExitCode.OK)
    except Interrupted:
        say(f"{name}: interrupted")
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        say(f"{name}: {one_line(error.format_message())} (see {name} --help)")
        return ExitCode.USAGE
    except NvcError as error:
        say(f"{name}: {one_line(str(error))}")
        return error.exit_code
    except MemoryError:
        say(f"{name}: out of memory")
        return ExitCode.LIMIT
    except OSError as error:  # help or version into a full or closed stdout
        say(f"{name}: {error.strerror or error}")
        return ExitCode.OUTPUT
    except Exception as error:
        say(f"{name}: internal error, please report it with the output of -vv: {type(error).__name__}: {error}")
        if _asks_for_traces(sys.argv[1:] if argv is None else argv):
            say(traceback.format_exc().rstrip("\n"))
        return ExitCode.INTERNAL


def leave(code: int) -> NoReturn:
    """End the process. A stdout that cannot be flushed any more has been reported: no traceback about it."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()
        sys.exit(code)
    os._exit(code or ExitCode.OUTPUT)


def _asks_for_traces(argv: Sequence[str]) -> bool:
    return "-vv" in argv or [*argv].count("-v") > 1


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP as `Interrupted`, except those that the caller had ignored (nohup, `&`)."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    after = before
    try:
        yield
    except Interrupted:
        after = dict.fromkeys(numbers, signal.SIG_IGN)  # what is left to do is short: let nothing cut it
        raise
    finally:
        for number, handler in after.items():
            signal.signal(number, handler)


# Kinds of values


class Size(click.ParamType):
    """A number of bytes: `20000`, `20KiB`, `1.5MiB`."""

    name = "size"
    units: Final = {"kib": 1 << 10, "mib": 1 << 20, "": 1}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip().lower()
        unit = next(unit for unit in self.units if text.endswith(unit))
        number = text[: len(text) - len(unit)].strip()
        try:
            size = float(number) * self.units[unit] if unit else int(number)
        except ValueError:
            self.fail(f"{value!r} is not a size: BYTES, or a number with KiB or MiB", param, ctx)
        if not 1 <= size < 1 << 48:
            self.fail(f"{value!r} is not a size between 1 byte and 256 TiB", param, ctx)
        return int(size)


class Real(click.ParamType):
    """A finite number from `low` to `high`, both allowed unless `above` excludes `low`."""

    name = "number"

    def __init__(self, low: float, high: float = math.inf, *, above: bool = False) -> None:
        self.low, self.high, self.above = low, high, above

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        in_range = self.low < number if self.above else self.low <= number
        if not in_range or not number <= self.high or math.isinf(number):
            upper = "" if math.isinf(self.high) else f" and at most {self.high:g}"
            self.fail(f"{value} is not {'above' if self.above else 'at least'} {self.low:g}{upper}", param, ctx)
        return number


class Rate(click.ParamType):
    """Frames a second: `25`, `29.97`, `30000/1001`."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        try:
            rate = Fraction(str(value))
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a frame rate: a number, or NUM/DEN", param, ctx)
        if not Fraction(1, 1000) <= rate <= 1000 or rate.denominator > 1 << 20:
            self.fail(f"{value!r} is not a frame rate between 1/1000 and 1000", param, ctx)
        return rate


class Sides(click.ParamType):
    """Width and height in pixels: `416x240`."""

    name = "sides"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        width, _, height = str(value).lower().partition("x")
        if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            self.fail(f"{value!r} is not WIDTHxHEIGHT in pixels", param, ctx)
        return int(width), int(height)


# Options


def together(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """Several options as one decorator, in the order of the help."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def inputs_argument(required: bool = True) -> Callable[[F], F]:
    return click.argument(
        "inputs", metavar="IN...", nargs=-1, required=required, type=click.Path(allow_dash=True, path_type=str)
    )


writing_options = together(
    [
        click.option(
            "-o",
            "--output",
            metavar="FILE|DIR/|-",
            type=click.Path(allow_dash=True, path_type=str),
            help="Where to write: a file for one input, a folder (ends in / or is one) for many, - for stdout. "
            "Default: beside each input.",
        ),
        click.option("-f", "--force", is_flag=True, help="Overwrite existing outputs."),
        click.option("-n", "--skip-existing", is_flag=True, help="Leave existing outputs as they are, without error."),
    ]
)

max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=MAX_PIXELS,
    show_default=True,
    help="Refuse larger pictures, from their headers.",
)
fail_fast_option = click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")

working_options = together(
    [
        click.option(
            "-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Inputs worked on at once."
        ),
        click.option("--threads", type=click.IntRange(1), help="Threads for each input. Default: as many as cores."),
        max_pixels_option,
        fail_fast_option,
    ]
)

talking_options = together(
    [
        click.option("--json", "as_json", is_flag=True, help="One JSON object per input on stdout."),
        click.option("--quiet", is_flag=True, help="Errors only."),
        click.option("-v", "--verbose", count=True, help="More about each file; -vv: tracebacks too."),
        click.option(
            "--progress/--no-progress", default=None, help="Show progress. Default: where stderr is a terminal."
        ),
        click.version_option(__version__, "-V", "--version", prog_name=None, message="%(prog)s %(version)s"),
    ]
)


CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

EXIT_CODES: Final = """\
Exit codes:
  0 all written, or skipped by request     5 target not reachable
  1 internal error (a bug)                 6 damaged or incompatible .nvc
  2 usage                                  7 out of memory, or over a limit
  3 input unreadable or unsupported        130 interrupted
  4 output exists or cannot be written     Many inputs: the first met of 130 1 7 6 4 3 5."""


def completion_help(program: str) -> str:
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    return f'Completion: eval "$({variable}=bash_source {program})"; also zsh_source, fish_source.'


# Rules that more than one option takes part in


def exclusive(**options: object) -> None:
    """Raise UsageError where more than one of the options (name -> value; None or False: not given) was given."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value not in (None, False)]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other")


def existing_rule(*, force: bool, skip_existing: bool) -> Existing:
    exclusive(force=force, skip_existing=skip_existing)
    return Existing.OVERWRITE if force else Existing.SKIP if skip_existing else Existing.REFUSE


def make_talk(program: str, *, quiet: bool, verbose: int, as_json: bool, progress: bool | None) -> Talk:
    exclusive(quiet=quiet, verbose=verbose > 0 or None)
    exclusive(quiet=quiet, progress=progress or None)
    return Talk(program, quiet=quiet, verbose=verbose, as_json=as_json, progress=progress)


def check_model(name: str | None) -> None:
    """Raise UsageError unless `name` is None, an installed model, or a file."""
    if name is None or os.path.isfile(name):
        return
    from nvc.codec import models

    names = [info.name for info in models.installed()]
    if name not in names:
        raise UsageError(f"--model: {name!r} is neither an installed model ({', '.join(names) or 'none'}) nor a file")


def check_digest(*, md5: bool, quiet: bool, as_json: bool) -> None:
    """Raise UsageError where a digest is asked for that nothing would say."""
    if md5 and quiet and not as_json:
        raise UsageError("--md5 is said on the summary line, which --quiet drops; add --json or drop one of them")


def check_streams(inputs: Sequence[str], targets: Sequence[str | None], *, as_json: bool) -> None:
    """Raise UsageError where binary would meet a terminal, or two things stdout."""
    if STREAM in inputs and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError("stdin is a terminal; redirect a file into it or name one")
    if STREAM in targets:
        if sys.stdout is not None and sys.stdout.isatty():
            raise UsageError("stdout is a terminal and the output is binary; redirect it or use -o FILE")
        if as_json:
            raise UsageError("--json and the output both go to stdout; use -o FILE")


def threads_each(threads: int | None, jobs: int) -> int | None:
    """Threads of one input: what --threads says, else a fair share of the cores. No byte depends on it."""
    if threads is not None or jobs <= 1:
        return threads
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


def input_limit(max_pixels: int) -> int:
    """The most bytes that are read of one input."""
    return max_pixels * BYTES_PER_PIXEL + METADATA_ALLOWANCE


# Text


def quality_text(quality: float) -> str:
    """A quality of the file's grid (steps of 1/4096) as the shortest `-q` that finds the same point of the grid."""
    text = f"{quality:.4f}".rstrip("0")
    return text + "0" if text.endswith(".") else text
