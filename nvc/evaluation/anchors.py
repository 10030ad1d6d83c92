"""Classical picture codecs to measure against, as Pillow brings them: real files in memory, really decoded.

Settings are each codec's own quality scale, 0..100. The ladders span about 0.1 to 3 bits per pixel on photographs.
"""

import io
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError, features

from nvc.errors import InputError, NvcError, UsageError
from nvc.evaluation.codecs import OptionsInName
from nvc.evaluation.metrics import UInt8Array

CHROMA = {"420": "4:2:0", "422": "4:2:2", "444": "4:4:4"}


class _PillowCodec(OptionsInName):
    pillow_name = ""

    def decode(self, data: bytes) -> UInt8Array:
        return _load(data, self.pillow_name)

    def model_id(self, data: bytes) -> str:
        return ""


@dataclass(frozen=True)
class Jpeg(_PillowCodec):
    """JPEG of libjpeg-turbo with optimised Huffman tables, baseline, chroma 4:2:0.

    progressive: 1 codes progressive scans, some per cent smaller. chroma: 420, 422 or 444.
    """

    progressive: int = 0
    chroma: str = "420"
    base = "jpeg"
    pillow_name = "JPEG"

    def __post_init__(self) -> None:
        _check_choice("progressive", self.progressive, (0, 1))
        _check_choice("chroma", self.chroma, tuple(CHROMA))

    @property
    def ladder(self) -> tuple[float, ...]:
        return (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 88, 93, 96)

    def version(self) -> str:
        return _version("jpg", "libjpeg_turbo", "libjpeg-turbo")

    def encode(self, picture: UInt8Array, setting: float) -> bytes:
        options = {"optimize": True, "progressive": bool(self.progressive), "subsampling": CHROMA[self.chroma]}
        return _save(picture, self.pillow_name, setting, options)


@dataclass(frozen=True)
class Webp(_PillowCodec):
    """Lossy WebP of libwebp, chroma always 4:2:0. method: effort 0..6."""

    method: int = 6
    base = "webp"
    pillow_name = "WEBP"

    def __post_init__(self) -> None:
        _check_choice("method", self.method, tuple(range(7)))

    @property
    def ladder(self) -> tuple[float, ...]:
        return (0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 88, 94, 98)

    def version(self) -> str:
        return _version("webp", "webp", "libwebp")

    def encode(self, picture: UInt8Array, setting: float) -> bytes:
        return _save(picture, self.pillow_name, setting, {"method": self.method})


@dataclass(frozen=True)
class Avif(_PillowCodec):
    """AVIF of libavif with Pillow's defaults: speed 6 of 0..10 (low is slow), chroma 4:2:0, all cores.

    threads: 0 = all cores. The library chooses the AV1 encoder: version() says which one it has.
    """

    speed: int = 6
    chroma: str = "420"
    threads: int = 0
    base = "avif"
    pillow_name = "AVIF"

    def __post_init__(self) -> None:
        _check_choice("speed", self.speed, tuple(range(11)))
        _check_choice("chroma", self.chroma, tuple(CHROMA))
        if self.threads < 0:
            raise UsageError(f"threads is 0 (all cores) or more, not {self.threads}")

    @property
    def ladder(self) -> tuple[float, ...]:
        return (5, 15, 25, 35, 45, 55, 62, 69, 76, 82, 88, 93)

    def version(self) -> str:
        encoders = "+".join(name for name in ("aom", "rav1e", "svt") if _has_avif_encoder(name))
        return f"{_version('avif', 'avif', 'libavif')} ({encoders})"

    def encode(self, picture: UInt8Array, setting: float) -> bytes:
        options: dict[str, Any] = {"speed": self.speed}
        if picture.ndim == 3:  # a grey picture is coded without chroma planes
            options["subsampling"] = CHROMA[self.chroma]
        if self.threads:
            options["max_threads"] = self.threads
        return _save(picture, self.pillow_name, setting, options)


def _save(picture: UInt8Array, kind: str, setting: float, options: dict[str, Any]) -> bytes:
    if setting != int(setting) or not 0 <= setting <= 100:
        raise UsageError(f"{kind} quality is a whole number 0..100, not {setting:g}")
    out = io.BytesIO()
    try:
        Image.fromarray(picture).save(out, kind, quality=int(setting), **options)
    except (KeyError, OSError, ValueError) as error:  # KeyError: built without the format
        raise NvcError(f"Pillow cannot write {kind}: {error}") from error
    return out.getvalue()


def _load(data: bytes, kind: str) -> UInt8Array:
    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            return np.array(image if image.mode in ("L", "RGB") else image.convert("RGB"), dtype=np.uint8)
    except (KeyError, OSError, UnidentifiedImageError) as error:
        raise InputError(f"Pillow cannot read this {kind} file: {error}") from error


def _version(feature: str, number_of: str, library: str) -> str:
    if not features.check(feature):
        raise NvcError(f"this Pillow ({PIL.__version__}) was built without {feature.upper()}")
    return f"Pillow {PIL.__version__}, {library} {features.version(number_of) or 'of unknown version'}"


def _has_avif_encoder(name: str) -> bool:
    from PIL import _avif

    return cast(bool, _avif.encoder_codec_available(name))


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} is one of {', '.join(map(str, choices))}, not {value}")
