"""Conditional coding, our size (AIVC, Ladune and Philippe 2022; facts/aivc): one pair of networks for all frame types.

    frame, references ─ motion search ─ flows, weight, skip ─ ModeNet ─ the same as decoded     (MOFNet of the paper)
    references ─ warp, blend ─ prediction ─┬───────────────────────────────────────────────────────┐
                                           └ shortcut ─┐                                           │
    frame, prediction ─ analysis ─ y, z ─ synthesis ───┴─ what the prediction lacks ─ × not skipped ─ + ─ frame
                                                                                         (CodecNet of the paper)

CodecNet sees the prediction at both ends: its analysis beside the frame, its synthesis through the shortcut, so that
what decoders know need not be sent, and what a prediction has of noise and seams can be mended. An I frame is coded in
the same way, against a grey picture; a P frame as a B frame whose second reference is left out. To a decoder frame
types differ by gains alone: steps, offsets of scale indexes, rate models (`like` shares all the rest). The encoder has
two analyses, of I frames and of predicted ones.

Frames are six planes at half resolution (nvc.networks.planes), references are 8-bit pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc.networks.hyperprior import HyperpriorConfig
from nvc.networks.intra import BLOCK, Coded, LatentCoder
from nvc.networks.layers import conv, conv_stack, deconv
from nvc.networks.lhbdc import ERRORS, VECTORS, WEIGHT_UNIT, best_weight, cell_errors, mix
from nvc.networks.planes import PLANES, join, luma_of
from nvc.networks.ssf import FLOW_UNIT, MotionConfig, MotionNet, error_features
from nvc.networks.warp_torch import predict_overlapped, sixteenths

GREY = 128 / 255  # what I frames are predicted as
NUMBERS = VECTORS + 2  # of a cell: two flows, weight, skip
SKIP_UNIT = 8.0  # what stands for a luma pixel in the skip: 0 where all is coded, minus this where nothing is
SKIP_LATENT = 40  # the latent of ModeNet that carries the mean of four cells' skip, twice the unit
TYPES = ("i", "p", "b")


@dataclass(frozen=True)
class CodecConfig:
    """Widths of CodecNet.

    analysis: of I frames, residual: of P and B frames, which no decoder needs
    shortcut: channels at a quarter of luma resolution that decoders make of the prediction
    """

    latents: int = 256
    analysis: tuple[int, int, int] = (64, 96, 128)
    residual: tuple[int, int] = (64, 96)
    synthesis: tuple[int, int, int] = (112, 72, 48)
    shortcut: int = 16
    side: int = 48
    hidden: int = 48

    @property
    def hyperprior(self) -> HyperpriorConfig:
        return HyperpriorConfig(self.latents, self.side, self.hidden)

    def decoder_macs_per_pixel(self) -> float:
        """Multiply-accumulates that a decoder spends for one luma pixel."""
        first, second, third = self.synthesis
        widths = (self.latents, first, second)
        network = sum(25 * a * b / 4 ** (4 - i) for i, (a, b) in enumerate(pairwise(widths)))
        network += 25 * (second + self.shortcut) * third / 16 + 9 * third * PLANES / 4
        shortcut = 9 * (4 * PLANES + self.shortcut) * self.shortcut / 16
        linear = BLOCK * BLOCK * PLANES * self.latents / 256
        return network + shortcut + linear + self.hyperprior.decoder_macs() / 256


@dataclass(frozen=True)
class ModeConfig(MotionConfig):
    """Widths of ModeNet. shortcut: channels at 1/16 that decoders make of the steady motion."""

    latents: int = 44
    coded: int = NUMBERS
    made: int = NUMBERS
    seen: int = ERRORS
    shortcut: int = 16

    def decoder_macs_per_pixel(self) -> float:
        """Multiply-accumulates that a decoder spends for one luma pixel."""
        shortcut = 9 * (4 * VECTORS + self.shortcut) * self.shortcut + 9 * self.shortcut * 4 * self.made
        return super().decoder_macs_per_pixel() + shortcut / 256


@dataclass(frozen=True)
class AivcConfig:
    """The two networks."""

    codec: CodecConfig = field(default_factory=CodecConfig)
    mode: ModeConfig = field(default_factory=ModeConfig)

    def decoder_macs_per_pixel(self) -> float:
        """Of a P or B frame, without search and warps; an I frame takes the part of `codec` alone."""
        return self.codec.decoder_macs_per_pixel() + self.mode.decoder_macs_per_pixel()


SYNTHESIS = "g_s", "l_s", "shortcut"
ANALYSIS = "g_a", "l_a"


def share_networks(net: "CodecNet | ModeNet", like: "CodecNet | ModeNet", names: Sequence[str]) -> None:
    """Those and the hyperprior's; steps, offsets of scale indexes and rate models stay apart."""
    for name in names:
        setattr(net, name, getattr(like, name))
    net.coder.hyper.h_a, net.coder.hyper.h_s = like.coder.hyper.h_a, like.coder.hyper.h_s


class CodecNet(nn.Module):
    """Planes (B, 6, H/2, W/2) coded against a prediction of them, both in 0..1."""

    JOINED: ClassVar[int] = 4  # module of the synthesis that sees the shortcut
    g_a: nn.Sequential
    g_s: nn.Sequential
    l_a: nn.Conv2d
    l_s: nn.ConvTranspose2d
    shortcut: nn.Sequential

    def __init__(self, config: CodecConfig, like: Self | None = None, *, residual: bool = False) -> None:
        """like: one of another frame type, whose networks this one shares; gains are its own.

        residual: with an analysis for predicted frames, of its own unless that of `like` is one too. It learns what is
        not worth coding, which the analysis of I frames must not.
        """
        super().__init__()
        self.config = config
        m, (a1, a2, a3), (s1, s2, s3), c = config.latents, config.analysis, config.synthesis, config.shortcut
        self.coder = LatentCoder(config.hyperprior)
        self.residual = residual
        if residual:
            self.g_a = conv_stack((2 * PLANES, *config.residual, m), nn.GELU)
        else:
            self.g_a = nn.Sequential(
                nn.Conv2d(2 * PLANES, a1, 3, padding=1), nn.GELU(),
                conv(a1, a2), nn.GELU(), conv(a2, a3), nn.GELU(), conv(a3, m),
            )  # fmt: skip
        self.g_s = nn.Sequential(
            deconv(m, s1), nn.ReLU(), deconv(s1, s2), nn.ReLU(),
            deconv(s2 + c, s3), nn.ReLU(), nn.Conv2d(s3, PLANES, 3, padding=1),
        )  # fmt: skip
        self.shortcut = nn.Sequential(
            nn.Conv2d(4 * PLANES, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1), nn.ReLU()
        )
        self.l_a = nn.Conv2d(PLANES, m, BLOCK, stride=BLOCK)
        self.l_s = nn.ConvTranspose2d(m, PLANES, BLOCK, stride=BLOCK)
        if like is not None:
            share_networks(self, like, (*SYNTHESIS, *ANALYSIS) if like.residual == residual else SYNTHESIS)

    def analysis(self, x: Tensor, prediction: Tensor) -> Tensor:
        """-> latents (B, M, h, w), in pixel units of a transform."""
        return self.latents(torch.cat([x - prediction, prediction - GREY], 1))

    def latents(self, seen: Tensor) -> Tensor:
        """Of what the analysis sees, (B, 12, H/2, W/2): what the prediction lacks, and the prediction without grey."""
        with torch.autocast(seen.device.type, enabled=False):
            linear: Tensor = self.l_a(seen[:, :PLANES])
        return linear + self.g_a(seen).float()  # type: ignore[no-any-return]

    def synthesis(self, y: Tensor, given: Tensor) -> Tensor:
        """Latents (B, M, h, w) -> what the prediction lacks, planes (B, 6, 8h, 8w).

        given: (B, 24, 4h, 4w), what the shortcut sees: the prediction, two by two places in one.
        """
        with torch.autocast(y.device.type, enabled=False):
            linear: Tensor = self.l_s(y)
        hidden = self.g_s[: self.JOINED](y)
        known = self.shortcut(given)
        return linear + self.g_s[self.JOINED :](torch.cat([hidden, known.to(hidden.dtype)], 1)).float()  # type: ignore[no-any-return]

    def forward(
        self, x: Tensor, prediction: Tensor, level: Tensor, quality: Tensor,
        share: Tensor | None = None, kept: Tensor | None = None,
    ) -> Coded:  # fmt: skip
        """share: (B, 1, 2h, 2w) of what is coded that counts; None: all of it; kept: see LatentCoder.

        `Coded.decoded` is prediction + share · what it lacks.
        """
        y = self.analysis(x, prediction)
        side, main, z, y = self.coder(y, level, quality, kept)
        given = F.pixel_unshuffle(prediction, 2)
        lacking = self.synthesis(y, given)
        if share is not None:
            lacking = lacking * sixteenths(share, lacking.shape[2] // share.shape[2])
        return Coded(prediction + lacking, side, main, z, y, given)


class ModeNet(MotionNet):
    """Differences of two flows, weight and skip, (B, 6, 2h, 2w), coded at (h, w)."""

    JOINED: ClassVar[int] = 2
    STRAIGHT: ClassVar[int] = VECTORS  # numbers that the linear path makes alone
    config: ModeConfig
    shortcut: nn.Sequential

    def __init__(self, config: ModeConfig, like: Self | None = None) -> None:
        """like: see CodecNet."""
        super().__init__(config)
        s, c = config.synthesis, config.shortcut
        self.g_s[2] = nn.Conv2d(s + c, 4 * config.made, 3, padding=1)
        self.shortcut = nn.Sequential(
            nn.Conv2d(4 * VECTORS, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1), nn.ReLU()
        )
        if like is not None:
            share_networks(self, like, (*SYNTHESIS, *ANALYSIS))

    @torch.no_grad()
    def start(self) -> None:
        """Linear path = the Haar transform of 2x2 cells of sum and difference of both flows, weight and skip.

        That of skip is in the latents from SKIP_LATENT on.
        """
        half = 0.5**0.5
        pair = torch.tensor([[half, 0, half, 0], [0, half, 0, half], [half, 0, -half, 0], [0, half, 0, -half]])
        self.start_from_haar((4.0, 4.0, 2.0, 2.0, 3.0, 3.0), torch.block_diag(pair, torch.eye(2)))
        for k in range(4):
            here, there = [NUMBERS * k + NUMBERS - 1, SKIP_LATENT + k], [SKIP_LATENT + k, NUMBERS * k + NUMBERS - 1]
            self.l_a.weight[here] = self.l_a.weight[there]
            for rows in (self.l_s.weight, self.coder.log_step, self.coder.hyper.offset):
                rows[:, here] = rows[:, there]

    def decode(self, y: Tensor, given: Tensor) -> Tensor:
        """Latents -> (B, made, 2h, 2w). given: (B, 16, h, w), steady flows in FLOW_UNIT, two by two cells in one.

        Flows are linear in the latents, so that an encoder that tries symbols sees what each of them does.
        """
        with torch.autocast(y.device.type, enabled=False):
            linear: Tensor = self.l_s(y)
        known = self.shortcut(given)
        hidden = self.g_s[: self.JOINED](y)
        network = self.g_s[self.JOINED](torch.cat([hidden, known.to(hidden.dtype)], 1)).float()
        bent = F.pixel_shuffle(network, 2)[:, self.STRAIGHT :]
        return F.pixel_shuffle(linear, 2) + F.pad(bent, (0, 0, 0, 0, self.STRAIGHT, 0))

    def kept(self, y: Tensor) -> Tensor:
        """(B, 1, h, w) 0 at positions that are skipped, known from the latents as decoded alone, else 1."""
        return (y.detach()[:, SKIP_LATENT : SKIP_LATENT + 1] >= -SKIP_UNIT).float()

    def forward(  # type: ignore[override]
        self, numbers: Tensor, errors: Tensor, steady: Tensor, level: Tensor, quality: Tensor
    ) -> tuple[Tensor, Coded]:
        """numbers (B, 6, 2h, 2w), errors (B, 3, 2h, 2w) -> numbers as decoded, and the bits.

        steady: (B, 4, 2h, 2w) flows that decoders know, luma pixels.
        """
        side, main, z, y = self.coder(self.analysis(numbers, errors), level, quality)
        given = F.pixel_unshuffle(steady / FLOW_UNIT, 2)
        decoded = self.decode(y, given)
        return decoded, Coded(decoded, side, main, z, y, given)


class AivcNet(nn.Module):
    """Both networks with the gains of each frame type; frames are planes (B, 6, H/2, W/2) in 0..1."""

    def __init__(self, config: AivcConfig | None = None) -> None:
        super().__init__()
        self.config = config or AivcConfig()
        self.codec_i = CodecNet(self.config.codec)
        self.codec_p = CodecNet(self.config.codec, self.codec_i, residual=True)
        self.codec_b = CodecNet(self.config.codec, self.codec_p, residual=True)
        self.mode_p = ModeNet(self.config.mode)
        self.mode_b = ModeNet(self.config.mode, self.mode_p)

    def code_intra(self, x: Tensor, level: Tensor, quality: Tensor) -> tuple[Tensor, dict[str, Coded]]:
        """Decoded planes, neither clamped nor rounded, and what was coded. level, quality: see LatentCoder."""
        coded = self.codec_i(x, torch.full_like(x, GREY), level, quality)
        return coded.decoded, {"codec_i": coded}

    def code(
        self, x: Tensor, references: Sequence[Tensor], steady: Tensor, flows: Tensor, level: Tensor, quality: Tensor,
        worth: Tensor,
    ) -> tuple[Tensor, dict[str, Coded]]:  # fmt: skip
        """A frame from one reference or two.

        steady: (B, 4, H/8, W/8) flows to both that decoders know, luma pixels; flows: those that predict best. Of a P
        frame both are in the first two planes.
        worth: (B,) mean squared error (0..1) of luma above which a block is coded at all.
        """
        kind = TYPES[len(references)]
        mode, codec = getattr(self, f"mode_{kind}"), getattr(self, f"codec_{kind}")
        luma, sign = luma_of(x), steady.new_tensor([1.0, 1.0, -1.0, -1.0])[:, None, None]
        with torch.no_grad():
            warped = self._warped(references, flows)
            weight, errors = self._seen(luma, [luma_of(planes) for planes in warped])
            squared = F.avg_pool2d((self._blend(warped, weight)[:, :4] - x[:, :4]).square().mean(1, keepdim=True), 8)
            skip = (squared < worth[:, None, None, None]).float()
            skip = F.interpolate(skip, scale_factor=2, mode="nearest")
            apart = sign * (flows - steady)
            if kind == "p":  # a second flow that would be the first one, turned round
                apart = apart[:, :2].repeat(1, 2, 1, 1)
            numbers = torch.cat([apart, WEIGHT_UNIT * (weight - 0.5), -SKIP_UNIT * skip], 1)
        made, motion = mode(numbers, error_features(errors), steady, level, quality)
        prediction, share = self.predict(made, references, steady)
        coded = codec(x, prediction, level, quality, share, mode.kept(motion.y))
        return coded.decoded, {f"mode_{kind}": motion, f"codec_{kind}": coded}

    def predict(self, made: Tensor, references: Sequence[Tensor], steady: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers as decoded -> prediction, and the share (B, 1, H/8, W/8) of what is coded that counts."""
        sign = steady.new_tensor([1.0, 1.0, -1.0, -1.0])[:, None, None]
        if len(references) == 1:
            flows = steady[:, :2] + 0.5 * (made[:, :2] + made[:, 2:4])
        else:
            flows = steady + sign * made[:, :VECTORS]
        weight = (made[:, VECTORS : VECTORS + 1] / WEIGHT_UNIT + 0.5).clamp(0, 1)
        share = (1 + made[:, VECTORS + 1 :] / SKIP_UNIT).clamp(0, 1)
        return self._blend(self._warped(references, flows), weight), share

    @staticmethod
    def _seen(luma: Tensor, lumas: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The best weight of each cell, and the errors that the motion analysis sees."""
        if len(lumas) == 1:
            half = torch.full_like(luma[:, :, ::8, ::8], 0.5)
            return half, cell_errors(luma, lumas * ERRORS)
        before, after = lumas
        weight = best_weight(luma, before, after)
        return weight, cell_errors(luma, [before, after, mix(before, after, weight)])

    @staticmethod
    def _blend(warped: list[Tensor], weight: Tensor) -> Tensor:
        if len(warped) == 1:
            return warped[0]
        before, behind = warped
        return join(mix(luma_of(before), luma_of(behind), weight), mix(before[:, 4:], behind[:, 4:], weight))  # type: ignore[no-any-return]

    @staticmethod
    def _warped(references: Sequence[Tensor], flows: Tensor) -> list[Tensor]:
        return [
            join(*predict_overlapped(luma_of(reference), reference[:, 4:], flow))
            for reference, flow in zip(references, flows.split(2, 1), strict=False)
        ]
