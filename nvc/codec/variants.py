"""The same latents coded in several ways, for `nvc-eval ablation`: what each part of the codec is worth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvc.bitstream.container import read_picture_file
from nvc.codec import fillgap, models
from nvc.codec.picture import EncodeSettings, PictureEncoder, decode_pixels
from nvc.media.pictures import Picture


@dataclass(frozen=True)
class Variant:
    """tables: which context model of the weight file; rdoq: passes; fillgap: with tables re-parameterised."""

    name: str
    tables: str
    rdoq: int
    fillgap: bool = False

    def encode(self, array: NDArray[np.uint8], level: int) -> bytes:
        """The whole file of (H, W, 3) uint8 at level 1..8."""
        settings = EncodeSettings(rdoq=self.rdoq, tables=self.tables, verify=False)
        data = PictureEncoder(Picture(array), settings).encode(float(level)).data
        return fillgap.pack(data, self.tables) if self.fillgap else data

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """(H, W, 3) uint8."""
        if self.fillgap:
            data = fillgap.unpack(data, self.tables)
        file = read_picture_file(data)
        return decode_pixels(file, models.by_id(file.header.model_id), self.tables)


def variants() -> list[Variant]:
    """Base first; "contexts" are paper 2's four, "magnitude" are ours, which files have.

    "fillgap" re-parameterises the tables for each picture (paper 1).
    """
    return [
        Variant("base", "ablation.base", 0),
        Variant("contexts", "ablation.count", 0),
        Variant("contexts+rdoq", "ablation.count", 3),
        Variant("magnitude", "tables", 0),
        Variant("magnitude+rdoq", "tables", 3),
        Variant("base+fillgap", "ablation.base", 0, fillgap=True),
        Variant("contexts+fillgap", "ablation.count", 0, fillgap=True),
        Variant("magnitude+fillgap", "tables", 0, fillgap=True),
    ]
