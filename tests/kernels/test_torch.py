"""Agreement with PyTorch, where it is installed (``pip install 'fastlstm[peers]'``)."""

from __future__ import annotations

import numpy as np
import pytest

import fastlstm as fl

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # its pool would compete with fastlstm's, and these sizes need no second thread

# The project promises these bounds; PyTorch's own float32 errors are as large as fastlstm's.
FORWARD, GRADIENT = 1e-5, 1e-4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (5, 9, 3, 17), (32, 40, 16, 64)], ids=str)
def test_lstm_stack(
    dtype: str, bidirectional: bool, num_layers: int, bias: bool, sizes: tuple[int, int, int, int]
) -> None:
    batch, time, inputs, hidden = sizes
    scale = 1.0 if dtype == "float32" else 1e-7
    rng = np.random.default_rng(sum(sizes))
    lengths = rng.integers(1, time + 1, batch)
    lengths[0] = time
    x = rng.standard_normal((batch, time, inputs)).astype(dtype)

    theirs = torch.nn.LSTM(inputs, hidden, num_layers, bias=bias, bidirectional=bidirectional, batch_first=True)
    theirs.to(getattr(torch, dtype))
    lstm = fl.LSTM(hidden, num_layers=num_layers, bias=bias, bidirectional=bidirectional, return_sequences=True)
    model = fl.Model([lstm], input_size=inputs, dtype=dtype)
    model.load_state_dict({f"0.{name}": value.detach() for name, value in theirs.state_dict().items()})

    state = [rng.standard_normal((num_layers * (1 + bidirectional), batch, hidden)).astype(dtype) for _ in range(2)]
    tx = torch.from_numpy(x.copy()).requires_grad_()
    th, tc = (torch.from_numpy(s.copy()).requires_grad_() for s in state)
    packed = torch.nn.utils.rnn.pack_padded_sequence(tx, torch.from_numpy(lengths), True, enforce_sorted=False)
    ty, (thn, tcn) = theirs(packed, (th, tc))
    ty = torch.nn.utils.rnn.pad_packed_sequence(ty, batch_first=True)[0]

    y, [(hn, cn)] = model.forward(x, lengths, state=(state[0], state[1]), training=True, return_state=True)
    for got, expected in ((y, ty), (hn, thn), (cn, tcn)):
        np.testing.assert_allclose(got, expected.detach().numpy(), atol=FORWARD * scale, rtol=0)

    dy = rng.standard_normal(y.shape).astype(dtype)
    dhn, dcn = (rng.standard_normal(hn.shape).astype(dtype) for _ in range(2))
    (
        (ty * torch.from_numpy(dy)).sum() + (thn * torch.from_numpy(dhn)).sum() + (tcn * torch.from_numpy(dcn)).sum()
    ).backward()
    dx, [(dh0, dc0)] = model.backward(dy, (dhn, dcn), return_d_state=True)
    pairs = {"x": (dx, tx), "h0": (dh0, th), "c0": (dc0, tc)}
    pairs |= {name: (model.gradients()[f"0.{name}"], p) for name, p in theirs.named_parameters()}
    for name, (got, tensor) in pairs.items():
        expected = tensor.grad.numpy()
        error = np.abs(got - expected).max() / np.abs(expected).max()
        assert error <= GRADIENT * scale, (name, error)


def test_classifier_trains_alike() -> None:
    """Ten steps of Adam on the same batches from the same weights give the same losses."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((64, 12, 5)).astype("f4"), rng.integers(0, 3, 64)
    model = fl.Model([fl.LSTM(20), fl.Dense(3)], input_size=5)
    lstm, dense = torch.nn.LSTM(5, 20, batch_first=True), torch.nn.Linear(20, 3)
    state = model.state_dict()
    for module, prefix in ((lstm, "0."), (dense, "1.")):
        module.load_state_dict({name: torch.from_numpy(state[prefix + name]) for name in module.state_dict()})
    optimizer = torch.optim.Adam([*lstm.parameters(), *dense.parameters()], lr=1e-2)
    losses = []
    for _ in range(10):
        total = 0.0
        for start in range(0, 64, 16):
            optimizer.zero_grad()
            out = dense(lstm(torch.from_numpy(X[start : start + 16]))[1][0][-1])
            loss = torch.nn.functional.cross_entropy(out, torch.from_numpy(y[start : start + 16]))
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*lstm.parameters(), *dense.parameters()], 0.5)
            optimizer.step()
            total += loss.item() / 4
        losses.append(total)
    history = model.fit(
        X, y, optimizer=fl.Adam(lr=1e-2, clip_norm=0.5), epochs=10, batch_size=16, shuffle=False, verbose=0
    )
    # Rounding differs between the two, and 40 steps propagate it; a wrong formula changes the second digit.
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-4)
