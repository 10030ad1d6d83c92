"""Coded indexes out of checksums."""

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from nvc.bitstream.numbering import index_crc, index_of


@given(st.integers(0, 0xFFFFFFFF), st.binary(max_size=300))
def test_the_index_is_found(index: int, body: bytes) -> None:
    stored = crc32c(index.to_bytes(4, "little") + body)
    assert stored == crc32c(body, index_crc(index))
    assert index_of(stored, body) == index


def test_long_bodies() -> None:
    body = bytes(range(256)) * 5000
    assert index_of(crc32c(body, index_crc(77)), memoryview(body)) == 77


def test_another_body_gives_another_index() -> None:
    stored = crc32c(b"frame", index_crc(5))
    assert index_of(stored, b"fraMe") != 5


@pytest.mark.parametrize("index", [-1, 1 << 32])
def test_range(index: int) -> None:
    with pytest.raises(ValueError, match="coded index"):
        index_crc(index)
