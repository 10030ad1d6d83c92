"""Independent tasks one after another, or in processes that share the cores."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def run(work: Callable[[T], R], tasks: Sequence[T], jobs: int) -> Iterator[R]:
    """Results of `work` (a top-level function) on every task, in the order in which they are ready."""
    if jobs <= 1 or len(tasks) <= 1:
        yield from map(work, tasks)
        return
    # spawn: torch's and numba's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    jobs = min(jobs, len(tasks))
    with ProcessPoolExecutor(jobs, context, initializer=_share_cores, initargs=(jobs,)) as pool:
        futures = [pool.submit(work, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _share_cores(jobs: int) -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
