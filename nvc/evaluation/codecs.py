"""Codecs as the evaluation sees them: a name, a ladder of settings, pixels to bytes and bytes to pixels."""

from dataclasses import Field, dataclass, fields
from functools import partial
from typing import Any, Protocol

from nvc.errors import NvcError, UsageError
from nvc.evaluation.metrics import UInt8Array


class Codec(Protocol):
    """What `rd.measure` asks of a codec. Instances are picklable, so that processes can share the work.

    What is coded depends on the medium: a picture is (H, W, 3) RGB or (H, W) grey, uint8, and comes back as either; a
    clip is a `clips.Clip` and comes back as a list of frames.
    """

    @property
    def medium(self) -> str:
        """What it codes: "picture" or "video"."""

    @property
    def name(self) -> str:
        """How the codec and its options are called in results and on the command line."""

    @property
    def ladder(self) -> tuple[float, ...]:
        """Settings that span the useful range of rates, from small files to large."""

    def version(self) -> str:
        """Name and version of the software that does the work."""

    def encode(self, subject: Any, setting: float, /) -> bytes:
        """The whole file, as it would lie on disk."""

    def decode(self, data: bytes, /) -> Any:
        """Pixels or frames from nothing but the bytes."""

    def model_id(self, data: bytes) -> str:
        """The model that a file names, hexadecimal; empty where there are no models."""


class OptionsInName:
    """For dataclass codecs: the name is `base`, and the options that differ from their defaults after a colon."""

    base = ""
    medium = "picture"

    @property
    def name(self) -> str:
        changed = [
            f"{field.name}={value}"
            for field in options_of(self)
            if (value := getattr(self, field.name)) != field.default
        ]
        return ":".join([self.base, *([",".join(changed)] if changed else [])])


def options_of(codec: Any) -> list[Field[Any]]:
    """The fields of a codec, or of its class, that its name shows and that `parse` takes."""
    return [field for field in fields(codec) if field.name != "base"]


@dataclass(frozen=True)
class Nvc(OptionsInName):
    """nvc through its public Python interface. Settings are qualities, 1.0..8.0.

    rdoq: effort 0..3 of the rate-distortion optimised quantisation, -1 = the default of nvc.encode.
    model: name or path of a weight file, empty = the default.
    """

    rdoq: int = -1
    model: str = ""
    base = "nvc"

    @property
    def ladder(self) -> tuple[float, ...]:
        return (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)

    def version(self) -> str:
        from nvc.version import __version__

        return f"nvc {__version__}"

    def encode(self, picture: UInt8Array, setting: float) -> bytes:
        import nvc

        options: dict[str, Any] = {"quality": setting}
        if self.rdoq >= 0:
            options["rdoq"] = self.rdoq
        if self.model:
            options["model"] = self.model
        return bytes(nvc.encode(picture, **options))

    def decode(self, data: bytes) -> UInt8Array:
        import nvc

        pixels: UInt8Array = nvc.decode(data)
        return pixels

    def model_id(self, data: bytes) -> str:
        return nvc_model_id(data)


def nvc_model_id(data: bytes) -> str:
    """Model id in the header of a .nvc picture, 8 hex digits."""
    from nvc.bitstream.container import read_picture_file

    return read_picture_file(data).header.model_id.hex()


def parse(spec: str) -> Codec:
    """A codec from `name` or `name:option=value,…`, as `jpeg`, `avif:speed=4`, `ssf:intra=1`; UsageError otherwise."""
    base, _, tail = spec.partition(":")
    known = _known()
    if base not in known:
        raise UsageError(f"unknown codec {base!r}: choose from {', '.join(known)}")
    make = known[base]
    kinds: dict[str, type[Any]] = {field.name: type(field.default) for field in options_of(make.func)}
    options: dict[str, Any] = {}
    for item in tail.split(",") if tail else []:
        key, equals, value = item.partition("=")
        if key not in kinds or not equals:
            raise UsageError(f"{spec!r}: {base} takes {', '.join(f'{name}=…' for name in kinds)}, not {item!r}")
        try:
            options[key] = kinds[key](value)
        except ValueError as error:
            raise UsageError(f"{spec!r}: {key} is a whole number, not {value!r}") from error
    try:
        codec: Codec = make(**options)
    except NvcError as error:
        raise UsageError(f"{spec!r}: {error}") from error
    return codec


def _known() -> dict[str, partial[Any]]:
    """What makes the codecs, by name: those of pictures, then those of video, our own as the catalogue has them."""
    from nvc.codec.catalogue import CATALOGUE
    from nvc.evaluation.anchors import Avif, Jpeg, Webp
    from nvc.evaluation.video_anchors import X264, X265
    from nvc.evaluation.video_codecs import NvcVideo

    plain: dict[str, partial[Any]] = {kind.base: partial(kind) for kind in (Nvc, Jpeg, Webp, Avif, X264, X265)}
    ours = [entry.name for entry in CATALOGUE.values() if entry.kind == "video"]
    return plain | {name: partial(NvcVideo, base=name) for name in ours}
