"""Work on several cores: parts of a picture side by side, each by one thread alone.

Torch's own threads would meet at a barrier after every layer and, where a core is shared with other work, spend most
of their time waiting there (8 times slower was seen); parts of a picture need not wait for each other. What one part
computes does not depend on how many run at once.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")


def thread_count() -> int:
    """As many as torch was told to use; 1 where torch is not loaded."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch else 1


def spread(work: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Call `work` for every item, on `thread_count` threads. The first exception is raised."""
    count = thread_count()
    if count == 1:
        for item in items:
            work(item)
        return
    torch = sys.modules["torch"]  # it is there, see `thread_count`

    def alone(item: Item) -> None:
        torch.set_num_threads(1)  # each time: what others tell torch reaches some of its libraries in all threads
        work(item)

    pool = _pool(os.getpid(), count)
    parts = [pool.submit(alone, item) for item in items]
    try:
        for part in parts:
            part.result()
    finally:  # no part goes on where another has failed, or the wait was interrupted
        for part in parts:
            part.cancel()
        wait(parts)


@functools.lru_cache(1)
def _pool(process: int, count: int) -> ThreadPoolExecutor:
    """Kept from call to call: new threads cost more than small parts do. A process that was forked has none yet."""
    return ThreadPoolExecutor(count)
