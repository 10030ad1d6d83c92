"""Training pictures: crops that are really there, and the basis the network starts from."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nvc.errors import InputError
from nvc.training.data import CropSampler, halve, klt, read_folder

CPU = torch.device("cpu")


def numbered(height: int, width: int, mark: int) -> np.ndarray:
    """Every pixel says where it is: (row, column, picture)."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 2] = np.arange(height)[:, None], np.arange(width), mark
    return picture


def symmetries(square: np.ndarray) -> list[bytes]:
    """The eight ways to lay down a square (n, n, 3)."""
    turned = [np.rot90(square, k) for k in range(4)]
    return [np.ascontiguousarray(s).tobytes() for t in turned for s in (t, t[:, ::-1])]


def test_crops_are_sub_rectangles() -> None:
    """Each crop, by its own numbers, is what stands there in one of eight symmetries; all eight and both ends come."""
    pictures = [numbered(40, 70, 0), numbered(90, 33, 1), numbered(20, 200, 2)]
    sampler = CropSampler(pictures, 32, CPU)
    crops = sampler(1500, torch.Generator().manual_seed(1))
    assert crops.shape == (1500, 3, 32, 32)
    assert (crops.dtype, float(crops.min())) == (torch.float32, 0.0)
    turns, corners, counts = set(), set(), [0, 0, 0]
    for crop in (crops * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy():
        (which,) = np.unique(crop[..., 2])
        top, left = int(crop[..., 0].min()), int(crop[..., 1].min())
        there = pictures[which][top : top + 32, left : left + 32]
        assert there.shape == (32, 32, 3)
        turns.add(symmetries(there).index(np.ascontiguousarray(crop).tobytes()))
        corners.add((which, top, left))
        counts[which] += 1
    assert turns == set(range(8))
    assert {top for which, top, _ in corners if which == 0} == set(range(9))  # 0..40-32: both ends are reached
    assert {left for which, _, left in corners if which == 1} == {0, 1}
    assert counts[2] == 0  # 20 rows are too few
    assert 0.39 < counts[0] / 1500 < 0.55  # 2800 of 5770 pixels


def test_crops_are_repeatable(pictures: dict[str, np.ndarray]) -> None:
    sampler = CropSampler(list(pictures.values()), 48, CPU)
    first, again, other = (sampler(4, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_too_small_for_the_crop(pictures: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="no picture is 128 pixels in both directions"):
        CropSampler([pictures["hall"], pictures["stair"]], 128, CPU)


def test_read_folder(tmp_path: Path, pictures: dict[str, np.ndarray], folder: Callable[..., Path]) -> None:
    """Below the folder, by name, as RGB, other files left out; the same from a .zip."""
    source = folder("stair", "hall")
    (source / "sub").mkdir()
    Image.fromarray(pictures["sign"]).convert("L").save(source / "sub" / "grey.PNG")
    (source / "notes.txt").write_text("not a picture")
    found = read_folder(source)
    assert [p.shape for p in found] == [(61, 97, 3), (120, 160, 3), (192, 256, 3)]
    assert np.array_equal(found[1], pictures["stair"])
    assert np.array_equal(found[2][..., 0], found[2][..., 2])
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as pack:
        for path in sorted(source.rglob("*")):
            pack.write(path, path.relative_to(source))
    packed = read_folder(tmp_path / "pack.zip")
    assert all(np.array_equal(a, b) for a, b in zip(found, packed, strict=True))


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no pictures found \(.avif, .bmp"):
        read_folder(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    with pytest.raises(InputError, match=r"broken\.png: cannot be read as a picture"):
        read_folder(tmp_path)
    (tmp_path / "pack.zip").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"pack\.zip: File is not a zip file"):
        read_folder(tmp_path / "pack.zip")


def test_halve() -> None:
    """Half the size, the mean kept; no side vanishes."""
    picture = np.random.default_rng(3).integers(60, 200, (65, 1, 3)).astype(np.uint8)
    half = halve(picture)
    assert half.shape == (32, 1, 3)
    assert abs(half.mean() - picture.mean()) < 2


@pytest.fixture(scope="module")
def basis(pictures: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    return klt([pictures["demo"], pictures["stair"]], 48, 16)


class TestKlt:
    def test_orthonormal(self, basis: tuple[torch.Tensor, torch.Tensor]) -> None:
        rows = basis[0].reshape(48, -1)
        assert basis[0].shape == (48, 3, 16, 16)
        torch.testing.assert_close(rows @ rows.T, torch.eye(48), atol=1e-5, rtol=0)

    def test_ordered(self, basis: tuple[torch.Tensor, torch.Tensor]) -> None:
        deviation = basis[1]
        assert (deviation.diff() <= 0).all()
        assert deviation[0] > 5 * deviation[8] > 0

    def test_deviations_are_those_of_the_pictures(
        self, basis: tuple[torch.Tensor, torch.Tensor], pictures: dict[str, np.ndarray]
    ) -> None:
        """Measured on all whole blocks, not on the random ones that made the basis."""
        blocks = []
        for name in ("demo", "stair"):
            x = torch.from_numpy(pictures[name]).permute(2, 0, 1)[None].float() / 255 - 0.5
            blocks.append(torch.nn.functional.unfold(x, 16, stride=4)[0])
        coefficients = basis[0].reshape(48, -1) @ torch.cat(blocks, dim=1)
        measured = coefficients.square().mean(dim=1).sqrt()
        assert ((measured / basis[1]).log().abs() < 0.25)[:8].all()  # later ones fit the few blocks of two pictures

    def test_small_pictures(self, pictures: dict[str, np.ndarray]) -> None:
        """Those below one block are left out."""
        small, large = pictures["hall"][:7], pictures["stair"]
        assert torch.equal(klt([small, large], 4, 8)[0], klt([large], 4, 8)[0])
        with pytest.raises(InputError, match="no picture is 8 pixels"):
            klt([small], 4, 8)
