"""The backend of the bi-directional codec: what decoding costs, qualities beside the file's, P frames, choices."""

import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from video_streams import B, I, P, clip  # noqa: E402

from nvc.bitstream.container import FrameType  # noqa: E402
from nvc.codec.catalogue import CATALOGUE  # noqa: E402
from nvc.codec.hierarchy import ANCHORS, DROPS, LEVEL_BITS, LEVEL_STEP, RAISED, START_BITS  # noqa: E402
from nvc.codec.latents import Content  # noqa: E402
from nvc.codec.lhbdc import LhbdcBackend, Pair  # noqa: E402
from nvc.codec.ssf import SsfBackend  # noqa: E402
from nvc.codec.video_backend import Place, Reference  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.frames import Frame420  # noqa: E402
from nvc.networks.lhbdc import LhbdcConfig  # noqa: E402
from nvc.networks.ssf import SsfConfig  # noqa: E402
from nvc.networks.symmetric import START_REACH, STARTS  # noqa: E402
from nvc.networks.symmetric_kernels import BLOCK, WINDOW  # noqa: E402
from nvc.networks.warp import grid_shape  # noqa: E402

MOST = 25_000  # multiply-accumulates for a luma pixel, all of the decoder


@pytest.fixture(scope="module")
def model() -> VideoModel:
    return VideoModel(TESTS / "data" / "tiny_lhbdc.safetensors")


@pytest.fixture(scope="module")
def backend(model: VideoModel) -> LhbdcBackend:
    backend = model.backend
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
    assert config.bimotion.decoder_macs_per_pixel() < 0.1 * config.biresidual.decoder_macs_per_pixel()
    assert SsfConfig.decoder_macs_per_pixel(config) + 20 * 1.5 <= MOST  # of a P frame
    assert config.decoder_macs_per_pixel() + search + warps <= MOST
    assert config.decoder_macs_per_pixel() > 1000  # of a pixel, not thousands of them


def test_the_catalogue_and_the_file_know_it(backend: LhbdcBackend) -> None:
    assert CATALOGUE["lhbdc"].number == 3
    assert backend.choice_bits == {P: (LEVEL_BITS,), B: (LEVEL_BITS, START_BITS)}
    assert len(STARTS) == 1 << START_BITS
    assert all(0 <= choice < 1 << LEVEL_BITS for choice in (*DROPS, *ANCHORS))


@pytest.mark.parametrize(("kind", "more", "above"), [(P, (), 8192), (B, (3,), 0)])
def test_frame_quality(kind: FrameType, more: tuple[int, ...], above: int, backend: LhbdcBackend) -> None:
    """Quarters of a level below that of the file, of P frames below two levels above it; I frames as the file."""
    assert LEVEL_STEP == 1024
    assert RAISED[kind] * LEVEL_STEP == above
    found = [backend.frame_quality(kind, (drop, *more), 9000) - above for drop in (0, 1, 8, 15)]
    assert found == [9000, 7976, 808, -6360]
    assert backend.frame_quality(kind, (15, *more), 28672) == above + 28672 - 15 * 1024
    assert backend.frame_quality(I, (), 9000) == 9000


def test_a_lower_quality_is_one(backend: LhbdcBackend, frames: list[Frame420], monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame with a drop is coded as the same one in a file of that quality without."""
    place = Place(B, [Reference(frames[0]), Reference(frames[2])], [-1, 1], 2)
    monkeypatch.setattr(backend, "drops", (0, 6))
    lower, shown = backend.encode(frames[1], place, 20000)
    monkeypatch.setattr(backend, "drops", (0, 0))
    plain, same = backend.encode(frames[1], place, 20000 - 6 * LEVEL_STEP)
    assert lower.choices[0] == 6
    assert plain.choices == (0, lower.choices[1])
    for name in ("bimotion", "biresidual"):
        np.testing.assert_array_equal(lower.latents[name].symbols, plain.latents[name].symbols)
    assert equal(shown.frame, same.frame)


@pytest.mark.parametrize("choice", [0, 3, 8, 15])
def test_p_frames_are_those_of_scale_space_flow(
    choice: int, model: VideoModel, backend: LhbdcBackend, frames: list[Frame420], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same networks, same symbols, same pixels, at whatever quality the choice says."""
    other, code = SsfBackend(model.decoder_tensors(), lambda: backend._analysis), 20000
    place = Place(P, [Reference(frames[0])], [-2])
    monkeypatch.setattr(backend, "anchors", (0, choice))
    content, shown = backend.encode(frames[2], place, code)
    plain, same = other.encode(frames[2], place, backend.frame_quality(P, (choice,), code))
    assert (content.choices, plain.choices) == ((choice,), ())
    assert list(content.latents) == list(plain.latents)
    for name, latents in content.latents.items():
        np.testing.assert_array_equal(latents.z, plain.latents[name].z)
        np.testing.assert_array_equal(latents.symbols, plain.latents[name].symbols)
        np.testing.assert_array_equal(latents.index, plain.latents[name].index)
    assert equal(shown.frame, same.frame)
    assert equal(backend.decode(content, place, code, 40, 66).frame, shown.frame)


def test_choices_follow_depth_and_distance(backend: LhbdcBackend, frames: list[Frame420]) -> None:
    """Deeper B frames are coded at a lower quality, P frames further from their anchor at a higher one."""
    known = [Reference(frames[0]), Reference(frames[2])]
    for depth in range(1, 6):
        choices = backend.encode(frames[1], Place(B, known, [-1, 1], depth), 8192)[0].choices
        assert choices[0] == DROPS[depth - 1]
    found = [backend.encode(frames[1], Place(P, known[:1], [-n]), 8192)[0].choices for n in (1, 2, 3, 4, 8, 16, 31, 32)]
    assert found == [(ANCHORS[n],) for n in (0, 1, 1, 2, 3, 4, 4, 5)]
    assert list(DROPS) == sorted(DROPS)
    assert list(ANCHORS) == sorted(ANCHORS, reverse=True)


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


def test_a_b_frame_has_opposite_signs(frames: list[Frame420]) -> None:
    """Equal numbers move both predictions against each other; the weight chooses between them."""
    pair = Pair.of(Place(B, [Reference(frames[0]), Reference(frames[4])], [-2, 2]))
    numbers = np.zeros((5, *grid_shape(40, 66)), np.int32)
    numbers[:4] = np.array([16, -32, 16, -32])[:, None, None]
    rows, columns = np.arange(40), np.arange(66)
    for weight, frame, ways in ((-64, frames[0], 1), (64, frames[4], -1), (32767, frames[4], -1)):
        numbers[4] = weight
        shown = pair.predict(numbers, np.zeros((4, *numbers.shape[1:]), np.int16)).y
        source = np.ix_((rows - 2 * ways).clip(0, 39), (columns + ways).clip(0, 65))
        np.testing.assert_array_equal(shown, frame.y[source])


def test_vectors_stay_in_their_range(frames: list[Frame420]) -> None:
    """Numbers at their limits on top of the furthest steady motion."""
    pair = Pair.of(Place(B, [Reference(frames[0]), Reference(frames[4])], [-2, 2]))
    grid = grid_shape(40, 66)
    for sign in (1, -1):
        numbers = np.full((5, *grid), 4095 * sign, np.int32)
        shown = pair.predict(numbers, np.full((4, *grid), 2064 * sign, np.int16))
        assert shown.y.shape == (40, 66)


def equal(a: Frame420, b: Frame420) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.planes, b.planes, strict=True))
