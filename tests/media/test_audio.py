"""Audio packets: out of one container, into another, never decoded."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from nvc.media.audio import AudioPacket, without_adts
from nvc.media.video_reader import VideoReader, open_video
from nvc.media.video_writer import open_writer

Clip = Callable[..., Path]


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def samples_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


def copied(reader: VideoReader, target: Path, format: str) -> tuple[list[AudioPacket], tuple[str, ...]]:
    packets = []
    with open_writer(target, format, reader.info) as writer:
        for frame, pts in reader:
            writer.write(frame, pts)
            now = reader.take_audio()
            packets += now
            for packet in now:
                writer.write_audio(packet)
        rest = reader.take_audio()
        packets += rest
        for packet in rest:
            writer.write_audio(packet)
    return packets, writer.warnings


@pytest.mark.parametrize("codec", ["aac", "libopus", "flac", "ac3", "libmp3lame", "pcm_s16le", "alac", "mp2"])
def test_packets_arrive_as_they_were(codec: str, clip: Clip, tmp_path: Path) -> None:
    path = clip("a.mkv", audio=codec, options={"strict": "-2"})
    with open_video(path) as reader:
        packets, warnings = copied(reader, tmp_path / "b.mkv", "mkv")
    assert warnings == reader.warnings == ()
    assert reader.info.audio is not None
    assert reader.info.audio.codec == codec.removeprefix("lib").replace("mp3lame", "mp3")
    assert (reader.info.audio.rate, reader.info.audio.channels) == (48000, 2)
    assert [packet.data for packet in packets] == packets_of(path) == packets_of(tmp_path / "b.mkv")
    # what an encoder put in front to warm up plays before the picture begins
    assert samples_of(tmp_path / "b.mkv") >= samples_of(path) > 0


@pytest.mark.parametrize("codec", ["aac", "libopus", "ac3", "alac"])
def test_mp4_to_mkv_and_back(codec: str, clip: Clip, tmp_path: Path) -> None:
    path = clip("a.mp4", codec="libx264", audio=codec)
    with open_video(path) as reader:
        copied(reader, tmp_path / "b.mkv", "mkv")
    with open_video(tmp_path / "b.mkv") as reader:
        copied(reader, tmp_path / "c.mp4", "mp4")
    assert packets_of(tmp_path / "c.mp4") == packets_of(path)
    with open_video(path) as first, open_video(tmp_path / "c.mp4") as last:
        begin = [
            [float(packet.pts * reader.info.audio.time_base) for _ in reader for packet in reader.take_audio()]
            for reader in (first, last)
            if reader.info.audio
        ]
    assert begin[0] == pytest.approx(begin[1], abs=0.0015)  # Matroska counts milliseconds


def test_aac_of_mpeg_ts_gets_its_head(clip: Clip, tmp_path: Path) -> None:
    path = clip("a.ts", codec="mpeg2video", audio="aac")
    with open_video(path) as reader:
        packets, warnings = copied(reader, tmp_path / "b.mkv", "mkv")
    assert warnings == ()
    assert reader.info.audio is not None
    assert reader.info.audio.extradata == b"\x11\x90"  # AAC LC, 48 kHz, 2 channels
    assert samples_of(tmp_path / "b.mkv") == samples_of(path)
    assert without_adts(packets_of(path)[0])[0] == packets[0].data


def test_what_a_container_does_not_take(clip: Clip, tmp_path: Path) -> None:
    path = clip("a.mkv", audio="pcm_s16le")
    with open_video(path) as reader:
        assert copied(reader, tmp_path / "b.y4m", "y4m")[1] == ("y4m holds no audio: left out",)
    with open_video(path) as reader:
        assert copied(reader, tmp_path / "b.mp4", "mp4")[1] == ("mp4 does not take pcm_s16le audio: left out",)
    with open_video(clip("a.avi", codec="mpeg4", audio="adpcm_ms")) as reader:
        assert reader.info.audio is None
        assert reader.warnings == ("left out: 1 audio track (adpcm_ms audio is not carried)",)


def test_two_tracks(tmp_path: Path, clip: Clip) -> None:
    """Made of two files: the first is carried, the other is named."""
    path = tmp_path / "two.mkv"
    one, two = (av.open(str(clip(f"{codec}.mkv", audio=codec))) for codec in ("flac", "aac"))
    with one, two, av.open(str(path), "w") as out:
        pairs = [(one, stream) for stream in one.streams] + [(two, two.streams.audio[0])]
        streams = [out.add_stream_from_template(stream, opaque=True) for _, stream in pairs]
        for (container, stream), target in zip(pairs, streams, strict=True):
            container.seek(0)
            for packet in container.demux(stream):
                if packet.dts is not None:
                    packet.stream = target
                    out.mux(packet)
    with open_video(path) as reader:
        assert reader.info.audio is not None
        assert reader.info.audio.codec == "flac"
        assert reader.warnings == ("left out: 1 audio track",)


def test_only_what_sounds_with_the_frames(clip: Clip) -> None:
    path = clip("a.mkv", count=20, audio="pcm_s16le")
    with open_video(path, start=5, frames=10) as reader:
        packets, times = [], []
        for _, pts in reader:
            packets += reader.take_audio()
            times.append(pts * reader.info.time_base)
            assert all(packet.pts * Fraction(1, 1000) < times[-1] + Fraction(1, 25) for packet in packets)
        packets += reader.take_audio()
    track = reader.info.audio
    assert track is not None
    begin = [packet.pts * track.time_base for packet in packets]
    assert -Fraction(1, 40) < begin[0] <= 0
    assert Fraction(37, 100) <= begin[-1] < Fraction(40, 100)
    everything = packets_of(path)
    at = everything.index(packets[0].data)
    assert [packet.data for packet in packets] == everything[at : at + len(packets)]


def test_audio_can_be_left_alone(clip: Clip) -> None:
    with open_video(clip("a.mkv", audio="aac"), audio=False) as reader:
        for _ in reader:
            assert reader.take_audio() == []
        assert reader.info.audio is None
        assert reader.warnings == ()


def test_through_a_pipe(clip: Clip) -> None:
    """A stream that can only be written forward."""

    class Forward(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    path, stream = clip("a.mkv", audio="libopus"), Forward()
    with open_video(path) as reader:
        copied(reader, stream, "mkv")  # type: ignore[arg-type]
    with av.open(io.BytesIO(stream.data)) as container:
        assert [bytes(packet) for packet in container.demux(audio=0) if packet.size] == packets_of(path)
