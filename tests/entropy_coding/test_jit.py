"""The compiler's cache: kept between processes, renewed with the sources, and not forced on others."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from numba.core import config

from nvc.entropy_coding import jit

_USE = """
import numpy as np
from nvc.entropy_coding import tables
tables.quantize_pmf(np.array([0.5, 0.5]))
stats = tables._quantize.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def _run(script: str, cache: Path) -> str:
    environment = {**os.environ, "NVC_CACHE": str(cache), "PYTHONPATH": str(Path(jit.__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_a_second_process_does_not_compile(tmp_path: Path) -> None:
    assert _run(_USE, tmp_path).split() == ["0", "1"]
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb*")}
    assert files
    assert _run(_USE, tmp_path).split() == ["1", "0"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb*")} == files


def test_an_unusable_cache_folder_only_costs_time(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    assert _run(_USE, blocked).split() == ["0", "1"]
    assert blocked.read_bytes() == b""


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVC_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert jit.cache_folder() == Path("/a")
    monkeypatch.delenv("NVC_CACHE")
    assert jit.cache_folder() == Path("/b/nvc")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert jit.cache_folder() == Path("/c/.cache/nvc")


def test_digest_changes_with_compiled_sources_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, plain = tmp_path / "compiled.py", tmp_path / "plain.py"
    monkeypatch.setattr(jit, "_PACKAGE", tmp_path)

    def digest() -> str:
        return jit._sources_digest.__wrapped__()

    compiled.write_text("from nvc.entropy_coding.jit import njit")
    plain.write_text("a = 1")
    first = digest()
    plain.write_text("a = 2")
    assert digest() == first
    compiled.write_text("from nvc.entropy_coding.jit import njit  # changed")
    assert digest() != first


def test_other_users_of_numba_keep_their_cache_setting() -> None:
    before = config.CACHE_DIR

    @jit.njit
    def double(a: int) -> int:
        return 2 * a

    after = config.CACHE_DIR
    assert after == before
    assert double(4) == 8
    assert isinstance(double, numba.core.dispatcher.Dispatcher)
    assert double.targetoptions["nogil"]


def test_importing_the_package_does_not_import_torch() -> None:
    script = "import sys, nvc.entropy_coding.coder; print([m for m in ('torch', 'compressai') if m in sys.modules])"
    assert _run(script, jit.cache_folder()).strip() == "[]"
