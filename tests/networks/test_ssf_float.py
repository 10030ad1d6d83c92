"""Published scale-space flow for coding: the latents and pictures of the definition, the same at both ends."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from nvc.entropy_coding import gaussian
from nvc.networks import ssf_float
from nvc.networks.hyper_exact import SYMBOL_MAX
from nvc.networks.scale_space_flow import FlowConfig, ScaleSpaceFlow, pixel_motion, scale_space, warp
from nvc.networks.ssf_float import DecodedPicture, SsfFloat, SsfFloatDecoder
from nvc.training.import_ssf import NAMES, quantise_hyper


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def net(lively_flow: Callable) -> ScaleSpaceFlow:
    """Small widths, motion in pixels of crops of 256."""
    return lively_flow(FlowConfig(8, 12, flow_crop=256))


@pytest.fixture(scope="module")
def codec(net: ScaleSpaceFlow) -> SsfFloat:
    """The same for coding, with its encoder, by way of a weight file's tensors."""
    tensors = {name: value.numpy() for name, value in net.state_dict().items()}
    hyper = {}
    for name in NAMES:
        inside = {n.removeprefix(f"{name}."): value for n, value in tensors.items() if n.startswith(f"{name}.")}
        hyper[name] = quantise_hyper(inside, inside["median"], gaussian.scales())
    synthesis = {n: value for n, value in tensors.items() if ".synthesis." in n}
    decoder = SsfFloatDecoder(hyper, synthesis, net.config.flow_crop)
    encoder = {n: value for n, value in tensors.items() if "analysis" in n}
    return SsfFloatDecoder.from_tensors(decoder.tensors()).prepare(encoder)


def tensor_of(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def code(codec: SsfFloat, frames: list[np.ndarray]) -> list[tuple]:
    """(latents, picture) of I P P."""
    coded = [codec.analyse_intra(frames[0])]
    for frame in frames[1:]:
        coded.append(codec.analyse_inter(frame, coded[-1][1]))
    return coded


@torch.no_grad()
def test_as_defined(net: ScaleSpaceFlow, codec: SsfFloat, moving_parts: Callable, photograph: np.ndarray) -> None:
    """Beside the float network, whose references are clamped as in compressai's evaluation.

    The same side symbols and, but for ties that the means in 1/256 break otherwise, the same main symbols.
    """
    frames = moving_parts(photograph, 128, 128)
    coded = code(codec, frames)
    reference = coded[0][1].padded[None]
    intra, motion, residual = *coded[0][0], *coded[1][0]
    assert [part.information for part in (intra, motion, residual)] == ["intra", "motion", "residual"]
    want, _ = net.code_intra(tensor_of(frames[0]))
    want_motion, *_ = net.code_inter(tensor_of(frames[1]), reference)
    for got, defined in ((intra, want), (motion, want_motion)):
        assert (got.z != defined.z[0].numpy()).mean() < 0.01
        assert (got.symbols != defined.y[0].numpy()).mean() < 0.02
        assert np.abs(got.symbols).max() > 5
    decoded = torch.from_numpy(intra.symbols + intra.mean / np.float32(256)).float()
    torch.testing.assert_close(reference, net.intra.synthesis(decoded[None]).clamp(0, 1), atol=1e-5, rtol=1e-5)
    assert np.array_equal(coded[0][1].pixels(), (255 * reference[0]).round().byte().permute(1, 2, 0).numpy())
    # The P frame from its own latents, by the definition's parts.
    y = [torch.from_numpy(part.symbols + part.mean / np.float32(256)).float()[None] for part in coded[1][0]]
    field = pixel_motion(net.motion.synthesis(y[0]), 256)
    picture = warp(scale_space(reference), field) + net.residual.synthesis(torch.cat(y[::-1], 1))
    torch.testing.assert_close(coded[1][1].padded[None], picture.clamp(0, 1), atol=1e-5, rtol=1e-5)
    assert picture.std() > 0.01


@pytest.mark.parametrize("size", [(128, 128), (97, 61), (130, 200)])
def test_decodes(codec: SsfFloat, moving_parts: Callable, photograph: np.ndarray, size: tuple[int, int]) -> None:
    """From symbols alone, in the order of a file: z, then scale indexes and means, then y."""
    height, width = size
    reference = None
    for (latents, picture), kind in zip(code(codec, moving_parts(photograph[:180], height, width)), "IPP", strict=True):
        assert tuple(part.information for part in latents) == ssf_float.INFORMATIONS[kind]
        parsed = []
        for part in latents:
            shapes = codec._decoder.shapes(part.information, height, width)
            index, mean = codec.entropy_parameters(part.information, part.z)
            assert shapes == (part.z.shape, part.symbols.shape)
            assert index.shape == mean.shape == part.symbols.shape
            assert np.array_equal(index, part.index)
            parsed.append(replace(part, index=index, mean=mean))
        reference = codec.reconstruct(parsed, height, width, reference)
        assert torch.equal(reference.padded, picture.padded)
        assert np.array_equal(reference.pixels(), picture.pixels())
        assert picture.pixels().shape == (height, width, 3)
        assert len(np.unique(picture.pixels())) > 10


def test_padding(codec: SsfFloat, moving_parts: Callable, photograph: np.ndarray) -> None:
    """Zeros, the picture in the middle; float frames are the same frames."""
    frame = photograph[:100, :61]
    around = np.zeros((128, 128, 3), np.uint8)
    around[14:114, 33:94] = frame
    first, whole, third = (codec.analyse_intra(f) for f in (frame, around, frame.astype(np.float32) / np.float32(255)))
    assert torch.equal(first[1].padded, whole[1].padded)
    assert torch.equal(first[1].padded, third[1].padded)
    assert np.array_equal(first[1].pixels(), whole[1].pixels()[14:114, 33:94])


def test_threads_and_tiles(
    codec: SsfFloat, moving_parts: Callable, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of threads: the same bits. Tiles of another size: the same to float32's rounding."""
    frames = moving_parts(photograph, 150, 230)
    whole = code(codec, frames[:1])[0]
    monkeypatch.setattr(ssf_float, "TILE_ROWS", 5)
    monkeypatch.setattr(ssf_float, "TILE_COLUMNS", 7)
    monkeypatch.setattr(ssf_float, "STRIP", 48)
    one = code(codec, frames)
    torch.set_num_threads(2)
    two = code(codec, frames)
    for (latents, picture), (others, other) in zip(one, two, strict=True):
        assert torch.equal(picture.padded, other.padded)
        for a, b in zip(latents, others, strict=True):
            assert np.array_equal(a.symbols, b.symbols)
    # The latents may differ where a sum is next to a tie; of the same ones the picture is the same.
    tiled = codec.reconstruct(whole[0], 150, 230)
    torch.testing.assert_close(tiled.padded, whole[1].padded, atol=1e-5, rtol=0)
    assert (one[0][0][0].symbols != whole[0][0].symbols).mean() < 1e-3


def test_wild_symbols(codec: SsfFloat, moving_parts: Callable, photograph: np.ndarray) -> None:
    """Escapes beyond 16 bits count as 32767: a picture, whatever the file says."""
    _, picture = codec.analyse_intra(photograph[:128, :128])
    motion, residual = codec.analyse_inter(photograph[:128, :128], picture)[0]
    wild = np.full_like(motion.symbols, 1 << 27)
    wild[::2] *= -1
    shown = [
        codec.reconstruct((replace(motion, symbols=symbols), residual), 128, 128, picture)
        for symbols in (wild, np.sign(wild) * SYMBOL_MAX)
    ]
    assert torch.equal(shown[0].padded, shown[1].padded)
    assert shown[0].padded.isfinite().all()


def test_decoder_alone(net: ScaleSpaceFlow, codec: SsfFloat, moving_parts: Callable, photograph: np.ndarray) -> None:
    """It needs no tensors of the encoder, and half of one is refused."""
    latents, picture = codec.analyse_intra(photograph[:128, :128])
    decoder = codec._decoder
    alone = decoder.prepare()
    assert torch.equal(alone.reconstruct(latents, 128, 128).padded, picture.padded)
    encoder = {n: t.numpy() for n, t in net.state_dict().items() if "analysis" in n}
    for change in ({"intra.analysis.0.weight": encoder["intra.analysis.2.weight"]}, {"other": encoder.popitem()[1]}):
        with pytest.raises(ValueError, match="the encoder's tensors"):
            decoder.prepare(encoder | change)
    with pytest.raises(ValueError, match="are not these"):
        decoder.prepare({n: t for n, t in encoder.items() if not n.startswith("residual")})


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("flow_crop", lambda t: t - 300, "flow_crop"),
        ("intra.synthesis.0.weight", lambda t: t * np.float32(np.nan), "finite float32"),
        ("motion.synthesis.6.bias", lambda t: t.astype(np.float64), "finite float32"),
        ("residual.synthesis.0.weight", lambda t: t[:12], "do not fit together"),
        ("intra.synthesis.0.weight", lambda t: t[0], "do not fit together"),
    ],
)
def test_unsound(codec: SsfFloat, name: str, change: object, reason: str) -> None:
    tensors = codec._decoder.tensors()
    with pytest.raises(ValueError, match=reason):
        SsfFloatDecoder.from_tensors(tensors | {name: change(tensors[name])})


def test_shown_part() -> None:
    """The middle, and 8 bits rounded half to even."""
    padded = torch.linspace(0, 1, 128).expand(3, 128, 128).contiguous()
    shown = DecodedPicture(padded, 5, 3)
    assert shown.rgb().shape == (5, 3, 3)
    assert np.array_equal(shown.pixels()[0, :, 0], np.rint(255 * padded[0, 0, 62:65].numpy()))
