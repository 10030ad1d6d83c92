"""asinh for encoders, beside numpy's."""

import numpy as np
import pytest

from nvc.networks.asinh import compressed


@pytest.mark.parametrize("shape", [(3, 5, 7), (256, 17, 30), (1, 1, 1)])
def test_values_and_places(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(3)
    symbols = (rng.normal(size=shape) * rng.choice([1e-3, 0.4, 3.0, 900.0], shape)).astype(np.float32)
    found, (m, h, w) = compressed(symbols, 4), shape
    assert found.shape == (-(-h // 4) * 4, -(-w // 4) * 4, m)
    np.testing.assert_allclose(found[:h, :w].transpose(2, 0, 1), np.arcsinh(symbols), rtol=1e-6, atol=3e-7)
    assert not found[h:].any()
    assert not found[:, w:].any()


def test_no_step_where_the_polynomial_ends() -> None:
    near = np.linspace(0.4999, 0.5001, 2001, dtype=np.float32)
    found = compressed(np.concatenate([near, -near])[None, None], 1)[0, :, 0]
    np.testing.assert_allclose(found, np.arcsinh(np.concatenate([near, -near])), atol=3e-7, rtol=0)
    assert (np.diff(found[: len(near)]) > -1e-7).all()
