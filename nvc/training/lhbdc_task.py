"""Training of the hierarchical bi-directional codec: two B frames a step, of two temporal levels.

    I at 0 and 4s, B at 2s, B at s or 3s; s from 1 to 4 frames as clips allow, forwards or backwards in time

References are decoded pictures, those of B frames too; flow is searched in them, as the encoder does. Frames of a
deeper level are coded up to two and a half levels lower, by chance, so that any such order of qualities can be chosen
later. The networks of anchors, I and P frames, are those of a trained model of scale-space flow (`--start`) and stay as
they are. No P frame is coded in training: the I frames at both ends stand for them too, each up to three levels below
the quality of I frames, by chance.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nvc.errors import InputError
from nvc.frames import Frame420
from nvc.networks.image import LEVELS
from nvc.networks.lambdas import LAMBDAS
from nvc.networks.lhbdc import LhbdcConfig, LhbdcNet
from nvc.networks.planes import crop_planes
from nvc.networks.video_analysis import load_config
from nvc.training.clips import Clip, read_folder
from nvc.training.losses import Loss, lambdas_on
from nvc.training.task import FitSettings, Sampler
from nvc.training.video_losses import as_picture, distortion
from nvc.training.video_task import VideoTask, at_both_sizes, residual_of, start_from_pictures

if TYPE_CHECKING:
    from nvc.codec.integer_video import IntegerVideoBackend
    from nvc.training.quantize_video import Seen

STRIDES = 4  # frames between neighbours of a sample, at most
INTRA_ABOVE = 2.5  # levels that I frames are coded above the file's quality, about as `VideoTask.balance` has it
ANCHORS_FALL = 3.0  # levels below that, at most
DEEPEST = 2.5  # levels below the file's quality, at most


class LhbdcTask(VideoTask):
    """See nvc.training.task. Data: clips."""

    codec: ClassVar[str] = "lhbdc"
    table_frames: ClassVar[int] = 9
    trained: ClassVar[tuple[str, ...]] = ("bimotion", "biresidual")

    def __init__(self, config: LhbdcConfig | dict[str, Any] | None = None) -> None:
        self.config = load_config(LhbdcConfig, config) if isinstance(config, dict) else config or LhbdcConfig()
        self.net = LhbdcNet(self.config)
        self.modules: dict[str, nn.Module] = {"net": self.net}

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """As of scale-space flow, whose own networks are frozen here."""
        for name in VideoTask.trained:
            getattr(self.net, name).requires_grad_(False)
        return super().groups()

    @staticmethod
    def read(source: Path, cache: Path | None = None) -> list[Clip]:
        """Below a folder, or a cache of them."""
        return read_folder(source, cache)

    @torch.no_grad()
    def start(self, data: list[Clip]) -> None:
        """As scale-space flow; the Haar transform of differences of flow."""
        super().start(data)
        self.net.bimotion.start()
        start_from_pictures(self.net.biresidual, [residual_of(clip) for clip in data], np.random.default_rng(1))

    @staticmethod
    def sampler(data: list[Clip], settings: FitSettings, device: torch.device) -> Sampler:
        """Planes (B, 5, 6, crop/2, crop/2) in 0..1 of frames as far apart, late (), levels (B,).

        late: 0 or 1, on the CPU: whether the B frame behind the middle is coded, else that before it. Drawn: a resumed
        run goes on as it would have.
        """
        return at_both_sizes(lambda clips, crop: SpreadSampler(clips, crop, device), data, settings, device)

    def loss(self, *sample: Tensor) -> Loss:
        """Mean over the two B frames."""
        planes, late, level = sample
        shares = torch.rand(2, len(level), device=level.device) * (DEEPEST / 2)
        falls = torch.rand(2, len(level), device=level.device) * ANCHORS_FALL
        depths = (level - shares.cumsum(0)).clamp_min(0)
        first, last = (
            self._anchor(planes[:, t], level, level + INTRA_ABOVE - fall) for t, fall in zip((0, 4), falls, strict=True)
        )
        middle, parts = self._inter(planes[:, 2], [first, last], 2, 2, level, depths[0])
        frames = [(middle, planes[:, 2], parts, depths[0])]
        pair, source = ([middle, last], planes[:, 3]) if late else ([first, middle], planes[:, 1])
        leaf, parts = self._inter(source, pair, 1, 1, level, depths[1])
        frames.append((leaf, source, parts, depths[1]))
        return _sum(frames, level)

    @staticmethod
    def backend() -> "type[IntegerVideoBackend]":
        """See VideoTask."""
        from nvc.codec.lhbdc import LhbdcBackend

        return LhbdcBackend

    @torch.no_grad()
    def seen(self, clips: list[Clip]) -> "Seen":
        """As of scale-space flow; besides, of a frame of each clip between two I frames."""
        seen = super().seen(clips) | {name: [] for name in self.trained}
        for i, clip in enumerate(clips):
            planes = torch.from_numpy(clip.planes[:3]).float()[None] / 255
            level = torch.tensor([i % LEVELS])
            ends = [self._anchor(planes[:, t], level, level.float()) for t in (0, -1)]  # some clips have but two frames
            _, parts = self._inter(planes[:, 1], ends, 1, 1, level, level.float())
            for name, coded in parts.items():
                seen[name].append((coded.z, coded.y))
        return seen

    @torch.no_grad()
    def _anchor(self, x: Tensor, level: Tensor, quality: Tensor) -> Tensor:
        """An I frame, decoded."""
        return as_picture(self.net.intra(x - 0.5, level, None, quality).decoded + 0.5)

    def _inter(
        self, x: Tensor, references: list[Tensor], before: int, after: int, level: Tensor, quality: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        flows, steady = searched(x, references, before, after)
        decoded, parts = self.net.code(x, references, steady, flows, level, quality)
        return as_picture(decoded), parts


def _sum(frames: list[tuple[Tensor, Tensor, dict[str, Any], Tensor]], level: Tensor) -> Loss:
    pixels = 4 * frames[0][0].shape[2] * frames[0][0].shape[3]
    total = torch.zeros(len(level), device=level.device)
    bpps, errors = [], []
    for decoded, source, parts, quality in frames:
        bpp = torch.stack([part.bits for part in parts.values()]).sum(0) / pixels
        mse = distortion(decoded, source)
        total = total + bpp + lambda_at(quality) * 255**2 * mse
        bpps.append(bpp)
        errors.append(mse)
    weight = lambdas_on(level.device)[level].sqrt() * len(frames)
    return Loss((total / weight).mean(), torch.stack(bpps).mean(0), torch.stack(errors).mean(0))


def lambda_at(quality: Tensor) -> Tensor:
    """λ of real-valued level indexes (B,), geometrically interpolated."""
    logarithms = lambdas_on(quality.device).log()
    below = quality.floor().clamp(0, len(LAMBDAS) - 2).long()
    return torch.lerp(logarithms[below], logarithms[below + 1], quality - below).exp()


@torch.no_grad()
def searched(x: Tensor, references: Sequence[Tensor], before: int, after: int) -> tuple[Tensor, Tensor]:
    """Flows to both references and those of a steady motion, (B, 4, H/8, W/8) luma pixels each, on 8-bit pictures."""
    from nvc.codec.lhbdc import Pair
    from nvc.networks.motion_search import estimate

    flows, steady = [], []
    for i in range(len(x)):
        frame, first, second = (frame_of(planes[i]) for planes in (x, *references))
        flows.append(np.concatenate([estimate(frame, reference) for reference in (first, second)]))
        steady.append(Pair((first, second), before, after).steadiest(flows[-1])[1] / np.float32(16))
    return torch.from_numpy(np.stack(flows)).to(x.device), torch.from_numpy(np.stack(steady)).to(x.device)


def frame_of(planes: Tensor) -> Frame420:
    """Planes (6, h, w) in 0..1 as a frame of 8 bits."""
    values: NDArray[np.uint8] = (planes * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    h, w, _ = values.shape
    return crop_planes(values, 2 * h, 2 * w)


class SpreadSampler:
    """Random crops of five frames as far apart as each other, also backwards in time, gathered on the device."""

    def __init__(self, clips: list[Clip], crop: int, device: torch.device) -> None:
        clips = [c for c in clips if min(c.planes.shape[2:]) * 2 >= crop and len(c.planes) >= 5]
        if not clips:
            raise InputError(f"no clip has 5 frames of {crop} pixels in both directions: take smaller crops")
        self.crop, self.device = crop, device
        self.planes = [torch.from_numpy(clip.planes).to(device) for clip in clips]
        self.weight = torch.tensor([c.planes.size for c in clips]).float()

    def __call__(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Planes (B, 5, 6, crop/2, crop/2) in 0..1, late (). generator: of the CPU."""
        planes = []
        for which in torch.multinomial(self.weight, batch, replacement=True, generator=generator).tolist():
            source = self.planes[which]
            frames, _, h, w = source.shape
            span = self.crop // 2
            most = min(STRIDES, (frames - 1) // 4)
            stride = 1 + int(torch.randint(0, most, (), generator=generator))
            first, top, left, way = (
                int(torch.randint(0, n, (), generator=generator))
                for n in (frames - 4 * stride, (h - span) // 8 + 1, (w - span) // 8 + 1, 2)
            )
            rows, columns = slice(8 * top, 8 * top + span), slice(8 * left, 8 * left + span)
            part = source[first : first + 4 * stride + 1 : stride, :, rows, columns]
            planes.append(part.flip(0) if way else part)
        return torch.stack(planes).float() / 255, torch.randint(0, 2, (), generator=generator)
