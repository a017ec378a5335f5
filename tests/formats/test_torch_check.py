"""`from_torch` of a module compares: forwards that agree and that differ; files of torch.save."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
torch.set_num_threads(1)

FLOAT32 = 1e-5
"""Relative to the largest output: the project's promise."""

Forward = Callable[[Any, Any], Any]


class Net(nn.Module):  # type: ignore[name-defined, misc]
    """An LSTM with a head of one or two layers; each test gives it a forward."""

    def __init__(
        self, run: Forward, both: bool = False, batch_first: bool = True, deep: bool = False, **more: Any
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(3, 4, batch_first=batch_first, bidirectional=both, **more)
        width = (more.get("proj_size") or 4) * (1 + both)
        if deep:
            self.fc1 = nn.Linear(width, 5)
        self.fc = nn.Linear(5 if deep else width, 2)
        self.run = run

    def forward(self, x: Any) -> Any:
        return self.run(self, x)


def drawn(seed: int = 3, batch: int = 4, time: int = 9) -> np.ndarray:
    return 3 * np.random.default_rng(seed).standard_normal((batch, time, 3)).astype(np.float32)


def equal(model: fl.Model, net: Any, time_first: bool = False) -> None:
    """Check that the model gives the module's numbers on data that from_torch has not seen."""
    x = drawn()
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(x.swapaxes(0, 1).copy() if time_first else x))
    while not torch.is_tensor(expected):
        expected = expected["scores"] if isinstance(expected, dict) else expected[0]
    values = expected.numpy()
    got = model.predict(x)
    if time_first and values.ndim == 3:
        values = values.swapaxes(0, 1)
    np.testing.assert_allclose(got, values.reshape(got.shape), rtol=0, atol=FLOAT32 * np.abs(values).max())


def final(net: Any, x: Any) -> Any:
    return net.lstm(x)[1][0][-1]


SAME: dict[str, tuple[Forward, dict[str, Any], bool]] = {
    "last": (lambda net, x: net.fc(net.lstm(x)[0][:, -1]), {}, False),
    "h_n": (lambda net, x: net.fc(final(net, x)), {}, False),
    "h_n with its axis": (lambda net, x: net.fc(net.lstm(x)[1][0]), {}, False),
    "h_n of both": (lambda net, x: net.fc(torch.cat(tuple(net.lstm(x)[1][0]), -1)), {"both": True}, False),
    "steps": (lambda net, x: net.fc(net.lstm(x)[0]), {}, True),
    "steps of both": (lambda net, x: net.fc(net.lstm(x)[0]), {"both": True}, True),
    "steps, flat": (lambda net, x: net.fc(net.lstm(x)[0].reshape(-1, 4)), {}, True),
    "steps, permuted": (lambda net, x: net.fc(net.lstm(x)[0]).permute(1, 0, 2), {}, True),
    "two outputs": (lambda net, x: (net.fc(net.lstm(x)[0]), net.lstm(x)[1]), {}, True),
    "a mapping": (lambda net, x: {"hidden": net.lstm(x)[0], "scores": net.fc(final(net, x))}, {}, False),
    "dropout": (lambda net, x: net.fc(F.dropout(final(net, x), 0.5, net.training)), {}, False),
    "dropout inside": (lambda net, x: net.fc(net.lstm(x)[0]), {"num_layers": 2, "dropout": 0.5}, True),
    "projection": (lambda net, x: net.fc(net.lstm(x)[0][:, -1]), {"proj_size": 2}, False),
    "permutes itself": (lambda net, x: net.fc(net.lstm(x.permute(1, 0, 2))[0][-1]), {"batch_first": False}, False),
}


@pytest.mark.parametrize("name", SAME)
def test_the_forward_decides_whether_every_step_is_returned(name: str) -> None:
    run, settings, sequences = SAME[name]
    net = Net(run, **settings)
    model = fl.from_torch(net)
    assert model.per_step == sequences
    if name != "steps, permuted":
        equal(model, net)
    assert fl.from_torch(net, return_sequences=sequences).per_step == sequences
    message = f"return_sequences is {not sequences}, but the module returns .*: pass return_sequences={sequences}"
    with pytest.raises(ValueError, match=message):
        fl.from_torch(net, return_sequences=not sequences)
    assert fl.from_torch(net, return_sequences=not sequences, check=False).per_step != sequences


def test_time_first() -> None:
    for run, sequences in (
        (lambda net, x: net.fc(net.lstm(x)[0]), True),
        (lambda net, x: net.fc(net.lstm(x)[0][-1]), False),
    ):
        net = Net(run, batch_first=False)
        model = fl.from_torch(net)
        assert model.per_step == sequences
        equal(model, net, time_first=True)


def test_an_axis_of_one_that_the_forward_drops() -> None:
    for run in (lambda net, x: net.one(final(net, x)).squeeze(), lambda net, x: net.one(net.lstm(x)[0]).squeeze(-1)):
        net = Net(run)
        net.fc, net.one = None, nn.Linear(4, 1)
        equal(fl.from_torch(net), net)


OTHER: dict[str, tuple[Forward, dict[str, Any], list[str] | None]] = {
    "mean": (lambda net, x: net.fc(net.lstm(x)[0].mean(1)), {}, ["lstm", "mean", "fc"]),
    "max": (lambda net, x: net.fc(net.lstm(x)[0].amax(1)), {"both": True}, ["lstm", "max", "fc"]),
    "last of both": (lambda net, x: net.fc(net.lstm(x)[0][:, -1]), {"both": True}, ["lstm", "last", "fc"]),
    "relu between": (
        lambda net, x: net.fc(net.fc1(final(net, x)).relu()), {"deep": True}, ["lstm", "fc1", "relu", "fc"]
    ),
    "relu before": (lambda net, x: net.fc(final(net, x).relu()), {}, ["lstm", "relu", "fc"]),
    "relu at the end": (lambda net, x: net.fc(final(net, x)).relu(), {}, ["lstm", "fc", "relu"]),
    "sigmoid": (lambda net, x: net.fc(final(net, x)).sigmoid(), {}, ["lstm", "fc", "sigmoid"]),
    "softmax": (lambda net, x: net.fc(final(net, x)).softmax(-1), {}, ["lstm", "fc", "softmax"]),
    "relu and sigmoid": (
        lambda net, x: net.fc(net.fc1(net.lstm(x)[0]).relu()).sigmoid(),
        {"deep": True},
        ["lstm", "fc1", "relu", "fc", "sigmoid"],
    ),
    "scaled": (lambda net, x: 2 * net.fc(final(net, x)), {}, None),
    "clamped": (lambda net, x: net.fc(final(net, x)).clamp(-0.1, 0.1), {}, None),
    "unused layer": (lambda net, x: net.fc(net.fc1(final(net, x)).detach() * 0), {"deep": True}, None),
    "first step": (lambda net, x: net.fc(net.lstm(x)[0][:, 0]), {}, None),
    "over the batch": (lambda net, x: net.fc(net.lstm(x)[0][:, -1]), {"batch_first": False}, None),
    "infinite": (lambda net, x: net.fc(final(net, x)) / 0, {}, None),
    "not all features": (lambda net, x: net.fc(final(net, x))[:, :1], {}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_another_forward_is_refused_with_the_order_that_fits(name: str) -> None:
    run, settings, order = OTHER[name]
    net = Net(run, **settings)
    with pytest.raises(ValueError, match="the module computes something else than the layers LSTM 'lstm', ") as raised:
        fl.from_torch(net)
    message = str(raised.value)
    for word in ("functional relu", "mean over the steps", "another order", "bidirectional", "check=False", "order="):
        assert word in message
    found = re.search(r"With order=(\[.*?\])(, return_sequences=True)? the model computes what", message)
    if order is None:
        assert found is None
    else:
        assert found is not None and found[1] == str(order)
        model = fl.from_torch(net, order=order)
        equal(model, net)
    assert len(fl.from_torch(net, check=False).layers) == 2 + ("fc1" in dict(net.named_children()))


def test_the_message_tells_how_large_the_difference_is() -> None:
    net = Net(lambda net, x: net.fc(final(net, x)) + 0.25)
    with pytest.raises(ValueError, match=r"on \d series of \d+ steps they differ by 0\.25 where the largest number is"):
        fl.from_torch(net)
    with pytest.raises(ValueError, match=r"returns the shape \(\d, 1\), the model \(\d, (\d+, )?2\)"):
        fl.from_torch(Net(OTHER["not all features"][0]))


def test_a_relu_that_changes_nothing_with_these_weights_is_found() -> None:
    net = Net(lambda net, x: net.fc(final(net, x)).relu())
    with torch.no_grad():
        net.fc.bias.fill_(100.0)
    with pytest.raises(ValueError, match="with random weights in both, .* With order=.'lstm', 'fc', 'relu'."):
        fl.from_torch(net)
    assert net.fc.bias.tolist() == [100, 100]


def test_log_softmax_is_named() -> None:
    net = Net(lambda net, x: F.log_softmax(net.fc(final(net, x)), -1))
    with pytest.raises(
        ValueError, match="ends with log_softmax, whose counterpart is the softmax of Model.predict_proba"
    ):
        fl.from_torch(net)


def test_random_forwards_are_named() -> None:
    net = Net(lambda net, x: net.fc(F.dropout(final(net, x), 0.5)))
    state = torch.random.get_rng_state()
    with pytest.raises(ValueError, match="other numbers for the same input, even in eval mode"):
        fl.from_torch(net)
    assert torch.equal(state, torch.random.get_rng_state())


def test_layers_defined_in_another_order_than_used() -> None:
    class Turned(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lstm, self.act = nn.Linear(3, 3), nn.LSTM(3, 3, batch_first=True), nn.Sigmoid()

        def forward(self, x: Any) -> Any:
            return self.act(self.fc(self.act(self.lstm(x)[0])))

    net = Turned()
    with pytest.raises(ValueError, match="Linear 'fc', LSTM 'lstm', Sigmoid 'act' in this order"):
        fl.from_torch(net)
    model = fl.from_torch(net, order=["lstm", "act", "fc", "act"])  # a layer without weights may be used twice
    assert model.per_step
    equal(model, net)
    for wrong in (["lstm", "act"], ["lstm", "fc", "lstm"], ["lstm", "fc", "mish"]):
        with pytest.raises(ValueError, match=r"order must hold each of the names \['fc', 'lstm'\] once"):
            fl.from_torch(net, order=wrong)


@pytest.mark.parametrize("steps", ["those of the input", 7])
def test_a_vector_that_is_repeated_is_named(steps: int | str) -> None:
    class Autoencoder(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.encoder, self.decoder = nn.LSTM(3, 8, batch_first=True), nn.LSTM(8, 6, batch_first=True)
            self.fc = nn.Linear(6, 3)  # 8 to 6, 6 to 3, 3 to 8 would fit as well, but does not read the input

        def forward(self, x: Any) -> Any:
            vector = self.encoder(x)[1][0][-1]
            n = steps if isinstance(steps, int) else x.shape[1]
            return self.fc(self.decoder(vector[:, None].repeat(1, n, 1))[0])

    advice = "repeats the final step of LSTM 'encoder' at each step .* torch.onnx.export, .* fl.from_onnx"
    with pytest.raises(ValueError, match=advice):
        fl.from_torch(Autoencoder())


def test_modes_state_and_gradients_stay() -> None:
    seen = []

    def run(net: Any, x: Any) -> Any:
        seen.append((net.training, net.drop.training, torch.is_grad_enabled()))
        return net.fc(net.drop(final(net, x)))

    for training in (True, False):
        net = Net(run)
        net.drop = nn.Dropout(0.5)
        net.train(training)
        net.drop.train(not training)
        net.__dict__["run"] = run
        before = {name: value.clone() for name, value in net.state_dict().items()}
        state = torch.random.get_rng_state()
        fl.from_torch(net, order=["lstm", "drop", "fc"])
        assert (net.training, net.drop.training, net.lstm.training) == (training, not training, training)
        assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
        assert torch.equal(state, torch.random.get_rng_state()) and net.fc.weight.grad is None
    assert set(seen) == {(False, False, False)}


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_types(dtype: str) -> None:
    net = Net(SAME["last"][0]).to(getattr(torch, dtype))
    model = fl.from_torch(net)
    assert not model.per_step and model.dtype == ("float64" if dtype == "float64" else "float32")
    assert fl.from_torch(net, dtype="float32").dtype == "float32"
    with pytest.raises(ValueError, match="something else"):
        fl.from_torch(Net(OTHER["mean"][0]).to(getattr(torch, dtype)))


def test_an_lstm_alone_returns_every_step() -> None:
    for batch_first in (False, True):
        lstm = nn.LSTM(3, 4, 2, batch_first=batch_first, bidirectional=True)
        for source in (lstm, nn.Sequential(lstm)):
            model = fl.from_torch(source)
            assert model.per_step
            equal(model, source, time_first=not batch_first)
        assert fl.from_torch(lstm, check=False).per_step
        with pytest.raises(ValueError, match="return_sequences is False, but the module returns every step"):
            fl.from_torch(lstm, return_sequences=False)


def test_more_arguments_of_a_forward() -> None:
    class Packed(Net):
        def forward(self, x: Any, seq_lengths: Any, hidden: Any) -> Any:  # type: ignore[override]
            packed = nn.utils.rnn.pack_padded_sequence(x, seq_lengths, batch_first=True, enforce_sorted=False)
            return self.fc(self.lstm(packed, hidden)[1][0][-1])

    class PackedSteps(Net):
        def forward(self, x: Any, lens: Any, scale: float = 1.0) -> Any:  # type: ignore[override]
            packed = nn.utils.rnn.pack_padded_sequence(x, lens, batch_first=True, enforce_sorted=False)
            return self.lstm(packed)

    assert not fl.from_torch(Packed(final)).per_step
    net = PackedSteps(final)
    net.fc = None
    assert fl.from_torch(net).per_step

    class Needs(Net):
        def forward(self, x: Any, scale: Any) -> Any:  # type: ignore[override]
            return self.fc(self.lstm(x * scale)[0])

    with pytest.warns(UserWarning, match="forward raised TypeError .unsupported operand") as caught:
        assert not fl.from_torch(Needs(final)).per_step
    assert len(caught) == 1 and caught[0].filename == __file__


def test_tokens() -> None:
    class Text(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self, shift: int) -> None:
            super().__init__()
            self.embed, self.lstm = nn.Embedding(7, 3), nn.LSTM(3, 4, batch_first=True)
            self.out = nn.Linear(4, 7)
            self.shift = shift

        def forward(self, x: Any) -> Any:
            return self.out(self.lstm(self.embed((x + self.shift) % 7))[0])

    net = Text(0)
    model = fl.from_torch(net)
    x = np.random.default_rng(0).integers(0, 7, (4, 6))
    np.testing.assert_allclose(model.predict(x), net(torch.from_numpy(x)).detach().numpy(), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="something else than the layers Embedding 'embed', LSTM 'lstm'"):
        fl.from_torch(Text(1))


def test_shared_weights_are_compared_as_they_are_used() -> None:
    class Tied(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self, twice: bool) -> None:
            super().__init__()
            self.first = nn.LSTM(3, 3, batch_first=True)
            if twice:
                self.second = self.first

        def forward(self, x: Any) -> Any:
            return self.first(self.first(x)[0])[0]

    model = fl.from_torch(Tied(True))
    assert len(model.layers) == 2
    with pytest.raises(ValueError, match="something else than the layers LSTM 'first' in this order"):
        fl.from_torch(Tied(False))


def test_several_lstms() -> None:
    class Deep(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self, batch_first: bool) -> None:
            super().__init__()
            self.a, self.b = nn.LSTM(3, 4, batch_first=batch_first), nn.LSTM(4, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            x = self.a(x)[0]
            return self.b(x if self.a.batch_first else x.swapaxes(0, 1))[1][0][0]

    net = Deep(True)
    equal(fl.from_torch(net), net)
    mixed = Deep(False)
    equal(fl.from_torch(mixed), mixed, time_first=True)


def test_a_forward_that_cannot_be_run_is_said() -> None:
    stack = nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2))
    message = (
        r"cannot be compared .* forward raised TypeError \(linear\(\).*\) on 3 series of 5 steps.*return_sequences=True"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        model = fl.from_torch(stack)
    assert not model.per_step and len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fl.from_torch(stack, check=False)
    whole = Net(lambda net, x: net.fc(net.lstm(x)[0]).argmax(-1))
    with pytest.warns(UserWarning, match="its output is torch.int64, expected a tensor of floating-point numbers"):
        fl.from_torch(whole)
    nothing = Net(lambda net, x: None)
    with pytest.warns(UserWarning, match="its output is NoneType, expected a tensor"):
        fl.from_torch(nothing)


def test_a_forward_for_some_sizes_only() -> None:
    def run(net: Any, x: Any) -> Any:
        if len(x) == 1:
            raise RuntimeError("one series is too few")
        return net.fc(net.lstm(x)[0].mean(1) if net.mean else net.lstm(x)[0][:, -1])

    net = Net(run)
    net.mean = False
    message = (
        r"forward raised RuntimeError \(one series is too few\) on 1 series of 17 steps; .* on 3 other inputs only"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        model = fl.from_torch(net)
    assert caught[0].filename == __file__
    equal(model, net)
    net.mean = True
    with pytest.raises(ValueError, match="something else"):
        fl.from_torch(net)


def test_a_module_that_cannot_be_copied() -> None:
    class Stubborn(Net):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("no copies")

    with pytest.warns(
        UserWarning, match="cannot be copied .RuntimeError., and is compared with its own weights only"
    ) as caught:
        model = fl.from_torch(Stubborn(SAME["last"][0]))
    assert not model.per_step and caught[0].filename == __file__


class Elsewhere:
    """A tensor on another device, as far as from_torch looks."""

    device = "cuda:0"


def test_another_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(SAME["last"][0])
    monkeypatch.setattr(net, "parameters", lambda: [Elsewhere()])
    with pytest.raises(ValueError, match=r"on the device 'cuda:0', but .* pass module.cpu\(\), or check=False"):
        fl.from_torch(net)
    assert len(fl.from_torch(net, check=False).layers) == 2


def test_wrappers_are_opened() -> None:
    net = Net(SAME["steps"][0])
    assert fl.from_torch(nn.DataParallel(net)).per_step
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's compiler
        compiled = torch.compile(net)
    assert fl.from_torch(compiled).per_step


def test_wrong_flags() -> None:
    wrong: Any = "no"
    with pytest.raises(TypeError, match="check must be True or False"):
        fl.from_torch(nn.LSTM(3, 4), check=wrong)
    with pytest.raises(ValueError, match="return_sequences=True contradicts order"):
        fl.from_torch(Net(OTHER["mean"][0]), order=["lstm", "mean", "fc"], return_sequences=True)


# --- files of torch.save


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".ckpt", ".PT"])
@pytest.mark.parametrize("old", [False, True])
def test_files(ending: str, old: bool, tmp_path: Path) -> None:
    net, path = Net(SAME["steps"][0]), tmp_path / f"weights{ending}"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=not old)
    model = fl.from_torch(path, order=["lstm", "fc"], return_sequences=True)
    equal(model, net)
    with pytest.warns(UserWarning, match="a state dict holds weights") as caught:
        assert not fl.from_torch(str(path)).per_step
    assert len(caught) == 1 and caught[0].filename == __file__


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "model._orig_mod."])
@pytest.mark.parametrize("key", ["model_state_dict", "state_dict", "model"])
def test_training_files(key: str, prefix: str, tmp_path: Path) -> None:
    net, path = Net(SAME["steps"][0]), tmp_path / "run.ckpt"
    state = {prefix + name: value for name, value in net.state_dict().items()}
    torch.save({"epoch": 3, key: state, "optimizer": {"state": {}, "lr": 0.1}}, path)
    for order in (["lstm", "fc"], [f"{prefix}lstm", f"{prefix}fc"]):
        equal(fl.from_torch(path, order=order, return_sequences=True), net)


class Whole:
    """An object that a pickle names."""


def test_files_with_other_contents(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    for contents, message in (
        (Net(final), "torch.load.path, weights_only=True. refuses it .*module.state_dict"),
        (Whole(), "refuses it"),
        (torch.ones(2), "the file holds a tensor, expected a state dict"),
        ([torch.ones(2)], "the file holds an object of type list"),
        (
            {"net": nn.LSTM(3, 4).state_dict()},
            r"'net' is itself a mapping: if it is the state dict, pass source\['net'\]",
        ),
        ({"epoch": 3}, "'epoch' is a int, expected a tensor"),
        ({"state_dict": {}, "model": {}}, "holds the state dicts .'state_dict', 'model'."),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a lambda that is pickled by name
            if isinstance(contents, Net):
                del contents.run
        torch.save(contents, path)
        with pytest.raises(ValueError, match=f"(?s)^{re.escape(str(path))}: .*{message}"):
            fl.from_torch(path)
    with pytest.raises(FileNotFoundError):
        fl.from_torch(tmp_path / "none.pt")
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(IsADirectoryError if sys.platform != "win32" else OSError):
        fl.from_torch(tmp_path / "folder.pt")


def test_damaged_files(tmp_path: Path) -> None:
    for old in (False, True):
        path = tmp_path / f"{old}.pt"
        torch.save(nn.LSTM(3, 4).state_dict(), path, _use_new_zipfile_serialization=not old)
        whole = path.read_bytes()
        for size in (0, 1, 9, 100, len(whole) // 2, len(whole) - 40):
            path.write_bytes(whole[:size])
            with pytest.raises(
                ValueError, match=f"^{re.escape(str(path))}: torch.load.path, weights_only=True. refuses"
            ):
                fl.from_torch(path)


def test_a_safetensors_file_by_another_name(tmp_path: Path) -> None:
    save = pytest.importorskip("safetensors.torch").save_file
    save(nn.LSTM(3, 4).state_dict(), tmp_path / "w.bin")
    assert fl.from_torch(tmp_path / "w.bin", order=[""]).per_step


@pytest.mark.parametrize("version", ["2.5.1", "1.13.0+cu117", "unknown"])
def test_old_versions_of_torch_do_not_read_files(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(nn.LSTM(3, 4).state_dict(), tmp_path / "w.pt")
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(ImportError, match="may run code from such a file, .*: pip install -U torch; or convert"):
        fl.from_torch(tmp_path / "w.pt")
