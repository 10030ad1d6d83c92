"""The published scale-space flow in float (Agustsson et al., CVPR 2020; compressai's `ScaleSpaceFlow`).

    I frame   x ──────────────── intra ────────────────────────────────────────── x̂
    P frame   x, reference ───── motion ─── flow, scale ── warp ── prediction
              x - prediction ─── residual (with the motion latents) ── + prediction ── x̂

Three auto-encoders of 5x5 stride-2 layers, each with a hyperprior: y at 1/16, z at 1/128 of the picture. Pictures are
RGB in 0..1, padded to multiples of 128. The reference is blurred into a volume of six slices, and a third component of
the motion chooses the slice: where motion is not found, a blurred prediction is cheaper to mend than a wrong one.

This is the definition; nvc.networks.ssf_float runs it for coding. Training losses are not here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nvc.networks.layers import conv_stack, deconv_stack

BLOCK = 128  # pixels per side latent, both ways; pictures are padded to multiples of it
PARTS = {"intra": (3, 3), "motion": (6, 3), "residual": (3, 3)}  # channels that go in and come out, in coding order
SLICES = 6
SIGMA = 1.5  # of every blur, in pixels of its resolution
RADIUS = 5  # ceil(3 · sigma)
SCALE_MAX = 255.0  # the scale path is clamped to 0..255 after each of its layers


@dataclass(frozen=True)
class FlowConfig:
    """Widths, and the unit of the motion. The published widths are the defaults.

    flow_crop: 0: motion is in halves of the padded picture, as published. Else it is multiplied by flow_crop/width and
    flow_crop/height, which makes it mean pixels again for networks trained on square crops of that side (256 for the
    zoo's): unmended, their motion grows with the picture (compressai issue 307).
    """

    hidden: int = 128
    latents: int = 192
    flow_crop: int = 0


PUBLISHED = FlowConfig()


class Clamp(nn.Module):
    """To 0..255. compressai's QReLU gives the same numbers; its gradient outside is not here."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(0, SCALE_MAX)


@dataclass(frozen=True, eq=False)
class Coded:
    """What one auto-encoder codes, (B, M, rows, columns) each: whole z and y; mean, scale and decoded value of y."""

    z: Tensor
    y: Tensor
    mean: Tensor
    scale: Tensor
    decoded: Tensor


class HyperpriorCoder(nn.Module):
    """Analysis and synthesis of pictures, with a hyperprior of means and scales; `median` (M,) is that of z."""

    def __init__(self, config: FlowConfig, inputs: int, outputs: int, extra: int = 0) -> None:
        super().__init__()
        hidden, m = config.hidden, config.latents
        self.analysis = conv_stack((inputs, hidden, hidden, hidden, m), nn.ReLU)
        self.synthesis = deconv_stack((m + extra, hidden, hidden, hidden, outputs))
        self.hyper_analysis = conv_stack((m, m, m, m), nn.ReLU)
        self.hyper_mean = deconv_stack((m, m, m, m))
        first, _, second, _, third = deconv_stack((m, m, m, m))
        self.hyper_scale = nn.Sequential(first, Clamp(), second, Clamp(), third, Clamp())
        self.median: Tensor
        self.register_buffer("median", torch.zeros(m))

    def code(self, x: Tensor) -> Coded:
        """(B, inputs, H, W) -> latents, rounded as a file holds them: z around its medians, y around its means."""
        y = self.analysis(x)
        median = self.median[:, None, None]
        z = (self.hyper_analysis(y) - median).round()
        mean, scale = self.hyper_mean(z + median), self.hyper_scale(z + median)
        symbols = (y - mean).round()
        return Coded(z, symbols, mean, scale, symbols + mean)


class ScaleSpaceFlow(nn.Module):
    """See above. Reconstructions are not clamped here; `compressai.utils.video` clamps each reference to 0..1."""

    def __init__(self, config: FlowConfig = PUBLISHED) -> None:
        super().__init__()
        self.config = config
        parts = {
            name: HyperpriorCoder(config, inputs, outputs, config.latents if name == "residual" else 0)
            for name, (inputs, outputs) in PARTS.items()
        }
        self.intra, self.motion, self.residual = parts.values()

    def code_intra(self, x: Tensor) -> tuple[Coded, Tensor]:
        """(B, 3, H, W) -> its latents, and the reconstruction."""
        coded = self.intra.code(x)
        return coded, self.intra.synthesis(coded.decoded)

    def code_inter(self, x: Tensor, reference: Tensor) -> tuple[Coded, Coded, Tensor]:
        """(B, 3, H, W) twice -> latents of motion and of residual, and the reconstruction."""
        motion = self.motion.code(torch.cat([x, reference], 1))
        volume = scale_space(reference)
        prediction = warp(volume, pixel_motion(self.motion.synthesis(motion.decoded), self.config.flow_crop))
        residual = self.residual.code(x - prediction)
        both = torch.cat([residual.decoded, motion.decoded], 1)
        return motion, residual, prediction + self.residual.synthesis(both)


def pixel_motion(motion: Tensor, flow_crop: int) -> Tensor:
    """(B, 3, H, W) of the synthesis -> the same in the unit that `FlowConfig.flow_crop` asks for."""
    if not flow_crop:
        return motion
    height, width = motion.shape[2:]
    return motion * motion.new_tensor([flow_crop / width, flow_crop / height, 1])[:, None, None]


def blur(x: Tensor) -> Tensor:
    """(B, C, H, W): a Gaussian of SIGMA, borders repeated; rows, then columns."""
    taps = torch.exp(-0.5 * (torch.arange(-RADIUS, RADIUS + 1, device=x.device, dtype=x.dtype) / SIGMA) ** 2)
    taps = taps / taps.sum()
    planes = x.flatten(0, 1)[:, None]
    planes = F.conv2d(F.pad(planes, (RADIUS, RADIUS, 0, 0), mode="replicate"), taps.view(1, 1, 1, -1))
    planes = F.conv2d(F.pad(planes, (0, 0, RADIUS, RADIUS), mode="replicate"), taps.view(1, 1, -1, 1))
    return planes.view_as(x)


def scale_space(reference: Tensor) -> Tensor:
    """(B, C, H, W), sides multiples of 16 -> (B, C, 6, H, W): itself, then blurred more and more.

    Slice k >= 1 is blurred k times, at half the resolution each time: about 1.5, 3.4, 7, 14 and 28 pixels.
    """
    coarse = blur(reference)
    slices = [reference, coarse]
    for level in range(1, SLICES - 1):
        coarse = blur(F.avg_pool2d(coarse, 2))
        fine = coarse
        for _ in range(level):
            fine = F.interpolate(fine, scale_factor=2, mode="bilinear", align_corners=False)
        slices.append(fine)
    return torch.stack(slices, 2)


def warp(volume: Tensor, motion: Tensor, top: int = 0) -> Tensor:
    """Trilinear samples: volume (B, C, 6, H, W), motion (B, 3, h, W) -> (B, C, h, W), rows of the whole from `top` on.

    motion[:, 0] and [:, 1] point right and down in halves of the picture's width and height; [:, 2] chooses the slice
    3·s + 2.5. What lies outside is taken from the border.
    """
    height, width = volume.shape[3:]
    rows = motion.shape[2]
    across = (2 * torch.arange(width, device=motion.device) + 1) / width - 1
    down = (2 * torch.arange(top, top + rows, device=motion.device) + 1) / height - 1
    identity = torch.stack([across.expand(rows, width), down[:, None].expand(rows, width)])
    place = torch.cat([motion[:, :2] + identity, motion[:, 2:]], 1)
    grid = place.permute(0, 2, 3, 1)[:, None]
    sampled = F.grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[:, :, 0]
