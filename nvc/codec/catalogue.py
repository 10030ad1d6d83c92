"""The codecs as data. Container, coder, tests and evaluation loop over this and know no codec by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One codec.

    number: in the header of a file (FORMAT.md 3); kind: "picture" or "video"; gops: sizes of GOPs in frames that it can
    code, the usual one first.
    """

    name: str
    number: int
    kind: str
    summary: str
    gops: tuple[int, ...] = (1,)

    def gop_for(self, intra_period: int, low_latency: bool = False, closed: bool = False) -> int | None:
        """The first of its sizes of GOPs that the intra period is a multiple of; None where there is none.

        low_latency: only a GOP of one frame will do. closed: groups are, and any intra period will do.
        """
        fit = (gop for gop in self.gops if (closed or intra_period % gop == 0) and (gop == 1 or not low_latency))
        return next(fit, None)


# Of video, where none is named, the first that suits is taken (`for_video`): so the smallest files come first.
CATALOGUE: dict[str, Entry] = {
    "image": Entry("image", 1, "picture", "integer auto-encoder with context-switched tables and RDOQ"),
    "aivc": Entry("aivc", 4, "video", "integer conditional coding of I, P and B frames", gops=(16, 8, 4, 32, 1)),
    "lhbdc": Entry("lhbdc", 3, "video", "integer bi-directional codec, hierarchical B frames", gops=(16, 8, 4, 32)),
    "ssf": Entry("ssf", 2, "video", "integer scale-space flow with re-parameterised tables, low delay"),
}


def for_video(gop: int | None, intra_period: int, low_latency: bool, closed: bool = False) -> Entry | None:
    """The codec that is taken where none is named: the first of video that has such groups of frames, or None."""
    for entry in CATALOGUE.values():
        fits = gop in (None, *entry.gops) and entry.gop_for(intra_period, low_latency, closed)
        if entry.kind == "video" and fits:
            return entry
    return None


def by_number(number: int) -> Entry | None:
    """The codec that a header names, or None."""
    return next((entry for entry in CATALOGUE.values() if entry.number == number), None)
