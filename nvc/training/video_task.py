"""Training of scale-space flow on chains of frames."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nvc.networks.image import LEVELS
from nvc.networks.intra import BLOCK, TransformNet
from nvc.networks.planes import PLANES, join, luma_of
from nvc.networks.ssf import SsfConfig, SsfNet
from nvc.networks.video_analysis import load_config
from nvc.networks.warp_torch import predict_planes
from nvc.training.clips import FLOW_STEPS, ChainSampler, Clip, halve, read_folder
from nvc.training.data import principal_components
from nvc.training.losses import Loss
from nvc.training.task import FINE_LEVEL, FitSettings, Sampler
from nvc.training.video_losses import chain_loss, code_chain

if TYPE_CHECKING:
    from nvc.codec.integer_video import IntegerVideoBackend
    from nvc.training.quantize_video import Boost, Seen

CHAIN = 3  # frames: an I frame, a P frame from it, and one from what that P frame has become
KLT_BLOCKS = 60000
GRID = 32  # luma pixels that crops are multiples of


class VideoTask:
    """See nvc.training.task. Data: clips."""

    codec: ClassVar[str] = "ssf"
    defaults: ClassVar[dict[str, Any]] = {"batch": 2, "crop": 192, "rate": 3e-4}
    draws_on_device: ClassVar[bool] = False
    table_frames: ClassVar[int] = 5  # of each clip, that tables are fitted to
    trained: ClassVar[tuple[str, ...]] = ("intra", "motion", "residual")  # networks
    # See nvc.training.quantize_video.decoder_tensors, and docs/video_codec.md for how it was chosen.
    balance: ClassVar["dict[str, Boost]"] = {"intra": 2.75, "motion": 1.2, "residual": -1.1}

    def __init__(self, config: SsfConfig | dict[str, Any] | None = None) -> None:
        self.config: Any = load_config(SsfConfig, config) if isinstance(config, dict) else config or SsfConfig()
        self.net: Any = SsfNet(self.config)
        self.modules: dict[str, nn.Module] = {"net": self.net}

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """The linear paths are nearly right, steps and rate models are far off at first."""
        networks, linear, steps, rates = [], [], [], []
        for part in (getattr(self.net, name) for name in self.trained):
            hyper = part.coder.hyper
            for stack in (part.g_a, part.g_s, hyper.h_a, hyper.h_s):
                networks += list(stack.parameters())
            linear += [*part.l_a.parameters(), *part.l_s.parameters()]
            steps.append(part.coder.log_step)
            rates += [hyper.offset, *part.coder.prior.parameters()]
        return [(networks, 1.0), (linear, 0.2), (steps, 8.0), (rates, 30.0)]

    @staticmethod
    def read(source: Path, cache: Path | None = None) -> list[Clip]:
        """Below a folder, or a cache of them; their flow takes long."""
        return read_folder(source, cache)

    @torch.no_grad()
    def start(self, data: list[Clip]) -> None:
        """The KLT of frames, that of what the flow leaves of the next frame, and the Haar transform of flow."""
        rng = np.random.default_rng(0)
        start_from_pictures(self.net.intra, [clip.planes[0] / np.float32(255) - np.float32(0.5) for clip in data], rng)
        start_from_pictures(self.net.residual, [residual_of(clip) for clip in data], rng)
        self.net.motion.start_from_haar()

    @staticmethod
    def sampler(data: list[Clip], settings: FitSettings, device: torch.device) -> Sampler:
        """Planes (B, 3, 6, crop/2, crop/2) in 0..1, flows (B, 2, 2, crop/8, crop/8) in pixels, levels (B,)."""
        return at_both_sizes(lambda clips, crop: ChainSampler(clips, crop, CHAIN, device), data, settings, device)

    @staticmethod
    def backend() -> "type[IntegerVideoBackend]":
        """What codes with the trained networks; it loads numba, which training does without."""
        from nvc.codec.ssf import SsfBackend

        return SsfBackend

    @torch.no_grad()
    def seen(self, clips: list[Clip]) -> "Seen":
        """Side and dequantised main latents of three frames of each clip, levels in turn."""
        seen: Seen = {"intra": [], "motion": [], "residual": []}
        for i, clip in enumerate(clips):
            planes = torch.from_numpy(clip.planes[:3]).float()[None] / 255
            flows = torch.from_numpy(clip.flows[0, :2]).float()[None] / FLOW_STEPS
            for frame in code_chain(self.net, planes, flows, torch.tensor([i % LEVELS])):
                for name, coded in frame.parts.items():
                    seen[name].append((coded.z, coded.y))
        return seen

    def loss(self, *sample: Tensor) -> Loss:
        """Rate and distortion, see nvc.training.video_losses."""
        planes, flows, level = sample
        return chain_loss(self.net, planes, flows, level)


def at_both_sizes(
    make: Callable[[list[Clip], int], Callable[[int, torch.Generator], tuple[Tensor, ...]]],
    clips: list[Clip], settings: FitSettings, device: torch.device,
) -> Sampler:  # fmt: skip
    """Batches of what `make` gives for clips and a crop, planes first, with levels (B,) behind.

    Halved clips at the finest levels, in two thirds of the crop and twice the batch.
    """
    small = max(GRID, settings.crop * 2 // 3 // GRID * GRID)
    coarse, fine = make(clips, settings.crop), make([halve(clip) for clip in clips], small)

    def draw(finest: bool, generator: torch.Generator) -> tuple[Tensor, ...]:
        drawn = fine(2 * settings.batch, generator) if finest else coarse(settings.batch, generator)
        # Of the device's own generator: levels drawn on the CPU would have to be copied, which waits.
        level = torch.randint(FINE_LEVEL if finest else 0, LEVELS, (len(drawn[0]),), device=device)
        return *drawn, level

    return draw


def start_from_pictures(net: TransformNet, pictures: list[NDArray[np.float32]], rng: np.random.Generator) -> None:
    """With the KLT of planes (6, h, w)."""
    net.start_from_klt(*klt(pictures, net.config.latents, rng))


def klt(pictures: list[NDArray[np.float32]], count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Basis (count, 6, 8, 8) and deviations of blocks at random places of planes (6, h, w), as many of each picture."""
    rows = []
    for planes in pictures:
        _, high, wide = planes.shape
        for _ in range(KLT_BLOCKS // len(pictures) + 1):
            i, j = rng.integers(0, high - BLOCK + 1), rng.integers(0, wide - BLOCK + 1)
            rows.append(planes[:, i : i + BLOCK, j : j + BLOCK].reshape(-1))
    basis, deviation = principal_components(torch.from_numpy(np.stack(rows)), count)
    return basis.reshape(count, PLANES, BLOCK, BLOCK), deviation.clamp_min(1e-6)


def residual_of(clip: Clip) -> NDArray[np.float32]:
    """What the flow leaves of the second frame, (6, h, w) in 0..1."""
    before, after = torch.from_numpy(clip.planes[:2]).float() / 255
    flow = torch.from_numpy(clip.flows[0, :1]).float() / FLOW_STEPS
    sharp = torch.zeros_like(flow[:, :1])
    prediction = join(*predict_planes(luma_of(before[None]), before[None, 4:], flow, sharp))
    residual: NDArray[np.float32] = (after - prediction[0]).numpy()
    return residual
