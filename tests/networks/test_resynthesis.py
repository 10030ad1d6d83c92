"""Asked again with other latents, a synthesis gives what it would have given at once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nvc.codec.video_model import VideoModel
from nvc.networks import resynthesis
from nvc.networks.resynthesis import TILE, Resynthesis, changed

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("name", "size"), [("codec_p", (5, 41)), ("codec_b", (37, 18)), ("mode_b", (13, 30))])
def test_as_at_once(name: str, size: tuple[int, int], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Corners, borders and inner positions changed, one after the other and together; never all made anew."""
    synthesis = VideoModel(DATA / "tiny_aivc.safetensors").backend._parts[name]._synthesis
    decoder, rng, (h, w) = synthesis.decoder, np.random.default_rng(1), size
    latents = rng.integers(-99, 100, (h, w, len(decoder.linear))).astype(np.int16)
    given = rng.integers(0, 256, (decoder.finer * h, decoder.finer * w, decoder.seen))
    given = given.astype(np.int16 if decoder.wide else np.uint8)
    monkeypatch.setattr(resynthesis, "FULL", 1.0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    again = Resynthesis(synthesis, given)
    places = [[], [(0, 0)], [(h - 1, w - 1)], [(h // 2, w // 2)], [(h - 1, 0), (0, w - 1), (2, TILE % w)]]
    shown = []
    for places_now in places:
        latents = latents.copy()
        for place in places_now:
            latents[place] = rng.integers(-999, 1000, len(decoder.linear))
        found = again(latents)
        np.testing.assert_array_equal(found, synthesis.residual(latents, given))
        shown.append(found.copy())
    torch.set_num_threads(before)
    assert all((one != two).any() for one, two in zip(shown, shown[2:], strict=False))


def test_what_is_made_anew() -> None:
    """Tiles within reach of a position that changed, no others."""
    one = np.zeros((3 * TILE, 3 * TILE, 2), np.int16)
    two = one.copy()
    two[TILE + 1, 2 * TILE - 2, 1] = 5  # two before the last tile
    np.testing.assert_array_equal(changed(two, one, 1), [[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(changed(two, one, 2), [[0, 1, 1], [0, 1, 1], [0, 0, 0]])
