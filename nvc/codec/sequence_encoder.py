"""Frames to a video file, one at a time: order, types, references, tables, boxes. Memory does not grow with length."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.bitstream.header import QUALITY_STEPS, Header, VideoParameters, quality_code
from nvc.bitstream.video_boxes import AudioPacket, AudioStream
from nvc.bitstream.video_frame import planes_checksum
from nvc.bitstream.video_writer import VideoWriter
from nvc.codec.frame_coding import FrameCoder
from nvc.codec.gop import FramePlan, Gop
from nvc.codec.group_choice import GroupChooser
from nvc.codec.latents import Content
from nvc.codec.scene_cut import CutDetector
from nvc.codec.video_backend import Place, Reference
from nvc.codec.video_model import VideoModel
from nvc.errors import InputError
from nvc.frames import Frame420
from nvc.media.video_info import VideoInfo

AUDIO_STREAM = 0  # the number of the one track that is carried


@dataclass(frozen=True)
class SequenceSettings:
    """How to encode. gop: of the codec's structures; scene_cuts: put an I frame where the picture changes at once.

    adaptive: groups may be shorter than the GOP where that is better (nvc.codec.group_choice)
    blocks: I frames may be predicted blocks, if the codec has such; else networks make all of them
    groups: their lengths, as another encoder has chosen them for the same frames (SequenceEncoder.groups)
    account: count the bits of every part of every frame
    """

    gop: Gop = field(default_factory=Gop)
    reparameterise: bool = True
    scene_cuts: bool = True
    adaptive: bool = True
    blocks: bool = True
    groups: Sequence[int] = ()
    account: bool = False


@dataclass(frozen=True)
class FrameReport:
    """A coded frame. display: index; size: bytes of its box; payload: bytes; sse: of Y, U, V in 8-bit units.

    bits: by (information, part), if accounted (nvc.codec.frame_coding).
    """

    display: int
    type: FrameType
    size: int
    payload: int
    reparameterised: bool
    sse: tuple[int, int, int]
    samples: tuple[int, int, int]
    bits: dict[tuple[str, str], float]

    @property
    def psnr(self) -> float:
        """(6·Y + U + V) / 8 of the planes' PSNR in dB, of the decoded 8-bit frame."""
        planes = [psnr(sse, count) for sse, count in zip(self.sse, self.samples, strict=True)]
        return (6 * planes[0] + planes[1] + planes[2]) / 8


def psnr(sse: int, samples: int) -> float:
    """dB of 8-bit samples; 99.99 where all are equal, so that means stay finite."""
    return float(10 * np.log10(255.0**2 * samples / sse)) if sse else 99.99


class SequenceEncoder:
    """Give it frames in display order with `push`, then `finish`; both yield what was coded meanwhile."""

    def __init__(
        self, stream: BinaryIO, model: VideoModel, info: VideoInfo, quality: float, settings: SequenceSettings
    ) -> None:
        """stream: where the file goes; never sought. quality: 1.0 to 8.0, rounded to the grid of 1/4096."""
        self._model, self._settings = model, settings
        self._backend = model.backend if settings.blocks else model.backend.networks_alone()
        self._code = quality_code(quality)
        header = Header(
            model.entry.number, model.id, self._code, info.width, info.height, video=_parameters(info, settings.gop)
        )
        self.quality = header.quality
        self._writer = VideoWriter(stream, header)
        if info.audio is not None:
            audio = info.audio
            self._writer.audio_stream(
                AudioStream(
                    AUDIO_STREAM, audio.time_base.numerator, audio.time_base.denominator, audio.rate, audio.channels,
                    audio.codec, audio.layout, audio.extradata,
                )
            )  # fmt: skip
        self._coder = FrameCoder(self._backend, model.tables, settings.reparameterise)
        self._cuts = CutDetector()
        self._groups: GroupChooser | None = None
        self._given = iter(settings.groups)
        self.groups: list[int] = []  # lengths of those that were coded, where groups are of more than one frame
        if settings.adaptive and settings.gop.size > 1 and not settings.groups:
            level = self._code // QUALITY_STEPS + 1
            cost = functools.partial(self._coder.cost, level=level)
            self._groups = GroupChooser(self._backend, settings.gop, self._code, cost)
        self._size = info.width, info.height
        self._waiting: list[tuple[Frame420, int]] = []  # frames after the last anchor, in display order
        self._references: dict[int, Reference] = {}
        self._pushed = 0
        self._anchor = self._last_intra = -1
        self._table_set = 0

    def audio(self, pts: int, duration: int, data: bytes, key: bool = True) -> None:
        """Take a packet of the audio track."""
        self._writer.audio(AudioPacket(AUDIO_STREAM, pts, duration, data, key))

    def push(self, frame: Frame420, time: int) -> Iterator[FrameReport]:
        """Take the next frame; time: ticks. InputError for a frame of another size."""
        if (frame.width, frame.height) != self._size:
            raise InputError(
                f"frame {self._pushed} is {frame.width}x{frame.height}, those before {self._size[0]}x{self._size[1]}"
            )
        cut = self._settings.scene_cuts and self._cuts.is_cut(frame)
        if cut and self._waiting:
            yield from self._flush()  # what is before the cut must not wait for what is behind it
        self._waiting.append((frame, time))
        self._pushed += 1
        gop, display = self._settings.gop, self._pushed - 1
        if cut or gop.complete(len(self._waiting), display, self._last_intra):
            yield from self._flush(cut or gop.intra_due(display, self._last_intra))

    def finish(self, end: int | None = None) -> Iterator[FrameReport]:
        """Code what is waiting, and end the file. end: ticks at which the last frame ends; None: as usual."""
        yield from self._flush()
        if not self._pushed:
            raise InputError("no frames")
        self._writer.finish(end)

    @property
    def bytes(self) -> int:
        """Of the file so far."""
        return self._writer.bytes

    def _flush(self, intra: bool = False) -> Iterator[FrameReport]:
        """Code the frames that wait; the last of them becomes an anchor."""
        if not self._waiting:
            return
        frames = [frame for frame, _ in self._waiting]
        lengths = self._lengths(frames, intra)
        if self._settings.gop.size > 1:
            self.groups += lengths
        first, end = self._anchor + 1, self._anchor + len(frames)
        for length in lengths:
            last = self._anchor + length
            for plan in self._settings.gop.group(last, self._anchor, intra and last == end):
                yield self._frame(plan, *self._waiting[plan.display - first])
            self._anchor = last
            self._references = {last: self._references[last]}
        self._waiting = []

    def _lengths(self, frames: list[Frame420], intra: bool) -> list[int]:
        """Of the groups that these frames are coded in."""
        if self._groups is not None:
            return self._groups.lengths(frames, intra)
        lengths: list[int] = []
        while self._settings.groups and sum(lengths) < len(frames):
            lengths.append(next(self._given))
        return lengths or [len(frames)]

    def _frame(self, plan: FramePlan, frame: Frame420, time: int) -> FrameReport:
        references = [self._references[display] for display in plan.references]
        distances = [display - plan.display for display in plan.references]
        place = Place(plan.type, references, distances, plan.level)
        content, decoded = self._backend.encode(frame, place, self._code)
        if plan.type == FrameType.I:
            self._last_intra = plan.display
            self._table_set = self._choose_tables(content)
        level = self._code // QUALITY_STEPS + 1 + self._table_set
        payload = self._coder.encode(plan.type, content, level, self._settings.account)
        size = self._writer.frame(
            plan.type, payload.data, planes_checksum(decoded.frame.planes), display=plan.display, time=time,
            reparameterised=payload.reparameterised, table_set=self._table_set,
        )  # fmt: skip
        # No later frame of the group lies before these neighbours: depth + 2 frames are kept at most.
        first = min(plan.references, default=0)
        self._references = {display: kept for display, kept in self._references.items() if display >= first}
        self._references[plan.display] = decoded
        pairs = list(zip(frame.planes, decoded.frame.planes, strict=True))
        luma, chroma = frame.y.size, frame.u.size
        return FrameReport(
            plan.display, plan.type, size, len(payload.data), payload.reparameterised,
            (_sse(*pairs[0]), _sse(*pairs[1]), _sse(*pairs[2])), (luma, chroma, chroma), payload.bits,
        )  # fmt: skip

    def _choose_tables(self, content: Content) -> int:
        """The cheaper of the tables of the two neighbouring levels for this I frame and those that follow it."""
        level = self._code // QUALITY_STEPS + 1
        if self._code % QUALITY_STEPS == 0 or level >= self._backend.levels:
            return 0
        costs = [self._coder.cost(FrameType.I, content, near) for near in (level, level + 1)]
        return int(costs[1] < costs[0])


def _parameters(info: VideoInfo, gop: Gop) -> VideoParameters:
    colour, aspect, base = info.colour, info.pixel_aspect, info.time_base
    return VideoParameters(
        base.numerator, base.denominator, info.frame_ticks, aspect.numerator, aspect.denominator,
        colour.primaries, colour.transfer, colour.matrix, colour.full_range,
        gop.size.bit_length() - 1, gop.size == 1, gop.intra_period,
    )  # fmt: skip


def _sse(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    total = 0
    for top in range(0, len(a), 64):  # in strips, which stay in the cache
        difference = a[top : top + 64].astype(np.int32) - b[top : top + 64]
        total += int((difference * difference).sum(dtype=np.int64))
    return total
