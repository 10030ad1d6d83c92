"""Scale-space flow of published checkpoints, for coding: exact parse, pictures in float32.

Scale indexes and means come from `ExactHyperSynthesis` and are the same everywhere; the pictures are those of float32
sums, which another processor or torch may round differently: then the checksum of the frame tells. On one machine
nothing depends on the number of threads: each tile, strip and colour is computed by one thread alone. References are
the published ones, float pictures clamped to 0..1 over the whole padded frame, not rounded to 8 bits.

Arrays have no batch: pictures (H, W, 3) outside, (3, H', W') inside, H' and W' the multiples of 128 that hold them;
side latents (N, H'/128, W'/128), main latents (M, H'/16, W'/16).
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nvc.networks.hyper_exact import OUTPUT_BITS, SIDE_BITS, SYMBOL_MAX, ExactHyperSynthesis
from nvc.threads import spread

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Sequential

    from nvc.networks.scale_space_flow import HyperpriorCoder

INFORMATIONS = {"I": ("intra",), "P": ("motion", "residual")}  # of a frame's type, in coding order
PADDING = 128
BLOCK = 16  # pixels per main latent, both ways
HALO = 2  # main latents: four 5x5 layers reach 1.875 of them
TILE_ROWS, TILE_COLUMNS = 24, 40  # main latents; a tile of 128 channels works in some 120 MB
STRIP = 64  # rows that are warped at once
LAYERS = ("0", "2", "4", "6")


@dataclass(frozen=True, eq=False)
class Latents:
    """One information of a frame, as a file holds it.

    z: (N, H'/128, W'/128) int32; symbols: (M, H'/16, W'/16) int32, rounded around the means; each within ±32767;
    index: uint8 and mean: int32 in 1/256 symbol, as `SsfFloat.entropy_parameters` gives them of z.
    """

    information: str
    z: NDArray[np.int32]
    symbols: NDArray[np.int32]
    index: NDArray[np.uint8]
    mean: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class DecodedPicture:
    """padded: (3, H', W') float32 in 0..1, the reference of the next frame; height, width: of what is shown."""

    padded: "Tensor"
    height: int
    width: int

    def rgb(self) -> NDArray[np.float32]:
        """(H, W, 3) float32 in 0..1."""
        top, left = ((n - m) // 2 for n, m in zip(self.padded.shape[1:], (self.height, self.width), strict=True))
        shown = self.padded[:, top : top + self.height, left : left + self.width]
        array: NDArray[np.float32] = shown.permute(1, 2, 0).numpy()
        return array

    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, rounded half to even."""
        return np.rint(self.rgb() * np.float32(255)).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class SsfFloatDecoder:
    """Decoder tensors of one checkpoint, which codes one rate.

    hyper: of each information; synthesis: float32 tensors named `intra.synthesis.0.weight` and so on; flow_crop: see
    nvc.networks.scale_space_flow.FlowConfig.
    """

    levels: ClassVar[int] = 1

    hyper: Mapping[str, ExactHyperSynthesis]
    synthesis: dict[str, NDArray[np.float32]]
    flow_crop: int

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]]) -> Self:
        """From the decoder's part of a weight file. KeyError or ValueError unless it is such a part."""
        hyper, synthesis = {}, {}
        for name in itertools.chain(*INFORMATIONS.values()):
            inside = {n.removeprefix(f"{name}."): t for n, t in tensors.items() if n.startswith(f"{name}.")}
            hyper[name] = ExactHyperSynthesis.from_tensors(inside)
            for layer, part in itertools.product(LAYERS, ("weight", "bias")):
                synthesis[f"{name}.synthesis.{layer}.{part}"] = inside[f"synthesis.{layer}.{part}"]
        flow_crop = tensors["flow_crop"]
        if flow_crop.shape != (1,) or flow_crop.dtype != np.int32 or not 0 <= flow_crop[0] <= 1 << 16:
            raise ValueError("flow_crop is not one whole number up to 65536")
        decoder = cls(hyper, synthesis, int(flow_crop[0]))
        decoder.prove()
        return decoder

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The inverse of `from_tensors`."""
        named: dict[str, NDArray[Any]] = {"flow_crop": np.array([self.flow_crop], np.int32), **self.synthesis}
        for name, hyper in self.hyper.items():
            named |= {f"{name}.{n}": tensor for n, tensor in hyper.tensors().items()}
        return named

    @property
    def widths(self) -> tuple[int, int]:
        """Hidden channels and latents."""
        m, hidden = self.synthesis["intra.synthesis.0.weight"].shape[:2]
        return int(hidden), int(m)

    def shapes(self, information: str, height: int, width: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Of z, (N, H'/128, W'/128), and of y, (M, H'/16, W'/16), for frames of height x width."""
        rows, columns = padded(height, width)
        n, m = self.hyper[information].channels
        return (n, rows // PADDING, columns // PADDING), (m, rows // BLOCK, columns // BLOCK)

    def prove(self) -> None:
        """Raise ValueError unless the float tensors are finite and all fit together."""
        if any(t.dtype != np.float32 or not np.isfinite(t).all() for t in self.synthesis.values()):
            raise ValueError("a decoder tensor is not of finite float32 numbers")
        if self.synthesis["intra.synthesis.0.weight"].ndim != 4:
            raise ValueError("the decoder's layers do not fit together")
        hidden, m = self.widths
        for name, hyper in self.hyper.items():
            inputs = 2 * m if name == "residual" else m
            for layer, outputs in zip(LAYERS, (hidden, hidden, hidden, 3), strict=True):
                weight, bias = (self.synthesis[f"{name}.synthesis.{layer}.{part}"] for part in ("weight", "bias"))
                if weight.shape != (inputs, outputs, 5, 5) or bias.shape != (outputs,):
                    raise ValueError("the decoder's layers do not fit together")
                inputs = outputs
            if hyper.channels != (m, m):
                raise ValueError("the hyper-synthesis has not as many channels as there are latents")

    def prepare(self, encoder: Mapping[str, NDArray[np.float32]] | None = None) -> "SsfFloat":
        """Ready to make pictures, and latents where the encoder's tensors are given. Loads torch. ValueError."""
        return SsfFloat(self, encoder)


class SsfFloat:
    """A SsfFloatDecoder as torch networks."""

    def __init__(self, decoder: SsfFloatDecoder, encoder: Mapping[str, NDArray[np.float32]] | None = None) -> None:
        """encoder: `intra.analysis.0.weight` and so on; ValueError where they are incomplete or do not fit."""
        import torch

        from nvc.networks.scale_space_flow import FlowConfig, ScaleSpaceFlow
        from nvc.networks.torch_engines import full_float32

        full_float32()
        self._decoder = decoder
        with torch.device("meta"):  # nothing is allocated for what is not filled in below
            self._net = ScaleSpaceFlow(FlowConfig(*decoder.widths, decoder.flow_crop)).eval()
        state = {name: torch.from_numpy(value) for name, value in {**decoder.synthesis, **(encoder or {})}.items()}
        try:
            missing, unknown = self._net.load_state_dict(state, strict=False, assign=True)
        except RuntimeError as exc:
            raise ValueError("the encoder's tensors do not fit") from exc
        lacking = [name for name in missing if "analysis" in name]
        if unknown or (encoder is not None and lacking):
            raise ValueError(f"the encoder's tensors are not these: {[*unknown, *lacking][0]}")
        self._net.requires_grad_(False)

    def entropy_parameters(self, information: str, z: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Side symbols -> table numbers 0..63 and means in 1/256 symbol of the main latents, (M, h, w) each."""
        return self._decoder.hyper[information](z)

    def analyse_intra(self, frame: NDArray[Any]) -> tuple[tuple[Latents, ...], DecodedPicture]:
        """An I frame: its latents in coding order, and what every decoder shows.

        frame: (H, W, 3) RGB, uint8, or float32 in 0..1.
        """
        height, width = frame.shape[:2]
        latents = (self._latents("intra", self._pad(frame)),)
        return latents, self.reconstruct(latents, height, width)

    def analyse_inter(
        self, frame: NDArray[Any], reference: DecodedPicture
    ) -> tuple[tuple[Latents, ...], DecodedPicture]:
        """A P frame: latents of motion and residual, and what every decoder shows.

        frame: (H, W, 3) RGB of the reference's size, uint8, or float32 in 0..1.
        """
        import torch

        x = self._pad(frame)
        motion = self._latents("motion", torch.cat([x, reference.padded]))
        prediction = self._predict(motion, reference)
        residual = self._latents("residual", x - prediction)
        height, width = frame.shape[:2]
        return (motion, residual), self._finish(prediction, motion, residual, height, width)

    def reconstruct(
        self, latents: Sequence[Latents], height: int, width: int, reference: DecodedPicture | None = None
    ) -> DecodedPicture:
        """The picture of an I frame's latents, or of a P frame's and its reference."""
        if reference is None:
            (intra,) = latents
            picture = self._synthesise("intra", _decoded(intra))
            return DecodedPicture(picture.nan_to_num_(0).clamp_(0, 1), height, width)
        motion, residual = latents
        return self._finish(self._predict(motion, reference), motion, residual, height, width)

    def _part(self, information: str) -> "HyperpriorCoder":
        part: HyperpriorCoder = getattr(self._net, information)
        return part

    def _pad(self, frame: NDArray[Any]) -> "Tensor":
        """Zeros around it, as published: (3, H', W') in 0..1."""
        import torch

        height, width = frame.shape[:2]
        rows, columns = padded(height, width)
        top, left = (rows - height) // 2, (columns - width) // 2
        x = torch.zeros(3, rows, columns)
        values = torch.from_numpy(np.asarray(frame, np.float32)).permute(2, 0, 1)
        x[:, top : top + height, left : left + width] = values / 255 if frame.dtype == np.uint8 else values
        return x

    def _latents(self, information: str, x: "Tensor") -> Latents:
        """(C, H', W') -> what is coded of it."""
        import torch

        part = self._part(information)
        y = _analyse(part.analysis, x)
        found: list[Tensor] = []

        def hyper(network: "Sequential") -> None:
            with torch.inference_mode():
                found.append(_run(network, y))

        spread(hyper, [part.hyper_analysis])  # by one thread
        median = self._decoder.hyper[information].median.astype(np.float32) / np.float32(1 << SIDE_BITS)
        z = _rounded(found[0].numpy() - median[:, None, None])
        index, mean = self.entropy_parameters(information, z)
        return Latents(information, z, _rounded(y.numpy() - _in_symbols(mean)), index, mean)

    def _synthesise(self, information: str, y: NDArray[np.float32]) -> "Tensor":
        return _synthesise(self._part(information).synthesis, y)

    def _predict(self, motion: Latents, reference: DecodedPicture) -> "Tensor":
        """(3, H', W')."""
        import torch

        from nvc.networks.scale_space_flow import SLICES, pixel_motion, scale_space, warp

        field = pixel_motion(self._synthesise("motion", _decoded(motion))[None], self._decoder.flow_crop)
        colours, height, width = reference.padded.shape
        volume = torch.empty(1, colours, SLICES, height, width)
        prediction = torch.empty(colours, height, width)

        def blur(colour: int) -> None:
            with torch.inference_mode():
                volume[:, colour : colour + 1] = scale_space(reference.padded[None, colour : colour + 1])

        def strip(top: int) -> None:
            with torch.inference_mode():
                prediction[:, top : top + STRIP] = warp(volume, field[:, :, top : top + STRIP], top)[0]

        spread(blur, range(colours))
        spread(strip, range(0, height, STRIP))
        return prediction

    def _finish(
        self, prediction: "Tensor", motion: Latents, residual: Latents, height: int, width: int
    ) -> DecodedPicture:
        both = np.concatenate([_decoded(residual), _decoded(motion)])
        picture = self._synthesise("residual", both).add_(prediction)
        return DecodedPicture(picture.nan_to_num_(0).clamp_(0, 1), height, width)


def padded(height: int, width: int) -> tuple[int, int]:
    """H' and W'."""
    return height + -height % PADDING, width + -width % PADDING


def _in_symbols(mean: NDArray[np.int32]) -> NDArray[np.float32]:
    return mean.astype(np.float32) / np.float32(1 << OUTPUT_BITS)


def _decoded(latents: Latents) -> NDArray[np.float32]:
    """Exact in float32: 16 bits and 8 of fraction."""
    symbols = np.clip(latents.symbols, -SYMBOL_MAX, SYMBOL_MAX)
    return symbols.astype(np.float32) + _in_symbols(latents.mean)


def _rounded(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Half to even; what float32 cannot tell is 0."""
    return np.clip(np.rint(np.nan_to_num(values)), -SYMBOL_MAX, SYMBOL_MAX).astype(np.int32)


def _run(network: "Sequential", x: "Tensor") -> "Tensor":
    """(C, H, W) through the layers; ReLU in place, which halves what the wide layers take."""
    from torch.nn import ReLU

    x = x[None].contiguous()
    for layer in network:
        x = x.relu_() if isinstance(layer, ReLU) else layer(x)
    return x[0]


def _tiles(rows: int, columns: int) -> "itertools.product[tuple[int, int]]":
    return itertools.product(range(0, rows, TILE_ROWS), range(0, columns, TILE_COLUMNS))


def _analyse(network: "Sequential", x: "Tensor") -> "Tensor":
    """(C, H', W') -> (M, H'/16, W'/16), tile by tile."""
    import torch

    rows, columns = (n // BLOCK for n in x.shape[1:])
    channels = [p.shape[0] for p in network.parameters()][-1]
    out = torch.empty(channels, rows, columns)

    def tile(corner: tuple[int, int]) -> None:
        top, left = corner
        bottom, right = min(rows, top + TILE_ROWS), min(columns, left + TILE_COLUMNS)
        first, start = max(0, top - HALO), max(0, left - HALO)
        seen = x[:, BLOCK * first : BLOCK * (bottom + HALO), BLOCK * start : BLOCK * (right + HALO)]
        with torch.inference_mode():
            y = _run(network, seen)
        out[:, top:bottom, left:right] = y[:, top - first : bottom - first, left - start : right - start]

    spread(tile, _tiles(rows, columns))
    return out


def _synthesise(network: "Sequential", y: NDArray[np.float32]) -> "Tensor":
    """(M, h, w) -> (C, 16h, 16w), tile by tile."""
    import torch

    latents = torch.from_numpy(y)
    rows, columns = y.shape[1:]
    out = torch.empty(3, BLOCK * rows, BLOCK * columns)

    def tile(corner: tuple[int, int]) -> None:
        top, left = corner
        first, start = max(0, top - HALO), max(0, left - HALO)
        seen = latents[:, first : top + TILE_ROWS + HALO, start : left + TILE_COLUMNS + HALO]
        with torch.inference_mode():
            piece = _run(network, seen)[:, BLOCK * (top - first) :, BLOCK * (left - start) :]
        place = out[:, BLOCK * top : BLOCK * (top + TILE_ROWS), BLOCK * left : BLOCK * (left + TILE_COLUMNS)]
        place[:] = piece[:, : place.shape[1], : place.shape[2]]

    spread(tile, _tiles(rows, columns))
    return out
