"""Training of the hierarchical bi-directional codec: two B frames a step, of two temporal levels.

    I (or P) at 0 and 4s, B at 2s, B at s or 3s; s from 1 to 4 frames as clips allow, forwards or backwards in time

References are decoded pictures, those of B frames too; flow is searched in them, as the encoder does. Frames of a
deeper level are coded up to two and a half levels lower, by chance, so that any such order of qualities can be chosen
later. The networks of I frames are taken from a trained model and left as they are.
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
from nvc.networks.image import LAMBDAS, LEVELS
from nvc.networks.lhbdc import LhbdcConfig, LhbdcNet
from nvc.networks.planes import crop_planes
from nvc.networks.video_analysis import load_config
from nvc.training.clips import Clip, read_folder
from nvc.training.losses import Loss, lambdas_on
from nvc.training.task import FitSettings, Sampler
from nvc.training.video_losses import as_picture, distortion
from nvc.training.video_task import VideoTask, at_both_sizes

if TYPE_CHECKING:
    from nvc.codec.integer_video import IntegerVideoBackend
    from nvc.training.quantize_video import Seen

STRIDES = 4  # frames between neighbours of a sample, at most
INTRA_ABOVE = 2.5  # levels
PREDICTED = 8  # in one of so many steps frame 4s is a P frame
DEEPEST = 2.5  # levels below the file's quality, at most


class LhbdcTask(VideoTask):
    """See nvc.training.task. Data: clips."""

    codec: ClassVar[str] = "lhbdc"
    table_frames: ClassVar[int] = 9
    balance: ClassVar[dict[str, float]] = {"intra": 2.5}

    def __init__(self, config: LhbdcConfig | dict[str, Any] | None = None) -> None:
        self.config: Any = load_config(LhbdcConfig, config) if isinstance(config, dict) else config or LhbdcConfig()
        self.net: Any = LhbdcNet(self.config)
        self.modules: dict[str, nn.Module] = {"net": self.net}

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """As of scale-space flow, without the networks of I frames."""
        frozen = {id(parameter) for parameter in self.net.intra.parameters()}
        for parameter in self.net.intra.parameters():
            parameter.requires_grad_(False)
        return [([p for p in part if id(p) not in frozen], rate) for part, rate in super().groups()]

    @staticmethod
    def read(source: Path, cache: Path | None = None) -> list[Clip]:
        """Below a folder, or a cache of them."""
        return read_folder(source, cache)

    @torch.no_grad()
    def start(self, data: list[Clip]) -> None:
        """As scale-space flow; the Haar transform of differences of flow."""
        self._start_planes(data)
        self.net.motion.start()

    @staticmethod
    def sampler(data: list[Clip], settings: FitSettings, device: torch.device) -> Sampler:
        """Planes (B, 5, 6, crop/2, crop/2) in 0..1 of frames as far apart, turn (), levels (B,).

        turn: 0 to 2·PREDICTED - 1, on the CPU: which frames are coded. Drawn: a resumed run goes on as it would have.
        """
        return at_both_sizes(lambda clips, crop: SpreadSampler(clips, crop, device), data, settings, device)

    def loss(self, *sample: Tensor) -> Loss:
        """Mean over the two B frames, and the P frame where there is one."""
        planes, turn, level = sample
        predicted, late = int(turn) < 2, int(turn) % 2
        quality = level.float()
        shares = torch.rand(2, len(level), device=level.device) * (DEEPEST / 2)
        depths = [quality, (quality - shares[0]).clamp_min(0), (quality - shares.sum(0)).clamp_min(0)]
        with torch.no_grad():
            first = self._intra(planes[:, 0], level)
        frames = []
        if predicted:
            last, parts = self._inter(planes[:, 4], [first, first], 1, 1, level, depths[0])
            frames.append((last, planes[:, 4], parts, depths[0]))
        else:
            with torch.no_grad():
                last = self._intra(planes[:, 4], level)
        middle, parts = self._inter(planes[:, 2], [first, last], 2, 2, level, depths[1])
        frames.append((middle, planes[:, 2], parts, depths[1]))
        pair = [middle, last] if late else [first, middle]
        leaf, parts = self._inter(planes[:, 3 if late else 1], pair, 1, 1, level, depths[2])
        frames.append((leaf, planes[:, 3 if late else 1], parts, depths[2]))
        return _sum(frames, level)

    @staticmethod
    def backend() -> "type[IntegerVideoBackend]":
        """See VideoTask."""
        from nvc.codec.lhbdc import LhbdcBackend

        return LhbdcBackend

    @torch.no_grad()
    def seen(self, clips: list[Clip]) -> "Seen":
        """Side and dequantised main latents of two I frames of each clip and the frame between, levels in turn."""
        seen: dict[str, list[tuple[Tensor, Tensor]]] = {"intra": [], "motion": [], "residual": []}
        for i, clip in enumerate(clips):
            planes = torch.from_numpy(clip.planes[:3]).float()[None] / 255
            level = torch.tensor([i % LEVELS])
            ends = [self.net.intra(planes[:, t] - 0.5, level) for t in (0, -1)]  # the last: some clips have but two
            references = [as_picture(coded.decoded + 0.5) for coded in ends]
            _, parts = self._inter(planes[:, 1], references, 1, 1, level, level.float())
            for name, coded in [*(("intra", coded) for coded in ends), *parts.items()]:
                seen[name].append((coded.z, coded.y))
        return seen

    def _intra(self, x: Tensor, level: Tensor) -> Tensor:
        coded = self.net.intra(x - 0.5, level, None, level + INTRA_ABOVE)
        return as_picture(coded.decoded + 0.5)

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

    twice = references[0] is references[1]
    flows, steady = [], []
    for i in range(len(x)):
        frame, first, second = (_frame(planes[i]) for planes in (x, *references))
        both = [estimate(frame, first)]
        both.append(both[0] if twice else estimate(frame, second))
        flows.append(np.concatenate(both))
        steady.append(Pair((first, second), before, after, twice).steadiest(flows[-1])[1] / np.float32(16))
    return torch.from_numpy(np.stack(flows)).to(x.device), torch.from_numpy(np.stack(steady)).to(x.device)


def _frame(planes: Tensor) -> Frame420:
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
        """Planes (B, 5, 6, crop/2, crop/2) in 0..1, turn (). generator: of the CPU."""
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
        return torch.stack(planes).float() / 255, torch.randint(0, 2 * PREDICTED, (), generator=generator)
