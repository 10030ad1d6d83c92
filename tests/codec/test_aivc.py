"""The backend of the conditional codec: cost, informations, qualities, I frames against grey, shares."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import B, I, P, clip  # noqa: E402

from nvc.codec.aivc import AivcBackend  # noqa: E402
from nvc.codec.catalogue import CATALOGUE  # noqa: E402
from nvc.codec.video_backend import Place, Reference  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks.aivc import AivcConfig  # noqa: E402
from nvc.networks.aivc_integer import SHARE_ONE, add_shared  # noqa: E402
from nvc.networks.blend import blend_plane  # noqa: E402

MOST_OF_P, MOST_OF_B = 16000, 25000  # multiply-accumulates for a luma pixel, all of the decoder
WARP, SEARCH = (4 * 9.5 + 4) * 1.5, 35  # of one reference, four vectors everywhere; of the search between two


@pytest.fixture(scope="module")
def backend() -> AivcBackend:
    found = VideoModel(TESTS / "data" / "tiny_aivc.safetensors").backend
    assert isinstance(found, AivcBackend)
    return found


def test_what_decoding_costs() -> None:
    config = AivcConfig()
    assert config.codec.decoder_macs_per_pixel() < config.decoder_macs_per_pixel() + WARP <= MOST_OF_P
    assert config.decoder_macs_per_pixel() + SEARCH + 2 * WARP <= MOST_OF_B
    assert config.mode.decoder_macs_per_pixel() < 0.05 * config.codec.decoder_macs_per_pixel()


def test_the_catalogue_knows_it(backend: AivcBackend) -> None:
    entry = CATALOGUE["aivc"]
    assert entry.number == 4
    assert set(entry.gops) == {1, 4, 8, 16, 32}
    assert backend.informations == {I: ("codec_i",), P: ("mode_p", "codec_p"), B: ("mode_b", "codec_b")}


def test_one_set_of_networks(backend: AivcBackend) -> None:
    """Frame types differ by steps and offsets alone."""
    for names in (("codec_i", "codec_p", "codec_b"), ("mode_p", "mode_b")):
        first, *others = (backend._parts[name] for name in names)
        for other in others:
            for one, two in zip(
                (*first.decoder.convs, *first.decoder.known, *first.hyper.convs),
                (*other.decoder.convs, *other.decoder.known, *other.hyper.convs), strict=True,
            ):  # fmt: skip
                np.testing.assert_array_equal(one.weight, two.weight)
            np.testing.assert_array_equal(first.decoder.linear, other.decoder.linear)


@pytest.mark.parametrize("size", [(1, 1), (17, 30), (64, 48)])
def test_share_of_what_is_coded(size: tuple[int, int]) -> None:
    """All of it, none of it, and between them what a blend of the two gives, where nothing is clamped."""
    height, width = size
    frame = clip(height, width, 1)[0]
    calm = Frame420(*(plane // 2 + 64 for plane in frame.planes))
    h, w = -(-height // 16), -(-width // 16)
    random = np.random.default_rng(1)
    residual = (2 * random.integers(-30, 31, (8 * h, 8 * w, 6))).astype(np.int16)
    share = random.integers(0, SHARE_ONE + 1, (2 * h, 2 * w)).astype(np.uint8)
    none, whole = (add_shared(calm, residual, np.full_like(share, value)) for value in (0, SHARE_ONE))
    mixed = add_shared(calm, residual, share)
    for number, planes in enumerate(zip(calm.planes, none.planes, whole.planes, mixed.planes, strict=True)):
        plain, nothing, everything, got = planes
        np.testing.assert_array_equal(nothing, plain)
        np.testing.assert_array_equal(got, blend_plane(plain, everything, share, chroma=number > 0))
    assert (whole.y != calm.y).any()


def test_no_wrapping(backend: AivcBackend) -> None:
    """Sums beyond 8 bits are clamped."""
    frame = Frame420(*(np.full(shape, 250, np.uint8) for shape in ((16, 16), (8, 8), (8, 8))))
    for residual, want in ((255, 255), (-255, 0)):
        got = add_shared(frame, np.full((8, 8, 6), residual, np.int16), np.full((2, 2), SHARE_ONE, np.uint8))
        assert all((plane == want).all() for plane in got.planes)


@pytest.mark.parametrize("kind", [I, P, B])
def test_decodes_what_it_kept(kind, backend: AivcBackend) -> None:  # type: ignore[no-untyped-def]
    frames = clip(40, 66, 5, motion=(1, 2))
    ends = [Reference(frames[0]), Reference(frames[4])]
    place = {I: Place(I), P: Place(P, ends[:1], [-2]), B: Place(B, ends, [-2, 2], 1)}[kind]
    content, kept = backend.encode(frames[2], place, 12000)
    assert list(content.latents) == list(backend.informations[kind])
    shown = backend.decode(content, place, 12000, 40, 66)
    for one, two in zip(kept.frame.planes, shown.frame.planes, strict=True):
        np.testing.assert_array_equal(one, two)


def test_quality_of_frames(backend: AivcBackend) -> None:
    """A P frame behind its neighbour is coded at the file's quality, others above it, B frames below by depth."""
    frames = clip(32, 32, 3, motion=(1, 1))
    near, far = Reference(frames[0]), Reference(frames[2])
    above = []
    for place in (Place(P, [near], [-1]), Place(P, [near], [-8]), Place(B, [near, far], [-1, 1], 1),
                  Place(B, [near, far], [-1, 1], 4)):  # fmt: skip
        content, _ = backend.encode(frames[1], place, 12000)
        above.append(backend.frame_quality(place.kind, content.choices, 12000) - 12000)
    assert above[0] == 0 < above[1]
    assert above[3] < above[2] < 0
    assert backend.frame_quality(I, (), 12000) == 12000


def test_side_latents_nearer_to_0(backend: AivcBackend) -> None:
    """Shrunk by so much, and none beyond 0."""
    random = np.random.default_rng(1)
    shape = backend.shapes("codec_p", 128, 128).main
    symbols = random.normal(0, 40, shape).astype(np.float32)
    plain, shorter, none = (backend._analysis.side("codec_p", symbols, zone) for zone in (0.0, 1.0, 1e6))
    assert plain.any()
    np.testing.assert_array_equal(shorter, np.sign(plain) * np.maximum(np.abs(plain) - 1, 0))
    assert not none.any()


def test_bytes_do_not_depend_on_threads(backend: AivcBackend) -> None:
    frames = clip(100, 130, 3, motion=(1, 2))
    ends = [Reference(frames[0]), Reference(frames[2])]
    places = (Place(I), Place(P, ends[:1], [-1]), Place(B, ends, [-1, 1], 1))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append([backend.encode(frames[1], place, 12000)[0].latents for place in places])
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name].symbols, two[name].symbols)
            np.testing.assert_array_equal(one[name].z, two[name].z)
