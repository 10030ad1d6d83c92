"""An opened weight file of a video codec (FORMAT.md 9): backend, tables, id."""

import functools
from pathlib import Path

from nvc.codec import models, table_names
from nvc.codec.catalogue import CATALOGUE, Entry
from nvc.codec.video_backend import VideoBackend
from nvc.entropy_models.hyperprior import HyperpriorTables
from nvc.errors import InputError, UsageError


class VideoModel(models.WeightFile):
    """Its parts are read when asked for. Tensors beside those of a picture model's weight file:

    decoder.INFORMATION.*            synthesis and hyper-synthesis
    tables.INFORMATION.main.*        tables of main latents
    tables.INFORMATION.context.*     what chooses among them beside the scale index, if anything does
    tables.INFORMATION.L.side.*      tables of side latents at level L

    Where main latents have tables for every level, main.* and context.row stand beside side.* instead
    (nvc.codec.table_names).
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if self.info.codec not in CATALOGUE or CATALOGUE[self.info.codec].kind != "video":
            raise InputError(f"{path}: a weight file of the codec {self.info.codec!r}, which is none of video")

    @property
    def entry(self) -> Entry:
        """Of the catalogue."""
        return CATALOGUE[self.info.codec]

    @functools.cached_property
    def backend(self) -> VideoBackend:
        """The networks; those of integers are proven exact."""
        from nvc.codec.backends import open_backend

        try:
            return open_backend(self)
        except models.UNSOUND as exc:
            raise models.unsound(self.path, exc) from exc

    def quality(self, wanted: float | None) -> float:
        """The quality to code at; None is the default. UsageError where the model has it not."""
        if wanted is None:
            return min(models.DEFAULT_QUALITY, float(self.backend.levels))
        if wanted > self.backend.levels:
            raise UsageError(
                f"model {self.info.name} is one checkpoint of one rate: it has quality 1 alone and meets no target"
            )
        return wanted

    @functools.cached_property
    def _tables(self) -> models.Tensors:
        return self.tensors("tables.")

    @functools.cache  # noqa: B019 - as many entries as there are levels and informations
    def tables(self, information: str, level: int) -> HyperpriorTables:
        """Of an information at level 1..8."""
        try:
            found = table_names.gather(self._tables, information, level, self.backend.levels)
            tables = HyperpriorTables.from_tensors(found)
            shapes = self.backend.shapes(information, 1, 1)
            if len(tables.side) != shapes.side[0]:
                raise ValueError(f"{len(tables.side)} side tables of {information} for {shapes.side[0]} channels")
            if tables.context is not None and tables.context.channels != shapes.main[0]:
                wrong, channels = tables.context.channels, shapes.main[0]
                raise ValueError(f"contexts of {wrong} channels of {information}, which has {channels}")
            return tables
        except models.UNSOUND as exc:
            raise models.unsound(self.path, exc) from exc


@functools.cache
def _open(path: Path) -> VideoModel:
    return VideoModel(path)


def load(name: str | None = None, codec: str = "ssf") -> VideoModel:
    """A model of a video codec, opened once. See nvc.codec.models.find."""
    return _open(models.find(name, codec))


def by_id(wanted: bytes, codec: str, name: str | None = None) -> VideoModel:
    """The model with this id. See nvc.codec.models.find_id."""
    return _open(models.find_id(wanted, codec, name))
