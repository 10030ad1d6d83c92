"""Named boxes of a video: AUDS, AUDP, TEXT (FORMAT.md, chapter 5). Audio is carried as it came."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nvc.bitstream.boxes import read_varint, read_zigzag, write_varint, write_zigzag
from nvc.bitstream.header import MAX_INT
from nvc.errors import BadStream

AUDIO_STREAM_BOX, AUDIO_BOX, TEXT_BOX = "AUDS", "AUDP", "TEXT"
MAX_STREAMS = 64
MAX_NAME = 64  # bytes of the names of codecs and layouts, and of the keys of texts
MAX_EXTRADATA = 1 << 20  # bytes
MAX_RATE = 1 << 24  # samples a second
MAX_CHANNELS = 255
MAX_NAMED = 1 << 26  # bytes of content of any named box


@dataclass(frozen=True)
class AudioStream:
    """What a container must know of a stream of audio to carry it on.

    number: 0..63, its own   time_num / time_den: seconds of one tick   rate: samples a second
    codec, layout: FFmpeg's names   extradata: what the codec's decoder needs first
    """

    number: int
    time_num: int
    time_den: int
    rate: int
    channels: int
    codec: str
    layout: str = ""
    extradata: bytes = b""

    def __post_init__(self) -> None:
        numbers = (
            ("stream", self.number, 0, MAX_STREAMS - 1),
            ("time_num", self.time_num, 1, MAX_INT),
            ("time_den", self.time_den, 1, MAX_INT),
            ("rate", self.rate, 1, MAX_RATE),
            ("channels", self.channels, 1, MAX_CHANNELS),
            ("length of codec", len(self.codec), 1, MAX_NAME),
            ("length of layout", len(self.layout), 0, MAX_NAME),
            ("length of extradata", len(self.extradata), 0, MAX_EXTRADATA),
        )
        for name, value, low, high in numbers:
            if not low <= value <= high:
                raise ValueError(f"{name} {value} outside {low}..{high}")
        if not (_printable(self.codec) and _printable(self.layout)):
            raise ValueError("codec and layout are not of printable ASCII characters")

    def write(self) -> bytes:
        """Data of its AUDS box."""
        numbers = (self.number, self.time_num, self.time_den, self.rate, self.channels)
        texts = (self.codec.encode("ascii"), self.layout.encode("ascii"), self.extradata)
        return b"".join(map(write_varint, numbers)) + b"".join(map(_string, texts))


@dataclass(frozen=True)
class AudioPacket:
    """One coded packet. stream: an AudioStream's number; pts, duration: its ticks; key: decodes by itself."""

    stream: int
    pts: int
    duration: int
    data: bytes
    key: bool = True


@dataclass(frozen=True)
class Text:
    """A piece of text about the video. key: 1 to 64 printable ASCII characters, such as "title"."""

    key: str
    value: str

    def __post_init__(self) -> None:
        if not (1 <= len(self.key) <= MAX_NAME and _printable(self.key)):
            raise ValueError(f"a text's key {self.key!r} is not of 1 to {MAX_NAME} printable ASCII characters")

    def write(self) -> bytes:
        """Data of its TEXT box."""
        return _string(self.key.encode("ascii")) + self.value.encode()


def read_audio_stream(data: bytes, where: str) -> AudioStream:
    """From the data of an AUDS box. Raises BadStream."""
    numbers: list[int] = []
    strings: list[bytes] = []
    position = 0
    for name in ("stream", "time_num", "time_den", "rate", "channels"):
        number, position = read_varint(data, position, f"{where}: {name}")
        numbers.append(number)
    for name in ("codec", "layout", "extradata"):
        string, position = _read_string(data, position, f"{where}: {name}")
        strings.append(string)
    if position != len(data):
        raise BadStream(f"{where}: {len(data) - position} bytes too many")
    try:
        number, time_num, time_den, rate, channels = numbers
        codec, layout = (string.decode("ascii") for string in strings[:2])
        return AudioStream(number, time_num, time_den, rate, channels, codec, layout, strings[2])
    except ValueError as error:  # UnicodeDecodeError is one
        raise BadStream(f"{where}: {_line(error)}") from error


def write_audio(packets: Sequence[AudioPacket]) -> bytes:
    """Data of one AUDP box: packets of one stream, in order. ValueError for numbers that the box cannot hold."""
    parts = [write_varint(packets[0].stream)]
    end = 0
    for packet in packets:
        if not packet.data or packet.stream != packets[0].stream:
            raise ValueError("an empty packet of audio, or one of another stream")
        parts.append(write_varint(len(packet.data) << 1 | packet.key))
        parts += (write_zigzag(packet.pts - end), write_varint(packet.duration), packet.data)
        end = packet.pts + packet.duration
    return b"".join(parts)


def read_audio(data: bytes, where: str) -> Iterator[AudioPacket]:
    """The packets of an AUDP box. Raises BadStream."""
    stream, position = read_varint(data, 0, f"{where}: stream")
    if position == len(data):
        raise BadStream(f"{where}: no packets")
    end = 0
    while position < len(data):
        head, position = read_varint(data, position, f"{where}: length of a packet")
        step, position = read_zigzag(data, position, f"{where}: time of a packet")
        duration, position = read_varint(data, position, f"{where}: duration of a packet")
        length = head >> 1
        if not 1 <= length <= len(data) - position:
            raise BadStream(f"{where}: a packet of {length} bytes, of which {len(data) - position} are there")
        yield AudioPacket(stream, end + step, duration, data[position : position + length], bool(head & 1))
        end += step + duration
        position += length


def read_text(data: bytes, where: str) -> Text:
    """From the data of a TEXT box. Raises BadStream."""
    key, position = _read_string(data, 0, f"{where}: key")
    try:
        return Text(key.decode("ascii"), data[position:].decode())
    except ValueError as error:
        raise BadStream(f"{where}: {_line(error)}") from error


def _string(data: bytes) -> bytes:
    return write_varint(len(data)) + data


def _read_string(data: bytes, position: int, what: str) -> tuple[bytes, int]:
    length, position = read_varint(data, position, what)
    if length > len(data) - position:
        raise BadStream(f"{what}: cut short")
    return data[position : position + length], position + length


def _printable(text: str) -> bool:
    return all(" " <= character <= "~" for character in text)


def _line(error: ValueError) -> str:
    return "text that is not of the characters stated" if isinstance(error, UnicodeDecodeError) else str(error)
