"""The float networks of the bi-directional codec: all of them learn, and they are what the integers compute."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "golden")]

from make_lhbdc_model import CLIPS, CONFIG, FRAMES, clip_of, make_net  # noqa: E402
from video_streams import B, I, clip  # noqa: E402

from nvc.codec.latents import Content  # noqa: E402
from nvc.codec.lhbdc import LhbdcBackend, Pair  # noqa: E402
from nvc.codec.lhbdc_analysis import best_weight  # noqa: E402
from nvc.codec.video_backend import Place  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks import lhbdc  # noqa: E402
from nvc.networks.lhbdc import LhbdcNet  # noqa: E402
from nvc.networks.planes import luma_of, pad_planes  # noqa: E402
from nvc.networks.steps import STEP_ONE, steps  # noqa: E402
from nvc.networks.video_analysis import VideoAnalysis, encoder_tensors  # noqa: E402
from nvc.training.lhbdc_task import LhbdcTask, searched  # noqa: E402
from nvc.training.quantize_video import decoder_tensors, ranges_of  # noqa: E402

PLACES = {  # display indexes of the frame and its references, depth
    "middle": (2, (0, 4), 1),
    "uneven": (1, (0, 4), 2),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def net() -> LhbdcNet:
    """That of the tiny model: random parts whose flows and weights are not those of a still picture."""
    return make_net([clip_of(*which, FRAMES) for which in CLIPS])


@pytest.fixture(scope="module")
def backend(net: LhbdcNet) -> LhbdcBackend:
    task = LhbdcTask(CONFIG)
    task.net = net
    seen = task.seen([clip_of(*which, FRAMES) for which in CLIPS])
    tensors = decoder_tensors(net, LhbdcBackend.kinds, ranges_of(net, seen), {})
    return LhbdcBackend(tensors, lambda: VideoAnalysis(LhbdcNet(CONFIG), encoder_tensors(net)))


def planes_of(frame: Frame420) -> Tensor:
    return torch.from_numpy(pad_planes(frame)).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("size", [(32, 32), (48, 80), (64, 112), (96, 96)])
def test_everything_has_a_gradient(size: tuple[int, int], net: LhbdcNet) -> None:
    """Every parameter that B frames use; finite, at any size and at qualities between levels."""
    frames = [planes_of(frame) for frame in clip(*size, 3, motion=(2, 3))]
    first, x, last = (torch.cat([frame, frame.flip(3)]) for frame in frames)
    references = [first, last]
    flows, steady = searched(x, references, 1, 1)
    assert flows.shape == steady.shape == (2, 4, size[0] // 8, size[1] // 8)
    learning = {name: p for part in LhbdcTask.trained for name, p in getattr(net, part).named_parameters(part)}
    torch.manual_seed(1)
    with torch.enable_grad():
        for parameter in learning.values():
            parameter.requires_grad_(True)
        decoded, parts = net.code(x, references, steady, flows, torch.tensor([1, 6]), torch.tensor([0.4, 5.25]))
        bits = torch.stack([part.bits for part in parts.values()]).sum()
        gradients = torch.autograd.grad(
            bits / x[:, :4].numel() + 500 * (decoded - x).square().mean(), list(learning.values()), allow_unused=True
        )
    net.requires_grad_(False)
    for name, gradient in zip(learning, gradients, strict=True):
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        # What side latents are multiplied with has no gradient where they are all 0, as on small frames.
        assert gradient.any() or (name.endswith("h_s.0.weight") and not parts[name.split(".")[0]].z.any()), name


@pytest.mark.parametrize("level", [0, 4, 7])
@pytest.mark.parametrize(("shown", "references", "depth"), PLACES.values(), ids=PLACES)
def test_the_integers_are_the_floats(
    shown: int, references: tuple[int, int], depth: int, level: int, net: LhbdcNet, backend: LhbdcBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of the same symbols: the frame within a few grey levels, nearly everywhere within one."""
    frames, code = clip(96, 128, 5, motion=(2, 3)), level * STEP_ONE
    known = [backend.encode(frames[i], Place(I), code)[1] for i in references]
    distances = [i - shown for i in references]
    content, decoded = backend.encode(frames[shown], Place(B, known, distances, depth), code)
    quality = backend.frame_quality(B, content.choices, code)
    pair = Pair.of(Place(B, known, distances))
    for name in LhbdcTask.trained:
        y = dequantised(backend, name, content, quality)
        monkeypatch.setattr(getattr(net, name).coder, "forward", lambda *_, y=y: (y.new_zeros(1), y.new_zeros(1), y, y))
    given = [planes_of(reference.frame) for reference in known]
    steady = torch.from_numpy(pair.steady(content.choices[-1])[None] / np.float32(16))
    made, _ = net.code(planes_of(frames[shown]), given, steady, steady, torch.tensor([0]), torch.tensor([0.0]))
    got = (made.clamp(0, 1) * 255)[0].permute(1, 2, 0).numpy()
    error = np.abs(got - pad_planes(decoded.frame))
    assert error.mean() < 0.8
    assert np.quantile(error, 0.99) < 4


def dequantised(backend: LhbdcBackend, name: str, content: Content, quality: int) -> Tensor:
    """Main latents in the units of the float networks."""
    latents, part = content.latents[name], backend._parts[name]
    mantissa, shift = steps(part.decoder.log_step, quality)
    step = (mantissa / 2.0**shift / part.unit)[:, None, None]
    return torch.from_numpy((latents.symbols + latents.mean / 16.0) * step)[None].float()


def test_the_weight_is_the_same_in_both(net: LhbdcNet) -> None:
    """Of frames of odd sizes too, where cells at the border are not whole; and it is the best that a cell can have."""
    first, frame, second = clip(41, 71, 3, motion=(3, 5))
    got = best_weight(frame.y, first.y, second.y)
    assert got.shape == (6, 10)
    whole = best_weight(*(f.y[:32, :64] for f in (frame, first, second)))
    lumas = [luma_of(planes_of(Frame420(f.y[:32, :64], f.u[:16, :32], f.v[:16, :32]))) for f in (frame, first, second)]
    torch.testing.assert_close(lhbdc.best_weight(*lumas)[0, 0], torch.from_numpy(whole), atol=1e-5, rtol=0)
    np.testing.assert_array_equal(got[:4, :8], whole)

    def left(share: np.ndarray) -> np.ndarray:
        mixed = first.y + np.repeat(np.repeat(share, 8, 0), 8, 1)[:41, :71] * (second.y.astype(float) - first.y)
        return ((mixed - frame.y)[:40, :64] ** 2).reshape(5, 8, 8, 8).sum((1, 3))

    for other in (got - 0.1, got + 0.1, np.full_like(got, 0.5)):
        assert (left(got.astype(float)) <= left(np.clip(other, 0, 1).astype(float)) + 4).all()
