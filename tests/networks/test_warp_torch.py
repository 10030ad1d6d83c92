"""The float twin of motion compensation: beside the integers on a photograph, and its gradients."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nvc.frames import Frame420
from nvc.networks.warp import FLOW_LIMIT, SCALE_LIMIT, grid_shape, predict
from nvc.networks.warp_torch import predict_planes


@pytest.fixture(scope="module")
def reference(photograph: NDArray[np.uint8]) -> Frame420:
    y, u, v = np.asarray(Image.fromarray(photograph).convert("YCbCr")).transpose(2, 0, 1)
    return Frame420(np.ascontiguousarray(y), np.ascontiguousarray(u[::2, ::2]), np.ascontiguousarray(v[::2, ::2]))


def tensors(frame: Frame420) -> tuple[Tensor, Tensor]:
    chroma = np.stack([frame.u, frame.v])
    return torch.from_numpy(frame.y[None, None] / np.float32(255)), torch.from_numpy(chroma[None] / np.float32(255))


def smooth(shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """(C, rows, columns) within ±1, changing over some cells of the grid."""
    noise = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (1, shape[0], 5, 5)))
    return F.interpolate(noise, shape[1:], mode="bilinear", align_corners=True)[0].numpy()


@pytest.mark.parametrize(
    ("flow_range", "scale_range"),
    [(0, (0, 0)), (50, (0, 0)), (300, (0, 0)), (50, (0, SCALE_LIMIT)), (50, (SCALE_LIMIT,) * 2), (FLOW_LIMIT, (0, 30))],
)
def test_the_twin_predicts_what_the_integers_do(
    reference: Frame420, flow_range: int, scale_range: tuple[int, int]
) -> None:
    grid = grid_shape(reference.height, reference.width)
    flow = np.round(smooth((2, *grid), 1) * flow_range).astype(np.int16)
    low, high = scale_range
    scale = np.round(low + (high - low) * (smooth((1, *grid), 2) + 1) / 2).astype(np.uint8)
    exact = predict(reference, flow, scale[0])
    twin = predict_planes(
        *tensors(reference), torch.from_numpy(flow[None] / 16).float(), torch.from_numpy(scale / 16)[None].float()
    )
    pairs = [(exact.y, twin[0][0, 0]), (exact.u, twin[1][0, 0]), (exact.v, twin[1][0, 1])]
    for plane, real in pairs:
        difference = np.abs(plane - (real * 255).round().clamp(0, 255).numpy())
        assert difference.max() <= 2
        assert difference.mean() <= (0.35 if low < SCALE_LIMIT else 0.5)  # level 3 has been rounded up thrice


def test_gradients_are_slopes(reference: Frame420) -> None:
    """Of the picture, the flow (along its slope, whatever the rounding) and the scale, by differences."""
    luma, chroma = tensors(reference)
    grid = grid_shape(reference.height, reference.width)
    flow = torch.from_numpy(smooth((2, *grid), 3)[None] * 3).float().requires_grad_()
    scale = (torch.from_numpy(smooth((1, *grid), 4)[None]).float() + 1.2).requires_grad_()
    pictures = [luma.clone().requires_grad_(), chroma.clone().requires_grad_()]

    def loss(flow: Tensor, scale: Tensor, luma: Tensor, chroma: Tensor) -> Tensor:
        planes = predict_planes(luma, chroma, flow, scale)
        return sum(
            ((plane - target).square().mean() for plane, target in zip(planes, tensors(reference), strict=True)),
            torch.zeros(()),
        )

    loss(flow, scale, *pictures).backward()
    given = [tensor.detach() for tensor in (flow, scale, *pictures)]
    # one whole step of the rounding, both ways, for flow and scale
    for which, size in enumerate((1 / 16, 1 / 16, 0.01, 0.01)):
        tensor = (flow, scale, *pictures)[which]
        assert tensor.grad is not None
        direction = tensor.grad.sign() * size
        ahead, behind = (
            float(loss(*[value + side * direction if i == which else value for i, value in enumerate(given)]))
            for side in (1, -1)
        )
        predicted = float((tensor.grad * direction).sum())
        assert (ahead - behind) / 2 == pytest.approx(predicted, rel=0.15)


def test_descent_finds_a_shift(reference: Frame420) -> None:
    luma, chroma = tensors(reference)
    grid = grid_shape(reference.height, reference.width)
    still = torch.zeros(1, 1, *grid)
    moved = predict_planes(luma, chroma, torch.tensor([1.5, -0.75]).reshape(1, 2, 1, 1).expand(1, 2, *grid), still)[0]
    flow = torch.zeros(1, 2, *grid, requires_grad=True)
    optimiser = torch.optim.Adam([flow], 0.1)
    for _ in range(60):
        optimiser.zero_grad()
        (predict_planes(luma, chroma, flow, still)[0] - moved).square().mean().backward()
        optimiser.step()
    found = flow.detach().median(-1)[0].median(-1)[0][0]
    assert found.tolist() == pytest.approx([1.5, -0.75], abs=0.15)


@pytest.mark.parametrize(("start", "target"), [(0, 1), (1, 2), (2, 1), (3, 2)])
def test_scale_learns_from_whole_levels(reference: Frame420, start: int, target: int) -> None:
    """The gradient asks for more blur where the target has more, and for less where it has less, at the ends too."""
    luma, chroma = tensors(reference)
    grid = grid_shape(reference.height, reference.width)
    flow, scale = torch.zeros(1, 2, *grid), torch.full((1, 1, *grid), float(start), requires_grad=True)
    blurred = predict_planes(luma, chroma, flow, torch.full((1, 1, *grid), float(target)))[0]
    (predict_planes(luma, chroma, flow, scale)[0] - blurred).square().mean().backward()
    assert scale.grad is not None
    assert ((scale.grad * (target - start)) < 0).float().mean() > 0.7
