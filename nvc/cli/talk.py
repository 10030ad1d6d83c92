"""What a command says: payload and `--json` on stdout, all else on stderr, one line each."""

import contextlib
import json
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from nvc.cli.files import printable
from nvc.cli.output import write_stdout
from nvc.errors import OutputError


def say(line: str) -> None:
    """One line on stderr. A closed or full stderr is no reason to fail: the exit code still tells."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    return printable(" ".join(text.split()))


class Talk:
    """The voice of one command: errors always, warnings and summaries unless quiet, details with -v, JSON when asked.

    progress: None shows the progress line only where stderr is a terminal; True and False force it.
    """

    def __init__(
        self,
        program: str,
        *,
        quiet: bool = False,
        verbose: int = 0,
        as_json: bool = False,
        progress: bool | None = None,
    ) -> None:
        self.program = program
        self.quiet = quiet
        self.verbose = verbose
        self.as_json = as_json
        on_terminal = sys.stderr is not None and sys.stderr.isatty() and not quiet
        self._wants_progress = on_terminal if progress is None else progress
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def start(self, total: int) -> None:
        """Show progress over `total` inputs."""
        if self._wants_progress and sys.stderr is not None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="file", file=sys.stderr, leave=False, dynamic_ncols=True)

    def advance(self) -> None:
        if self._bar is not None:
            self._bar.bar_format = None
            self._bar.set_description_str(refresh=False)
            self._bar.update()

    def frames(self, line: str) -> None:
        """Show how far the video that is worked on has come, in place of the bar."""
        if self._bar is not None:
            self._bar.bar_format = "{desc}"
            self._bar.set_description_str(printable(line))

    def error(self, name: str, reason: str, trace: str = "") -> None:
        where = f"{printable(name)}: " if name else ""
        self._say(f"{self.program}: {where}{one_line(reason)}")
        if trace and self.verbose >= 2:
            self._say(trace.rstrip("\n"))

    def warning(self, name: str, text: str) -> None:
        if not self.quiet:
            where = f"{printable(name)}: " if name else ""
            self._say(f"warning: {where}{one_line(text)}")

    def summary(self, line: str) -> None:
        if not self.quiet:
            self._say(printable(line))

    def product(self, line: str) -> None:
        """A line that the command was run for, on stdout, unless JSON takes its place. Raises OutputError."""
        if not self.quiet and not self.as_json:
            self._print((printable(line) + "\n").encode("utf-8", "backslashreplace"))

    def detail(self, line: str) -> None:
        if self.verbose:
            self._say(f"  {printable(line)}")

    def record(self, fields: Mapping[str, object]) -> None:
        """One JSON object on stdout, if --json. Raises OutputError."""
        if self.as_json:
            self._print((json.dumps(fields, allow_nan=False) + "\n").encode("ascii"))

    def _print(self, data: bytes) -> None:
        try:
            write_stdout(data)
        except OutputError as error:
            raise OutputError(f"<stdout>: {error}") from error

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        say(line)
        if self._bar is not None:
            self._bar.refresh()
