"""Weight files in gzip: the same tensors, the head alone for metadata, one line for what is damaged or hostile."""

import gzip
import io
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from nvc.codec import models, weight_files
from nvc.codec.models import ImageModel
from nvc.codec.weight_files import TensorFile, is_named, pack, serialize, stem, within, write
from nvc.errors import InputError

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "golden" / "tiny.safetensors"
CONTENT = TINY.read_bytes()
HEAD = 8 + int.from_bytes(CONTENT[:8], "little")  # bytes of length and JSON
METADATA = TensorFile(TINY).metadata


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """The tiny weight file, compressed."""
    path = tmp_path / "tiny.safetensors.gz"
    path.write_bytes(pack(CONTENT, path))
    return path


def same(a: models.Tensors, b: models.Tensors) -> bool:
    """Names, types, shapes, values."""
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and np.array_equal(a[n], b[n]) for n in a
    )


def with_head(entries: Any, body: bytes = b"") -> bytes:
    """A safetensors file of this JSON."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + body


def refused(make: Callable[[], Any], path: Path, reason: str = "") -> None:
    """One line that names the file."""
    with pytest.raises(InputError) as error:
        make()
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert reason in message
    assert "\n" not in message


class TestNames:
    def test_of_weight_files(self) -> None:
        assert is_named("a.safetensors")
        assert is_named(Path("models/a-1.b.safetensors.gz"))
        for other in ("a", "a.gz", "safetensors", "a.safetensors.xz", "a.safetensors.gz.tmp", "a.SAFETENSORS"):
            assert not is_named(other)
        assert stem(Path("x/a-1.b.safetensors.gz")) == stem(Path("a-1.b.safetensors")) == "a-1.b"

    def test_of_a_folder(self, tmp_path: Path) -> None:
        for name in ("a.safetensors", "b.safetensors.gz", "a.md", ".c.safetensors.gz.tmp", "d.gz"):
            (tmp_path / name).touch()
        assert {path.name for path in within(tmp_path)} == {"a.safetensors", "b.safetensors.gz"}

    def test_are_found_in_either_form(self, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "zebra.safetensors", {"x": np.zeros(1)}, METADATA | {"name": "zebra"})
        monkeypatch.setattr(models, "folders", lambda: [tmp_path])
        listed = models.installed.__wrapped__()
        assert [(info.name, info.path) for info in listed] == [
            ("zebra", tmp_path / "zebra.safetensors"),
            ("tiny", packed),
        ]

    def test_go_by_content(self, packed: Path, tmp_path: Path) -> None:
        for name in ("renamed", "renamed.safetensors"):
            other = tmp_path / name
            other.write_bytes(packed.read_bytes())
            assert models.load(str(other)).id == ImageModel(TINY).id
        plain = tmp_path / "plain.safetensors.gz"
        plain.write_bytes(CONTENT)
        assert models.load(str(plain)).id == ImageModel(TINY).id


class TestReading:
    def test_is_the_plain_file(self, packed: Path) -> None:
        assert gzip.decompress(packed.read_bytes()) == CONTENT
        for prefix in ("", "decoder.", "tables.3.", "nothing."):
            assert same(TensorFile(packed).tensors(prefix), TensorFile(TINY).tensors(prefix))
        assert TensorFile(packed).metadata == METADATA

    def test_model(self, packed: Path) -> None:
        plain, model = ImageModel(TINY), ImageModel(packed)
        assert (model.id, model.levels, model.config, model.kind) == (plain.id, 8, plain.config, plain.kind)
        assert same(model.encoder(), plain.encoder())
        assert np.array_equal(model.tables(5).symbols.cdf, plain.tables(5).symbols.cdf)
        assert same(model.decoder_tensors(), plain.decoder_tensors())

    @pytest.mark.parametrize("path", [TINY, None], ids=["plain", "compressed"])
    def test_tensors_are_the_callers_own(self, path: Path | None, packed: Path) -> None:
        file = TensorFile(path or packed)
        first = file.tensors("decoder.")
        first["linear"][:] = 1
        assert same(file.tensors("decoder."), load_below("decoder."))

    def test_is_taken_apart_once(self, packed: Path) -> None:
        model = ImageModel(packed)
        packed.unlink()
        assert model.decoder.levels == model.tables(1).channels == 8
        assert model.config["latents"] == 8

    def test_what_gzip_itself_writes(self, packed: Path) -> None:
        """A name and a time in its head; several members in a row."""
        with open(packed, "wb") as raw, gzip.GzipFile("named", "wb", fileobj=raw, mtime=7) as file:
            file.write(CONTENT)
        assert ImageModel(packed).id == ImageModel(TINY).id
        packed.write_bytes(gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:]))
        assert ImageModel(packed).id == ImageModel(TINY).id


def load_below(prefix: str) -> models.Tensors:
    return {name.removeprefix(prefix): value for name, value in load(CONTENT).items() if name.startswith(prefix)}


class TestHeadAlone:
    """A list of models waits for no tensors."""

    BODY = np.random.default_rng(0).integers(0, 256, 4 << 20).astype(np.uint8)

    @pytest.fixture
    def large(self, tmp_path: Path) -> Path:
        path = tmp_path / "large.safetensors.gz"
        write(path, {"decoder.x": self.BODY}, METADATA | {"name": "large"})
        assert path.stat().st_size > self.BODY.size
        return path

    def test_bytes_read(self, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[int] = []

        class Watched(io.FileIO):
            def read(self, size: int | None = -1) -> bytes:
                data = super().read(size)
                read.append(len(data))
                return data

        monkeypatch.setattr(weight_files, "open", Watched, raising=False)
        assert models._info(TensorFile(large)).name == "large"
        assert 0 < sum(read) < 70_000, "of four million"
        TensorFile(large).tensors()
        assert sum(read) > self.BODY.size

    def test_what_follows_does_not_matter(self, large: Path) -> None:
        large.write_bytes(large.read_bytes()[:70_000])
        assert models._info(TensorFile(large)).name == "large"
        refused(lambda: ImageModel(large), large, "not a readable weight file")


class TestDamage:
    def test_missing(self, tmp_path: Path) -> None:
        path = tmp_path / "none.safetensors.gz"
        refused(lambda: models.load(str(path)), path, "not a readable weight file: No such file or directory")

    @pytest.mark.parametrize("end", [1, 2, 3, 9, 10, 18, 200, 2000, -9, -8, -5, -1])
    def test_cut(self, packed: Path, end: int) -> None:
        packed.write_bytes(packed.read_bytes()[:end])
        refused(lambda: ImageModel(packed), packed, "not a readable weight file")

    def test_flipped_bits(self, packed: Path) -> None:
        """Anywhere behind gzip's head, of whose ten bytes those of time and system mean nothing."""
        data = packed.read_bytes()
        random = np.random.default_rng(2)
        for at in [*random.integers(10, len(data), 200), *range(len(data) - 8, len(data))]:
            bent = bytearray(data)
            bent[at] ^= 1 << int(random.integers(0, 8))
            packed.write_bytes(bent)
            refused(lambda: ImageModel(packed), packed)

    @pytest.mark.parametrize("at", range(4))
    def test_flipped_bits_of_gzips_head(self, packed: Path, at: int) -> None:
        """Magic, method, flags: refused, or a flag that changes nothing."""
        data = packed.read_bytes()
        for bit in range(8):
            bent = bytearray(data)
            bent[at] ^= 1 << bit
            packed.write_bytes(bent)
            try:
                assert ImageModel(packed).id == ImageModel(TINY).id
                assert (at, bit) in {(3, 0), (3, 5), (3, 6), (3, 7)}  # text, and reserved ones
            except InputError as error:
                assert str(error).startswith(f"{packed}: not a readable weight file: ")  # noqa: PT017

    @pytest.mark.parametrize("tail", [b"junk", b"\x1f\x8b\x08", gzip.compress(b"more", mtime=0)])
    def test_a_tail(self, packed: Path, tail: bytes) -> None:
        packed.write_bytes(packed.read_bytes() + tail)
        refused(lambda: ImageModel(packed), packed, "not a readable weight file")

    def test_a_tail_inside(self, packed: Path) -> None:
        packed.write_bytes(gzip.compress(CONTENT + b"\0"))
        refused(lambda: ImageModel(packed), packed, "more tensors in it than its head tells")

    def test_noise_inside(self, packed: Path) -> None:
        random = np.random.default_rng(3)
        for size in (0, 1, 8, 20, 4000):
            packed.write_bytes(gzip.compress(random.bytes(size)))
            refused(lambda: ImageModel(packed), packed, "not a readable weight file")

    def test_bent_content(self, packed: Path) -> None:
        """Sound gzip, wrong tensors: the id tells."""
        bent = bytearray(CONTENT)
        bent[-1] ^= 1
        packed.write_bytes(gzip.compress(bent))
        refused(lambda: ImageModel(packed), packed, "damaged: its tensors have the id")

    @pytest.mark.parametrize(
        ("head", "reason"),
        [
            (b"", "not a readable weight file"),
            (b"{", "not a readable weight file"),
            (b"[]", "no JSON object"),
            (b"\xff{}", "not a readable weight file"),
            (b"[" * 100_000, "not a readable weight file"),
            ({"__metadata__": 7}, "metadata are not strings"),
            ({"__metadata__": None}, "metadata are not strings"),
            ({"__metadata__": METADATA | {"psnr": [30]}}, "metadata are not strings"),
            ({"__metadata__": {}}, "not of nvc"),
            ({"x": {"dtype": "I8", "shape": [0], "data_offsets": [0, 0]}}, "not of nvc"),
        ],
    )
    def test_head(self, packed: Path, head: Any, reason: str) -> None:
        packed.write_bytes(gzip.compress(with_head(head)))
        refused(lambda: models._info(TensorFile(packed)), packed, reason)

    @pytest.mark.parametrize(
        "entry",
        [
            7,
            [],
            {},
            {"dtype": "I8", "shape": [1]},
            {"dtype": "I8", "shape": [1], "data_offsets": []},
            {"dtype": "I8", "shape": [1], "data_offsets": [0, "1"]},
            {"dtype": "I8", "shape": [1], "data_offsets": [0, -1]},
            {"dtype": "I8", "shape": [1], "data_offsets": [0, 1.5]},
            {"dtype": "I8", "shape": [1], "data_offsets": {"1": 1}},
            {"dtype": "I8", "shape": [2], "data_offsets": [0, 1]},
            {"dtype": "I8", "shape": [-1], "data_offsets": [0, 1]},
            {"dtype": "I9", "shape": [1], "data_offsets": [0, 1]},
            {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]},
            {"dtype": "I8", "shape": [2], "data_offsets": [0, 2]},
        ],
    )
    def test_entry_of_a_tensor(self, packed: Path, entry: Any) -> None:
        packed.write_bytes(gzip.compress(with_head({"__metadata__": METADATA, "x": entry}, b"\0")))
        refused(lambda: ImageModel(packed), packed, "not a readable weight file")


class TestBombs:
    """What a file claims is compared with what it can hold before memory is spent on it."""

    def refused_within(self, memory: int, make: Callable[[], Any], path: Path, reason: str) -> None:
        refused(make, path)  # what a first refusal imports is not counted
        tracemalloc.start()
        try:
            refused(make, path, reason)
            assert tracemalloc.get_traced_memory()[1] < memory
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("size", [(1 << 20) + 1, 1 << 40, (1 << 64) - 1])
    def test_head_that_is_too_large(self, packed: Path, size: int) -> None:
        packed.write_bytes(gzip.compress(struct.pack("<Q", size) + b"{" + bytes(8 << 20)))
        for make in (lambda: models._info(TensorFile(packed)), lambda: ImageModel(packed)):
            self.refused_within(1 << 20, make, packed, f"a head of {size} bytes, more than 1048576")

    @pytest.mark.parametrize("size", [64 << 20, 1 << 31, 1 << 62, 1 << 80])
    def test_claim_that_cannot_be(self, packed: Path, size: int) -> None:
        entry = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
        packed.write_bytes(gzip.compress(with_head({"__metadata__": METADATA, "x": entry}, bytes(1 << 20))))
        self.refused_within(1 << 20, lambda: ImageModel(packed), packed, f"its head claims {size} bytes of tensors")

    def test_claim_beyond_the_limit(self, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weight_files, "SIZE_MAX", 1 << 16)
        write(packed, {"x": np.zeros((1 << 16) + 1, np.uint8)}, METADATA)
        refused(lambda: ImageModel(packed), packed, "its head claims 65537 bytes of tensors, too many for a file of")

    def test_more_than_is_claimed(self, packed: Path) -> None:
        """64 MB of zeros behind the last tensor are not unpacked."""
        packed.write_bytes(gzip.compress(CONTENT + bytes(64 << 20)))
        self.refused_within(4 << 20, lambda: ImageModel(packed), packed, "more tensors in it than its head tells")


class TestWriting:
    def test_same_bytes_every_time(self, packed: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.safetensors.gz"
        assert pack(CONTENT, other) == packed.read_bytes()
        assert packed.read_bytes()[:8] == b"\x1f\x8b\x08\0\0\0\0\0"  # no flags: no name; no time
        assert pack(CONTENT, TINY) == CONTENT
        assert len(pack(CONTENT, other)) < 0.9 * len(CONTENT)

    @pytest.mark.parametrize("name", ["a.safetensors", "a.safetensors.gz"])
    def test_round_trip(self, tmp_path: Path, name: str) -> None:
        rows = np.arange(12, dtype=np.int16).reshape(3, 4)
        tensors = {"a": rows.T, "b": np.float32(3), "c": np.zeros((0, 2), np.float16), "d": rows[:, ::2]}
        write(tmp_path / name, tensors, {"é": "ü"})
        assert same(TensorFile(tmp_path / name).tensors(), {n: np.asarray(t) for n, t in tensors.items()})
        assert TensorFile(tmp_path / name).metadata == {"é": "ü"}
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_whole_or_not_at_all(self, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(self: Path, target: Path) -> None:
            raise OSError("disk full")

        before = packed.read_bytes()
        monkeypatch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            write(packed, {"x": np.zeros(1)}, {})
        assert packed.read_bytes() == before
        assert [path.name for path in packed.parent.iterdir()] == [packed.name]

    def test_plain_bytes_are_those_of_safetensors(self) -> None:
        tensors = load(CONTENT)
        assert serialize(tensors, {"a": "b"}) == save(tensors, {"a": "b"})


def test_deflate_bound() -> None:
    """The most that a compressor can make of nothing stays within the ratio that bombs are told by."""
    zeros = bytes(1 << 24)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    assert len(zeros) <= weight_files.DEFLATE_MAX * len(packer.compress(zeros) + packer.flush())
