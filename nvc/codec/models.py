"""Weight files: what is installed, and loading one (FORMAT.md 9). No torch: numpy reads them.

A weight file is a safetensors file (nvc.codec.weight_files: plain, or in gzip) with the tensors
    decoder.*    the synthesis                     } these two are hashed into the model id
    tables.L.*   the context model of level L      } (of video: nvc.codec.video_model, nvc.codec.table_names)
    encoder.*    the analysis, see nvc.codec.encoder_weights
    training.*   what else a training run starts from, see nvc.training.dequantize
    ablation.*   context models of other kinds, for nvc-eval
and its metadata: codec, decoder (its kind, nvc.codec.decoders), name, id, config and psnr (JSON).
Some of the tensors may be those of another weight file, its base (nvc.codec.borrowing), and equal ones may be stored
once (nvc.codec.same_tensors): who opens a file here sees all of them.
"""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nvc.codec import weight_files
from nvc.codec.borrowing import WholeFile
from nvc.codec.decoders import DECODERS, DecoderKind, PictureDecoder
from nvc.codec.encoder_weights import expand
from nvc.codec.weight_files import TensorFile
from nvc.errors import InputError, UnknownModel, UsageError
from nvc.networks.image_integer import LEVELS

if TYPE_CHECKING:
    # At run time only where tables are read: it loads numba, which a list of models must not wait for.
    from nvc.entropy_models.context import ContextModel

Tensors = dict[str, NDArray[Any]]
ID_BYTES = 4
UNSOUND = (ValueError, KeyError, IndexError, TypeError)  # what tensors and metadata of a wrong make lead to
DEFAULT_QUALITY = 4.0
DEFAULT_RDOQ = 2
_CONTEXT_TYPES = {
    "order": np.uint16, "mode": np.int16, "predict": np.int16, "quantiser": np.uint8, "near": np.uint8,
    "source": np.int16, "weight": np.uint8, "threshold": np.uint16,
}  # fmt: skip


@dataclass(frozen=True)
class ModelInfo:
    """One installed weight file. psnr_range: Kodak mean PSNR in dB of levels 1..8, or None."""

    name: str
    id: str
    codec: str
    path: Path
    psnr_range: tuple[float, ...] | None


class WeightFile:
    """An opened weight file, its id checked; its parts are read when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = WholeFile(path, folders)
        self.info = _info(self._file)
        self.id = model_id(self.tensors())
        if self.id.hex() != self.info.id:
            base = f" (some are those of {self._file.base.path})" if self._file.borrowed else ""
            raise InputError(
                f"{path}: damaged: its tensors have the id {self.id.hex()}, not {self.info.id} as stated{base}"
            )

    @property
    def kind(self) -> str:
        """What its decoder is: "integer", "float"."""
        return _metadata(self._file).get("decoder", "integer")

    def tensors(self, prefix: str = "") -> Tensors:
        """All tensors whose names begin with `prefix`, which is cut off."""
        return self._file.tensors(prefix)

    def decoder_tensors(self) -> Tensors:
        """Tensors of the decoder."""
        return self.tensors("decoder.")

    def encoder(self) -> Tensors:
        """Tensors of the analysis, in float32."""
        try:
            return expand(self.tensors("encoder."))
        except UNSOUND as exc:
            raise unsound(self.path, exc) from exc

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """Widths of the networks."""
        try:
            return dict(json.loads(_metadata(self._file)["config"]))
        except UNSOUND as exc:
            raise unsound(self.path, exc) from exc


class ImageModel(WeightFile):
    """A weight file of the image codec."""

    @property
    def levels(self) -> int:
        """Qualities 1.0..levels."""
        return self._kind.levels

    def quality(self, wanted: float | None) -> float:
        """The quality to code at; None is the default. UsageError where the model has it not."""
        if wanted is None:
            return min(DEFAULT_QUALITY, float(self.levels))
        if self.levels == 1 and wanted != 1:
            raise UsageError(
                f"model {self.info.name} is one checkpoint of one rate: it has quality 1 alone and meets no target"
            )
        return wanted

    def rdoq(self, wanted: int | None) -> int:
        """Passes of RDOQ; None is the default. UsageError where the model cannot do that many."""
        most = self._kind.rdoq_passes
        if wanted is None:
            return min(DEFAULT_RDOQ, most)
        if wanted > most:
            reason = "its decoder is a published one, which RDOQ cannot follow" if most == 0 else f"at most {most}"
            raise UsageError(f"rdoq {wanted}: not with model {self.info.name}: {reason}")
        return wanted

    @functools.cached_property
    def _kind(self) -> DecoderKind:
        if self.kind not in DECODERS:
            raise InputError(f"{self.path}: its decoder is of the kind {self.kind!r}; a newer nvc may read it")
        return DECODERS[self.kind]

    @functools.cached_property
    def decoder(self) -> PictureDecoder:
        """The synthesis; that of integers is proven exact."""
        try:
            return self._kind.from_tensors(self.decoder_tensors())
        except UNSOUND as exc:
            raise unsound(self.path, exc) from exc

    @functools.cache  # noqa: B019 - as many entries as there are levels
    def tables(self, level: int, kind: str = "tables") -> "ContextModel":
        """The context model of level 1..8; kind "ablation.base" and the like where the file has them."""
        tensors = self.tensors(f"{kind}.{level}.")
        if not tensors:
            raise InputError(f"{self.path}: holds no {kind} of level {level}")
        try:
            return context_from_tensors(tensors)
        except UNSOUND as exc:
            raise unsound(self.path, exc) from exc


def folders() -> list[Path]:
    """Where weight files are looked for: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return [folder for folder in (package / "models", package.parent / "models") if folder.is_dir()]


@functools.cache
def installed() -> tuple[ModelInfo, ...]:
    """All weight files, by name, the newest name first."""
    paths = [path for folder in folders() for path in sorted(weight_files.within(folder), reverse=True)]
    return tuple(_info(TensorFile(path)) for path in paths)


def _is_file(name: str) -> bool:
    return weight_files.is_named(name) or Path(name).is_file()


def find(name: str | None, codec: str) -> Path:
    """The weight file of a name or path; None is the codec's default, the first that is installed. InputError."""
    if name is not None and _is_file(name):
        found = _info(TensorFile(Path(name))).codec
        if found != codec:
            raise InputError(f"{name}: a weight file of the codec {found!r}, not {codec!r}")
        return Path(name)
    for info in installed():
        if info.codec == codec and name in (None, info.name):
            return info.path
    for info in installed():
        if info.name == name:
            raise InputError(f"model {name}: of the codec {info.codec!r}, not {codec!r}")
    known = ", ".join(info.name for info in installed()) or "none"
    raise InputError(f"model {name or codec}: not installed (installed: {known})")


def codec_of(name: str) -> str | None:
    """The codec of the model with this name or path; None where there is no such model."""
    if _is_file(name):
        return _info(TensorFile(Path(name))).codec
    return next((info.codec for info in installed() if info.name == name), None)


def find_id(wanted: bytes, codec: str, name: str | None = None) -> Path:
    """The weight file of a codec with this id; UnknownModel if it is neither installed nor the named one."""
    if name is not None:
        path = Path(name) if _is_file(name) else find(name, codec)
        info = _info(TensorFile(path))
        if (info.id, info.codec) == (wanted.hex(), codec):
            return path
        raise UnknownModel(wanted)
    for info in installed():
        if info.id == wanted.hex() and info.codec == codec:
            return info.path
    raise UnknownModel(wanted)


@functools.cache
def _open(path: Path) -> ImageModel:
    return ImageModel(path)


def load(name: str | None = None, codec: str = "image") -> ImageModel:
    """A picture model, opened once. See `find`."""
    return _open(find(name, codec))


def by_id(wanted: bytes, name: str | None = None) -> ImageModel:
    """The picture model with this id. See `find_id`."""
    return _open(find_id(wanted, "image", name))


def model_id(tensors: Tensors) -> bytes:
    """First bytes of the SHA-256 over name, type, shape and content of all decoder and table tensors, by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.startswith(("decoder.", "tables.")):
            value = np.ascontiguousarray(tensors[name])
            shape = ",".join(str(n) for n in value.shape)
            digest.update(f"{name} {value.dtype.str} {shape}\n".encode())
            digest.update(value.tobytes())
    return digest.digest()[:ID_BYTES]


def context_tensors(model: "ContextModel") -> Tensors:
    """A context model as tensors in the smallest types; frequencies stand for cumulative tables."""
    tensors: Tensors = {name: getattr(model, name).astype(kind) for name, kind in _CONTEXT_TYPES.items()}
    tables = {"symbols": model.symbols} | ({"activation": model.activation} if model.activation else {})
    for name, table in tables.items():
        tensors |= {f"{name}.{part}": value for part, value in table.tensors().items()}
    return tensors


def context_from_tensors(tensors: Tensors) -> "ContextModel":
    """The inverse of `context_tensors`. ValueError or KeyError for tensors that are not a context model."""
    from nvc.entropy_coding.tables import TableSet
    from nvc.entropy_models.context import ContextModel

    tables: dict[str, TableSet | None] = {"activation": None}
    for name in ("symbols", "activation"):
        if f"{name}.frequency" in tensors:
            tables[name] = TableSet.from_tensors(_below(tensors, name))
    plain = {name: tensors[name].astype(np.int32) for name in _CONTEXT_TYPES}
    symbols = tables["symbols"]
    if symbols is None:
        raise ValueError("no symbol tables")
    return ContextModel(**plain, activation=tables["activation"], symbols=symbols)


def _below(tensors: Tensors, name: str) -> Tensors:
    return {n.removeprefix(f"{name}."): value for n, value in tensors.items() if n.startswith(f"{name}.")}


def read_tensors(path: Path, prefix: str) -> Tensors:
    """All tensors of a weight file whose names begin with `prefix`, which is cut off."""
    return WholeFile(path, folders).tensors(prefix)


def _metadata(file: TensorFile) -> dict[str, str]:
    if not {"codec", "name", "id", "config"} <= file.metadata.keys():
        raise InputError(f"{file.path}: a safetensors file, but not of nvc")
    return file.metadata


def _info(file: TensorFile) -> ModelInfo:
    metadata, path = _metadata(file), file.path
    try:
        psnr = tuple(float(db) for db in json.loads(metadata.get("psnr", "null")) or ())
        if len(bytes.fromhex(metadata["id"])) != ID_BYTES:
            raise ValueError(f"a model id of {ID_BYTES} bytes expected, not {metadata['id']!r}")
    except UNSOUND as exc:
        raise unsound(path, exc) from exc
    return ModelInfo(
        metadata["name"], metadata["id"], metadata["codec"], path, psnr if len(psnr) == LEVELS else None
    )  # fmt: skip


def unsound(path: Path, exc: Exception) -> InputError:
    """What UNSOUND exceptions of a weight file's parts are to a user."""
    reason = f"{exc.args[0]} is missing" if isinstance(exc, KeyError) else str(exc).splitlines()[0]
    return InputError(f"{path}: not a sound weight file: {reason}")
