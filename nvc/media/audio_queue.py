"""The audio of a source that is being read: which track, and its packets in the time of the video frames."""

from collections import deque
from dataclasses import replace
from fractions import Fraction
from typing import Any

from av import Packet
from av.container import InputContainer

from nvc.media.audio import AudioInfo, AudioPacket, adts_config, carried, describe, without_adts
from nvc.media.libav_guard import default_or_first


class AudioQueue:
    """Packets on their way from the demuxer to whoever writes them; times are seconds of the source's clock.

    stream: the track that is carried (the default one, else the first that can be), or None; warnings: what is left out
    """

    def __init__(self, container: InputContainer | None, *, wanted: bool) -> None:
        self.stream: Any = None
        self.warnings: list[str] = []
        self._waiting: deque[AudioPacket] = deque()  # pts of the source's clock
        self._next = 0  # where a packet without a time stamp goes
        self._begin: Fraction | None = None
        self._cut = False
        self._adts = b""  # what ADTS heads say of AAC
        if container is not None and wanted:
            self._choose(container)

    def _choose(self, container: InputContainer) -> None:
        tracks = [track for track in container.streams.audio if track.codec_context is not None]
        able = [track for track in tracks if carried(track.codec_context.codec.canonical_name)]
        if able:
            self.stream = default_or_first(able)
        left = {
            "audio": len(tracks) - bool(able),
            "subtitle": len(container.streams.subtitles),
        }
        lost = [f"{count} {kind} track{'s' if count > 1 else ''}" for kind, count in left.items() if count]
        if lost:
            why = "" if able or not tracks else f" ({tracks[0].codec_context.name} audio is not carried)"
            self.warnings.append(f"left out: {' and '.join(lost)}{why}")

    @property
    def info(self) -> AudioInfo | None:
        """The track, or None. Ask after the first video frame: AAC of MPEG-TS is described by its packets."""
        if self.stream is None:
            return None
        config = b""
        if self.stream.codec_context.codec.canonical_name == "aac" and not self.stream.codec_context.extradata:
            context = self.stream.codec_context
            config = self._adts or adts_config(context.sample_rate, context.layout.nb_channels)
        return describe(self.stream, config)

    def hear(self, packet: Packet) -> None:
        """Take a packet of `stream` from the demuxer."""
        data = bytes(packet)
        if not self.stream.codec_context.extradata and self.stream.codec_context.codec.canonical_name == "aac":
            data, config = without_adts(data)
            self._adts = self._adts or config
        duration = packet.duration or 0
        pts = self._next if packet.pts is None else packet.pts
        self._next = pts + duration
        self._waiting.append(AudioPacket(data, pts, duration, packet.is_keyframe))

    def forget_before(self, seconds: Fraction) -> None:
        """Drop what has ended by then."""
        tick = self._tick
        while self._waiting and (self._waiting[0].pts + self._waiting[0].duration) * tick <= seconds:
            self._waiting.popleft()

    def begin(self, seconds: Fraction, *, cut: bool) -> None:
        """Set time 0 of the frames. cut: drop what ends before it, instead of keeping it at negative times."""
        self._begin, self._cut = seconds, cut

    def reaches(self, seconds: Fraction) -> bool:
        """Whether everything that starts before this time has come, if packets come in order."""
        return self.stream is None or self._next * self._tick >= seconds

    def take(self, before: Fraction | None = None) -> list[AudioPacket]:
        """Packets that start before a time (all of them by default), in the time of the frames; the rest waits."""
        if self._begin is None:
            return []
        if self._cut:
            self.forget_before(self._begin)
        origin = round(self._begin / self._tick)
        taken = []
        while self._waiting and (before is None or self._waiting[0].pts * self._tick < before):
            packet = self._waiting.popleft()
            taken.append(replace(packet, pts=packet.pts - origin))
        return taken

    @property
    def _tick(self) -> Fraction:
        return Fraction(self.stream.time_base) if self.stream is not None else Fraction(1)
