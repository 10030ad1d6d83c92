"""The small numbers that frames of the conditional codec begin with, as a weight file has them (FORMAT.md 14)."""

from collections.abc import Sequence
from dataclasses import dataclass

from nvc.bitstream.container import FrameType
from nvc.codec.predictors import Blocks
from nvc.codec.transform import LAYER_BITS, Layers
from nvc.errors import BadStream
from nvc.networks.filters import FILTER_BITS, Filter

CODEC = {FrameType.I: "codec_i", FrameType.P: "codec_p", FrameType.B: "codec_b"}
MODE = {FrameType.P: "mode_p", FrameType.B: "mode_b"}
FINE_BITS = 3  # of the choice how finely motion is coded
FINENESSES = 1 << FINE_BITS
PLAIN = 2  # that of encoders that try no other
WIDTHS = {"fineness": FINE_BITS, "layers": LAYER_BITS, "filter": FILTER_BITS}  # of further choices, in their order


@dataclass(frozen=True)
class Further:
    """Choices of P and B frames behind those of every model: names, some of WIDTHS, in their order.

    How finely motion is coded; which layers stand behind a mode; which filter predicts.
    """

    names: tuple[str, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits of each."""
        return tuple(WIDTHS[name] for name in self.names)

    def of(self, name: str, choices: Sequence[int]) -> int:
        """One of a frame's choices; 0 where there is no such."""
        return choices[self.names.index(name) - len(self.names)] if name in self.names else 0

    def choosing(self, choices: Sequence[int], **chosen: int) -> tuple[int, ...]:
        """A frame's choices with some of these made anew."""
        made = list(choices)
        for name, value in chosen.items():
            if name in self.names:
                made[self.names.index(name) - len(self.names)] = value
        return tuple(made)

    def layers(self, kind: FrameType, choices: Sequence[int]) -> Layers:
        """Raises BadStream for such as there are not."""
        layers = self.of("layers", choices) if kind in MODE and choices else 0
        if layers > max(Layers):
            raise BadStream("a frame of layers that there are not; the file is damaged")
        return Layers(layers)

    def filter(self, choices: Sequence[int]) -> Filter:
        """Raises BadStream for one that there is not."""
        kind = self.of("filter", choices)
        if kind > max(Filter):
            raise BadStream("a frame of a filter that there is not; the file is damaged")
        return Filter(kind)


def in_blocks(kind: FrameType, choices: Sequence[int]) -> bool:
    """Whether a frame is predicted blocks, as I frames may be. Raises BadStream for a choice that says nothing."""
    if kind != FrameType.I or not choices:
        return False
    if choices[0] > max(Blocks):
        raise BadStream("an I frame of blocks that there are not; the file is damaged")
    return choices[0] != Blocks.LATENTS
