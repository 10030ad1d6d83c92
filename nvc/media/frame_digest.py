"""The digest by which decoded video is compared: MD5 of the planes Y, U, V of all frames, one after the other."""

import hashlib
from collections.abc import Iterable

import numpy as np

from nvc.frames import Frame420


class PlanesDigest:
    """Frames in, MD5 out; memory does not grow."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)

    def update(self, frame: Frame420) -> None:
        """Take the next frame in display order."""
        for plane in frame.planes:
            self._md5.update(np.ascontiguousarray(plane).data)

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return self._md5.hexdigest()


def planes_md5(frames: Iterable[Frame420]) -> str:
    """Digest of all frames, as 32 hexadecimal digits."""
    digest = PlanesDigest()
    for frame in frames:
        digest.update(frame)
    return digest.hexdigest()
