"""Many inputs, one after another or in worker processes, reported in their order, ending in the worst exit code."""

import contextlib
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import KW_ONLY, dataclass, field
from typing import NoReturn

from nvc.cli import output
from nvc.cli.files import Item, Plan
from nvc.cli.output import Existing
from nvc.cli.talk import Talk
from nvc.errors import ExitCode, NvcError, OutputError

# The order of the contract: a batch ends with the first of these that any of its inputs met.
WORST_FIRST = (
    ExitCode.INTERRUPTED,
    ExitCode.INTERNAL,
    ExitCode.LIMIT,
    ExitCode.DAMAGED,
    ExitCode.OUTPUT,
    ExitCode.INPUT,
    ExitCode.TARGET,
    ExitCode.USAGE,  # before any work as a rule; from inside it only where a file shows what a flag cannot do
)


@dataclass(frozen=True)
class Done:
    """An input that was worked on.

    summary: line for stderr, empty where there is nothing to say.
    payload: bytes of the output; None where nothing is written, or has been already.
    product: lines for stdout that the command was run for (nvc-info).
    damage: what is wrong with an input that was worked on all the same (--salvage): the exit code is 6.
    """

    summary: str
    record: dict[str, object]
    _: KW_ONLY
    payload: bytes | None = None
    product: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    damage: str = ""


@dataclass(frozen=True)
class Failed:
    """An input that was not, with its exit code. Travels between processes, which exceptions do not always survive."""

    code: ExitCode
    reason: str
    trace: str = ""


@dataclass(frozen=True)
class Skipped:
    reason: str


Outcome = Done | Failed | Skipped
Work = Callable[[Item], Done]


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code that a command ends with."""
    met = set(codes)
    return next((code for code in WORST_FIRST if code in met), ExitCode.OK)


def guarded(work: Work, item: Item) -> Done | Failed:
    """Run `work`, any refusal or failure as a value. Interrupts (no `Exception`s) pass."""
    try:
        return work(item)
    except NvcError as error:
        return Failed(ExitCode(error.exit_code), str(error), traceback.format_exc())
    except MemoryError:
        return Failed(ExitCode.LIMIT, "out of memory", traceback.format_exc())
    except Exception as error:
        trace = traceback.format_exc()
        if "allocate memory" in str(error) or "not enough memory" in str(error):  # how torch says MemoryError
            return Failed(ExitCode.LIMIT, "out of memory", trace)
        reason = f"internal error, please report it with the output of -vv: {type(error).__name__}: {error}"
        return Failed(ExitCode.INTERNAL, reason, trace)


@dataclass
class Batch:
    """One run over the items of a plan.

    work: item -> Done; a top-level function (or a partial of one), since it is sent to worker processes.
    jobs: inputs at once. Results are written and reported in the order of the plan whatever `jobs` is.
    """

    talk: Talk
    work: Work
    jobs: int = 1
    existing: Existing = Existing.REFUSE
    fail_fast: bool = False
    codes: list[ExitCode] = field(default_factory=list)

    def run(self, plan: Plan) -> ExitCode:
        for folder, count in plan.left_out:
            files = "file" if count == 1 else "files"
            self.talk.warning(folder, f"{count} {files} left out, by their names of another kind")
        for folder in plan.empty:
            self._failed(folder, folder, Failed(ExitCode.INPUT, "no file of a fitting kind in this folder"))
            if self.fail_fast:
                return worst(self.codes)
        self.talk.start(len(plan.items))
        for item, outcome in self._outcomes(plan.items):
            self._settle(item, outcome)
            self.talk.advance()
            if self.fail_fast and self.codes:
                break
        return worst(self.codes)

    def _outcomes(self, items: Sequence[Item]) -> Iterator[tuple[Item, Outcome]]:
        if self.jobs == 1 or len(items) == 1:
            for item in items:
                yield item, self._before(item) or guarded(self.work, item)
            return
        with _pool(min(self.jobs, len(items))) as pool:
            waiting: deque[tuple[Item, Outcome | Future[Done | Failed]]] = deque()
            for item in items:
                waiting.append((item, self._before(item) or _submit(pool, self.work, item)))
                if len(waiting) >= 2 * self.jobs:  # enough to keep all busy, few enough for memory
                    yield _result(*waiting.popleft())
            while waiting:
                yield _result(*waiting.popleft())

    def _before(self, item: Item) -> Failed | Skipped | None:
        """What the output forbids, before the work is done for nothing."""
        if item.target is None:
            return None
        try:
            if output.should_write(item.target, self.existing, make_folder=item.make_folder):
                return None
        except OutputError as error:
            return Failed(ExitCode.OUTPUT, f"{item.target_name}: {error}")
        return Skipped(f"skipped, {item.target_name} exists")

    def _settle(self, item: Item, outcome: Outcome) -> None:
        if isinstance(outcome, Done) and item.target is not None and outcome.payload is not None:
            try:
                output.write(item.target, outcome.payload, self.existing, make_folder=item.make_folder)
            except OutputError as error:
                outcome = Failed(ExitCode.OUTPUT, f"{item.target_name}: {error}")
        match outcome:
            case Done():
                for text in outcome.warnings:
                    self.talk.warning(item.source_name, text)
                if outcome.summary:
                    self.talk.summary(outcome.summary)
                for line in outcome.product:
                    self.talk.product(line)
                for line in outcome.details:
                    self.talk.detail(line)
                if outcome.damage:
                    self.codes.append(ExitCode.DAMAGED)
                    self.talk.error(item.source_name, outcome.damage)
                self.talk.record(outcome.record)
            case Skipped():
                self.talk.summary(f"{item.source_name}: {outcome.reason}")
                self.talk.record({"path": item.source, "output": item.target, "skipped": True})
            case Failed():
                self._failed(item.source, item.source_name, outcome)

    def _failed(self, path: str, name: str, failure: Failed) -> None:
        self.codes.append(failure.code)
        self.talk.error(name, failure.reason, failure.trace)
        self.talk.record({"path": path, "error": failure.reason, "exit_code": int(failure.code)})


@contextlib.contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Workers that end with this process, however it ends."""
    import multiprocessing

    # spawn, not fork: the number libraries that a worker loads do not survive a fork of a process with threads.
    executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield executor
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        # Once, and waiting: after shutdown(wait=False) none waits for the executor's thread any more, and the end of
        # Python may write to the pipe that this thread is closing.
        executor.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """In each worker: Ctrl-C is the parent's to answer, and a parent that was killed takes the worker with it."""
    from multiprocessing import parent_process

    def end(*_: object) -> NoReturn:
        output.discard()
        os._exit(ExitCode.INTERRUPTED)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    parent = parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            end()

        threading.Thread(target=follow, daemon=True).start()


def _submit(pool: ProcessPoolExecutor, work: Work, item: Item) -> Future[Done | Failed] | Failed:
    # A worker starts here and inherits the mask, so that a Ctrl-C while it imports is not answered by a traceback.
    with _sigint_blocked():
        try:
            return pool.submit(guarded, work, item)
        except BrokenProcessPool:
            return _LOST_WORKER


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _result(item: Item, outcome: Outcome | Future[Done | Failed]) -> tuple[Item, Outcome]:
    if not isinstance(outcome, Future):
        return item, outcome
    try:
        return item, outcome.result()
    except BrokenProcessPool:
        return item, _LOST_WORKER


_LOST_WORKER = Failed(ExitCode.LIMIT, "a worker process was killed, most likely for want of memory; use fewer --jobs")
