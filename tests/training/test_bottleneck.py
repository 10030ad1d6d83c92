"""Tables of the factorised density are those that compressai's update() makes, entry by entry."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nvc.training.bottleneck import FactorisedDensity, stored_tables


@pytest.fixture(scope="module")
def theirs() -> torch.nn.Module:
    """A density of 12 channels whose widths differ, as after training."""
    models = pytest.importorskip("compressai.entropy_models")
    torch.manual_seed(2)
    density = models.EntropyBottleneck(12)
    with torch.no_grad():
        for name, value in density.named_parameters():
            if name != "quantiles":
                value.add_(0.3 * torch.randn_like(value))
        density.quantiles[:, 0, 1] = 2 * torch.randn(12)
        density.quantiles[:, 0, 0] = density.quantiles[:, 0, 1] - torch.linspace(0.2, 30, 12)
        density.quantiles[:, 0, 2] = density.quantiles[:, 0, 1] + torch.linspace(40, 0.2, 12)
        density.quantiles[3, 0] = torch.tensor([1.5, 0.5, -0.5])  # in the wrong order, as a bad training leaves them
    density.update(force=True)
    return density


@pytest.fixture
def state(theirs: torch.nn.Module) -> dict[str, Tensor]:
    return dict(theirs.state_dict())


def old_names(state: dict[str, Tensor], dot: str = "") -> dict[str, Tensor]:
    """As releases before 1.2.7 wrote them: _matrix0 …, or with a dot in between."""
    for new, old in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
        state = {name.replace(new, old + dot): value for name, value in state.items()}
    return state


def check(ours: object, theirs: torch.nn.Module) -> None:
    rows = theirs._quantized_cdf.numpy()
    lengths = theirs._cdf_length.numpy()
    assert lengths.min() < lengths.max()
    assert len(ours) == len(rows)
    assert np.array_equal(ours.offset, theirs._offset.numpy())
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        assert np.array_equal(ours.row(i), row[:length])


@pytest.mark.parametrize("names", [dict, old_names, lambda state: old_names(state, ".")], ids=["new", "flat", "dotted"])
def test_built(theirs: torch.nn.Module, state: dict[str, Tensor], names: object) -> None:
    """Also the escapes of channels narrower than the widest, whose mass compressai takes too far out."""
    check(FactorisedDensity.from_state(names(state)).tables(), theirs)


def test_stored(theirs: torch.nn.Module, state: dict[str, Tensor]) -> None:
    check(stored_tables(state), theirs)


def test_untrained() -> None:
    """A new density: 21 values around 0 in every channel."""
    models = pytest.importorskip("compressai.entropy_models")
    density = models.EntropyBottleneck(5)
    state = dict(density.state_dict())
    assert stored_tables(state) is None
    ours = FactorisedDensity.from_state(state).tables()
    density.update()
    assert ours.size.tolist() == [22] * 5
    assert all(np.array_equal(ours.row(i), density._quantized_cdf[i].numpy()) for i in range(5))


def test_unsound_stored(state: dict[str, Tensor]) -> None:
    for name, change, reason in (
        ("_quantized_cdf", lambda t: t.flip(1), "table 0"),
        ("_quantized_cdf", lambda t: t[0], "fit together"),
        ("_cdf_length", lambda t: t + 50, "length"),
        ("_cdf_length", lambda t: t * 0, "length"),
        ("_offset", lambda t: t[:-1], "fit together"),
    ):
        with pytest.raises(ValueError, match=reason):
            stored_tables(state | {name: change(state[name])})


def test_unsound_density(state: dict[str, Tensor]) -> None:
    wide = state["quantiles"].clone()
    wide[4, 0, 2] = 1e9
    infinite = state["quantiles"] / 0
    for change, reason in (
        ({"quantiles": wide}, "span 4"),
        ({"quantiles": infinite}, "not finite"),
        ({"quantiles": state["quantiles"][:, 0]}, "quantiles have shape"),
        ({"matrices.1": state["matrices.1"][:-1]}, "fit together"),
        ({"matrices.2": state["matrices.2"] * float("nan")}, "not finite"),
    ):
        with pytest.raises(ValueError, match=reason):
            FactorisedDensity.from_state(state | change).tables()
    with pytest.raises(ValueError, match="not complete"):
        FactorisedDensity.from_state({"quantiles": state["quantiles"]})
    with pytest.raises(KeyError):
        FactorisedDensity.from_state({n: v for n, v in state.items() if n != "matrices.0"})
