"""An independent decoder of video, written from FORMAT.md alone: plain Python and numpy int64, nothing of nvc.

`decode(file, weights)`: bytes of both -> a Video. Raises Invalid. Slow on purpose.
"""

from dataclasses import dataclass, field

import numpy as np
from referee import Array, Invalid, Stream, crc32c, model_id, must, read_weights, varint
from referee_bidirectional import prediction
from referee_blocks import checked
from referee_blocks import frame as predicted_blocks
from referee_coefficients import Chances, added
from referee_coefficients import read as read_coefficients
from referee_conditional import frame, grey, nothing_coded, predicted_by
from referee_contexts import main_symbols
from referee_planes import MANTISSA, at_quality, latents, motion_compensation, parameters, planes, synthesis
from referee_tables import MAIN, SIDE, Part, bits

INFORMATIONS = {
    2: {0: ("intra",), 1: ("motion", "residual")},
    3: {0: ("intra",), 1: ("motion", "residual"), 2: ("bimotion", "biresidual")},
    4: {0: ("codec_i",), 1: ("mode_p", "codec_p"), 2: ("mode_b", "codec_b")},
}
CHOICES = {codec: {1: (4,), 2: (4, 2)} for codec in (3, 4)}  # bits


@dataclass
class Video:
    """frames: time in ticks and planes Y, U, V; duration: ticks; packets: time, duration, key, data of the audio.

    replaced, reused: how many tables were replaced, and how many of these with the codes of the frame before.
    """

    width: int = 0
    height: int = 0
    frames: list[tuple[int, list[Array]]] = field(default_factory=list)
    duration: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    streams: dict[int, str] = field(default_factory=dict)
    packets: list[tuple[int, int, bool, bytes]] = field(default_factory=list)
    replaced: int = 0
    reused: int = 0


class Reader:
    """Fields of a content, one after the other."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def bytes(self, count: int) -> bytes:
        must(self.at + count <= len(self.data), "cut field")
        self.at += count
        return self.data[self.at - count : self.at]

    def unsigned(self, count: int) -> int:
        return int.from_bytes(self.bytes(count), "little")

    def varint(self, low: int = 0, high: int = 1 << 35) -> int:
        value, self.at = varint(self.data, self.at)
        must(low <= value <= high, "range")
        return value

    def zigzag(self) -> int:
        value = self.varint()
        return -(value + 1) // 2 if value % 2 else value // 2

    def string(self, low: int, high: int) -> bytes:
        return self.bytes(self.varint(low, high))

    def end(self) -> None:
        must(self.at == len(self.data), "bytes left over")


def boxes(data: bytes) -> list[tuple[int, bytes, int, int]]:  # 2
    """(type, content, offset, checksum) of each."""
    must(data[:4] == b"NVC\0", "signature")
    found, at, index = [], 4, 0
    while at < len(data):
        head, begin = varint(data, at)
        end = begin + (head >> 2)
        must(end + 4 <= len(data), "cut box")
        stated = int.from_bytes(data[end : end + 4], "little")
        before = index.to_bytes(4, "little") if head & 3 == 1 else b""
        must(crc32c(before + data[0 if at == 4 else at : end]) == stated, "CRC32C")
        found.append((head & 3, data[begin:end], at, stated))
        index += head & 3 == 1
        at = end + 4
    return found


class Header:  # 3
    def __init__(self, content: bytes) -> None:
        r = Reader(content)
        first = r.unsigned(1)
        must(first in (0x12, 0x13, 0x14), "not a video of codec 2, 3 or 4")
        self.codec = first & 15
        self.model = r.bytes(4)
        self.code = r.unsigned(2)
        must(self.code <= 28672, "quality or table set")
        self.width, self.height = r.varint(0, (1 << 24) - 1) + 1, r.varint(0, (1 << 24) - 1) + 1
        must(self.width * self.height <= 1 << 28, "larger than this decoder takes")
        most = (1 << 31) - 1
        r.varint(1, most), r.varint(1, most)  # the time base
        self.duration = r.varint(1, 1 << 28)
        r.varint(1, 65535), r.varint(1, 65535)  # the aspect
        colour = r.bytes(3)
        flags = r.unsigned(1)
        must(colour[2] >= 1 and flags >> 5 == 0 and (flags >> 1 & 7) <= 5, "colour or flags")
        self.gap = 1 if flags >> 4 & 1 else 1 << (flags >> 1 & 7)
        self.period = r.varint(0, most)
        r.end()


@dataclass
class Shown:
    """A decoded frame, or what stands for an anchor before the first."""

    display: int
    time: int
    planes: list[Array] = field(default_factory=list)


class Decoder:
    """Frames of one file, in coding order."""

    def __init__(self, header: Header, weights: dict[str, Array], video: Video) -> None:
        self.header, self.video = header, video
        self.tensors = {name: value.astype(np.int64) for name, value in weights.items()}
        self.predictors = checked(self.below("decoder.predictors.")) if header.codec == 4 else {}
        self.index, self.intra, self.level, self.behind_intra = 0, 0, 0, False
        self.anchor = Shown(-1, 0)
        self.due: list[tuple[Shown, Shown]] = []  # neighbours of the B frames that must come, the next one last
        self.parts: dict[tuple[str, str], Part] = {}
        self.chances: dict[int, Chances] = {}
        self.entries: list[tuple[int, int, int, int]] = []  # offset, coded index, display index, time

    def frame(self, content: bytes, offset: int) -> None:  # 4
        header, r = self.header, Reader(content)
        flags = r.unsigned(1)
        kind, replaced, table_set = flags & 3, flags >> 2 & 1, flags >> 5 & 1
        must(flags >> 6 == 0 and not (table_set and header.code == 28672), "frame type")
        must(kind in INFORMATIONS[header.codec] and (kind == 2) == bool(self.due), "a frame of another type is due")
        must(kind == 0 or self.index > 0, "first frame")
        references = list(self.due[-1]) if kind == 2 else [self.anchor] if kind == 1 else []
        display, expected = self.place(kind, r, bool(flags & 8))
        step = r.zigzag() if flags & 16 else 0
        must(step != 0 or not flags & 16, "step")
        time = expected + step
        payload = content[r.at : -4]
        area = (header.width + 15) // 16 * 16 * ((header.height + 15) // 16 * 16)
        must(8 <= len(payload) <= 65536 + 8 * area and len(payload) % 4 == 0, "payload")
        must(self.index == 0 or time > (references or [self.anchor])[0].time, "time")
        must(abs(time) <= 1 << 60 and (kind < 2 or time < references[1].time), "time")
        if kind == 0:
            self.intra = display
            self.entries.append((offset, self.index, display, time))
        distances = [abs(reference.display - display) for reference in references]
        stream, level = Stream(payload), 1 + header.code // 4096 + table_set
        planes = self.samples(kind, stream, bool(replaced), level, [ref.planes for ref in references], distances)
        checksum = crc32c(b"".join(plane.astype(np.uint8).tobytes() for plane in planes))
        must(checksum == int.from_bytes(content[-4:], "little"), "picture checksum")
        self.video.frames.append((time, planes))
        self.follow(kind, Shown(display, time, planes))
        self.index += 1

    def place(self, kind: int, r: Reader, explicit: bool) -> tuple[int, int]:
        """Display index and expected time of the next frame."""
        header = self.header
        if kind == 2:
            must(not explicit, "gap of a B frame")
            a, b = self.due[-1]
            d = (a.display + b.display) // 2
            return d, a.time + (b.time - a.time) * (d - a.display) // (b.display - a.display)
        largest = header.gap if self.index else 1
        gap = r.varint(0, 31) + 1 if explicit else largest
        must(not (explicit and gap == largest) and gap <= largest, "gap")
        display = self.anchor.display + gap
        if header.period and self.index:
            must(display - self.intra <= header.period - kind, "intra period")
        return display, display * header.duration if kind == 0 else self.anchor.time + gap * header.duration

    def follow(self, kind: int, shown: Shown) -> None:
        """Which B frames are due after this one."""
        if kind == 2:
            a, b = self.due.pop()
            pairs = [(shown, b), (a, shown)]
        else:
            pairs, self.anchor = [(self.anchor, shown)], shown
        self.due += [(a, b) for a, b in pairs if b.display - a.display > 1]

    def samples(
        self, kind: int, stream: Stream, replaced: bool, level: int, references: list[list[Array]], distances: list[int]
    ) -> list[Array]:  # 12, 14, 15, 18
        if kind == 0 or level != self.level or (kind == 1 and self.behind_intra):
            self.parts, self.chances, self.level = {}, {}, level
        if kind < 2:
            self.behind_intra = kind == 0
        height, width, codec = self.header.height, self.header.width, self.header.codec
        h, w = (height + 15) // 16, (width + 15) // 16
        if blocks_choice := bits(stream, 2) if kind == 0 and self.predictors else 0:
            must(blocks_choice < 3, "blocks")
            steps = self.steps(self.predictors["log_step"], self.header.code)
            made_of_blocks = predicted_blocks(stream, blocks_choice, self.predictors, level, steps, height, width)
            stream.finish()
            return made_of_blocks
        drop, start = [*(bits(stream, n) for n in CHOICES.get(codec, {}).get(kind, ())), 0, 0][:2]
        fineness = bits(stream, 3) if codec == 4 and kind and self.flag("fineness") else 0
        layers = bits(stream, 2) if codec == 4 and kind and "decoder.transform.log_step" in self.tensors else 0
        must(layers < 3, "layers")
        kept = bits(stream, 2) if codec == 4 and kind and self.flag("filters") else 0
        must(kept < 3, "filter")
        above = 8 if codec > 2 and kind == 1 else 0
        code = self.header.code + 1024 * (above - drop)
        found: dict[str, tuple[Array, dict[str, Array]]] = {}  # latents, tensors
        for name in INFORMATIONS[codec][kind][: 1 if layers == 1 else None]:
            d = {n.split(".", 2)[2]: v for n, v in self.tensors.items() if n.startswith(f"decoder.{name}.")}
            tables = self.tables(stream, name, SIDE, replaced)
            z = np.zeros((len(tables), (h + 3) // 4, (w + 3) // 4), np.int64)
            for place in np.ndindex(z.shape):
                z[place] = symbol(stream, tables[place[0]])
            finer = 4096 * fineness if name.startswith("mode") else 0
            mean, index = parameters(z, d, code, h, w, finer)
            if codec == 4 and found:
                nothing = nothing_coded(found[INFORMATIONS[codec][kind][0]][0])
                mean[:, nothing], index[:, nothing] = 0, 0
            tables = self.tables(stream, name, MAIN, replaced)
            context = self.context(name)
            s = np.zeros_like(mean)
            if context:
                s[:] = main_symbols(stream, tables, index, context)
            else:
                for place in np.ndindex(s.shape):
                    s[place] = symbol(stream, tables[index[place]])
            found[name] = latents(s, mean, d, code, finer), d
        blocks = read_coefficients(stream, self.learned(kind), h, w) if layers else []
        stream.finish()
        if codec == 4:
            base = self.conditional(list(found.values()), references, distances, start, kept, layers != 1)
            return added(base, blocks, self.steps(self.tensors["decoder.transform.log_step"], code)) if layers else base
        made = {name: synthesis(name, *known) for name, known in found.items()}
        if kind == 0:
            return planes(made["intra"], height, width)
        if kind == 1:
            predicted = motion_compensation(references[0], made["motion"])
        else:
            predicted = prediction(references, distances[0], distances[1], start, made["bimotion"])
        residual = planes(made["residual" if kind == 1 else "biresidual"], height, width)
        return [np.clip(p + r, 0, 255) for p, r in zip(predicted, residual, strict=True)]

    def conditional(
        self,
        found: list[tuple[Array, dict[str, Array]]],
        references: list[list[Array]],
        distances: list[int],
        start: int,
        kept: int,
        coded: bool,
    ) -> list[Array]:  # 16, 17
        if references:
            made = predicted_by(*found[0], references, distances, start, self.flag("compensation"), kept)
        else:
            made = grey(self.header.height, self.header.width)
        return frame(*found[-1], *made) if coded else made[0]

    def learned(self, kind: int) -> Chances:  # 17
        if kind not in self.chances:
            self.chances[kind] = Chances(self.tensors[f"decoder.transform.{' pb'[kind]}"])
        return self.chances[kind]

    def steps(self, log_step: Array, code: int) -> list[tuple[int, int]]:  # 17, 10
        log = np.clip(at_quality(log_step, code), 0, 57344)
        return [(int(MANTISSA[value % 4096]), int(14 - value // 4096)) for value in log]

    def flag(self, name: str) -> bool:  # 9
        value = self.tensors.get(f"decoder.{name}", np.zeros(1, np.uint8))
        must(value.shape == (1,) and 0 <= value[0] <= 1, name)
        return bool(value[0])

    def tables(self, stream: Stream, name: str, kind: str, replaced: bool) -> list[tuple[list[int], int]]:  # 12, 13
        if (name, kind) not in self.parts:
            self.parts[name, kind] = self.part(name, kind)
        part = self.parts[name, kind]
        if not replaced:
            return part.plain()
        before = list(part.before)
        tables = part.replaced(stream)
        self.video.replaced += sum(now is not None for now in part.before)
        self.video.reused += sum(now is not None and now is old for now, old in zip(part.before, before, strict=True))
        return tables

    def below(self, prefix: str) -> dict[str, Array]:
        return {n.removeprefix(prefix): v for n, v in self.tensors.items() if n.startswith(prefix)}

    def levelled(self, name: str) -> bool:  # 9
        """Whether main tables, and rows of contexts with them, are of each level: all of them, or none."""
        kinds = ["main.size", "main.offset", "main.frequency", "main.candidates"]
        kinds += ["context.row"] if self.below(f"tables.{name}.context.") else []
        every = {f"tables.{name}.{level}.{kind}" for level in range(1, 9) for kind in kinds}
        parts = [f"tables.{name}.{level}.{half}." for level in range(1, 9) for half in ("main", "context")]
        found = {part + n for part in parts for n in self.below(part)}
        must(found in (set(), every), "main tables of some levels")
        shared = [kind for kind in kinds if f"tables.{name}.{kind}" in self.tensors]
        must(bool(shared) != bool(found), "main tables of both forms, or of none")
        return bool(found)

    def context(self, name: str) -> dict[str, Array]:  # 9, 12
        found = self.below(f"tables.{name}.context.")
        if found and self.levelled(name):
            found |= self.below(f"tables.{name}.{self.level}.context.")
        return found

    def part(self, name: str, kind: str) -> Part:  # 9
        of_level = kind == SIDE or self.levelled(name)
        t = self.below(f"tables.{name}.{self.level}.{kind}." if of_level else f"tables.{name}.{kind}.")
        ends = np.cumsum(t["size"])
        tables = [
            (t["frequency"][end - size : end].tolist(), int(offset))
            for end, size, offset in zip(ends, t["size"], t["offset"], strict=True)
        ]
        return Part(kind, tables, t["candidates"].tolist())


def symbol(stream: Stream, table: tuple[list[int], int]) -> int:  # 12
    value = stream.value(*table)
    must(abs(value) <= 32767, "symbol")
    return value


def audio_packets(r: Reader, video: Video) -> None:  # 5
    must(r.varint() in video.streams, "stream")
    end = 0
    while True:
        head = r.varint(2)
        time = end + r.zigzag()
        duration = r.varint()
        video.packets.append((time, duration, bool(head & 1), r.bytes(head >> 1)))
        end = time + duration
        if r.at == len(r.data):
            return


def audio_stream(r: Reader, video: Video) -> None:  # 5
    number = r.varint(0, 63)
    must(number not in video.streams, "second stream")
    r.varint(1, (1 << 31) - 1), r.varint(1, (1 << 31) - 1), r.varint(1, 1 << 24), r.varint(1, 255)
    video.streams[number] = r.string(1, 64).decode("ascii")
    r.string(0, 64), r.string(0, 1 << 20)
    r.end()


def check_end(data: bytes, size: int, decoder: Decoder, chain: int, video: Video) -> None:  # 5
    r = Reader(data)
    must(r.varint() == decoder.index, "number of frames")
    must(r.unsigned(4) == chain, "chain")
    video.duration = r.zigzag() + decoder.index * decoder.header.duration
    must(video.duration > decoder.anchor.time - decoder.entries[0][3], "duration")
    must(not decoder.due, "a B frame is due")
    must(r.varint() == len(decoder.entries), "entries")
    at = index = 0
    for offset, coded, display, time in decoder.entries:
        at += r.varint()
        step = r.varint()
        index += step >> 1
        lead, shift = (r.varint(), r.zigzag()) if step & 1 else (0, 0)
        must(not step & 1 or (lead, shift) != (0, 0), "more without need")
        same = (offset, coded, display, time) == (at, index, index + lead, display * decoder.header.duration + shift)
        must(same, "entry")
    must(r.unsigned(4) == size, "box size")
    r.end()


def decode(data: bytes, weight_file: bytes, base: bytes = b"") -> Video:
    found = boxes(data)
    must(found[0][0] == 0 and len(found) > 1, "first box")
    must(found[-1][0] == 2 and found[-1][1][:4] == b"END ", "end box")
    header, weights = Header(found[0][1]), read_weights(weight_file, base)
    must(model_id(weights) == header.model, "weights of another model")
    video = Video(header.width, header.height)
    decoder = Decoder(header, weights, video)
    for kind, content, offset, _ in found[1:-1]:
        if kind == 1:
            decoder.frame(content, offset)
            continue
        name, r = content[:4], Reader(content, 4)
        must(kind == 3 and len(name) == 4 and all(0x20 <= c <= 0x7E for c in name), "box")
        must(decoder.index == 0 or name not in (b"AUDS", b"TEXT"), "late box")
        if name == b"AUDS":
            audio_stream(r, video)
        elif name == b"AUDP":
            audio_packets(r, video)
        elif name == b"TEXT":
            key = r.string(1, 64).decode("ascii")
            video.texts[key] = content[r.at :].decode()
    must(decoder.index > 0, "no frame")
    chain = crc32c(b"".join(checksum.to_bytes(4, "little") for *_, checksum in found[:-1]))
    check_end(found[-1][1][4:], len(data) - found[-1][2], decoder, chain, video)
    return video


__all__ = ["Invalid", "Video", "decode"]
