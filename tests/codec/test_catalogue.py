"""Which codec and which groups of frames a video gets."""

import pytest

from nvc.bitstream.header import LAYOUT
from nvc.codec.catalogue import CATALOGUE, by_number, for_video
from nvc.codec.gop import Gop

VIDEO = [entry for entry in CATALOGUE.values() if entry.kind == "video"]


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.name)
def test_entries(entry) -> None:  # type: ignore[no-untyped-def]
    assert CATALOGUE[entry.name] is entry is by_number(entry.number)
    codec = next(field for group in LAYOUT for field in group.fields if field.name == "codec")
    assert f"{entry.number} = {entry.name}" in codec.meaning
    for gop in entry.gops:
        assert Gop(gop, 2 * gop).size == gop
        assert Gop(gop, 2 * gop + 1, closed=True).size == gop
        with pytest.raises(ValueError, match="no multiple"):
            Gop(gop, -1, closed=True)


@pytest.mark.parametrize("entry", VIDEO, ids=lambda entry: entry.name)
@pytest.mark.parametrize("period", [0, 1, 3, 4, 8, 12, 16, 32, 48])
def test_gop_that_fits_the_period(entry, period: int) -> None:  # type: ignore[no-untyped-def]
    gop = entry.gop_for(period)
    assert (gop is None) == all(period % size for size in entry.gops)
    assert gop is None or period % gop == 0
    assert entry.gop_for(period, low_latency=True) == (1 if 1 in entry.gops else None)
    assert entry.gop_for(period, closed=True) == entry.gops[0]
    assert entry.gop_for(period, low_latency=True, closed=True) == (1 if 1 in entry.gops else None)


def test_codec_where_none_is_named() -> None:
    for period in (0, 1, 3, 32):
        low = for_video(None, period, low_latency=True)
        assert low is not None
        assert 1 in low.gops
        assert for_video(None, period, low_latency=False) is not None
    for gop in (1, 4, 8, 16, 32):
        found = for_video(gop, 2 * gop, low_latency=False)
        assert found is not None
        assert gop in found.gops
        assert for_video(gop, 2 * gop + 1, low_latency=False, closed=True) == found
    usual = for_video(None, 32, low_latency=False)
    assert all(for_video(None, period, low_latency=False, closed=True) == usual for period in (0, 1, 3, 17, 32))
    assert for_video(None, 17, low_latency=True, closed=True) == low
    assert for_video(2, 32, low_latency=False) is None
    assert for_video(2, 32, low_latency=False, closed=True) is None
    assert by_number(15) is None
