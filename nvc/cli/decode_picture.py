"""nvc-decode of one picture."""

import hashlib
import time
from typing import TYPE_CHECKING, BinaryIO

from nvc.bitstream.header import Kind
from nvc.cli import common
from nvc.cli.batch import Done
from nvc.cli.decoding import Order
from nvc.cli.files import Item, read_all, read_input
from nvc.errors import BadStream, UnknownModel

if TYPE_CHECKING:
    from nvc.media.pictures import Picture


def decode_picture_file(order: Order, item: Item, stream: BinaryIO | None) -> Done:
    """Decode, check and describe one picture. stream: where a pipe stands, already opened. Raises NvcError."""
    from nvc.codec.picture import decode_picture
    from nvc.media.pictures import encode_picture

    begun = time.perf_counter()
    limit = common.input_limit(order.max_pixels)
    data = read_input(item.source, limit=limit) if stream is None else read_all(stream, limit=limit)
    damage = ""
    try:
        picture = decode_picture(data, max_pixels=order.max_pixels, threads=order.threads, model=order.model)
    except BadStream as error:
        if not order.salvage or isinstance(error, UnknownModel):
            raise
        picture, damage = decode_rest(data, order)
    payload = None
    warnings = picture.warnings
    if order.write:
        payload, lost = encode_picture(picture, order.format_of(Kind.PICTURE))
        warnings += lost
    digest = digest_of(picture) if order.md5 else None
    seconds = time.perf_counter() - begun

    height, width = picture.pixels.shape[:2]
    name = f"{item.source_name} -> {item.target_name}" if order.write else f"{item.source_name}: good"
    parts = [name, f"{width}x{height}", f"{seconds:.1f} s", *([f"md5 {digest}"] if digest else [])]
    record: dict[str, object] = {
        "path": item.source,
        "output": item.target,
        "bytes": len(data),
        "width": width,
        "height": height,
        "seconds": seconds,
        "warnings": list(warnings),
    }
    if payload is not None:
        record["output_bytes"] = len(payload)
    if digest:
        record["md5"] = digest
    if damage:
        record["damage"] = damage
    return Done("  ".join(parts), record, payload=payload, warnings=warnings, damage=damage)


def decode_rest(data: bytes, order: Order) -> "tuple[Picture, str]":
    """The picture of a damaged file without its damaged parts, and a line that names them. Raises BadStream."""
    from nvc.bitstream.salvage import salvage
    from nvc.codec.picture import decode_picture

    sound, lost = salvage(data)
    picture = decode_picture(sound, max_pixels=order.max_pixels, threads=order.threads, model=order.model)
    return picture, f"damaged, lost: {', '.join(lost)}"


def digest_of(picture: "Picture") -> str:
    """MD5 of the samples row by row: RGB or grey, each pixel followed by its alpha where there is one."""
    import numpy as np

    height, width = picture.pixels.shape[:2]
    samples = picture.pixels.reshape(height, width, -1)
    if picture.alpha is not None:
        samples = np.concatenate([samples, picture.alpha[:, :, None]], axis=2)
    return hashlib.md5(np.ascontiguousarray(samples).tobytes(), usedforsecurity=False).hexdigest()
