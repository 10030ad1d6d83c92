"""The float networks of the conditional codec: all of them learn, and they are what the integers compute."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "golden")]

from make_aivc_model import CLIPS, CONFIG, FRAMES, clip_of, make_net  # noqa: E402
from video_streams import B, I, P, clip  # noqa: E402

from nvc.codec.aivc import AivcBackend  # noqa: E402
from nvc.codec.latents import Content  # noqa: E402
from nvc.codec.lhbdc import Pair  # noqa: E402
from nvc.codec.video_backend import Place, Reference  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks.aivc import SKIP_LATENT, AivcNet  # noqa: E402
from nvc.networks.aivc_integer import skipped  # noqa: E402
from nvc.networks.planes import pad_planes  # noqa: E402
from nvc.networks.steps import STEP_ONE, steps  # noqa: E402
from nvc.networks.video_analysis import VideoAnalysis, encoder_tensors  # noqa: E402
from nvc.training.aivc_task import AivcTask, _flow  # noqa: E402
from nvc.training.lhbdc_task import searched  # noqa: E402
from nvc.training.quantize_video import decoder_tensors, ranges_of  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def net() -> AivcNet:
    """That of the tiny model."""
    return make_net([clip_of(*which, FRAMES) for which in CLIPS])


@pytest.fixture(scope="module")
def backend(net: AivcNet) -> AivcBackend:
    task = AivcTask(CONFIG)
    task.net = net
    seen = task.seen([clip_of(*which, FRAMES) for which in CLIPS])
    tensors = decoder_tensors(net, AivcBackend.kinds, ranges_of(net, seen), {}) | dict(AivcBackend.written)
    return AivcBackend(tensors, lambda: VideoAnalysis(AivcNet(CONFIG), encoder_tensors(net)))


def planes_of(frame: Frame420) -> Tensor:
    return torch.from_numpy(pad_planes(frame)).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("kind", ["i", "p", "b"])
def test_everything_has_a_gradient(kind: str, net: AivcNet) -> None:
    """Every parameter that frames of a type use; finite, at qualities between levels and beyond them."""
    frames = [planes_of(frame) for frame in clip(64, 112, 3, motion=(2, 3))]
    first, x, last = (torch.cat([frame, frame.flip(3)]) for frame in frames)
    level, quality, worth = torch.tensor([1, 6]), torch.tensor([0.4, 8.25]), torch.tensor([1e-5, 1e-4])
    names = [name for name in AivcTask.trained if name.endswith(f"_{kind}")]
    learning = {n: p for name in names for n, p in getattr(net, name).named_parameters(name)}
    torch.manual_seed(1)
    with torch.enable_grad():
        for parameter in learning.values():
            parameter.requires_grad_(True)
        if kind == "i":
            decoded, parts = net.code_intra(x, level, quality)
        elif kind == "p":
            flows = _flow(x, first)
            decoded, parts = net.code(x, [first], torch.zeros_like(flows), flows, level, quality, worth)
        else:
            flows, steady = searched(x, [first, last], 1, 1)
            decoded, parts = net.code(x, [first, last], steady, flows, level, quality, worth)
        assert set(parts) == set(names)
        bits = torch.stack([part.bits for part in parts.values()]).sum()
        gradients = torch.autograd.grad(
            bits / x[:, :4].numel() + 500 * (decoded - x).square().mean(), list(learning.values()), allow_unused=True
        )
    net.requires_grad_(False)
    for name, gradient in zip(learning, gradients, strict=True):
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        idle = name.endswith("h_s.0.weight") and not parts[name.split(".")[0]].z.any()
        still = kind == "p" and name == "mode_p.shortcut.0.weight"  # a P frame has no steady motion
        assert gradient.any() or idle or still, name


def places(backend: AivcBackend, frames: list[Frame420], code: int) -> dict[str, tuple[int, Place]]:
    """Of the frames that are compared, by type."""
    ends = [backend.encode(frames[i], Place(I), code)[1] for i in (0, 4)]
    return {
        "i": (3, Place(I)),
        "p": (2, Place(P, [ends[0]], [-2])),
        "b": (1, Place(B, ends, [-1, 3], 2)),
    }


@pytest.mark.parametrize("level", [0, 4, 7])
@pytest.mark.parametrize("kind", ["i", "p", "b"])
def test_the_integers_are_the_floats(
    kind: str, level: int, net: AivcNet, backend: AivcBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same symbols: the frame within a few grey levels, nearly everywhere within one.

    Of a calm photograph: the flow of a P frame, twice rounded, may be off by 1/16 pixel.
    """
    frames, code = clip(96, 128, 5, "stair", (1, 2)), level * STEP_ONE
    shown, place = places(backend, frames, code)[kind]
    content, decoded = backend.encode(frames[shown], place, code)
    quality = backend.frame_quality(place.kind, content.choices, code)
    for name in content.latents:
        y = dequantised(backend, name, content, quality)
        monkeypatch.setattr(getattr(net, name).coder, "forward", lambda *_, y=y: (y.new_zeros(1), y.new_zeros(1), y, y))
    x, zero = planes_of(frames[shown]), torch.tensor([0])
    if kind == "i":
        made, _ = net.code_intra(x, zero, zero.float())
    else:
        steady = torch.zeros(1, 4, 12, 16)
        if kind == "b":
            steady = torch.from_numpy(Pair.of(place).steady(content.choices[1])[None] / np.float32(16))
        known = [planes_of(reference.frame) for reference in place.references]
        made, _ = net.code(x, known, steady, steady, zero, zero.float(), torch.zeros(1))
    got = (made.clamp(0, 1) * 255)[0].permute(1, 2, 0).numpy()
    error = np.abs(got - pad_planes(decoded.frame))
    assert error.mean() < 0.8
    assert np.quantile(error, 0.99) < 4


def dequantised(backend: AivcBackend, name: str, content: Content, quality: int) -> Tensor:
    """Main latents in the units of the float networks."""
    latents, part = content.latents[name], backend._parts[name]
    mantissa, shift = steps(part.decoder.log_step, backend.latent_quality(name, content.choices, quality))
    step = (mantissa / 2.0**shift / part.unit)[:, None, None]
    return torch.from_numpy((latents.symbols + latents.mean / 16.0) * step)[None].float()


def test_what_is_skipped_is_the_same_in_both(net: AivcNet, backend: AivcBackend) -> None:
    """Of latents around the threshold."""
    part, quality = backend._parts["mode_b"], 3 * STEP_ONE
    random = np.random.default_rng(5)
    symbols = random.integers(-4, 3, (part.hyper.latents, 5, 7)).astype(np.int32)
    mean = random.integers(-16, 17, symbols.shape).astype(np.int16)
    got = skipped(symbols, mean, part.decoder.log_step, quality)
    mantissa, shift = steps(part.decoder.log_step, quality)
    y = torch.from_numpy((symbols + mean / 16.0) * (mantissa / 2.0**shift / part.unit)[:, None, None])[None].float()
    clear = (y[0, SKIP_LATENT] + 8).abs() > 0.01
    assert (net.mode_b.kept(y)[0, 0][clear] == 1 - torch.from_numpy(got)[clear].float()).all()
    assert 0 < got.mean() < 1


def test_nothing_is_coded_where_blocks_are_skipped(backend: AivcBackend) -> None:
    """A frame that its reference foretells: all skipped, the frame is its prediction, and main symbols are 0."""
    frame = clip(64, 80, 1)[0]
    content, decoded = backend.encode(frame, Place(P, [Reference(frame)], [-1]), 0)
    mode, codec = content.latents["mode_p"], content.latents["codec_p"]
    nothing = skipped(mode.symbols, mode.mean, backend._parts["mode_p"].decoder.log_step, 0)
    assert nothing.any()
    for values in (codec.symbols, codec.index, codec.mean):
        assert not values[:, nothing].any()
    index, mean = backend.parameters("codec_p", codec.z, 0, codec.symbols.shape, {"mode_p": mode})
    np.testing.assert_array_equal(index, codec.index)
    np.testing.assert_array_equal(mean, codec.mean)
    free, _ = backend.parameters("codec_p", codec.z, 0, codec.symbols.shape)
    assert free[:, nothing].any()
    assert decoded.frame.y.shape == frame.y.shape
