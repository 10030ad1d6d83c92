"""The synthesis of the conditional codec in integers: parts with what lies beside them make the whole."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from nvc.codec.aivc import AivcBackend  # noqa: E402
from nvc.codec.video_model import VideoModel  # noqa: E402
from nvc.networks import block_synthesis  # noqa: E402
from nvc.networks.aivc_integer import CodecDecoder, ModeDecoder  # noqa: E402


@pytest.fixture(scope="module")
def backend() -> AivcBackend:
    found = VideoModel(TESTS / "data" / "tiny_aivc.safetensors").backend
    assert isinstance(found, AivcBackend)
    return found


@pytest.mark.parametrize("name", ["codec_b", "mode_b"])
@pytest.mark.parametrize(("threads", "columns"), [(2, 100), (5, 100), (1, 7)])
def test_parts_have_no_seams(
    threads: int, columns: int, name: str, backend: AivcBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strips of several threads; tiles of very wide frames. What the shortcut sees is noise."""
    part, before = backend._parts[name], torch.get_num_threads()
    kind = type(part.decoder)
    assert kind in (CodecDecoder, ModeDecoder)
    random, (h, w), finer = np.random.default_rng(1), (23, 19), part.decoder.finer
    symbols = random.integers(-30, 31, (part.hyper.latents, h, w)).astype(np.int32)
    shape = finer * h, finer * w, kind.seen
    given = random.integers(-4095, 4096, shape).astype(np.int16)
    given = given if kind.wide else (given & 255).astype(np.uint8)

    def made() -> np.ndarray:
        return part.samples(symbols, np.zeros(symbols.shape, np.int16), 12000, residual=True, given=given)

    torch.set_num_threads(1)
    whole = made()
    torch.set_num_threads(threads)
    if columns < w:
        monkeypatch.setattr(block_synthesis, "STRIP_PIXELS", 2 * kind.halo * part.decoder.block**2 * columns)
    parts = made()
    torch.set_num_threads(before)
    np.testing.assert_array_equal(parts, whole)
