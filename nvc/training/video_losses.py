"""Rate + λ · distortion of chains of frames, coded one from the other (docs/training.md)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nvc.networks.intra import Coded
from nvc.networks.planes import join, luma_of
from nvc.networks.ssf import PROBED, SsfNet, error_features
from nvc.networks.warp_torch import predict_planes
from nvc.training.losses import Loss, lambdas_on


@dataclass
class CodedFrame:
    """One frame of a chain. decoded: planes; parts: by information; bits, mse: (B,)."""

    decoded: Tensor
    parts: dict[str, Coded]

    @property
    def bits(self) -> Tensor:
        return torch.stack([part.bits for part in self.parts.values()]).sum(0)


def distortion(a: Tensor, b: Tensor) -> Tensor:
    """(B,) mean squared error of planes (B, 6, h, w), weighted (6·Y + U + V)/8."""
    error = (a - b).square()
    return 0.75 * error[:, :4].mean((1, 2, 3)) + 0.25 * error[:, 4:].mean((1, 2, 3))


def as_picture(planes: Tensor) -> Tensor:
    """Clamped and rounded to 8 bits, with the gradient of what was not rounded."""
    clamped = planes.clamp(0, 1)
    return clamped + ((clamped * 255).round() / 255 - clamped).detach()


def prediction_errors(reference: Tensor, luma: Tensor, flow: Tensor) -> Tensor:
    """Mean absolute luma error of 8x8 blocks, predicted at the PROBED scales: (B, 2, H/8, W/8)."""
    errors = []
    for level in PROBED:
        scale = torch.full_like(flow[:, :1], float(level))
        prediction, _ = predict_planes(luma_of(reference), reference[:, 4:], flow, scale)
        errors.append(F.avg_pool2d((prediction - luma).abs(), 8))
    return torch.cat(errors, 1)


def code_chain(net: SsfNet, planes: Tensor, flows: Tensor, level: Tensor) -> Iterator[CodedFrame]:
    """An I frame and P frames behind it. planes: (B, T, 6, H/2, W/2) in 0..1; flows: (B, T-1, 2, H/8, W/8), pixels."""
    coded = net.intra(planes[:, 0] - 0.5, level)
    decoded = as_picture(coded.decoded + 0.5)
    yield CodedFrame(decoded, {"intra": coded})
    reference = decoded.detach()
    for t in range(1, planes.shape[1]):
        x, flow = planes[:, t], flows[:, t - 1]
        luma, chroma = luma_of(reference), reference[:, 4:]
        with torch.no_grad():
            errors = error_features(prediction_errors(reference, luma_of(x), flow))
        vectors, scale, motion = net.motion(flow, errors, level)
        prediction = join(*predict_planes(luma, chroma, vectors, scale))
        residual = net.residual(x - prediction, level, prediction - 0.5)
        reference = as_picture(prediction + residual.decoded)
        yield CodedFrame(reference, {"motion": motion, "residual": residual})


def chain_loss(net: SsfNet, planes: Tensor, flows: Tensor, level: Tensor) -> Loss:
    """Mean over the frames of a chain; samples are weighted as in `nvc.training.losses.picture_loss`."""
    lambdas = lambdas_on(planes.device)[level]
    pixels = 4 * planes.shape[3] * planes.shape[4]
    frames = list(code_chain(net, planes, flows, level))
    bpp = torch.stack([frame.bits for frame in frames]).mean(0) / pixels
    mse = torch.stack([distortion(frame.decoded, planes[:, t]) for t, frame in enumerate(frames)]).mean(0)
    return Loss(((bpp + lambdas * 255**2 * mse) / lambdas.sqrt()).mean(), bpp, mse)
