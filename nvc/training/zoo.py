"""compressai's published checkpoints of scale-space flow, over the network: the only code of nvc that uses one."""

import hashlib
import urllib.request
from pathlib import Path

from nvc.errors import InputError

ZOO = "https://compressai.s3.amazonaws.com/models/v1/ssf2020-mse-{}-{}.pth.tar"
# Of the file of each quality, the beginning of its SHA-256 (compressai.zoo.pretrained).
ZOO_HASHES = (
    "c1ac1a47", "79ed4e19", "9c8b998d", "577c1eda", "5dd7d574", "59dfb6f9", "4d867411", "26439e20", "e89345c4",
)  # fmt: skip
ZOO_BYTES_MAX = 1 << 28


def fetch(quality: int, target: Path) -> None:
    """Download the zoo's checkpoint of quality 1..9 to `target`. InputError offline, or where it is not that file."""
    url = ZOO.format(quality, ZOO_HASHES[quality - 1])
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, target.open("wb") as file:
            while block := answer.read(1 << 20):
                digest.update(block)
                file.write(block)
                if file.tell() > ZOO_BYTES_MAX:
                    raise InputError(f"{url}: more than {ZOO_BYTES_MAX >> 20} MiB")
    except OSError as exc:  # urllib's errors are of this kind
        raise InputError(f"{url}: {getattr(exc, 'reason', None) or exc}") from exc
    if not digest.hexdigest().startswith(ZOO_HASHES[quality - 1]):
        raise InputError(f"{url}: its SHA-256 is {digest.hexdigest()}, which does not begin with its name's")
