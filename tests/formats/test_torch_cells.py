"""nn.LSTMCell, alone and in modules whose forward calls it step by step."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

torch = pytest.importorskip("torch")
nn = torch.nn
X = np.random.default_rng(0).standard_normal((3, 9, 2)).astype(np.float32)


class Looped(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self, time_first: bool = False, every: bool = False, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.LSTMCell(2, 5, bias=bias), nn.LSTMCell(5, 4, bias=bias)
        self.head = nn.Linear(4, 3)
        self.time_first, self.every = time_first, every

    def forward(self, x: Any) -> Any:
        one = two = None
        outputs = []
        for step in x if self.time_first else x.unbind(1):
            one = self.first(step, one)
            two = self.second(one[0], two)
            outputs.append(self.head(two[0]))
        return torch.stack(outputs, 0 if self.time_first else 1) if self.every else outputs[-1]


def run(module: Any, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(x)))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("time_first", [False, True])
def test_a_module_with_cells_is_a_stack_of_lstm_layers(time_first: bool, every: bool, bias: bool) -> None:
    module = Looped(time_first, every, bias)
    model = fl.from_torch(module)
    given = X.swapaxes(0, 1).copy() if time_first else X
    expected = run(module, given)
    expected = expected.swapaxes(0, 1) if time_first and every else expected
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-6)


def test_a_lone_cell_gives_every_step() -> None:
    torch.manual_seed(0)
    cell = nn.LSTMCell(2, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fl.from_torch(cell)
    state, expected = None, []
    for step in range(X.shape[1]):
        state = cell(torch.from_numpy(X[:, step]), state)
        expected.append(state[0].detach().numpy())
    np.testing.assert_allclose(model.predict(X), np.stack(expected, axis=1), atol=1e-6)


def test_a_state_dict_with_cells() -> None:
    module = Looped()
    with pytest.warns(UserWarning, match=r"LSTMCell 'first', LSTMCell 'second', Linear 'head'"):
        model = fl.from_torch(module.state_dict())
    np.testing.assert_allclose(model.predict(X), run(module, X), atol=1e-6)


def test_a_module_that_does_something_else_is_refused() -> None:
    class Other(Looped):
        def forward(self, x: Any) -> Any:
            return torch.relu(super().forward(x))

    with pytest.raises(ValueError, match="computes something else"):
        fl.from_torch(Other())
    with pytest.raises(TypeError, match="GRUCell"):
        fl.from_torch(nn.Sequential(nn.GRUCell(2, 3)))
    with pytest.raises(ValueError, match="only an LSTMCell has four gates"):
        fl.from_torch(nn.GRUCell(2, 3).state_dict())
    weights = nn.LSTMCell(2, 3).state_dict()
    del weights["bias_hh"]
    with pytest.raises(ValueError, match="'bias_hh' is missing"):
        fl.from_torch(weights)
