"""A frame of video as nvc codes it: 8-bit YUV 4:2:0, three planes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Frame420:
    """y: (H, W); u, v: (ceil(H/2), ceil(W/2)); all uint8. What the codes mean (matrix, range), the stream says."""

    y: NDArray[np.uint8]
    u: NDArray[np.uint8]
    v: NDArray[np.uint8]

    def __post_init__(self) -> None:
        half = tuple(-(-side // 2) for side in self.y.shape)
        if self.y.ndim != 2 or self.u.shape != half or self.v.shape != half:
            raise ValueError(f"planes of {self.y.shape}, {self.u.shape}, {self.v.shape} are not a 4:2:0 frame")
        if {plane.dtype for plane in self.planes} != {np.dtype(np.uint8)}:
            raise ValueError("a frame's planes are of uint8")

    @property
    def planes(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Y, U, V."""
        return self.y, self.u, self.v

    @property
    def height(self) -> int:
        """Luma rows."""
        return int(self.y.shape[0])

    @property
    def width(self) -> int:
        """Luma columns."""
        return int(self.y.shape[1])
