"""The options of `fl.LSTM`: reverse, merge, residual, learn_state; forward passes, gradients, states."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import FINITE_DIFFERENCE, TOLERANCE, in_threads, numerical_gradient, relative_error

import fastlstm as fl
from fastlstm import reference
from fastlstm.cell import CellWeights
from fastlstm.layers import layer_from_config

MERGES = ("concat", "sum", "mean", "product")

LAYERS: dict[str, dict[str, Any]] = {
    "reverse": {"reverse": True},
    "reverse, stacked": {"reverse": True, "num_layers": 3, "dropout": 0.3},
    **{merge: {"bidirectional": True, "merge": merge} for merge in MERGES},
    **{f"{merge}, stacked": {"bidirectional": True, "merge": merge, "num_layers": 3} for merge in MERGES},
    "residual": {"num_layers": 3, "residual": True, "dropout": 0.4},
    "residual, reverse": {"num_layers": 2, "residual": True, "reverse": True},
    "residual, concat": {"num_layers": 2, "residual": True, "bidirectional": True, "dropout": 0.2},
    "learn_state": {"learn_state": True},
    "all, product": {
        "bidirectional": True,
        "merge": "product",
        "num_layers": 3,
        "learn_state": True,
        "residual": True,
        "dropout": 0.3,
        "return_sequences": True,
    },
    "projection": {"proj_size": 3, "num_layers": 2, "bidirectional": True},
    "projection, residual": {"proj_size": 5, "num_layers": 3, "residual": True, "dropout": 0.2, "learn_state": True},
    "peepholes, coupled": {"peepholes": True, "coupled": True, "num_layers": 2},
    "clips": {"gate_clip": 0.8, "cell_clip": 0.5, "output_clip": 0.3},
    "layer norm": {"layer_norm": True, "num_layers": 2, "bidirectional": True, "merge": "sum"},
    "activations": {
        "gate_activation": ("hard_sigmoid", 1 / 6, 0.5),
        "cell_activation": "softsign",
        "output_activation": "relu",
        "reverse": True,
    },
    "dropouts": {"recurrent_dropout": 0.3, "variational_dropout": 0.4, "input_dropout": 0.2, "num_layers": 2},
    "zoneout": {"zoneout_h": 0.3, "zoneout_c": 0.4, "num_layers": 2, "input_dropout": 0.3, "residual": True},
}


def model_of(dtype: str = "float64", seed: int = 4, inputs: int = 3, hidden: int = 4, **options: Any) -> fl.Model:
    """Return a model of one LSTM whose learnt states, if it has any, are not zero."""
    model = fl.Model([fl.LSTM(hidden, **options)], input_size=inputs, dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    for name, p in model.parameters().items():
        if name.startswith(("0.h0", "0.c0")):
            assert not p.any(), "they start at zero"
            p[:] = rng.uniform(-1, 1, p.shape)
    return model


def merged(merge: str, parts: list[np.ndarray]) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    first, second = parts
    return {
        "concat": lambda: np.concatenate(parts, axis=-1),
        "sum": lambda: first + second,
        "mean": lambda: (first + second) / 2,
        "product": lambda: first * second,
    }[merge]()


def expected(
    layer: fl.LSTM, p: dict[str, np.ndarray], x: np.ndarray, lengths: np.ndarray | None, state: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute output and final states with the reference of one layer and direction."""
    batch, time, _ = x.shape
    ends = np.full(batch, time) if lengths is None else lengths
    hs, cs = [], []
    out = x
    for k in range(layer.num_layers):
        parts, finals = [], []
        for d in range(2 if layer.bidirectional else 1):
            tail = f"_l{k}" + ("_reverse" if d else "")
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = [p.get(f"0.{name}{tail}") for name in names]
            cell_weights = CellWeights(*(p.get(f"0.{name}{tail}") for name in CellWeights._fields))
            h0, c0 = (None, None) if state is None else (state[0][len(hs)], state[1][len(hs)])
            if state is None and layer.learn_state:
                h0, c0 = (np.tile(p[f"0.{name}{tail}"], (batch, 1)) for name in ("h0", "c0"))
            backward = layer.reverse or d == 1
            y, h, c, _ = reference.lstm_forward(
                x, *weights, lengths=lengths, h0=h0, c0=c0, reverse=backward, cell=layer.cell, cell_weights=cell_weights
            )
            hs.append(h)
            cs.append(c)
            parts.append(y)
            finals.append(np.stack([y[b, 0 if backward else ends[b] - 1] for b in range(batch)]))
        out = merged(layer.merge, parts)
        final = merged(layer.merge, finals)
        if layer.residual and k:
            out = out + x
            width = final.shape[1] // len(finals)
            for b in range(batch):
                for d in range(len(finals)):
                    end = 0 if layer.reverse or d == 1 else ends[b] - 1
                    final[b, d * width : (d + 1) * width] += x[b, end, d * width : (d + 1) * width]
        x = out
    return out if layer.return_sequences else final, np.stack(hs), np.stack(cs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", [False, True], ids=["no state", "state"])
@pytest.mark.parametrize("steps", [False, True], ids=["final", "steps"])
@pytest.mark.parametrize("name", LAYERS)
def test_equals_the_reference(name: str, steps: bool, given: bool, dtype: str) -> None:
    """Compare outputs and final states, for equal and for different lengths."""
    rng = np.random.default_rng(1)
    model = model_of(dtype, **{"return_sequences": steps, **LAYERS[name]})
    (layer,) = model.layers
    assert isinstance(layer, fl.LSTM)
    x = rng.standard_normal((5, 7, 3)).astype(dtype)
    state = tuple(rng.standard_normal(shape).astype(dtype) for shape in layer.state_shapes(5)) if given else None
    for lengths in (None, np.array([7, 1, 4, 6, 2])):
        out, [(hn, cn)] = model.forward(x, lengths, state=state, return_state=True)  # type: ignore[arg-type]
        want, want_h, want_c = expected(layer, model.parameters(), x, lengths, state)
        assert relative_error(hn, want_h) <= TOLERANCE[dtype]
        assert relative_error(cn, want_c) <= TOLERANCE[dtype]
        if layer.return_sequences and lengths is not None:
            padding = np.arange(7) >= lengths[:, None]
            out[padding], want[padding] = 0, 0
        assert out.shape == want.shape == (*x.shape[: 1 + model.per_step], model.output_size)
        assert relative_error(out, want) <= TOLERANCE[dtype]


def random_options(rng: np.random.Generator) -> dict[str, Any]:
    """Return a random combination of options that the layer accepts."""
    options: dict[str, Any] = {"num_layers": int(rng.integers(1, 4)), "return_sequences": bool(rng.integers(2))}
    options["bias"] = bool(rng.integers(2))
    options["learn_state"] = bool(rng.integers(2))
    kind = int(rng.integers(3))
    options["reverse"] = kind == 1
    options["bidirectional"] = kind == 2
    if kind == 2:
        options["merge"] = MERGES[rng.integers(4)]
    if options["num_layers"] > 1:
        options["dropout"] = float(rng.choice([0, 0.4]))
        options["residual"] = bool(rng.integers(2)) and (
            options.get("merge", "concat") == "concat" or options["return_sequences"]
        )
    return options | random_cell(rng)


def random_cell(rng: np.random.Generator) -> dict[str, Any]:
    """Return, in half of all cases, options of another cell that is smooth enough for finite differences."""
    if rng.integers(2):
        return {}
    drawn: dict[str, Any] = {
        "proj_size": int(rng.integers(1, 5)),
        "peepholes": True,
        "coupled": True,
        "layer_norm": True,
        "cell_clip": 0.7,
        "gate_activation": "hard_sigmoid",
        "cell_activation": "softsign",
        "output_activation": ("scaled_tanh", 1.4, 0.8),
        "recurrent_dropout": 0.3,
        "variational_dropout": 0.4,
        "input_dropout": 0.2,
        "zoneout_h": 0.3,
        "zoneout_c": 0.2,
    }
    return {name: value for name, value in drawn.items() if rng.random() < 0.3}


@pytest.mark.parametrize("seed", range(80))
def test_random_combinations_by_finite_differences(seed: int) -> None:
    """Check every parameter, the input and the initial states, with and without lengths and given states."""
    rng = np.random.default_rng(seed)
    options = random_options(rng)
    hidden, inputs, batch, time = (int(n) for n in rng.integers(1, 5, 4))
    if options.get("layer_norm"):  # the variance of one or two numbers may be almost 0, and its derivative too steep
        hidden += 3
    model = model_of(seed=seed + 400, inputs=inputs, hidden=hidden, **options)
    (layer,) = model.layers
    assert isinstance(layer, fl.LSTM)
    x = rng.standard_normal((batch, time, inputs))
    lengths = None
    if rng.integers(2):
        lengths = rng.integers(1, time + 1, batch)
        lengths[0] = time  # steps beyond the longest length are cut off
    of_h, of_c = layer.state_shapes(batch)
    state = (rng.standard_normal(of_h), rng.standard_normal(of_c)) if rng.integers(2) else None
    counts: Any = 1.0
    if lengths is not None and model.per_step:
        counts = (np.arange(time) < lengths[:, None])[:, :, None]

    def run() -> tuple[Any, Any]:
        model.network.passes = 7  # the same dropout masks each time
        return model.forward(x, lengths, state=state, training=True, return_state=True)

    out, [(hn, cn)] = run()
    weight, weight_h, weight_c = (rng.standard_normal(part.shape) for part in (out, hn, cn))

    def f() -> float:
        out, [(hn, cn)] = run()
        return float((out * counts * weight).sum() + (hn * weight_h).sum() + (cn * weight_c).sum())

    model.zero_grad()
    dx, [d_state] = model.backward(weight, (weight_h, weight_c), return_d_state=True)
    pairs = {name: (model.gradients()[name].copy(), p) for name, p in model.parameters().items()}
    pairs["x"] = dx, x
    if state is not None:
        pairs |= {"h0": (d_state[0], state[0]), "c0": (d_state[1], state[1])}
    for name, (got, array) in pairs.items():
        if state is not None and name.startswith(("0.h0", "0.c0")):
            assert not got.any(), "a given state takes the place of the learnt one"
            continue
        assert relative_error(got, numerical_gradient(f, array)) <= FINITE_DIFFERENCE, (name, options)


@pytest.mark.parametrize("name", LAYERS)
def test_recomputing_and_threads_change_no_bit(name: str) -> None:
    rng = np.random.default_rng(2)
    # Hidden sizes and rows that straddle vectors and tiles, steps that straddle segments.
    x = rng.standard_normal((37, 50, 5)).astype("f4")
    lengths = rng.integers(1, 51, 37)
    results = []
    for n_threads, every in ((1, None), (2, None), (5, None), (2, 8)):
        model = model_of("float32", inputs=5, hidden=19, **{"return_sequences": True, **LAYERS[name]})
        model.network.passes = 3
        out = model.forward(x, lengths, training=True, n_threads=n_threads, recompute_every=every)
        ctx = model.network.context(True)
        ctx.n_threads = n_threads
        d_out = np.cos(np.arange(out.size, dtype="f4")).reshape(out.shape)
        dx = model.backward(d_out)
        results.append([part.tobytes() for part in (out, dx, model.flat_gradients)])
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("steps", [False, True], ids=["final", "steps"])
def test_padding_is_never_read(name: str, steps: bool) -> None:
    """NaN in the padding of X and of d_out changes no bit."""
    rng = np.random.default_rng(3)
    x, lengths = rng.standard_normal((4, 6, 3)), np.array([6, 1, 3, 5])
    padding = np.arange(6) >= lengths[:, None]
    results = []
    for fill in (0.0, np.nan):
        model = model_of(**{"return_sequences": steps, **LAYERS[name]})
        x[padding] = fill
        out = model.forward(x, lengths, training=True)
        d_out = np.ones_like(out)
        if model.per_step:
            d_out[padding] = fill
            out = out[~padding]
        dx = model.backward(d_out)
        assert (dx[padding] == 0).all()
        results.append([out, dx, model.flat_gradients])
    for zero, nan in zip(*results, strict=True):
        np.testing.assert_array_equal(zero, nan)


def test_reverse_is_the_second_direction_of_two() -> None:
    """With the same weights the results are those of one half of a bidirectional layer, bit for bit."""
    both = model_of(bidirectional=True, return_sequences=True)
    one = model_of(reverse=True, return_sequences=True)
    for name, p in one.parameters().items():
        p[...] = both.parameters()[name + "_reverse"]
    x, lengths = np.random.default_rng(4).standard_normal((3, 6, 3)), [6, 2, 4]
    y, [(h, c)] = both.forward(x, lengths, return_state=True)
    got, [(got_h, got_c)] = one.forward(x, lengths, return_state=True)
    np.testing.assert_array_equal(got, y[..., 4:])
    np.testing.assert_array_equal(got_h[0], h[1])
    np.testing.assert_array_equal(got_c[0], c[1])


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"num_layers": 3, "residual": True, "learn_state": True}])
def test_a_series_in_two_parts_equals_the_whole(options: dict[str, Any]) -> None:
    """The state is passed on; a reverse layer begins with the later part."""
    model = model_of("float32", return_sequences=True, **options)
    x = np.random.default_rng(5).standard_normal((4, 9, 3)).astype("f4")
    whole, [final] = model.forward(x, return_state=True)
    order = [slice(5, 9), slice(0, 5)] if options.get("reverse") else [slice(0, 4), slice(4, 9)]
    state = None
    for part in order:
        out, state = model.forward(x[:, part], state=state, return_state=True)
        np.testing.assert_array_equal(out, whole[:, part])
    for got, want in zip(state[0], final, strict=True):  # type: ignore[index]
        np.testing.assert_array_equal(got, want)


def test_a_given_state_of_the_learnt_numbers_gives_the_learnt_result() -> None:
    model = model_of(learn_state=True, bidirectional=True, num_layers=2)
    p = model.parameters()
    tails = ("l0", "l0_reverse", "l1", "l1_reverse")
    h, c = (np.stack([np.tile(p[f"0.{name}_{tail}"], (3, 1)) for tail in tails]) for name in ("h0", "c0"))
    x = np.random.default_rng(6).standard_normal((3, 5, 3))
    learnt = model.forward(x, training=True)
    model.backward(np.ones_like(learnt))
    gradient = model.gradients()["0.c0_l1_reverse"].copy()
    given = model.forward(x, state=(h, c), training=True)
    np.testing.assert_array_equal(given, learnt)
    _, [(_, dc)] = model.backward(np.ones_like(given), return_d_state=True)
    # The gradient of a state that all cases share is the sum over the cases; an unused state gets no gradient.
    np.testing.assert_allclose(gradient, dc[3].sum(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(model.gradients()["0.c0_l1_reverse"], gradient)
    model.zero_grad()
    model.forward(x, training=True)
    _, [(_, also)] = model.backward(np.ones_like(given), return_d_state=True)
    np.testing.assert_array_equal(also, dc)
    np.testing.assert_array_equal(model.gradients()["0.c0_l1_reverse"], gradient)
    once = model.flat_gradients.copy()
    model.forward(x, training=True)
    model.backward(np.ones_like(given))
    np.testing.assert_array_equal(model.flat_gradients, 2 * once)  # gradients are added up, and doubling is exact


def test_learnt_states_learn() -> None:
    """The first answer of every series does not depend on any input."""
    X, y = np.zeros((16, 1, 1), "f4"), np.full((16, 1), 0.5, "f4")
    model = fl.Model([fl.LSTM(4, bias=False, learn_state=True), fl.Dense(1, bias=False)], seed=1)
    history = model.fit(X, y, loss="mse", epochs=60, optimizer=fl.Adam(lr=0.05), verbose=0)
    assert history.history["loss"][-1] < 1e-3 < 0.2 < history.history["loss"][0]
    plain = fl.Model([fl.LSTM(4, bias=False), fl.Dense(1, bias=False)], seed=1)
    # Without bias, input and state the output is zero for any weights.
    assert plain.fit(X, y, loss="mse", epochs=2, verbose=0).history["loss"] == [0.25, 0.25]


def test_initial_numbers_are_those_of_before() -> None:
    """The draws of a parameter are its own: options that add others do not change them."""
    layers = [fl.LSTM(5, num_layers=2, bidirectional=True), fl.Dense(3)]
    model = fl.Model(layers, input_size=4, seed=9, dtype="float64")
    assert hashlib.sha256(model.flat_parameters.tobytes()).hexdigest() == (
        "b92a8ba3d5a1bbd8a1836e4fcfc687a32a3c09eafbce6c081be4127c85eadc1e"
    )
    learning = fl.LSTM(5, num_layers=2, bidirectional=True, learn_state=True)
    again = fl.Model([learning, fl.Dense(3)], input_size=4, seed=9, dtype="float64").parameters()
    for name, value in model.parameters().items():
        np.testing.assert_array_equal(again[name], value)
    assert len(again) == len(model.parameters()) + 8


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"reverse": True, "bidirectional": True}, ValueError, "reverse=True is for one direction"),
        (
            {"merge": "max", "bidirectional": True},
            ValueError,
            "merge must be one of 'concat', 'sum', 'mean', 'product'",
        ),
        ({"merge": None, "bidirectional": True}, ValueError, "got None"),
        ({"merge": "sum"}, ValueError, "merge='sum' is for two directions"),
        ({"residual": True}, ValueError, "num_layers is 1"),
        (
            {"residual": True, "num_layers": 2, "bidirectional": True, "merge": "mean"},
            ValueError,
            "needs return_sequences=True",
        ),
        ({"weight_init": "best"}, ValueError, "weight_init must be one of 'uniform', .* got 'best'"),
        ({"recurrent_init": np.zeros}, TypeError, r"recurrent_init must be .* write to .* model.parameters\(\)"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fl.LSTM(4, **options)


@pytest.mark.parametrize("name", LAYERS)
def test_config_copies_and_files(name: str, tmp_path: Path) -> None:
    layer = fl.LSTM(4, weight_init="orthogonal", recurrent_init="glorot_normal", **LAYERS[name])
    again = layer_from_config({"type": "LSTM", **layer.get_config()})
    assert again.get_config() == layer.get_config() and repr(again) == repr(layer)
    model = fl.Model([layer, fl.Dense(2, weight_init="he_normal")], input_size=3, seed=2)
    x = np.random.default_rng(7).standard_normal((2, 5, 3)).astype("f4")
    model.save(tmp_path / "m")
    for other in (fl.load(tmp_path / "m"), copy.deepcopy(model), copy.deepcopy(model).freeze()):
        assert other.get_config() == model.get_config()
        np.testing.assert_array_equal(other.predict(x), model.predict(x))


def test_a_file_without_the_options_is_a_plain_layer() -> None:
    old = {"hidden_size": 4, "num_layers": 1, "bias": True, "dropout": 0.0, "bidirectional": True}
    old |= {"return_sequences": False, "forget_bias": 1.0}
    assert layer_from_config({"type": "LSTM", **old}).get_config() == fl.LSTM(4, bidirectional=True).get_config()
    assert layer_from_config({"type": "Dense", "output_size": 2, "bias": False}).get_config() == (
        fl.Dense(2, bias=False).get_config()
    )


def test_repr_and_summary_tell_the_options_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    layers = [fl.LSTM(4, num_layers=2, residual=True, learn_state=True, reverse=True), fl.Dropout(0.5), fl.Dense(2)]
    model = fl.Model(layers, input_size=3)
    model.summary()
    printed = capsys.readouterr().out
    assert "LSTM(hidden_size=4, num_layers=2, reverse=True, residual=True, learn_state=True)" in printed
    assert "Dropout(p=0.5)" in printed and "Dense(output_size=2)" in printed
    # 2 layers of 16 x (3 or 4 inputs + 4 + 2 biases) and 8 initial states each
    assert f"{16 * 9 + 16 * 10 + 16:,}" in printed


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"concat", "concat, stacked", "projection", "dropouts"}))
def test_pytorch_has_no_such_layers(name: str) -> None:
    with pytest.raises(ValueError, match="layer 0 has .*, which no PyTorch module has"):
        model_of(**LAYERS[name]).to_torch_state_dict()


def test_several_threads_at_once() -> None:
    model = model_of("float32", **LAYERS["all, product"])
    x = np.random.default_rng(8).standard_normal((6, 8, 3)).astype("f4")
    want = model.predict(x)
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(20):
            if not np.array_equal(model.predict(x), want):
                wrong.append(k)

    in_threads(4, work)
    assert not wrong


@pytest.mark.parametrize("name", LAYERS)
def test_every_option_trains(name: str) -> None:
    """The class is the sign of the first or the last value; any number of threads gives the same bits."""
    rng = np.random.default_rng(9)
    X = rng.standard_normal((64, 6, 2)).astype("f4")
    y = (X[:, 0 if LAYERS[name].get("reverse") else -1, 0] > 0).astype(int)
    per_step = LAYERS[name].get("return_sequences", False)
    runs = []
    for n_threads in (1, 2):
        model = fl.Model([fl.LSTM(8, **LAYERS[name]), fl.Dense(2, weight_init="glorot_uniform")], seed=3)
        labels = np.repeat(y[:, None], 6, axis=1) if per_step else y
        history = model.fit(
            X, labels, epochs=25, batch_size=16, optimizer=fl.Adam(lr=0.02), verbose=0, n_threads=n_threads
        )
        runs.append(model.flat_parameters.tobytes())
    assert runs[0] == runs[1]
    # Without the masks that a training pass draws.
    assert model.evaluate(X, labels)["loss"] < 0.6 * history.history["loss"][0]
