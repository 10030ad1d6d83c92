"""What an encoder of the conditional codec sends behind a mode: latents, coefficients or both (docs/aivc.md).

The networks are better where a prediction misses much, and what it misses is smooth; coefficients where little is
missing, here and there. Each frame says itself in all ways and takes the cheapest, by λ · squared error + bits. Bits of
latents are counted as tables would have it that fit the frame, for tables are re-parameterised.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Latents
from nvc.codec.transform import Layers, Transform
from nvc.codec.transform_choice import choose
from nvc.codec.video_backend import Place, Reference
from nvc.coefficients import Coefficients
from nvc.entropy_coding.adaptive import Chances, beginning
from nvc.entropy_coding.coder import Estimator
from nvc.entropy_models.hyperprior import HyperpriorTables, code_side
from nvc.frames import Frame420
from nvc.networks.transform import add_transformed, step_sizes

WEIGHTS = (0.75, 0.5, 0.5)  # of a squared error of each plane in (6Y + U + V)/8, by luma pixel
LARGEST = 20  # symbol that has a count of its own
REPLACEMENT = 24.0  # bits that a table which is replaced costs


class Said(NamedTuple):
    """What a P or B frame said that later ones look at: its kind, how finely its motion is coded, its chances."""

    kind: FrameType
    fineness: int
    chances: Chances | None


class Behind(NamedTuple):
    """What is behind a mode. chances: as they are then."""

    layers: Layers
    latents: Latents | None
    coefficients: Coefficients | None
    decoded: Reference
    chances: Chances


@dataclass(frozen=True, eq=False)
class LayerChoice:
    """Of one frame. worth: bits that a squared grey level of (6Y + U + V)/8 is worth; code: its quality code."""

    transform: Transform
    frame: Frame420
    place: Place
    code: int
    worth: float

    def alone(self, prediction: Frame420) -> Behind:
        """Coefficients, no latents."""
        return self._added(Layers.COEFFICIENTS, None, Reference(prediction))[1]

    def best(
        self, prediction: Frame420, latents: Latents, decoded: Reference, tables: HyperpriorTables, both: bool
    ) -> Behind:
        """The cheapest. decoded: what the latents make; both: whether coefficients are tried behind them, too."""
        bits = latent_bits(tables, latents)
        cost = bits + self.worth * squared_error(self.frame, decoded.frame)
        ways = [(cost, Behind(Layers.LATENTS, latents, None, decoded, self._chances()))]
        ways.append(self._added(Layers.COEFFICIENTS, None, Reference(prediction)))
        if both:
            more, way = self._added(Layers.BOTH, latents, decoded)
            ways.append((bits + more, way))
        return min(ways, key=lambda way: way[0])[1]

    def _added(self, layers: Layers, latents: Latents | None, base: Reference) -> tuple[float, Behind]:
        chances, sizes = self._chances(), step_sizes(self.transform.log_step, self.code)
        made, bits = choose(self.frame, base.frame, sizes, self.worth, chances)
        decoded = replace(base, frame=add_transformed(base.frame, made, self.transform.log_step, self.code))
        cost = bits + self.worth * squared_error(self.frame, decoded.frame)
        return cost, Behind(layers, latents, made, decoded, chances)

    def _chances(self) -> Chances:
        """As the last frame of the kind that this one refers to has left them, or as at the beginning."""
        said: Sequence[Said] = [reference.state for reference in self.place.references if reference.state]
        left = [one.chances for one in said if one.kind == self.place.kind and one.chances is not None]
        return left[-1].copy() if left else beginning(self.transform.chances[self.place.kind])


def squared_error(frame: Frame420, other: Frame420) -> float:
    """In squared grey levels of (6Y + U + V)/8, of all pixels."""
    return sum(
        weight * float(np.square(one.astype(np.float32) - two).sum(dtype=np.float64))
        for weight, one, two in zip(WEIGHTS, frame.planes, other.planes, strict=True)
    )


def latent_bits(tables: HyperpriorTables, latents: Latents) -> float:
    """Of side and main symbols; a main table counts as what it costs, or as one made for the frame, and its price."""
    side = Estimator()
    code_side(side, tables.side, latents.z)
    values, rows = tables.main_values(latents.index, latents.symbols)
    main, wide = tables.main, 2 * LARGEST + 1
    cells = rows.astype(np.int32) * wide + values.clip(-LARGEST, LARGEST) + LARGEST
    counts: NDArray[np.float64] = np.bincount(cells.reshape(-1), minlength=len(main) * wide).reshape(-1, wide) * 1.0
    total, place = counts.sum(1), np.arange(wide) - LARGEST - main.offset[:, None]
    inside = (place >= 0) & (place < main.size[:, None] - 1)
    learned = main.bits[main.start[:, None] + np.where(inside, place, main.size[:, None] - 1)]
    made = np.log2(np.maximum(total, 1))[:, None] - np.log2(np.maximum(counts, 1))
    costs = np.minimum((counts * learned).sum(1), (counts * made).sum(1) + REPLACEMENT * (total > 0))
    return side.bits + float(costs.sum())
