"""The synthesis of the conditional codec in integers: parts with what lies beside them make the whole."""

import sys
from collections.abc import Callable
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


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mode_p", lambda t: t.pop("known1.shift"), "known1.shift"),
        ("mode_p", lambda t: t.update(narrow(t)), "40 latents, none of which says what is skipped"),
        ("mode_b", lambda t: t.update({"known0.weight": t["known0.weight"][:, 1:]}), "do not fit together"),
        ("codec_b", lambda t: t.update({"conv2.weight": t["conv2.weight"][:, 1:]}), "do not fit together"),
        ("codec_i", lambda t: t.update({"known0.bias": t["known0.bias"] + (1 << 24)}), "2"),
        ("codec_i", lambda t: t.update({"known1.bias": t["known1.bias"].astype(np.int64)}), "another type"),
        ("codec_p", lambda t: [t.pop(f"conv3.{part}") for part in ("weight", "bias", "shift")], "do not fit together"),
    ],
)
def test_unsound_networks(
    name: str, change: Callable[[dict[str, np.ndarray]], object], message: str, backend: AivcBackend
) -> None:
    decoder = backend._parts[name].decoder
    tensors = dict(decoder.tensors())
    change(tensors)
    with pytest.raises((KeyError, ValueError), match=message):
        type(decoder).from_tensors(tensors)


def narrow(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With 40 latents."""
    return {
        "conv0.weight": tensors["conv0.weight"][:, :40].copy(),
        "linear": tensors["linear"][:40],
        "log_step": tensors["log_step"][:, :40].copy(),
    }
