"""Truncated backpropagation, `fit(tbptt_steps=...)`: the state is carried over segments, the gradient is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import relative_error

import fastlstm as fl
from fastlstm import reference
from fastlstm.data.cases import Cases
from fastlstm.data.sequences import as_sequences
from fastlstm.inference.feeding import Feed, count_segments
from fastlstm.inference.inputs import checked_cases


class Recorder(fl.SGD):
    """An optimizer that keeps the gradients and changes nothing."""

    def __init__(self) -> None:
        super().__init__(lr=1.0)
        self.gradients: list[dict[str, np.ndarray]] = []

    def step(self, model: Any, n_threads: int | None = None) -> None:
        self.gradients.append({name: g.copy() for name, g in model.gradients().items()})


def problem(n: int = 6, time: int = 20, outputs: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs, targets of each step, lengths."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, time, 3)).astype("f4"), rng.standard_normal((n, time, outputs)).astype("f4")
    return X, y, np.array([20, 9, 14, 3, 17, 10])[:n]


def model_of(dtype: str = "float32", seed: int = 3, outputs: int = 2, **options: Any) -> fl.Model:
    lstm = fl.LSTM(7, **{"num_layers": 2, "dropout": 0.3, "return_sequences": True, **options})
    return fl.Model([lstm, fl.Dropout(0.2), fl.Dense(outputs)], input_size=3, dtype=dtype, seed=seed)


def fit(model: fl.Model, X: Any, y: Any, **arguments: Any) -> fl.History:
    return model.fit(X, y, **{"loss": "mse", "epochs": 3, "batch_size": 4, "verbose": 0, **arguments})


@pytest.mark.parametrize("options", [{}, {"learn_state": True, "residual": True}], ids=["plain", "more"])
@pytest.mark.parametrize("steps", [20, 1000])
@pytest.mark.parametrize("variable", [False, True], ids=["full", "lengths"])
def test_one_segment_is_ordinary_training(variable: bool, steps: int, options: dict[str, Any]) -> None:
    X, y, lengths = problem()
    runs = []
    for tbptt_steps in (None, steps):
        model = model_of(**options)
        history = fit(
            model, X, y, lengths=lengths if variable else None, validation_data=(X, y), tbptt_steps=tbptt_steps
        )
        runs.append((model.flat_parameters.tobytes(), history.history))
    assert runs[0] == runs[1]


def expected_gradients(
    p: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray, lengths: np.ndarray, steps: int, learn: bool
) -> list[dict[str, np.ndarray]]:
    """Compute those of LSTM, Dense and mean squared error, by segment and case, with no gradient between segments."""
    states = [(p["0.h0_l0"], p["0.c0_l0"]) if learn else (np.zeros(7), np.zeros(7)) for _ in x]
    result = []
    for start in range(0, int(lengths.max()), steps):
        sums = {name: np.zeros_like(value) for name, value in p.items()}
        ends = np.minimum(lengths, start + steps)
        count = np.maximum(ends - start, 0).sum() * y.shape[2]
        for case in np.flatnonzero(lengths > start):
            part = slice(start, ends[case])
            weights = [p[f"0.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            h0, c0 = states[case]
            h, hn, cn, trace = reference.lstm_forward(x[case : case + 1, part], *weights, h0=h0[None], c0=c0[None])
            states[case] = hn[0], cn[0]
            d_out = 2 * (h @ p["1.weight"].T + p["1.bias"] - y[case : case + 1, part]) / count
            dense = reference.dense_backward(d_out, h, p["1.weight"])
            lstm = reference.lstm_backward(trace, dense["x"])
            sums["1.weight"] += dense["weight"]
            sums["1.bias"] += dense["bias"]
            for name in ("weight_ih", "weight_hh"):
                sums[f"0.{name}_l0"] += lstm[name]
            for name in ("bias_ih", "bias_hh"):
                sums[f"0.{name}_l0"] += lstm["bias"]
            if learn and start == 0:
                sums["0.h0_l0"] += lstm["h0"][0]
                sums["0.c0_l0"] += lstm["c0"][0]
        result.append(sums)
    return result


@pytest.mark.parametrize("learn", [False, True], ids=["zeros", "learn_state"])
@pytest.mark.parametrize("steps", [10, 7, 1])
@pytest.mark.parametrize("variable", [False, True], ids=["full", "lengths"])
def test_gradients_of_each_segment(variable: bool, steps: int, learn: bool) -> None:
    X, y, lengths = problem()
    lstm = fl.LSTM(7, learn_state=learn, return_sequences=True)
    model = fl.Model([lstm, fl.Dense(2)], input_size=3, dtype="float64", seed=5)
    rng = np.random.default_rng(1)
    for name, value in model.parameters().items():
        if name.startswith(("0.h0", "0.c0")):
            value[:] = rng.uniform(-1, 1, value.shape)
    lengths = lengths if variable else np.full(6, 20)
    recorder = Recorder()
    fit(model, X, y, lengths=lengths, optimizer=recorder, epochs=1, batch_size=6, shuffle=False, tbptt_steps=steps)
    want = expected_gradients(model.parameters(), X.astype("f8"), y.astype("f8"), lengths, steps, learn)
    assert len(recorder.gradients) == len(want) == -(-20 // steps)
    for got, segment in zip(recorder.gradients, want, strict=True):
        for name in segment:
            assert relative_error(got[name], segment[name]) <= 1e-10, name
    if learn:
        assert recorder.gradients[0]["0.h0_l0"].any() and not recorder.gradients[1]["0.h0_l0"].any()


def cases_of(model: fl.Model, X: Any, y: Any, lengths: Any = None) -> Cases:
    return checked_cases(model, as_sequences(X, lengths), y, fl.MSE())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("steps", [1, 6, 20])
def test_states_and_outputs_are_those_of_the_whole(steps: int, training: bool) -> None:
    """They are equal bit for bit, also for cases that end within a segment."""
    X, y, lengths = problem()
    model = model_of(dropout=0.0, learn_state=True, residual=True)
    model.layers[1].p = 0.0  # type: ignore[attr-defined]
    whole, [(h, c)] = model.forward(X, lengths, return_state=True)
    feed = Feed(model, cases_of(model, X, y, lengths), steps, training=training, n_threads=2)
    alive, start, got = np.arange(6), 0, np.zeros_like(whole)
    for segment in feed.segments([slice(0, 6)]):
        alive = alive if segment.rows is None else alive[segment.rows]
        out = feed.forward(segment)
        got[alive, start : start + steps] = out
        start += steps
        for row, case in enumerate(alive):
            if lengths[case] <= start:
                np.testing.assert_array_equal(feed.states[0][0][:, row], h[:, case])
                np.testing.assert_array_equal(feed.states[0][1][:, row], c[:, case])
    assert start >= 20
    for case, length in enumerate(lengths):
        np.testing.assert_array_equal(got[case, :length], whole[case, :length])


def test_every_batch_begins_anew() -> None:
    X, y, _ = problem()
    model = model_of(dropout=0.0)
    feed = Feed(model, cases_of(model, X, y), 8, training=False)
    outs = [feed.forward(segment).copy() for segment in feed.segments([slice(0, 2), np.array([5, 3])])]
    assert len(outs) == 6
    np.testing.assert_array_equal(np.concatenate(outs[:3], axis=1), model.forward(X[:2]))
    np.testing.assert_array_equal(np.concatenate(outs[3:], axis=1), model.forward(X[[5, 3]]))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_seed_fixes_every_bit(weighted: bool) -> None:
    """For any number of threads, and with segments; of a list as of a padded array whose padding holds NaN."""
    X, y, lengths = problem()
    padded = X.copy()
    padded[np.arange(20) >= lengths[:, None]] = np.nan
    series, targets = ([a[k, :n] for k, n in enumerate(lengths)] for a in (X, y))
    weight = np.random.default_rng(2).uniform(0, 1, (6, 20)) if weighted else None
    runs = []
    for n_threads, every, as_list in ((1, None, False), (2, None, False), (3, 4, False), (2, None, True)):
        model = model_of(learn_state=True)
        data = (series, targets) if as_list else (padded, y)
        history = fit(
            model,
            *data,
            lengths=None if as_list else lengths,
            validation_data=data if as_list else (*data, lengths),
            sample_weight=weight,
            tbptt_steps=6,
            n_threads=n_threads,
            recompute_every=every,
        )
        runs.append((model.flat_parameters.tobytes(), history.history))
    assert all(run == runs[0] for run in runs)


def test_segments_are_cut_like_this() -> None:
    X, y, lengths = problem()
    weight = np.arange(120.0).reshape(6, 20)
    model = model_of()
    cases = Cases(as_sequences(X, lengths), cases_of(model, X, y, lengths).targets, weight)
    chosen = np.array([3, 0, 1])  # of 3, 20 and 9 steps
    first, second, third = Feed(model, cases, 8, training=False).segments([chosen])
    assert first.rows is None and first.lengths is not None and list(first.lengths) == [3, 8, 8]
    np.testing.assert_array_equal(first.x, X[chosen, :8])
    assert list(second.rows) == [1, 2] and list(second.lengths) == [8, 1]  # type: ignore[arg-type]
    np.testing.assert_array_equal(second.x, X[[0, 1], 8:16])
    np.testing.assert_array_equal(second.weight, weight[[0, 1], 8:16])
    assert list(third.rows) == [0] and third.lengths is None  # type: ignore[arg-type]
    np.testing.assert_array_equal(third.x, X[[0], 16:])
    np.testing.assert_array_equal(third.y, y[[0], 16:])
    assert count_segments(cases.inputs, [chosen, slice(3, 4)], 8) == 4
    assert count_segments(as_sequences(X), [chosen, slice(3, 4)], 8) == 6
    assert count_segments(as_sequences(X), [chosen, slice(3, 4)], 0) == 2


def test_the_state_carries_what_the_gradient_does_not() -> None:
    """The target is the input of the step before: at the first step of a segment only the carried state knows it."""
    x = np.random.default_rng(3).choice([-1.0, 1.0], (8, 121)).astype("f4")
    X, y = x[:, 1:, None], x[:, :-1, None]
    model = fl.Model([fl.LSTM(12, return_sequences=True), fl.Dense(1)], seed=1)
    history = fit(model, X, y, batch_size=8, epochs=25, optimizer=fl.Adam(lr=0.02), tbptt_steps=4)
    # Knowing nothing at every fourth step would give a mean squared error of 1/4 or more.
    assert history.history["loss"][-1] < 0.1
    assert model.evaluate(X, y)["loss"] < 0.1


def test_validation_equals_evaluate() -> None:
    X, y, lengths = problem()

    def root(true: np.ndarray, predicted: np.ndarray) -> float:
        return float(np.sqrt(np.square(true - predicted).mean()))

    class Watch(fl.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            # The last segment of 20 steps in sevens: validation takes no more memory than training.
            assert self.model.network.context(False).out_shape[1] == 6

    model = model_of()
    model.scaler, model.target_scaler = fl.Standardizer(), fl.Standardizer()
    history = fit(
        model,
        5 + X,
        100 * y,
        lengths=lengths,
        validation_data=(X, y, lengths),
        tbptt_steps=7,
        metrics=[root],
        callbacks=[Watch()],
    )
    measured = model.evaluate(X, y, lengths=lengths, metrics=[root])
    for name in ("loss", "mae", "root"):
        # The same outputs, their losses summed in another order in float64 (in root's case in float32).
        assert history.history[f"val_{name}"][-1] == pytest.approx(
            measured[name], rel=1e-5 if name == "root" else 1e-12
        )


def test_labels_tokens_and_class_weights() -> None:
    """The label of a step is the last token that was 0 or 1; -100 before the first of them."""
    rng = np.random.default_rng(4)
    tokens = rng.integers(0, 6, (12, 40))
    labels = np.full(tokens.shape, -100)
    for t in range(40):
        seen = labels[:, t - 1] if t else np.full(12, -100)
        labels[:, t] = np.where(tokens[:, t] < 2, tokens[:, t], seen)
    model = fl.Model([fl.Embedding(6, 4), fl.LSTM(10, return_sequences=True), fl.Dense(2)], seed=2)
    history = model.fit(
        tokens, labels, epochs=30, batch_size=4, tbptt_steps=10, class_weight="balanced", verbose=0,
        optimizer=fl.Adam(lr=0.02), validation_split=0.25,
    )  # fmt: skip
    assert history.history["accuracy"][-1] > 0.95
    assert model.evaluate(tokens, labels)["accuracy"] > 0.95


def test_callbacks_count_segments(tmp_path: Path) -> None:
    X, y, lengths = problem()
    seen: list[tuple[int, int]] = []

    class Watch(fl.Callback):
        def on_epoch_begin(self, epoch: int) -> None:
            self.epoch = epoch

        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            seen.append((self.epoch, batch))
            # Whatever a callback does to the model, the next segment continues the last one.
            self.model.predict(X)
            self.model.forward(X[:2], training=True)
            self.model.network.passes -= 1
            self.stop_training = (self.epoch, batch) == (3, 2)

    watch = Watch()
    early = fl.EarlyStopping(monitor="loss", patience=5)
    model, twin = model_of(), model_of()
    schedule = fl.OneCycleLR(0.01)
    history = fit(
        model, X, y, lengths=lengths, shuffle=False, tbptt_steps=8, epochs=5, optimizer=fl.Adam(schedule),
        callbacks=[watch, early, fl.ModelCheckpoint(tmp_path / "m{epoch}")],
    )  # fmt: skip
    # Batches of 4 and 2 cases, of 20 and 17 steps: 3 segments each.
    assert watch.steps_per_epoch == 6
    assert seen == [(epoch, batch) for epoch in (1, 2) for batch in range(1, 7)] + [(3, 1), (3, 2)]
    assert history.epochs == 2
    fit(twin, X, y, lengths=lengths, shuffle=False, tbptt_steps=8, epochs=5, optimizer=fl.Adam(fl.OneCycleLR(0.01)),
        callbacks=[fl.ModelCheckpoint(tmp_path / "t{epoch}")])  # fmt: skip
    for epoch in (1, 2):
        first, second = (fl.load(tmp_path / f"{name}{epoch}").flat_parameters for name in "mt")
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(model.flat_parameters, fl.load(tmp_path / "m2").flat_parameters)


def test_training_continues_from_a_file(tmp_path: Path) -> None:
    """Two epochs, a file and two more epochs give the bits of four epochs."""
    X, y, lengths = problem()
    arguments: dict[str, Any] = {"lengths": lengths, "shuffle": False, "tbptt_steps": 6}
    whole, half = model_of(learn_state=True), model_of(learn_state=True)
    fit(whole, X, y, epochs=4, optimizer=fl.SGD(lr=0.05), **arguments)
    fit(half, X, y, epochs=2, optimizer=fl.SGD(lr=0.05), **arguments)
    half.save(tmp_path / "half")
    rest = fl.load(tmp_path / "half")
    fit(rest, X, y, epochs=2, optimizer=fl.SGD(lr=0.05), **arguments)
    np.testing.assert_array_equal(rest.flat_parameters, whole.flat_parameters)


def test_a_segment_in_which_nothing_counts_moves_no_weight() -> None:
    X, y, _ = problem()
    weight = np.ones((6, 20))
    weight[:, 5:15] = 0
    recorder = Recorder()
    fit(model_of(), X, y, sample_weight=weight, tbptt_steps=5, batch_size=6, epochs=1, optimizer=recorder)
    assert len(recorder.gradients) == 2


@pytest.mark.parametrize(
    ("layers", "steps", "error", "message"),
    [
        (
            [fl.LSTM(4, bidirectional=True, return_sequences=True), fl.Dense(2)],
            5,
            ValueError,
            "layer 0 is bidirectional",
        ),
        ([fl.Dense(3), fl.LSTM(2, reverse=True, return_sequences=True)], 5, ValueError, "layer 1 has reverse=True"),
        ([fl.LSTM(4), fl.Dense(2)], 5, ValueError, "one output for a whole series: set return_sequences=True"),
        ([fl.LSTM(2, return_sequences=True)], 0, ValueError, "tbptt_steps must be at least 1"),
        ([fl.LSTM(2, return_sequences=True)], 2.5, TypeError, "tbptt_steps must be an integer"),
    ],
)
def test_what_cannot_be_cut_is_refused(layers: Any, steps: Any, error: type[Exception], message: str) -> None:
    X, y, _ = problem()
    model = fl.Model([type(layer)(**layer.get_config()) for layer in layers], input_size=3)
    before = model.flat_parameters.copy()
    with pytest.raises(error, match=message):
        fit(model, X, y, tbptt_steps=steps)
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_equals_pytorch_with_detached_states() -> None:
    """Compare losses and weights of twelve updates of Adam, three in each of four epochs."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    X, y, _ = problem()
    lstm, head = torch.nn.LSTM(3, 7, 2, batch_first=True).double(), torch.nn.Linear(7, 2).double()
    model = fl.from_torch(torch.nn.Sequential(lstm, head), return_sequences=True, check=False)
    optimizer = torch.optim.Adam([*lstm.parameters(), *head.parameters()], lr=0.01)
    losses = []
    for _ in range(4):
        state, total = None, 0.0
        for start in range(0, 20, 7):
            x, t = (torch.from_numpy(a[:, start : start + 7].astype("f8")) for a in (X, y))
            out, state = lstm(x, state)
            state = tuple(part.detach() for part in state)
            loss = torch.nn.functional.mse_loss(head(out), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * x.shape[1]
        losses.append(total / 20)
    history = fit(model, X, y, epochs=4, batch_size=6, shuffle=False, tbptt_steps=7, optimizer=fl.Adam(lr=0.01))
    # Both are in float64: rounding of 1e-16, through twelve updates that divide by the root of a gradient's square.
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-9)
    for got, theirs in zip(model.parameters().values(), [*lstm.parameters(), *head.parameters()], strict=True):
        np.testing.assert_allclose(got, theirs.detach().numpy(), atol=1e-8)


# ------------------------------------------------------------------------------------ the loops of docs/state.md


def test_a_loop_over_segments_by_hand() -> None:
    """`forward(state=...)` and `backward` stop at the cut: the losses and weights of `fit(tbptt_steps=...)`."""
    X, y, _ = problem()
    by_fit, model = (model_of("float64", learn_state=True) for _ in range(2))
    history = fit(by_fit, X, y, epochs=1, batch_size=6, shuffle=False, tbptt_steps=7, optimizer=fl.Adam(lr=0.01))
    optimizer, total, state = fl.Adam(lr=0.01), 0.0, None
    for start in range(0, 20, 7):
        part = slice(start, start + 7)
        out, state = model.forward(X[:, part], state=state if start else None, training=True, return_state=True)
        total += float(((out - y[:, part]) ** 2).sum())
        model.zero_grad()
        model.backward(2 * (out - y[:, part]) / out.size)
        optimizer.step(model)
    # The loss of fit divides in another order.
    assert total / y.size == pytest.approx(history.history["loss"][0], rel=1e-12)
    np.testing.assert_allclose(model.flat_parameters, by_fit.flat_parameters, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"learn_state": True, "residual": True}, {"num_layers": 1, "learn_state": True}],
    ids=["stacked", "more", "one layer"],
)
def test_gradients_across_the_cuts(options: dict[str, Any]) -> None:
    """`d_state` passed on, last segment first, gives the gradient of the whole series."""
    X, y, _ = problem()
    X, y = X.astype("f8"), y.astype("f8")
    layers = [fl.LSTM(7, **{"num_layers": 2, "return_sequences": True, **options}), fl.LSTM(5, return_sequences=True)]
    model = fl.Model([*layers, fl.Dense(2)], input_size=3, dtype="float64", seed=6)
    out = model.forward(X, training=True)
    dx = model.backward(2 * (out - y) / y.size)
    whole = model.flat_gradients.copy()

    parts = [slice(start, start + 7) for start in range(0, 20, 7)]
    states: list[Any] = [None]
    for part in parts[:-1]:
        states.append(model.forward(X[:, part], state=states[-1], return_state=True)[1])
    model.zero_grad()
    d_state, segments = None, []
    for part, state in zip(reversed(parts), reversed(states), strict=True):
        out = model.forward(X[:, part], state=state, training=True)
        d_segment, d_state = model.backward(2 * (out - y[:, part]) / y.size, d_state, return_d_state=True)
        segments.insert(0, d_segment)
    # The same sums in another order, in float64.
    np.testing.assert_allclose(model.flat_gradients, whole, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(np.concatenate(segments, axis=1), dx, rtol=1e-9, atol=1e-14)
