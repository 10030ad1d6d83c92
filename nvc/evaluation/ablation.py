"""The parts of the picture codec one by one: Base, Contexts, RDOQ, FillGap, in file bytes, beside the published gains.

Base codes the latents with one training-set histogram table per channel and level: no contexts, no activation bits, no
RDOQ. FillGap re-parameterises tables for each picture, those of Base or of contexts. What is published is the table of
"Entropy Coding Improvement for Low-complexity Compressive Auto-encoders" (Galpin et al.): BD-rate against their Base on
Kodak, RGB PSNR, seven rates up to 1.5 bpp.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nvc.errors import UsageError
from nvc.evaluation.compare import compare, comparison_cells, comparison_notes, percent
from nvc.evaluation.metrics import UInt8Array
from nvc.evaluation.results import Results

LEVELS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
"""The levels that the paper uses: the first seven."""

PUBLISHED = {
    "base": 0.0,
    "contexts": -11.07,
    "contexts+rdoq": -18.56,
    "Balle2018 (GDN)": -3.15,
    "base+fillgap": -6.49,
    "LatentTune": -10.86,
    "LatentTune+FillGap": -15.09,
    "HM 16.22": -30.93,
    "VTM 11.0": -46.99,
}
"""BD-rate in per cent against the paper's own Base, by variant name where nvc has it."""


class Variant(Protocol):
    """One way of coding the same pictures (nvc.codec.variants)."""

    @property
    def name(self) -> str: ...

    def encode(self, array: UInt8Array, level: int) -> bytes:
        """The whole file. array: (H, W, 3) uint8; level 1..8."""

    def decode(self, data: bytes) -> UInt8Array:
        """(H, W, 3) uint8."""


@dataclass(frozen=True)
class VariantCodec:
    """A variant as a codec of `rd.measure`; settings are levels."""

    variant: Variant
    medium = "picture"

    @property
    def name(self) -> str:
        return self.variant.name

    @property
    def ladder(self) -> tuple[float, ...]:
        return LEVELS

    def version(self) -> str:
        from nvc.version import __version__

        return f"nvc {__version__}"

    def encode(self, picture: UInt8Array, setting: float) -> bytes:
        if setting != int(setting):
            raise UsageError(f"{self.name}: levels are whole numbers, not {setting:g}")
        return self.variant.encode(picture, int(setting))

    def decode(self, data: bytes) -> UInt8Array:
        return self.variant.decode(data)

    def model_id(self, data: bytes) -> str:
        """Files of variants are an experiment's own: what made them is known by `rd.fingerprints` alone."""
        return ""


def installed_variants() -> list[VariantCodec]:
    """The variants that the codec offers, Base first."""
    from nvc.codec.variants import variants

    return [VariantCodec(variant) for variant in variants()]


def ablation_table(results: Results, names: Sequence[str]) -> str:
    """Markdown: one line per variant, BD-rate against the first of `names`, the published number and the difference."""
    base, rows = names[0], list(results.rows.values())
    lines = [
        f"| variant | BD-rate against {base}, mean of pictures | of the mean curves | published | pictures "
        "| range compared, dB | smallest share of a curve | bytes, all files |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    notes: list[str] = []
    for name in names:
        size = f"{sum(row.bytes for row in rows if row.codec == name):,}"
        published = percent(PUBLISHED[name]) if name in PUBLISHED else "–"
        if name == base:
            cells = [name, "0", "0", "0", str(len({row.picture for row in rows if row.codec == name})), "–", "–", size]
        else:
            result = compare(rows, base, name)
            mean, of_means, *overlap = comparison_cells(result)
            cells = [name, mean, of_means, published, *overlap, size]
            notes += comparison_notes(result)
            notes += same_pictures_note(results, base, name)
        lines.append("| " + " | ".join(cells) + " |")
    others = ", ".join(f"{name} {percent(value)}" for name, value in PUBLISHED.items() if name not in names and value)
    notes.append(f"- Published beside these, against their own Base: {others}.")
    return "\n".join([*lines, "", *notes])


def same_pictures_note(results: Results, base: str, name: str) -> list[str]:
    """How many files of `name` decode to Base's PSNR: all of them where only the coding of the latents differs."""
    pairs = [
        (row.psnr, results.rows[row.picture, base, row.setting].psnr)
        for row in results.rows.values()
        if row.codec == name and (row.picture, base, row.setting) in results.rows
    ]
    # 1e-4 dB: results files keep four decimals
    same = sum(math.isclose(a, b, rel_tol=0, abs_tol=1e-4) for a, b in pairs)
    return [f"- {name}: {same} of {len(pairs)} files decode to {base}'s PSNR."]
