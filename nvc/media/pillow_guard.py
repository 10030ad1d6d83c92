"""Calls into Pillow and imageio: their exceptions, warnings and global limits stop here.

Python's warning filters and Pillow's MAX_IMAGE_PIXELS are global to the process, so these calls hold a lock:
reading or writing a picture takes milliseconds, coding it takes seconds.
"""

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from nvc.errors import LimitError, NvcError

_LOCK = threading.RLock()

# Without a handler, logging would print Pillow's warnings to stderr by itself.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextmanager
def guarded(error: type[NvcError], notes: list[str]) -> Iterator[None]:
    """Run a block of foreign calls; anything they raise becomes `error` with one line, anything they warn a note.

    MemoryError becomes LimitError. NvcErrors pass. Pillow's own limit on pixels is off inside the block: the caller
    compares the header's size with its own limit before it loads pixels.
    """
    with _LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        except NvcError:
            raise
        except MemoryError as foreign:
            raise LimitError("out of memory") from foreign
        except Exception as foreign:  # damaged files make Pillow raise nearly every kind there is
            raise error(reason(foreign)) from foreign
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    for entry in caught:
        if not issubclass(entry.category, DeprecationWarning | PendingDeprecationWarning | ResourceWarning):
            note = _one_line(str(entry.message))
            if note not in notes:
                notes.append(note)


def reason(foreign: BaseException) -> str:
    """One line that says why a foreign call failed."""
    if isinstance(foreign, UnidentifiedImageError):
        return "not a picture in a format that nvc reads, or damaged in its first bytes"
    if isinstance(foreign, OSError) and foreign.strerror:
        return foreign.strerror[:1].lower() + foreign.strerror[1:]
    return _one_line(str(foreign)) or type(foreign).__name__


def _one_line(text: str) -> str:
    text = re.sub(r"<_io\.\w+ object at 0x[0-9a-f]+>", "the file", text)
    return re.sub(r"\s+", " ", text).strip()[:200]
