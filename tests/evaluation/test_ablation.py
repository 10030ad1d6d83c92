"""The ablation's table, on variants whose gains are known: the same WebP pictures, packed differently."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from nvc.errors import UsageError
from nvc.evaluation.ablation import LEVELS, PUBLISHED, VariantCodec, ablation_table
from nvc.evaluation.anchors import Webp
from nvc.evaluation.compare import compare
from nvc.evaluation.metrics import UInt8Array
from nvc.evaluation.rd import measure


@dataclass(frozen=True)
class Packed:
    """WebP by level; Base's files are made a quarter larger, which changes no picture."""

    name: str
    waste: float = 0.0
    method: int = 6

    def encode(self, array: UInt8Array, level: int) -> bytes:
        data = Webp(method=self.method).encode(array, 12 * level)
        return len(data).to_bytes(4, "little") + data + bytes(round(self.waste * (len(data) + 4)))

    def decode(self, data: bytes) -> UInt8Array:
        return Webp().decode(data[4 : 4 + int.from_bytes(data[:4], "little")])


VARIANTS = [Packed("base", waste=0.25), Packed("contexts"), Packed("contexts+rdoq", method=0)]


def test_one_line_a_variant_beside_what_is_published(photos: Path) -> None:
    codecs = [VariantCodec(variant) for variant in VARIANTS]
    found = measure(codecs, [photos], with_ms_ssim=False)
    assert len(found.rows) == 3 * 2 * len(LEVELS)
    names = [codec.name for codec in codecs]
    table = ablation_table(found, names).splitlines()
    base, contexts, rdoq = ([cell.strip() for cell in line.strip("|").split("|")] for line in table[2:5])
    assert base[:5] == ["base", "0", "0", "0", "2"]
    assert contexts[:4] == ["contexts", "−20.00 %", "−20.00 %", "−11.07 %"]  # 1 / 1.25, to a byte a file
    assert rdoq[0] == "contexts+rdoq"
    assert rdoq[3] == "−18.56 %"
    assert rdoq[1] == f"{compare(found.rows.values(), 'base', 'contexts+rdoq').mean:+.2f} %".replace("-", "−")
    assert base[-1] == f"{sum(row.bytes for row in found.rows.values() if row.codec == 'base'):,}"
    notes = "\n".join(table[5:])
    assert "- contexts: 14 of 14 files decode to base's PSNR." in notes
    assert "- contexts+rdoq: 0 of 14 files decode to base's PSNR." in notes
    assert "HM 16.22 −30.93 %, VTM 11.0 −46.99 %" in notes
    assert "contexts+rdoq −18.56" not in notes


def test_levels_are_whole(photos: Path) -> None:
    with pytest.raises(UsageError, match="whole numbers"):
        measure([VariantCodec(VARIANTS[0])], [photos], ladders={"base": [1.5]})


def test_published_order() -> None:
    """Each part of the paper's own codec adds a gain; the hybrid codecs are ahead of all."""
    assert PUBLISHED["base"] > PUBLISHED["contexts"] > PUBLISHED["contexts+rdoq"] > PUBLISHED["HM 16.22"]
