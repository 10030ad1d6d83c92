"""An independent decoder, written from FORMAT.md alone: plain Python and numpy int64, nothing of nvc. Slow on purpose.

`decode(file, weights)`: bytes of both -> (H, W, 3) or (H, W) uint8, with alpha (H, W, 4). Raises Invalid.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
TYPES = {"I8": "|i1", "U8": "|u1", "I16": "<i2", "U16": "<u2", "I32": "<i4"}


class Invalid(Exception): ...


def must(holds: bool, what: str) -> None:
    if not holds:
        raise Invalid(what)


def crc32c(data: bytes) -> int:  # 1
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def varint(data: bytes, at: int) -> tuple[int, int]:  # 1
    value = 0
    for i in range(5):
        must(at + i < len(data), "cut varint")
        value |= (data[at + i] & 127) << 7 * i
        if data[at + i] < 128:
            must(i == 0 or data[at + i] != 0, "long varint")
            return value, at + i + 1
    raise Invalid("endless varint")


def boxes(data: bytes) -> Iterator[tuple[int, bytes]]:  # 2
    must(data[:4] == b"NVC\0", "signature")
    at = 4
    while at < len(data):
        head, begin = varint(data, at)
        end = begin + (head >> 2)
        must(end + 4 <= len(data), "cut box")
        must(crc32c(data[0 if at == 4 else at : end]) == int.from_bytes(data[end : end + 4], "little"), "CRC32C")
        yield head & 3, data[begin:end]
        at = end + 4


def alpha_plane(data: bytes, height: int, width: int) -> Array:  # 5
    plane = np.frombuffer(zlib.decompress(data[5:]), np.uint8).reshape(height, width)
    must(data[0] <= 2, "alpha filter")
    plane = np.cumsum(plane, axis=2 - data[0], dtype=np.uint8) if data[0] else plane
    must(crc32c(plane.tobytes()) == int.from_bytes(data[1:5], "little"), "alpha checksum")
    return plane


class Stream:  # 7
    def __init__(self, payload: bytes) -> None:
        self.words: list[int] = np.frombuffer(payload, "<u4").tolist()
        self.x, self.next = self.words[0] | self.words[1] << 32, 2
        must(1 << 31 <= self.x < 1 << 63, "first state")

    def refill(self) -> None:
        if self.x < 1 << 31:
            must(self.next < len(self.words), "payload too short")
            self.x = self.x << 32 | self.words[self.next]
            self.next += 1

    def nibble(self) -> int:
        v, self.x = self.x & 15, self.x >> 4
        self.refill()
        return v

    def value(self, frequencies: Array, offset: int) -> int:
        slot, start, s = self.x & 65535, 0, 0
        while start + int(frequencies[s]) <= slot:
            start += int(frequencies[s])
            s += 1
        self.x = int(frequencies[s]) * (self.x >> 16) + slot - start
        self.refill()
        escape = len(frequencies) - 1
        if s < escape:
            return offset + s
        k = self.nibble()
        must(k <= 7, "nibbles")
        digits = [self.nibble() for _ in range(k)]
        must(k == 0 or digits[-1] != 0, "leading zero nibble")
        r = sum(d << 4 * i for i, d in enumerate(digits))
        v = offset - (r + 1) // 2 if r % 2 else offset + escape + r // 2
        must(abs(v) <= 1 << 26, "value")
        return v

    def finish(self) -> None:
        must(self.next == len(self.words) and self.x == 1 << 31, "end of payload")


def read_weights(data: bytes, base: bytes = b"") -> dict[str, Array]:  # 9
    data = gzip.decompress(data) if data[:3] == b"\x1f\x8b\x08" else data
    body = 8 + int.from_bytes(data[:8], "little")
    head = json.loads(data[8:body])
    metadata = head.pop("__metadata__", {})
    borrowed, same = (json.loads(metadata.get(key, empty)) for key, empty in (("borrowed", "[]"), ("same", "{}")))
    must(not same.keys() & {*head, *borrowed}, "a tensor twice")
    must(set(same.values()) <= head.keys(), "the same as a tensor that is not stored")
    head |= {name: head[stored] for name, stored in same.items()}
    tensors = {n: entry for n, entry in head.items() if n.startswith(("decoder.", "tables."))}
    for name, entry in tensors.items():
        begin, end = (body + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors | {n: value for n, value in (read_weights(base) if base else {}).items() if n in borrowed}


def model_id(tensors: dict[str, Array]) -> bytes:  # 9
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):  # each of a type given in TYPES, so dtype.str is that on every machine
        digest.update(f"{name} {value.dtype.str} {','.join(map(str, value.shape))}\n".encode() + value.tobytes())
    return digest.digest()[:4]


def read_symbols(stream: Stream, weights: dict[str, Array], level: int, h: int, w: int) -> Array:  # 8
    t = {n.split(".", 2)[2]: v.astype(np.int64) for n, v in weights.items() if n.startswith(f"tables.{level}.")}

    def value(kind: str, number: int) -> int:
        end = int(ends[kind][number])
        table = t[f"{kind}.frequency"][end - t[f"{kind}.size"][number] : end]
        return stream.value(table, int(t[f"{kind}.offset"][number]))

    ends = {kind: np.cumsum(t[f"{kind}.size"]) for kind in ("symbols", "activation") if f"{kind}.size" in t}
    channels, contexts = len(t["order"]), t["threshold"].shape[1] + 1
    active = dict.fromkeys(range(channels), 1)
    if "activation" in ends:
        active = {int(c): value("activation", 25 * c + min((h * w).bit_length() - 1, 24)) for c in t["order"]}
    must(all(bit in (0, 1) for bit in active.values()), "activation bit")
    deviation, m = np.zeros((2, channels, h + 1, w + 2), np.int64)  # of q from the mode; magnitudes; with a border
    for c in (int(c) for c in t["order"] if active[int(c)]):
        sources = [(int(k), g) for k, g in zip(t["source"][c], t["weight"][c], strict=True) if k >= 0]
        for y, x in np.ndindex(h, w):
            near = ((y, x + 1), (y + 1, x), (y, x), (y, x + 2))  # up, left, up-left, up-right, with the border
            score = sum(t["near"][c][i] * m[c][at] for i, at in enumerate(near))
            score += sum(g * m[k][y + 1][x + 1] for k, g in sources)
            e = value("symbols", contexts * c + int((t["threshold"][c] <= min(score, 1023)).sum()))
            predicted = (sum(t["predict"][c][i] * deviation[c][at] for i, at in enumerate(near)) + 16) // 32
            deviation[c][y + 1][x + 1] = predicted + e
            must(abs(t["mode"][c] + predicted + e) <= 32767, "symbol")
            m[c][y + 1][x + 1] = t["quantiser"][c][min(abs(e), 15)]
    return deviation[:, 1:, 1:-1] + t["mode"][:, None, None]


def rhe(v: Array, s: Array) -> Array:  # 10
    rounded: Array = (v + np.left_shift(1, np.maximum(s - 1, 0)) - 1 + (v >> s & 1)) >> s
    return np.where(s == 0, v, rounded)


def synthesis(q: Array, weights: dict[str, Array], code: int) -> Array:  # 10
    d = {name.removeprefix("decoder."): v.astype(np.int64) for name, v in weights.items()}
    k = min(code // 4096, 6)
    share = code - 4096 * k
    log = (d["log_step"][k] * (4096 - share) + d["log_step"][k + 1] * share + 2048) // 4096
    mantissa = np.array([int(2.0 ** (14 + i / 4096) + 0.5) for i in range(4096)])[log % 4096]
    latents = np.clip(rhe(q.transpose(1, 2, 0) * mantissa, 14 - log // 4096), -32767, 32767)
    h, w, _ = latents.shape
    x = latents
    for layer in range(4):
        weight, rows, columns = d[f"conv{layer}.weight"], h << layer, w << layer
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        x = d[f"conv{layer}.bias"] + np.zeros((rows, columns, 1), np.int64)
        for i, j in np.ndindex(3, 3):
            x = x + padded[i : i + rows, j : j + columns] @ weight[:, :, i, j].T
        if layer < 3:
            x = np.clip(rhe(x, d[f"conv{layer}.shift"]), 0, 255)
        x = x.reshape(rows, columns, 2, 2, -1).transpose(0, 2, 1, 3, 4).reshape(2 * rows, 2 * columns, -1)
    linear = (latents @ d["linear"]).reshape(h, w, 16, 16, 3).transpose(0, 2, 1, 3, 4).reshape(16 * h, 16 * w, 3)
    return np.clip(rhe((x << d["scale"][0]) + linear, d["scale"][1]), 0, 255).astype(np.uint8)


def decode(data: bytes, weight_file: bytes) -> Array:
    kinds, contents = zip(*boxes(data), strict=True)
    must(kinds[0] == 0 and kinds[-1] == 1 and set(kinds[1:-1]) <= {2, 3}, "order of the boxes")
    header, frame = contents[0], contents[-1]  # 3, 4
    bits = int.from_bytes(header[5:7], "little")
    code, table_set, grey = bits & 0x7FFF, bits >> 15, header[0] == 0x21
    must(header[0] in (0x01, 0x21) and code <= 28672 and (code < 28672 or not table_set), "header")
    right, at = varint(header, 7)
    bottom, at = varint(header, at)
    width, height = right + 1, bottom + 1
    must(at == len(header) and frame[0] == 0 and len(frame) >= 13 and len(frame) % 4 == 1, "header or frame")
    weights = read_weights(weight_file)
    must(model_id(weights) == header[1:5], "weights of another model")
    stream = Stream(frame[1:-4])
    q = read_symbols(stream, weights, 1 + code // 4096 + table_set, -(-height // 16), -(-width // 16))
    stream.finish()
    pixels = synthesis(q, weights, code)[:height, :width]
    if grey:
        pixels = ((2 * pixels.astype(np.int64).sum(axis=2) + 3) // 6).astype(np.uint8)
    must(crc32c(pixels.tobytes()) == int.from_bytes(frame[-4:], "little"), "picture checksum")
    critical = [content for kind, content in zip(kinds, contents, strict=True) if kind == 2]
    must(all(content[:4] == b"ALPH" for content in critical) and len(critical) < 2, "critical boxes")
    return np.dstack([pixels, alpha_plane(critical[0][4:], height, width)]) if critical else pixels
