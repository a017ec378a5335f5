"""`from_torch` and `to_torch_state_dict` against PyTorch itself, where it is installed (``fastlstm[peers]``)."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

torch = pytest.importorskip("torch")
nn = torch.nn
torch.set_num_threads(1)  # its pool would compete with fastlstm's, and these sizes need no second thread

# Relative to the largest element: the project's promise for float32. In float64 rounding leaves about 1e-14.
FORWARD = {"float32": 1e-5, "float64": 1e-12}
GRADIENT = {"float32": 1e-4, "float64": 1e-10}


class Net(nn.Module):  # type: ignore[name-defined, misc]
    """A typical user's module: layers as attributes, their order in `forward`."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, layers: int, bias: bool, both: bool, tokens: int, proj: int
    ) -> None:
        super().__init__()
        if tokens:
            self.embed = nn.Embedding(tokens, inputs)
        more = {"proj_size": proj} if proj else {}
        self.lstm = nn.LSTM(inputs, hidden, layers, bias=bias, bidirectional=both, batch_first=True, **more)
        self.same = nn.Identity()
        self.head = nn.Sequential(nn.Linear((proj or hidden) * (1 + both), 3, bias=bias), nn.Linear(3, outputs))
        self.steps = False

    def forward(self, x: Any, lengths: Any, state: Any) -> Any:
        x = self.embed(x) if hasattr(self, "embed") else x
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, (h, c) = self.lstm(packed, state)
        if self.steps:
            y = nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0]
        else:
            y = torch.cat(tuple(h[-(1 + self.lstm.bidirectional) :]), dim=1)
        return self.head(y), (h, c)


def error(got: np.ndarray, expected: Any, floor: float = 0.0) -> float:
    """Return the largest difference relative to the largest expected element, or to `floor` if that is larger."""
    expected = expected.detach().numpy()
    assert got.shape == expected.shape and got.dtype == expected.dtype
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), floor))


def one_case(seed: int, dtype: str) -> tuple[float, float]:
    """Return the largest errors of outputs and of gradients, for one random network and batch."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    layers, bias, both, steps = int(rng.integers(1, 4)), *(bool(k) for k in rng.integers(0, 2, 3))
    form = ["module", "state", "lstm", "sequential"][seed % 4]
    tokens = 11 if form in ("module", "state") and rng.integers(0, 2) else 0
    batch, time, inputs, hidden, outputs = (int(rng.integers(1, top)) for top in (7, 12, 8, 14, 6))
    proj = int(rng.integers(1, hidden)) if hidden > 1 and rng.random() < 0.3 else 0
    net = Net(inputs, hidden, outputs, layers, bias, both, tokens, proj).to(getattr(torch, dtype))
    net.steps = steps
    if form == "lstm":
        net.head = nn.Identity()
        model = fl.from_torch(net.lstm, return_sequences=steps, check=steps)
    elif form == "sequential":  # whose own forward fails, since an nn.LSTM returns a tuple
        both_parts = nn.Sequential(nn.Sequential(net.lstm, net.same), net.head)
        model = fl.from_torch(both_parts, return_sequences=steps, check=False)
    elif form == "state" and tokens != inputs:
        order = [*(["embed"] if tokens else []), "lstm", "head.0", "identity", "head.1"]
        model = fl.from_torch(net.state_dict(), return_sequences=steps, order=order)
    else:  # in a state dict a square table might be either layer; only a module tells which
        model = fl.from_torch(net, return_sequences=steps)
        assert model.per_step == steps
        assert repr(fl.from_torch(net)) == repr(model)
    assert model.dtype == dtype

    lengths = rng.integers(1, time + 1, batch)
    lengths[rng.integers(batch)] = time
    shapes = [(layers * (1 + both), batch, size) for size in (proj or hidden, hidden)]
    state = [rng.standard_normal(shape).astype(dtype) for shape in shapes] if rng.integers(0, 2) else None
    x = rng.integers(0, tokens, (batch, time)) if tokens else rng.standard_normal((batch, time, inputs)).astype(dtype)
    tx = torch.from_numpy(x.copy())
    if not tokens:
        tx.requires_grad_()
    ts = None if state is None else tuple(torch.from_numpy(s.copy()).requires_grad_() for s in state)
    ty, (thn, tcn) = net(tx, torch.from_numpy(lengths), ts)

    given = None if state is None else (state[0], state[1])
    y, [(hn, cn)] = model.forward(x, lengths, state=given, training=True, return_state=True)
    valid = np.arange(time) < lengths[:, None] if steps else np.ones(batch, bool)
    mask = torch.from_numpy(valid)
    forward = max(error(y[valid], ty[mask]), error(hn, thn), error(cn, tcn))

    dy, dhn, dcn = (rng.standard_normal(a.shape).astype(dtype) for a in (y, hn, cn))
    loss = (ty[mask] * torch.from_numpy(dy[valid])).sum()
    (loss + (thn * torch.from_numpy(dhn)).sum() + (tcn * torch.from_numpy(dcn)).sum()).backward()
    dx, [(dh0, dc0)] = model.backward(dy, (dhn, dcn), return_d_state=True)
    used = [net.lstm, net.head] if form in ("lstm", "sequential") else [net]
    theirs = [p.grad for module in used for p in module.parameters()]
    pairs = list(zip(model.gradients().values(), theirs, strict=True))
    if ts is not None:
        pairs += [(dh0, ts[0].grad), (dc0, ts[1].grad)]
    if not tokens:
        pairs.append((dx, tx.grad))
    # If a gradient is almost zero (saturated, cancelled), its error is that of the terms, not of the sum.
    return forward, max(error(got, expected, floor=1e-2) for got, expected in pairs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("block", range(4))
def test_random_networks(block: int, dtype: str) -> None:
    """Draw 8 x 80: modules, LSTMs, Sequentials, state dicts; depths, directions, projections, lengths, states."""
    for seed in range(80 * block, 80 * (block + 1)):
        forward, gradient = one_case(seed, dtype)
        assert forward <= FORWARD[dtype], (seed, forward)
        assert gradient <= GRADIENT[dtype], (seed, gradient)


def test_dropout_and_identity() -> None:
    lstm = nn.LSTM(3, 4, 2, dropout=0.25)
    net = nn.Sequential(nn.Identity(), nn.Dropout(0.5), nn.Sequential(lstm, nn.Dropout(0.125)), nn.Linear(4, 2))
    noise, first, rest, dense = fl.from_torch(net, check=False).layers
    assert isinstance(noise, fl.Dropout) and noise.p == 0.5
    assert isinstance(first, fl.LSTM) and first.dropout == 0.25
    assert isinstance(rest, fl.Dropout) and rest.p == 0.125
    assert isinstance(dense, fl.Dense)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that this dropout does nothing
        one = nn.LSTM(3, 4, dropout=0.25)
    (layer,) = fl.from_torch(one).layers
    assert isinstance(layer, fl.LSTM) and layer.dropout == 0
    with pytest.raises(ValueError, match=r"Dropout '1': p must be at least 0 and less than 1"):
        fl.from_torch(nn.Sequential(nn.Linear(2, 2), nn.Dropout(1.0)))


def test_activations() -> None:
    modules = (
        nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Softmax(dim=-1), nn.LeakyReLU(0.2), nn.ELU(0.6), nn.Softplus(),
        nn.Softsign(), nn.Hardsigmoid(),
    )  # fmt: skip
    x = 4 * np.random.default_rng(0).standard_normal((5, 3, 4))
    for module in modules:
        net = nn.Sequential(nn.Linear(4, 6), module, nn.Linear(6, 2)).double()
        model = fl.from_torch(net)
        assert error(model.predict(x), net(torch.from_numpy(x))) <= FORWARD["float64"]
        state = {name: torch.from_numpy(value) for name, value in model.to_torch_state_dict().items()}
        net.load_state_dict(state)  # the names are those of the module, where the activation has a number too
    for module, message in (
        (nn.Softmax(dim=1), "Softmax '1': dim=1 is not supported"),
        (nn.Softmax(), "dim=None is not supported"),
        (nn.Softplus(beta=2), "beta=2"),
        (nn.Softplus(threshold=5), "threshold=5"),
    ):
        with pytest.raises(ValueError, match=message):
            fl.from_torch(nn.Sequential(nn.Linear(4, 6), module))


def test_a_layer_that_occurs_twice_is_converted_twice() -> None:
    lstm, drop = nn.LSTM(4, 4), nn.Dropout(0.5)
    model = fl.from_torch(nn.Sequential(lstm, drop, lstm, drop), check=False)
    assert [type(layer) for layer in model.layers] == [fl.LSTM, fl.Dropout, fl.LSTM, fl.Dropout]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision(name: str, tmp_path: Path) -> None:
    lstm = nn.LSTM(3, 5, 2).to(getattr(torch, name))
    expected = np.concatenate([p.detach().float().numpy().ravel() for p in lstm.parameters()])
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(lstm.state_dict(), tmp_path / "w")
    for source in (lstm, lstm.state_dict(), tmp_path / "w"):
        model = fl.from_torch(source, order=[""])
        assert model.dtype == np.float32
        assert model.flat_parameters.tobytes() == expected.tobytes()


def test_back_into_modules() -> None:
    """load_state_dict is strict: it accepts only the names and shapes of the module."""
    model = fl.Model([fl.LSTM(5, num_layers=2, bidirectional=True)], input_size=3)
    lstm = nn.LSTM(3, 5, 2, bidirectional=True)
    lstm.load_state_dict({k: torch.from_numpy(v) for k, v in model.to_torch_state_dict().items()})
    assert fl.from_torch(lstm).flat_parameters.tobytes() == model.flat_parameters.tobytes()
    stack = fl.Model([fl.Embedding(9, 3), fl.Dropout(0.5), fl.LSTM(4, bias=False), fl.Dense(2, bias=False)])
    sequential = nn.Sequential(nn.Embedding(9, 3), nn.Dropout(), nn.LSTM(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    sequential.load_state_dict({k: torch.from_numpy(v) for k, v in stack.to_torch_state_dict().items()})
    assert fl.from_torch(sequential, check=False).flat_parameters.tobytes() == stack.flat_parameters.tobytes()
    net = Net(3, 4, 2, 1, True, False, 0, 0)
    state = fl.from_torch(net).to_torch_state_dict(["lstm", "head.0", "head.1"])
    net.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})


class Attention(nn.Module):  # type: ignore[name-defined, misc]
    pass


class Scaled(nn.Module):  # type: ignore[name-defined, misc]
    def __init__(self, what: str) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 3)
        self.nothing = None
        self.register_module("no_child", None)
        if what == "parameter":
            self.scale = nn.Parameter(torch.ones(2))
        elif what == "buffer":
            self.register_buffer("scale", torch.ones(2))
        elif what == "child":
            self.scale = Attention()


def test_modules_that_compute_something_else_are_named() -> None:
    stacked = nn.Sequential(OrderedDict(lstm=nn.LSTM(2, 3), act=nn.Softshrink()))
    for source, message in (
        (stacked, r"child 'act' is a torch.nn.modules.activation.Softshrink; from_torch supports nn.LSTM"),
        (nn.Sequential(nn.Sequential(nn.GRU(2, 3))), r"child '0.0' is a torch.nn.modules.rnn.GRU"),
        (nn.GRU(2, 3), r"source is a torch.nn.modules.rnn.GRU"),
        (Scaled("child"), r"child 'scale' is a .*Attention"),
        (torch.ones(2), "got Tensor"),
    ):
        with pytest.raises(TypeError, match=message):
            fl.from_torch(source)
    assert len(fl.from_torch(Scaled(""), check=False).layers) == 1
    for source, message in (
        (Scaled("parameter"), "'scale' does not belong to a layer"),
        (Scaled("buffer"), "'scale' does not belong to a layer"),
        (Attention(), "holds no layers with weights"),
        (nn.Sequential(nn.Dropout()), "holds no layers with weights"),
        (
            nn.Sequential(nn.Embedding(5, 2, max_norm=1.0), nn.LSTM(2, 3)),
            "Embedding '0': max_norm=1.0 is not supported",
        ),
        (nn.Sequential(nn.LSTM(2, 3), nn.Linear(4, 2)), "LSTM '0' returns 3 features, but Linear '1' takes 4"),
        (nn.Sequential(nn.Linear(2, 3), nn.Embedding(4, 3)), "Embedding '1' takes token ids and must come first"),
        (nn.LSTM(2, 3, device="meta"), "the module is on the device 'meta', which holds no numbers"),
        ({"weight_ih_l0": torch.ones(4, 2, device="meta")}, "'weight_ih_l0' cannot be read as an array"),
        ({"weight_ih_l0": torch.ones(4, 2, dtype=torch.int32)}, "'weight_ih_l0' has dtype torch.int32"),
        ({"weight_ih_l0": torch.full((4, 2), torch.nan)}, "'weight_ih_l0' holds NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            fl.from_torch(source)


def test_padding_row_and_order_of_a_module() -> None:
    net = nn.Module()
    net.fc, net.lstm = nn.Linear(3, 2), nn.LSTM(4, 3)
    net.embed = nn.Embedding(5, 4, padding_idx=0)
    net.__class__ = Attention
    model = fl.from_torch(net, order=["embed", "lstm", "fc"], check=False)
    assert [type(layer) for layer in model.layers] == [fl.Embedding, fl.LSTM, fl.Dense]
    assert not model.parameters()["0.weight"][0].any()
