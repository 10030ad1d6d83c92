"""Training of conditional coding: an I frame, a P frame from it, and a B frame between or a P frame behind, a step.

    I at 0, P at 2s, B at s      or, by chance (CHAINS),       I at 0, P at s, P at 2s      s = 1, 2, 4 or 8 frames

Forwards or backwards in time. References are decoded pictures; flow is searched in them, as the encoder does. Frames
are coded at qualities that differ by chance, I and P frames above the level of the sample, B frames below it, so that
any such order of qualities can be chosen later.

It can start from what other codecs have learned (`start_from`): the networks of pictures, and the motion of B frames.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from nvc.errors import InputError
from nvc.networks.aivc import GREY, AivcConfig, AivcNet, CodecNet
from nvc.networks.image import LEVELS
from nvc.networks.video_analysis import load_config
from nvc.training.aivc_start import (
    keep_latents,
    rates_from,
    start_from_image,
    start_from_klt,
    start_from_motion,
    start_hyperprior,
    start_skip,
)
from nvc.training.clips import Clip
from nvc.training.lhbdc_task import frame_of, lambda_at, searched
from nvc.training.losses import Loss, lambdas_on
from nvc.training.task import FitSettings, Sampler
from nvc.training.video_losses import as_picture, distortion
from nvc.training.video_task import VideoTask, at_both_sizes, klt, residual_of

if TYPE_CHECKING:
    from nvc.codec.integer_video import IntegerVideoBackend
    from nvc.training.quantize_video import Boost, Seen

STRIDES = (1, 2, 4, 8)  # frames between neighbours of a sample
CHAINS = 0.45  # of the samples are of P frames alone
INTRA_WEIGHT = 0.5  # 0.15 up to aivc-p6: since then most P and B frames send coefficients, not latents
ABOVE = {"i": (-0.5, 2.5), "p": (-0.5, 2.0), "b": (-2.0, 0.0)}  # levels that frames are coded above the sample's
SAMPLED = 24  # clips, for the first rates
WORTH = (2.0, 10.0)  # bits that the error of a skipped block may be worth


class AivcTask(VideoTask):
    """See nvc.training.task. Data: clips."""

    codec: ClassVar[str] = "aivc"
    defaults: ClassVar[dict[str, Any]] = {"batch": 2, "crop": 192, "rate": 2.5e-4}
    table_frames: ClassVar[int] = 9
    trained: ClassVar[tuple[str, ...]] = ("codec_i", "codec_p", "codec_b", "mode_p", "mode_b")
    balance: ClassVar["dict[str, Boost]"] = {
        # docs/aivc.md; motion is coded by choice of the frame, from here to seven levels finer (docs/motion.md).
        "codec_i": (3.15, 3.15, 3.15, 3.15, 2.95, 2.65, 2.45, 2.35),
        "codec_p": -0.25, "codec_b": -0.25, "mode_p": -1.0, "mode_b": -1.5,
    }  # fmt: skip
    donors: ClassVar[tuple[str, ...]] = ("image", "lhbdc")

    def __init__(self, config: AivcConfig | dict[str, Any] | None = None) -> None:
        self.config = load_config(AivcConfig, config) if isinstance(config, dict) else config or AivcConfig()
        self.net = AivcNet(self.config)
        self.modules: dict[str, nn.Module] = {"net": self.net}

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """As of scale-space flow; what frame types share once."""
        linear, gains, rates = [], [], []
        for part in (getattr(self.net, name) for name in self.trained):
            linear += [*part.l_a.parameters(), *part.l_s.parameters()]
            gains.append(part.coder.log_step)
            rates += [part.coder.hyper.offset, *part.coder.prior.parameters()]
        own = {id(parameter) for parameter in (*linear, *gains, *rates)}
        networks = [parameter for parameter in self.net.parameters() if id(parameter) not in own]
        return [(networks, 1.0), (_once(linear), 0.2), (gains, 8.0), (rates, 30.0)]

    @torch.no_grad()
    def start(self, data: list[Clip]) -> None:
        """The KLT of what flow leaves and the Haar transform of flow, weight and skip."""
        net = self.net
        basis, _ = klt([residual_of(clip) for clip in data], self.config.codec.latents, np.random.default_rng(0))
        start_from_klt(net.codec_i, basis)
        start_from_klt(net.codec_p, basis)
        start_hyperprior(net.codec_i.coder.hyper)
        self._rates(data)
        net.mode_p.start()
        start_skip(net.mode_p)
        net.mode_b.coder.load_state_dict(net.mode_p.coder.state_dict())

    @torch.no_grad()
    def start_from(self, data: list[Clip], others: dict[str, Any]) -> None:
        """With networks of other codecs in place of some of that. others: nets, by the names of donors."""
        self.start(data)
        net = self.net
        if "image" in others:
            self._start_from_image(others["image"], data)
            start_hyperprior(net.codec_i.coder.hyper)
            net.codec_p.l_a.load_state_dict(net.codec_i.l_a.state_dict())
        if "lhbdc" in others:
            start_from_motion(net, others["lhbdc"])
        if "image" in others:
            self._rates(data)

    def _start_from_image(self, image: Any, data: list[Clip]) -> None:
        """With those of its latents that vary most in pictures of the clips."""
        codec, count = self.net.codec_i, image.config.latents
        whole = CodecNet(dataclasses.replace(codec.config, latents=count))
        start_from_image(whole, image)
        frames = (torch.from_numpy(clip.planes[:1]).float() / 255 for clip in data[:: max(1, len(data) // SAMPLED)])
        latents = [whole.analysis(x, torch.full_like(x, GREY)).transpose(0, 1).flatten(1) for x in frames]
        keep = torch.cat(latents, 1).std(1).topk(min(count, codec.config.latents)).indices.sort().values
        keep_latents(codec, whole, keep)

    def _rates(self, data: list[Clip]) -> None:
        """Of CodecNet, all frame types, as the steps of I frames and the clips suggest."""
        first = self.net.codec_i
        frames = [torch.from_numpy(clip.planes[:1]).float() / 255 for clip in data[:: max(1, len(data) // SAMPLED)]]
        lacking = [torch.from_numpy(residual_of(clip))[None] for clip in data[:: max(1, len(data) // SAMPLED)]]
        rates_from(first, [first.analysis(x, torch.full_like(x, GREY)) for x in frames])
        for net in (self.net.codec_p, self.net.codec_b):
            net.coder.log_step.copy_(first.coder.log_step)
            rates_from(net, [first.l_a(x) for x in lacking])

    @staticmethod
    def sampler(data: list[Clip], settings: FitSettings, device: torch.device) -> Sampler:
        """Planes (B, 3, 6, crop/2, crop/2) in 0..1 of frames as far apart, chain (), levels (B,).

        chain: on the CPU: below CHAINS where the sample is one of P frames. Drawn: a resumed run goes on as it would
        have.
        """
        return at_both_sizes(lambda clips, crop: TripleSampler(clips, crop, device), data, settings, device)

    def loss(self, *sample: Tensor) -> Loss:
        """Mean over the three frames."""
        planes, chain, level = sample
        order = (0, 1, 2) if chain < CHAINS else (0, 2, 1)
        kinds = "ipp" if chain < CHAINS else "ipb"
        decoded: dict[int, Tensor] = {}
        total = torch.zeros(len(level), device=level.device)
        bpps, errors = [], []
        for t, kind in zip(order, kinds, strict=True):
            low, high = ABOVE[kind]
            quality = level + low + (high - low) * torch.rand(len(level), device=level.device)
            x = planes[:, t]
            made, parts = self._code(x, kind, t, decoded, level, quality)
            decoded[t] = as_picture(made)
            pixels = 4 * x.shape[2] * x.shape[3]
            bpp = torch.stack([part.bits for part in parts.values()]).sum(0) / pixels
            mse = distortion(decoded[t], x)
            weight = INTRA_WEIGHT if kind == "i" else 1.0
            total = total + weight * (bpp + lambda_at(quality) * 255**2 * mse)
            bpps.append(bpp)
            errors.append(mse)
            if kind == "i":
                decoded[t] = decoded[t].detach()
        scale = lambdas_on(level.device)[level].sqrt() * 3
        return Loss((total / scale).mean(), torch.stack(bpps).mean(0), torch.stack(errors).mean(0))

    def _code(
        self, x: Tensor, kind: str, t: int, decoded: dict[int, Tensor], level: Tensor, quality: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        if kind == "i":
            made: tuple[Tensor, dict[str, Any]] = self.net.code_intra(x, level, quality)
            return made
        low, high = WORTH
        bits = low + (high - low) * torch.rand(len(level), device=level.device)
        worth = bits / (256 * 0.75 * 255**2 * lambda_at(quality))
        if kind == "p":
            reference = decoded[max(k for k in decoded if k < t)]
            flows = _flow(x, reference)
            made = self.net.code(x, [reference], torch.zeros_like(flows), flows, level, quality, worth)
            return made
        pair = [decoded[0], decoded[2]]
        flows, steady = searched(x, [planes.detach() for planes in pair], 1, 1)
        made = self.net.code(x, pair, steady, flows, level, quality, worth)
        return made

    @staticmethod
    def backend() -> "type[IntegerVideoBackend]":
        """See VideoTask."""
        from nvc.codec.aivc import AivcBackend

        return AivcBackend

    @torch.no_grad()
    def seen(self, clips: list[Clip]) -> "Seen":
        """Of three frames of each clip, levels in turn: I, P, B or I, P, P."""
        seen: Seen = {name: [] for name in self.trained}
        for i, clip in enumerate(clips):
            planes = torch.from_numpy(clip.planes[:3]).float()[None] / 255
            level = torch.tensor([i % LEVELS])
            decoded: dict[int, Tensor] = {}
            for t, kind in ((0, "i"), (2, "p"), (1, "b")) if planes.shape[1] > 2 else ((0, "i"), (1, "p")):
                made, parts = self._code(planes[:, t], kind, t, decoded, level, level.float())
                decoded[t] = as_picture(made)
                for name, coded in parts.items():
                    seen[name].append((coded.z, coded.y, coded.given))
        return seen


def _once(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    return list({id(parameter): parameter for parameter in parameters}.values())


@torch.no_grad()
def _flow(x: Tensor, reference: Tensor) -> Tensor:
    """Flow to the reference in luma pixels and zeros beside it, (B, 4, H/8, W/8), on 8-bit pictures."""
    from nvc.networks.motion_search import estimate

    flows = [estimate(frame_of(x[i]), frame_of(reference[i].detach())) for i in range(len(x))]
    found = torch.from_numpy(np.stack(flows)).to(x.device)
    return torch.cat([found, torch.zeros_like(found)], 1)


class TripleSampler:
    """Random crops of three frames as far apart as each other, also backwards in time, gathered on the device."""

    def __init__(self, clips: list[Clip], crop: int, device: torch.device) -> None:
        clips = [c for c in clips if min(c.planes.shape[2:]) * 2 >= crop and len(c.planes) >= 3]
        if not clips:
            raise InputError(f"no clip has 3 frames of {crop} pixels in both directions: take smaller crops")
        self.crop, self.device = crop, device
        self.planes = [torch.from_numpy(clip.planes).to(device) for clip in clips]
        self.weight = torch.tensor([c.planes.size for c in clips]).float()

    def __call__(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Planes (B, 3, 6, crop/2, crop/2) in 0..1, chain (). generator: of the CPU."""
        planes = []
        for which in torch.multinomial(self.weight, batch, replacement=True, generator=generator).tolist():
            source = self.planes[which]
            frames, _, h, w = source.shape
            span = self.crop // 2
            strides = [stride for stride in STRIDES if 2 * stride < frames]
            stride = strides[int(torch.randint(0, len(strides), (), generator=generator))]
            first, top, left, way = (
                int(torch.randint(0, n, (), generator=generator))
                for n in (frames - 2 * stride, (h - span) // 8 + 1, (w - span) // 8 + 1, 2)
            )
            rows, columns = slice(8 * top, 8 * top + span), slice(8 * left, 8 * left + span)
            part = source[first : first + 2 * stride + 1 : stride, :, rows, columns]
            planes.append(part.flip(0) if way else part)
        return torch.stack(planes).float() / 255, torch.rand((), generator=generator)
