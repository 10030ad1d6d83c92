"""Running the float analysis of our video codec: the same latents for any number of threads.

As `nvc.networks.image_analysis`: tiles of a fixed size, each by one thread alone.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nvc.networks.intra import BLOCK
from nvc.networks.planes import PLANES
from nvc.networks.ssf import error_features
from nvc.threads import spread

TILE_ROWS, TILE_COLUMNS = 16, 64  # positions of y in one tile
HALO = 2  # positions around it: three 5x5 layers see less than two
SIDE_TILE, SIDE_HALO = 8, 2  # positions of z, for the hyper-analysis
_ROWS = 32  # of six planes, by one thread at a time
ENCODER_PARTS = ("g_a.", "l_a.", "coder.hyper.h_a.")


Config = TypeVar("Config")


def load_config(kind: type[Config], fields: dict[str, Any]) -> Config:
    """A video codec's config as `dataclasses.asdict` gave it, from JSON. TypeError for fields that are not its own."""
    widths = {part.name: type(getattr(kind(), part.name)) for part in dataclasses.fields(kind)}  # type: ignore[arg-type]
    tuples = {part: {k: tuple(v) if isinstance(v, list) else v for k, v in fields[part].items()} for part in widths}
    return kind(**{part: of(**tuples[part]) for part, of in widths.items()})


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for it. Networks are trained in it, and run several times as fast."""
    found = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(ask() for ask in found if ask is not None)


class VideoAnalysis:
    """The encoder's networks. Latents are float32 (M, h, w), in pixels of 0..1 (motion: in luma pixels)."""

    def __init__(self, net: Any, tensors: dict[str, NDArray[Any]]) -> None:
        """net: an SsfNet or one with such parts; tensors: its state, of which only the analysis is needed.

        ValueError if that is not complete.
        """
        net.eval()
        state = {name: torch.from_numpy(value.astype(np.float32)) for name, value in tensors.items()}
        missing = [
            name
            for name in net.load_state_dict(state, strict=False)[0]
            if name.split(".", 1)[1].startswith(ENCODER_PARTS)
        ]
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        net.requires_grad_(False)
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def intra(self, planes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Six planes (8h, 8w, 6) of a frame -> latents."""
        net = self.net.intra

        def part(x: Tensor) -> Tensor:
            return net.analysis(x / 255 - 0.5)

        return _tiled(part, planes, BLOCK, net.config.latents)

    def residual(
        self, planes: NDArray[np.uint8], prediction: NDArray[np.uint8], name: str = "residual"
    ) -> NDArray[np.float32]:
        """Six planes of a frame and of its prediction -> latents of the information of that name."""
        net = getattr(self.net, name)

        def part(x: Tensor) -> Tensor:
            seen = x[:, 6:] / 255
            return net.analysis(x[:, :6] / 255 - seen, seen - 0.5)

        return _tiled(part, np.concatenate([planes, prediction], 2), BLOCK, net.config.latents)

    def conditional(self, planes: NDArray[np.uint8], prediction: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
        """Six planes of a frame and of its prediction -> latents; of networks that take both as they are."""
        net, short = getattr(self.net, name), multiplies_bfloat16()

        def part(x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=short):
                return net.latents(x)  # type: ignore[no-any-return]

        return _tiled(part, _beside(planes, prediction), BLOCK, net.config.latents)

    def motion(
        self, flow: NDArray[np.float32], errors: NDArray[np.float32], name: str = "motion"
    ) -> NDArray[np.float32]:
        """What is coded of every cell, flow in luma pixels first, and errors of predictions in 0..1 -> latents.

        (coded, 2h, 2w), (seen, 2h, 2w): see MotionConfig. name: of the information.
        """
        net = getattr(self.net, name)

        def part(x: Tensor) -> Tensor:
            return net.analysis(x[:, : net.config.coded], error_features(x[:, net.config.coded :]))

        return _tiled(part, np.concatenate([flow, errors]).transpose(1, 2, 0), 2, net.config.latents)

    def side(self, information: str, symbols: NDArray[np.float32], shrinkage: float = 0.0) -> NDArray[np.int32]:
        """Latents divided by their steps (M, h, w) -> rounded side latents (N, ceil(h/4), ceil(w/4)).

        shrinkage: by how much they are shrunk towards 0 before rounding.
        """
        from nvc.networks.asinh import compressed  # loads numba, which training does without

        coder = getattr(self.net, information).coder
        seen = compressed(symbols, 4)
        z = _tiled(coder.hyper.h_a, seen, 4, coder.hyper.config.side, (SIDE_TILE, SIDE_TILE), SIDE_HALO)
        return np.rint(z - np.clip(z, -shrinkage, shrinkage)).astype(np.int32)


def _tiled(
    analysis: Callable[[Tensor], Tensor], source: NDArray[Any], block: int, channels: int,
    tile: tuple[int, int] = (TILE_ROWS, TILE_COLUMNS), halo: int = HALO,
) -> NDArray[np.float32]:  # fmt: skip
    """Analysis of (block·h, block·w, C) in tiles -> (channels, h, w)."""
    rows, columns = source.shape[0] // block, source.shape[1] // block
    latents = np.empty((channels, rows, columns), np.float32)

    def work(corner: tuple[int, int]) -> None:
        top, left = corner
        bottom, right = min(rows, top + tile[0]), min(columns, left + tile[1])
        first, start = max(0, top - halo), max(0, left - halo)
        seen = source[block * first : block * (bottom + halo), block * start : block * (right + halo)]
        x = torch.from_numpy(np.ascontiguousarray(seen, np.float32)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            y = analysis(x.contiguous(memory_format=torch.channels_last))[0].numpy()
        latents[:, top:bottom, left:right] = y[:, top - first : bottom - first, left - start : right - start]

    spread(work, itertools.product(range(0, rows, tile[0]), range(0, columns, tile[1])))
    return latents


def _beside(planes: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the analysis of conditional coding sees, as nvc.networks.aivc.CodecNet.latents: (8h, 8w, 12)."""
    from nvc.networks.plane_kernels import beside_rows  # loads numba, which training does without

    seen = np.empty((*planes.shape[:2], 2 * PLANES), np.float32)

    def strip(top: int) -> None:
        rows = slice(top, top + _ROWS)
        beside_rows(planes[rows], prediction[rows], seen[rows])

    spread(strip, range(0, len(seen), _ROWS))
    return seen


def encoder_tensors(net: nn.Module) -> dict[str, NDArray[np.float16]]:
    """The analysis of a trained network as a weight file holds it."""
    return {
        name: value.contiguous().to(torch.float16).numpy()
        for name, value in net.state_dict().items()
        if name.split(".", 1)[1].startswith(ENCODER_PARTS)
    }
