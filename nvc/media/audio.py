"""Audio that goes along with video: packets, copied and never decoded.

A track is described by what any container needs: codec, its private bytes, sample rate, channels. To write a
track again PyAV wants a stream that libav has read; `template` builds the head of a Matroska file for it.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import av
from av.audio.stream import AudioStream

# libav's codec -> Matroska's codec id (matroska.org/technical/codec_specs.html)
_MATROSKA = {
    "aac": "A_AAC",
    "opus": "A_OPUS",
    "vorbis": "A_VORBIS",
    "mp3": "A_MPEG/L3",
    "mp2": "A_MPEG/L2",
    "ac3": "A_AC3",
    "eac3": "A_EAC3",
    "dts": "A_DTS",
    "flac": "A_FLAC",
    "alac": "A_ALAC",
    "truehd": "A_TRUEHD",
    "pcm_u8": "A_PCM/INT/LIT",
    "pcm_s16le": "A_PCM/INT/LIT",
    "pcm_s24le": "A_PCM/INT/LIT",
    "pcm_s32le": "A_PCM/INT/LIT",
    "pcm_s16be": "A_PCM/INT/BIG",
    "pcm_s24be": "A_PCM/INT/BIG",
    "pcm_s32be": "A_PCM/INT/BIG",
    "pcm_f32le": "A_PCM/FLOAT/IEEE",
    "pcm_f64le": "A_PCM/FLOAT/IEEE",
}
_FLAC_HEAD = b"fLaC\x80\0\0\x22"  # Matroska keeps FLAC's marker and the head of its STREAMINFO, libav does not
_ALAC_HEAD = 12  # bytes of a QuickTime box head that libav keeps and Matroska does not
_ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


@dataclass(frozen=True)
class AudioInfo:
    """One track.

    codec:     libav's name of the codec, such as "aac"
    extradata: the codec's private bytes, as libav keeps them
    rate:      samples a second
    channels:  how many; layout: libav's name of their places, such as "stereo"
    time_base: unit of its packets' pts and duration, in seconds
    """

    codec: str
    extradata: bytes
    rate: int
    channels: int
    layout: str
    time_base: Fraction


@dataclass(frozen=True)
class AudioPacket:
    """One coded packet.

    pts:      ticks of AudioInfo.time_base after the first video frame, may be negative
    duration: ticks, 0 where it is not known
    key:      whether it decodes without the packets before it
    """

    data: bytes
    pts: int
    duration: int = 0
    key: bool = True


def carried(codec: str) -> bool:
    """Whether a codec's packets can be copied."""
    return codec in _MATROSKA


def describe(stream: AudioStream, config: bytes = b"") -> AudioInfo:
    """AudioInfo of an opened stream; `config` stands in for private bytes that its head does not hold."""
    context = stream.codec_context
    return AudioInfo(
        context.codec.canonical_name,
        bytes(context.extradata or config),
        context.sample_rate,
        context.layout.nb_channels,
        context.layout.name,
        stream.time_base or Fraction(1, context.sample_rate),
    )


def without_adts(data: bytes) -> tuple[bytes, bytes]:
    """(AAC packet without the ADTS head that MPEG-TS and .aac put before it, AudioSpecificConfig of that head).

    The config is b"" where there is no head.
    """
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return data, b""
    profile, rate, channels = data[2] >> 6, data[2] >> 2 & 15, (data[2] & 1) << 2 | data[3] >> 6
    if rate >= len(_ADTS_RATES):
        return data, b""
    return data[7 if data[1] & 1 else 9 :], _aac_config(profile + 1, rate, channels)


def adts_config(rate: int, channels: int) -> bytes:
    """AudioSpecificConfig of plain AAC (low complexity) of a sample rate and a number of channels."""
    return _aac_config(2, _ADTS_RATES.index(rate) if rate in _ADTS_RATES else 4, channels)


def _aac_config(kind: int, rate: int, channels: int) -> bytes:
    return (kind << 11 | rate << 7 | channels << 3).to_bytes(2, "big")


@contextmanager
def template(info: AudioInfo) -> Iterator[AudioStream]:
    """A stream with the parameters of `info`, for OutputContainer.add_stream_from_template.

    KeyError, ValueError or libav's own errors where it cannot be made.
    """
    with av.open(io.BytesIO(_matroska_head(info)), format="matroska") as container:
        if len(container.streams.audio) != 1:
            raise ValueError(f"audio codec {info.codec} has no description here")
        yield container.streams.audio[0]


def _matroska_head(info: AudioInfo) -> bytes:
    """A Matroska file of one track and no packets (matroska.org/technical/elements.html)."""
    private = info.extradata
    if info.codec == "flac" and not private.startswith(b"fLaC"):
        private = _FLAC_HEAD + private[:34]
    elif info.codec == "alac":
        private = private[_ALAC_HEAD:]
    sound = _element("B5", _double(info.rate)) + _element("9F", _integer(info.channels))
    if info.codec.startswith("pcm_"):
        sound += _element("6264", _integer(int("".join(filter(str.isdigit, info.codec)))))
    track = _element("D7", b"\1") + _element("73C5", b"\1") + _element("83", b"\2")
    track += _element("86", _MATROSKA[info.codec].encode()) + _element("E1", sound)
    if private:
        track += _element("63A2", private)
    milliseconds = _element("1549A966", _element("2AD7B1", _integer(1_000_000)))
    empty_cluster = _element("1F43B675", _element("E7", b"\0"))
    segment = milliseconds + _element("1654AE6B", _element("AE", track)) + empty_cluster
    kind = _element("4282", b"matroska") + _element("4287", b"\4") + _element("4285", b"\2")
    return _element("1A45DFA3", kind) + _element("18538067", segment)


def _element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8, "big") + content


def _integer(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _double(value: int) -> bytes:
    return struct.pack(">d", value)
