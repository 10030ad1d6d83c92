"""The backend of published scale-space flow: its colours, and frames by way of bytes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nvc.bitstream.container import FrameType
from nvc.codec.latents import Content, Latents
from nvc.codec.ssf_published import INFORMATIONS, PublishedSsfBackend, to_frame, to_rgb
from nvc.codec.video_backend import Place, Reference
from nvc.entropy_coding.coder import Decoder, Encoder
from nvc.entropy_coding.gaussian import published_tables, scales
from nvc.entropy_coding.tables import TableSet
from nvc.entropy_models.hyperprior import code_main, code_side
from nvc.frames import Frame420
from nvc.networks.scale_space_flow import FlowConfig, ScaleSpaceFlow
from nvc.networks.ssf_float import SsfFloatDecoder
from nvc.training.import_ssf import quantise_hyper

PHOTOGRAPH = Path(__file__).parents[1] / "data" / "sign.png"


def part_of(top: int, left: int, height: int, width: int) -> Frame420:
    pixels = np.array(Image.open(PHOTOGRAPH).convert("RGB"))[top : top + height, left : left + width]
    return to_frame(pixels.astype(np.float32) / np.float32(255))


@pytest.fixture(scope="module")
def backend() -> PublishedSsfBackend:
    """Small widths, random weights that make symbols and pixels vary."""
    torch.manual_seed(2)
    net = ScaleSpaceFlow(FlowConfig(8, 10)).requires_grad_(False)
    for name, value in net.named_parameters():
        if name.endswith("weight"):
            value.mul_(2.4)
        if name.endswith("analysis.6.weight"):
            value.mul_(15)
        if name.endswith("synthesis.6.weight"):
            value.mul_(0.05)
    tensors = {name: value.numpy() for name, value in net.state_dict().items()}
    hyper = {}
    for part in ("intra", "motion", "residual"):
        inside = {n.removeprefix(f"{part}."): t for n, t in tensors.items() if n.startswith(part)}
        hyper[part] = quantise_hyper(inside, inside["median"], scales())
    synthesis = {n: t for n, t in tensors.items() if ".synthesis." in n}
    encoder = {n: t for n, t in tensors.items() if "analysis" in n}
    return PublishedSsfBackend(SsfFloatDecoder(hyper, synthesis, 0).tensors(), lambda: encoder)


def test_colours() -> None:
    """Those of compressai's examples/codec.py, also for codes that are no colour."""
    functional = pytest.importorskip("compressai.transforms.functional")
    rng = np.random.default_rng(3)
    for frame in (
        part_of(0, 0, 64, 96),
        Frame420(*(rng.integers(0, 256, s).astype(np.uint8) for s in _shapes(64, 96))),
    ):
        y, u, v = (torch.from_numpy(plane)[None, None].float() / 255 for plane in frame.planes)
        want = functional.ycbcr2rgb(functional.yuv_420_to_444((y, u, v), mode="bicubic"))
        rgb = to_rgb(frame)
        np.testing.assert_allclose(rgb, want[0].permute(1, 2, 0).numpy(), atol=2e-6)
        back = functional.yuv_444_to_420(functional.rgb2ycbcr(want), mode="avg_pool")
        for ours, theirs in zip(to_frame(rgb).planes, back, strict=True):
            exact = theirs[0, 0].numpy().clip(0, 1) * 255
            assert np.abs(ours - exact).max() < 0.501


def _shapes(height: int, width: int) -> tuple[tuple[int, int], ...]:
    return (height, width), ((height + 1) // 2, (width + 1) // 2), ((height + 1) // 2, (width + 1) // 2)


@pytest.mark.parametrize("size", [(64, 96), (63, 95), (1, 1), (2, 3)])
def test_colours_back(size: tuple[int, int]) -> None:
    """A frame comes back but for what bicubic chroma rounds, of odd sides too; its luma comes back as it was."""
    frame = part_of(5, 7, *size)
    back = to_frame(to_rgb(frame))
    assert tuple(p.shape for p in back.planes) == _shapes(*size)
    assert np.array_equal(back.y, frame.y)
    for got, want in zip(back.planes[1:], frame.planes[1:], strict=True):
        assert np.abs(got.astype(int) - want).mean() < 1.5


def test_frames_by_way_of_bytes(backend: PublishedSsfBackend) -> None:
    """I P P, sides odd: each frame's latents in one stream, parsed in order, the same frames and references."""
    rng = np.random.default_rng(4)
    side_tables = TableSet.from_histograms([rng.uniform(1, 9, 30) for _ in range(10)], np.full(10, -14))
    main_tables = published_tables()
    height, width = 93, 131
    kept: tuple[Reference, ...] = ()
    shown: tuple[Reference, ...] = ()
    for i, kind in enumerate((FrameType.I, FrameType.P, FrameType.P)):
        content, reference = backend.encode(part_of(2 * i, 3 * i, height, width), Place(kind, kept), 0)
        latents = content.latents
        assert tuple(latents) == INFORMATIONS[kind]
        encoder = Encoder()
        for part in latents.values():
            code_side(encoder, side_tables, part.z)
            code_main(encoder, main_tables, part.index, part.symbols)
        decoder = Decoder(encoder.finish())
        parsed = {}
        for name in INFORMATIONS[kind]:
            shapes = backend.shapes(name, height, width)
            z = code_side(decoder, side_tables, shapes.side)
            index, mean = backend.parameters(name, z, 0, shapes.main)
            parsed[name] = Latents(z, code_main(decoder, main_tables, index), index, mean)
            assert np.abs(parsed[name].symbols).max() > 2
        decoder.finish()
        decoded = backend.decode(Content(parsed), Place(kind, shown), 0, height, width)
        for got, want in zip(decoded.frame.planes, reference.frame.planes, strict=True):
            assert np.array_equal(got, want)
        assert torch.equal(decoded.state.padded, reference.state.padded)
        assert decoded.frame.y.std() > 1
        kept, shown = (reference,), (decoded,)
