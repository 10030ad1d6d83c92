"""Everything nvc refuses, as exceptions that know their exit code.

    NvcError            1  internal error (a bug)
    ├── UsageError      2  the command line or the arguments make no sense
    ├── InputError      3  the input cannot be read, or is of a kind that is not coded
    ├── OutputError     4  the output exists or cannot be written
    ├── TargetError     5  the asked size, bitrate or PSNR cannot be reached
    ├── BadStream       6  a damaged or incompatible .nvc file
    │   └── UnknownModel
    └── LimitError      7  out of memory, or over a stated limit

A message is one line: what is wrong, where, and how to mend it.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every nvc command."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    INPUT = 3
    OUTPUT = 4
    TARGET = 5
    DAMAGED = 6
    LIMIT = 7
    INTERRUPTED = 130


class NvcError(Exception):
    """Anything nvc refuses. `exit_code` is what the commands return."""

    exit_code = ExitCode.INTERNAL


class UsageError(NvcError):
    """Arguments that contradict each other, or a value outside its range."""

    exit_code = ExitCode.USAGE


class InputError(NvcError):
    """An input that cannot be read, or that nvc does not code."""

    exit_code = ExitCode.INPUT


class OutputError(NvcError):
    """An output that exists already, or that cannot be written."""

    exit_code = ExitCode.OUTPUT


class TargetError(NvcError):
    """A size, rate or PSNR that no quality reaches."""

    exit_code = ExitCode.TARGET


class BadStream(NvcError):
    """Bytes that are not a valid .nvc file: damaged, cut, hostile, or of another version."""

    exit_code = ExitCode.DAMAGED


class UnknownModel(BadStream):
    """A file made with a model that is not installed."""

    def __init__(self, wanted: bytes) -> None:
        super().__init__(
            f"made with model {wanted.hex()}, which is not installed here (nvc-info --models lists what is; "
            "install the nvc release that made the file, or point --model at its weight file)"
        )
        self.wanted = wanted


class LimitError(NvcError):
    """Out of memory, or over a limit such as --max-pixels."""

    exit_code = ExitCode.LIMIT
