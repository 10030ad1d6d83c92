"""`njit`: numba's compiler with nvc's defaults, and a cache that outlives the process.

Compiled code is kept in $NVC_CACHE/numba, else $XDG_CACHE_HOME/nvc/numba, else ~/.cache/nvc/numba, so that
only the first run of a release compiles. Where no such folder can be written, every process compiles anew.

Two habits of numba's cache are mended here:

- it looks only at the file of the cached function, while machine code of functions called from other files is
  linked in. The folder therefore carries a digest over every file of nvc that names `entropy_coding.jit`. Rule that
  follows: a constant that compiled code uses stands in such a file.
- its folder is one global setting of the process. It is changed only while a function is being decorated, which is
  when numba reads it, so that other users of numba in the same process keep their own.
"""

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numba
from numba.core import config as _numba_config

Function = TypeVar("Function", bound=Callable[..., Any])

config: Any = _numba_config  # its settings are made at run time
_PACKAGE = Path(__file__).resolve().parents[1]


def cache_folder() -> Path:
    """The folder of everything nvc may keep between runs; it need not exist."""
    if chosen := os.environ.get("NVC_CACHE"):
        return Path(chosen)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "nvc"
    return Path.home() / ".cache" / "nvc"


@functools.cache
def _sources_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        source = path.read_bytes()
        if b"entropy_coding.jit" in source:  # imports it, or is it
            digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + source + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def _numba_folder(root: Path) -> str | None:
    """Where compiled functions go, or None when that folder cannot be written."""
    folder = root / "numba" / _sources_digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder) if os.access(folder, os.W_OK) else None


def _home_or_none() -> Path | None:
    try:
        return cache_folder()
    except RuntimeError:  # no home directory: a container's nameless user
        return None


@overload
def njit(function: Function, **options: Any) -> Function: ...


@overload
def njit(function: None = None, **options: Any) -> Callable[[Function], Function]: ...


def njit(function: Function | None = None, **options: Any) -> Any:
    """numba.njit that caches on disk and releases the GIL; usable bare or with numba's own options.

    Integer division follows numpy (no test for zero divisors): callers must not divide by zero.
    """
    if function is None:
        return functools.partial(njit, **options)
    root = _home_or_none()
    in_a_file = os.path.isfile(function.__code__.co_filename)  # not typed at a prompt
    folder = _numba_folder(root) if root and in_a_file else None
    options = {"nogil": True, "error_model": "numpy", "cache": folder is not None, **options}
    previous = config.CACHE_DIR
    config.CACHE_DIR = folder or previous
    try:
        return cast(Function, numba.njit(**options)(function))
    finally:
        config.CACHE_DIR = previous


def primitive(function: Function) -> Function:
    """`njit` for what compiled code calls once per symbol or sample: arguments are borrowed, nothing is allocated.

    Without reference counts of the arrays in its arguments a call costs a fifteenth. In turn such a function must not
    create or return an array (numba refuses to compile it).
    """
    return njit(function, _nrt=False)
