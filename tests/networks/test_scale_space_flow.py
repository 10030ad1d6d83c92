"""Scale-space flow as published: the same weights give compressai's numbers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from nvc.entropy_coding import gaussian
from nvc.networks.scale_space_flow import FlowConfig, ScaleSpaceFlow, pixel_motion, scale_space, warp
from nvc.training.import_ssf import NAMES, rename


def tensor_of(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


class TestParity:
    """Against compressai, at its widths, with equal random weights."""

    @torch.no_grad()
    def test_frames(self, lively_flow: Callable, moving_parts: Callable, photograph: np.ndarray) -> None:
        """An I and two P frames: reconstructions, symbols, means and scale indexes."""
        video = pytest.importorskip("compressai.models.video")
        ours = lively_flow(FlowConfig())
        theirs = video.ScaleSpaceFlow().eval()
        parts = {theirs_name: ours_name for ours_name, theirs_name in published_names(ours).items()}
        state = {n: ours.state_dict()[parts[n]] if n in parts else t for n, t in theirs.state_dict().items()}
        theirs.load_state_dict(state)
        for name, other in NAMES.items():
            bottleneck = getattr(theirs, f"{other}_hyperprior").entropy_bottleneck
            bottleneck.quantiles[:, 0, 1] = getattr(ours, name).median
        theirs.update()
        frames = [tensor_of(pixels) for pixels in moving_parts(photograph, 128, 128)]
        latents: list[tuple[str, Tensor]] = []
        for name in NAMES.values():
            prior = getattr(theirs, f"{name}_hyperprior")
            prior.register_forward_pre_hook(lambda _, args, name=name: latents.append((name, args[0])))
        want = theirs(frames)["x_hat"]

        coded, reference = ours.code_intra(frames[0])
        got, found = [reference], [("img", coded)]
        for frame in frames[1:]:
            motion, residual, reference = ours.code_inter(frame, reference)
            got.append(reference)
            found += [("motion", motion), ("res", residual)]
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
            assert a.std() > 0.02

        assert [name for name, _ in latents] == [name for name, _ in found]
        for (name, y), (_, coded) in zip(latents, found, strict=True):
            prior = getattr(theirs, f"{name}_hyperprior")
            medians = prior.entropy_bottleneck._get_medians().view(1, -1, 1, 1)
            z = prior.entropy_bottleneck.quantize(prior.hyper_encoder(y), "symbols", medians)
            assert torch.equal(z, coded.z.int())
            assert coded.z.abs().amax() > 2
            mean, scale = prior.hyper_decoder_mean(z + medians), prior.hyper_decoder_scale(z + medians)
            torch.testing.assert_close(coded.mean, mean, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(coded.scale, scale, atol=1e-5, rtol=1e-5)
            assert torch.equal(coded.y, torch.round(y - mean))
            assert coded.y.abs().amax() > 5
            indexes = prior.gaussian_conditional.build_indexes(scale)
            ours_indexes = np.searchsorted(gaussian.scales()[:63], coded.scale.numpy())
            assert (indexes.numpy() != ours_indexes).mean() < 1e-4  # scales of 1e-7 beside a bound
            assert len(np.unique(ours_indexes)) > 30

    @torch.no_grad()
    def test_prediction(self, photograph: np.ndarray) -> None:
        """Volume and warp, with motion over many pixels and past the borders, all slices."""
        video = pytest.importorskip("compressai.models.video")
        reference = tensor_of(photograph[:64, :96])
        torch.manual_seed(1)
        motion = 0.3 * torch.randn(1, 3, 64, 96) * torch.tensor([1, 1, 3])[:, None, None]
        want = video.ScaleSpaceFlow.forward_prediction(video.ScaleSpaceFlow().eval(), reference, motion)
        volume = scale_space(reference)
        torch.testing.assert_close(warp(volume, motion), want, atol=1e-5, rtol=1e-5)
        strips = [warp(volume, motion[:, :, top : top + 24], top) for top in range(0, 64, 24)]
        assert torch.equal(torch.cat(strips, 2), warp(volume, motion))


def published_names(net: ScaleSpaceFlow) -> dict[str, str]:
    """Our name of each network tensor -> theirs."""
    hyper = {"hyper_analysis": "hyper_encoder", "hyper_mean": "hyper_decoder_mean"}
    names = {}
    for name in net.state_dict():
        part, kind, *rest = name.split(".")
        if kind == "median":
            continue
        prefix = NAMES[part]
        if kind == "hyper_scale":
            names[name] = f"{prefix}_hyperprior.hyper_decoder_scale.deconv{int(rest[0]) // 2 + 1}.{rest[1]}"
        elif kind in hyper:
            names[name] = ".".join([f"{prefix}_hyperprior", hyper[kind], *rest])
        else:
            names[name] = ".".join([f"{prefix}_{'encoder' if kind == 'analysis' else 'decoder'}", *rest])
    return names


def test_rename(lively_flow: Callable) -> None:
    """The names of the importer are the inverse of these."""
    net = lively_flow(FlowConfig(4, 6))
    names = published_names(net)
    back = rename({theirs: net.state_dict()[ours] for ours, theirs in names.items()})
    assert back.keys() == names.keys()
    assert all(torch.equal(back[name], net.state_dict()[name]) for name in names)


class TestMotion:
    """What the three components mean."""

    def shift(self, dx: float, dy: float, slice_number: float, height: int, width: int) -> Tensor:
        values = torch.tensor([2 * dx / width, 2 * dy / height, (slice_number - 2.5) / 3])
        return values[None, :, None, None].expand(1, 3, height, width)

    def test_whole_pixels(self, photograph: np.ndarray) -> None:
        """(3, 2) pixels right and down; past the border its last row and column."""
        reference = tensor_of(photograph[:64, :96])
        got = warp(scale_space(reference), self.shift(3, 2, 0, 64, 96))
        want = torch.nn.functional.pad(reference, (0, 3, 0, 2), mode="replicate")[:, :, 2:, 3:]
        torch.testing.assert_close(got, want, atol=2e-5, rtol=0)

    def test_slices(self, photograph: np.ndarray) -> None:
        """A scale of 0 lies between the slices 2 and 3; beyond the last slice is the last."""
        volume = scale_space(tensor_of(photograph[:64, :96]))
        assert volume.shape == (1, 3, 6, 64, 96)
        still = torch.zeros(1, 3, 64, 96)
        torch.testing.assert_close(warp(volume, still), (volume[:, :, 2] + volume[:, :, 3]) / 2, atol=1e-5, rtol=0)
        torch.testing.assert_close(warp(volume, self.shift(0, 0, 9, 64, 96)), volume[:, :, 5], atol=1e-5, rtol=0)
        contrast = volume.std((0, 1, 3, 4))
        assert (contrast.diff() < 0).all()

    def test_unit(self, photograph: np.ndarray) -> None:
        """With flow_crop the same motion is the same number of pixels at every size; without, it grows."""
        assert torch.equal(pixel_motion(self.shift(3, 2, 0, 64, 96), 0), self.shift(3, 2, 0, 64, 96))
        trained = self.shift(3, 2, 0, 32, 32)[:, :, :1, :1]  # at crops of 32 pixels
        mended = pixel_motion(trained.expand(1, 3, 64, 96), 32)
        torch.testing.assert_close(mended, self.shift(3, 2, 0, 64, 96))
