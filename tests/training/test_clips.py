"""Training clips: frames as they are, flow that leads to the frame before, crops that are really there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nvc.errors import InputError
from nvc.frames import Frame420
from nvc.networks.planes import luma_of
from nvc.training.clips import ChainSampler, Clip, halve, read_folder

CPU = torch.device("cpu")


def write_y4m(path: Path, frames: list[Frame420]) -> None:
    height, width = frames[0].y.shape
    data = [f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n".encode()]
    data += [b"FRAME\n" + b"".join(plane.tobytes() for plane in frame.planes) for frame in frames]
    path.write_bytes(b"".join(data))


def test_reads_a_folder(moving: Callable[..., list[Frame420]], tmp_path: Path) -> None:
    """Cropped to whole latents; the flow found is the one there is; single frames and small clips are left out."""
    pytest.importorskip("av")
    (tmp_path / "in").mkdir()
    frames = moving("sign", 134, 180, (2, 5), 3)
    write_y4m(tmp_path / "in" / "a.y4m", frames)
    write_y4m(tmp_path / "in" / "one.y4m", frames[:1])
    write_y4m(tmp_path / "in" / "small.y4m", list(moving("sign", 48, 180, (0, 1), 3)))
    cache = tmp_path / "c.npz"
    (clip,) = read_folder(tmp_path / "in", cache)
    assert clip.planes.shape == (3, 6, 64, 80)
    luma = luma_of(torch.from_numpy(clip.planes))[:, 0].numpy()
    assert all(np.array_equal(luma[i], frames[i].y[:128, :160]) for i in range(3))
    assert clip.flows.shape == (2, 2, 2, 16, 20)
    inner = clip.flows[..., 3:-3, 3:-3]
    for way, (x, y) in ((0, (80, 32)), (1, (-80, -32))):
        assert np.median(inner[way, :, 0]) == pytest.approx(x, abs=4)
        assert np.median(inner[way, :, 1]) == pytest.approx(y, abs=4)
    for again in (read_folder(tmp_path / "in", cache), read_folder(cache), read_folder(tmp_path, cache)):
        assert np.array_equal(again[0].planes, clip.planes)
        assert np.array_equal(again[0].flows, clip.flows)


def test_refuses(tmp_path: Path, moving: Callable[..., list[Frame420]]) -> None:
    with pytest.raises(InputError, match="no clips found"):
        read_folder(tmp_path)
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError, match=r"c\.npz: not a cache of clips"):
        read_folder(tmp_path / "c.npz")
    pytest.importorskip("av")
    write_y4m(tmp_path / "one.y4m", moving("sign", 96, 96, (0, 0), 1))
    with pytest.raises(InputError, match="no clip has two frames of 64 pixels"):
        read_folder(tmp_path, tmp_path / "new.npz")
    assert not (tmp_path / "new.npz").exists()


def test_chains_are_really_there(clips: list[Clip]) -> None:
    """Each frame of a chain is the one before, moved by the flow that comes with it; both ways in time."""
    sampler = ChainSampler(clips, 64, 3, CPU)
    planes, flows = sampler(12, torch.Generator().manual_seed(1))
    assert planes.shape == (12, 3, 6, 32, 32)
    assert flows.shape == (12, 2, 2, 8, 8)
    ways = set()
    for chain, flow in zip(luma_of(planes.flatten(0, 1)).unflatten(0, (12, 3))[:, :, 0], flows, strict=True):
        for t in (1, 2):
            dx, dy = (int(v) for v in flow[t - 1, :, 0, 0])
            assert (flow[t - 1, 0] == dx).all()
            ways.add((dx, dy))
            high, wide = 64 - abs(dy), 64 - abs(dx)
            top, left = max(0, -dy), max(0, -dx)
            here = chain[t, top : top + high, left : left + wide]
            there = chain[t - 1, top + dy :, left + dx :][:high, :wide]
            assert torch.equal(here, there)
    assert {(5, 2), (-5, -2)} <= ways


def test_halve(clips: list[Clip]) -> None:
    small = halve(clips[0])
    assert small.planes.shape == (4, 6, 32, 48)
    assert small.flows.shape == (2, 3, 2, 8, 12)
    assert small.flows[0, 0, :, 0, 0].tolist() == [40, 16]
    large, half = (luma_of(torch.from_numpy(c.planes[:1]).float())[0, 0] for c in (clips[0], small))
    means = large.unfold(0, 2, 2).unfold(1, 2, 2).mean((2, 3))
    assert (means - half).abs().max() <= 0.5


def test_too_small_for_a_crop(clips: list[Clip]) -> None:
    with pytest.raises(InputError, match="no clip has 3 frames of 256 pixels"):
        ChainSampler(clips, 256, 3, CPU)
