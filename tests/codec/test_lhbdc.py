"""The backend of the bi-directional codec: what decoding costs, qualities below the file's, P frames, choices."""

import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import B, I, P, clip  # noqa: E402

from nvc.codec.catalogue import CATALOGUE  # noqa: E402
from nvc.codec.latents import Content  # noqa: E402
from nvc.codec.lhbdc import DROP_BITS, DROP_ONE, DROPS, START_BITS, LhbdcBackend, Pair  # noqa: E402
from nvc.codec.video_backend import Place, Reference  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks.lhbdc import LhbdcConfig  # noqa: E402
from nvc.networks.symmetric import START_REACH, STARTS  # noqa: E402
from nvc.networks.symmetric_kernels import BLOCK, WINDOW  # noqa: E402
from nvc.networks.warp import grid_shape  # noqa: E402

MOST = 25_000  # multiply-accumulates for a luma pixel, all of the decoder


@pytest.fixture(scope="module")
def backend() -> LhbdcBackend:
    backend = VideoModel(TESTS / "data" / "tiny_lhbdc.safetensors").backend
    assert isinstance(backend, LhbdcBackend)
    return backend


@pytest.fixture(scope="module")
def frames() -> list[Frame420]:
    return clip(40, 66, 5, motion=(1, 2))


def differences(start: int) -> float:
    """Of pixels, for a luma pixel, that a search makes at most."""
    total, refined, around = 0.0, 1 + 2 * 2, 2 * 8
    for level in range(1, STARTS[start] + 1):
        tried = 1 + ((2 * START_REACH + 1) ** 2 if level == STARTS[start] else 5) + around
        blocks = (BLOCK << level) ** -2
        total += WINDOW**2 * blocks * (tried + (refined if level == 1 else 0))
    return total


def test_what_decoding_costs() -> None:
    """Networks, search and warps together; the search is next to nothing."""
    config = LhbdcConfig()
    search = max(differences(start) for start in range(len(STARTS)))
    assert 34 < search <= 35  # as decoder_macs_per_pixel says
    warps = 2 * 16 * 1.5
    assert config.motion.decoder_macs_per_pixel() < 0.1 * config.residual.decoder_macs_per_pixel()
    assert config.decoder_macs_per_pixel() + search + warps <= MOST
    assert config.decoder_macs_per_pixel() > 1000  # of a pixel, not thousands of them


def test_the_catalogue_and_the_file_know_it(backend: LhbdcBackend) -> None:
    assert CATALOGUE["lhbdc"].number == 3
    assert backend.choice_bits == {P: (DROP_BITS,), B: (DROP_BITS, START_BITS)}
    assert len(STARTS) == 1 << START_BITS
    assert max(DROPS) < 1 << DROP_BITS


@pytest.mark.parametrize(("kind", "more"), [(P, ()), (B, (3,))])
def test_frame_quality(kind: int, more: tuple[int, ...], backend: LhbdcBackend) -> None:
    """So many quarters of a level below that of the file; never below the first level; I frames as the file."""
    assert DROP_ONE == 1024
    assert [backend.frame_quality(kind, (drop, *more), 9000) for drop in (0, 1, 8, 15)] == [9000, 7976, 808, -6360]
    assert backend.frame_quality(kind, (15, *more), 28672) == 28672 - 15 * 1024
    assert backend.frame_quality(I, (), 9000) == 9000


def test_a_lower_quality_is_one(backend: LhbdcBackend, frames: list[Frame420], monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame with a drop is coded as the same one in a file of that quality without."""
    place = Place(B, [Reference(frames[0]), Reference(frames[2])], [-1, 1], 2)
    monkeypatch.setattr(backend, "drops", (0, 0, 6))
    lower, shown = backend.encode(frames[1], place, 20000)
    monkeypatch.setattr(backend, "drops", (0, 0, 0))
    plain, same = backend.encode(frames[1], place, 20000 - 6 * DROP_ONE)
    assert lower.choices[0] == 6
    assert plain.choices == (0, lower.choices[1])
    for name in ("motion", "residual"):
        np.testing.assert_array_equal(lower.latents[name].symbols, plain.latents[name].symbols)
    assert equal(shown.frame, same.frame)


@pytest.mark.parametrize("code", [0, 10000, 28672])
def test_decoding_is_what_the_encoder_kept(code: int, backend: LhbdcBackend, frames: list[Frame420]) -> None:
    """I, P and B frames; a decoder does not know the depth."""
    content, first = backend.encode(frames[0], Place(I), code)
    assert content.choices == ()
    assert equal(backend.decode(content, Place(I), code, 40, 66).frame, first.frame)
    content, last = backend.encode(frames[4], Place(P, [first], [-4]), code)
    assert len(content.choices) == 1
    assert equal(backend.decode(content, Place(P, [first], [-4]), code, 40, 66).frame, last.frame)
    for shown, distances in ((2, [-2, 2]), (1, [-1, 3]), (3, [-3, 1])):
        content, kept = backend.encode(frames[shown], Place(B, [first, last], distances, 2), code)
        assert len(content.choices) == 2
        decoded = backend.decode(content, Place(B, [first, last], distances), code, 40, 66)
        assert equal(decoded.frame, kept.frame)


def test_every_choice_decodes(backend: LhbdcBackend) -> None:
    """All numbers that their bits can hold, on frames of one pixel too."""
    for height, width in ((40, 66), (1, 1)):
        cut = clip(height, width, 3)
        place = Place(B, [Reference(cut[0]), Reference(cut[2])], [-1, 1])
        content, _ = backend.encode(cut[1], place, 5000)
        for choices in ((drop, start) for drop in (0, 15) for start in range(4)):
            shown = backend.decode(Content(content.latents, choices), place, 5000, height, width)
            assert shown.frame.y.shape == (height, width)


def test_a_p_frame_sees_its_reference_twice(frames: list[Frame420]) -> None:
    """No steady motion; what is coded of both flows is added to neither with another sign."""
    pair = Pair.of(Place(P, [Reference(frames[0])], [-3]))
    assert pair.twice
    assert pair.frames[0] is pair.frames[1]
    steady = pair.steady(3)
    assert not steady.any()
    h, w = grid_shape(40, 66)
    samples = np.zeros((h, w, 5), np.int16)
    samples[:, :, :4] = 16, -32, 16, -32
    samples[:, :, 4] = np.random.default_rng(0).integers(-64, 65, (h, w))
    moved = pair.predict(samples, steady).y
    rows, columns = (np.arange(40) - 2).clip(0), (np.arange(66) + 1).clip(max=65)
    np.testing.assert_array_equal(moved, frames[0].y[np.ix_(rows, columns)])


def test_a_b_frame_has_opposite_signs(frames: list[Frame420]) -> None:
    """Equal numbers move both predictions against each other; the weight chooses between them."""
    pair = Pair.of(Place(B, [Reference(frames[0]), Reference(frames[4])], [-2, 2]))
    samples = np.zeros((*grid_shape(40, 66), 5), np.int16)
    samples[:, :, :4] = 16, -32, 16, -32
    rows, columns = np.arange(40), np.arange(66)
    for weight, frame, ways in ((-64, frames[0], 1), (64, frames[4], -1), (32767, frames[4], -1)):
        samples[:, :, 4] = weight
        shown = pair.predict(samples, np.zeros((4, *samples.shape[:2]), np.int16)).y
        source = np.ix_((rows - 2 * ways).clip(0, 39), (columns + ways).clip(0, 65))
        np.testing.assert_array_equal(shown, frame.y[source])


def test_vectors_stay_in_their_range(frames: list[Frame420]) -> None:
    """Numbers at their limits on top of the furthest steady motion."""
    pair = Pair.of(Place(B, [Reference(frames[0]), Reference(frames[4])], [-2, 2]))
    grid = grid_shape(40, 66)
    for sign in (1, -1):
        samples = np.full((*grid, 5), 4095 * sign, np.int16)
        shown = pair.predict(samples, np.full((4, *grid), 2064 * sign, np.int16))
        assert shown.y.shape == (40, 66)


def equal(a: Frame420, b: Frame420) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.planes, b.planes, strict=True))
