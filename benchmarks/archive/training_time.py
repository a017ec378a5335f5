"""Time of training an estimator: `LSTMClassifier` beside the same network in skorch and in Keras."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastlstm as fl

from ..report import table
from .scores import Record, standard_error
from .sets import Problem, find, read

__all__ = ["PEERS", "Setting", "measure", "report"]

HIDDEN = 64


class Setting(NamedTuple):
    """What all peers have in common."""

    epochs: int
    batch: int
    learning_rate: float
    threads: int


class _Result(NamedTuple):
    fit_s: float
    accuracy: float


def _own(problem: Problem, setting: Setting, seed: int) -> _Result:
    from fastlstm.sklearn import LSTMClassifier

    classifier = LSTMClassifier(
        HIDDEN, dropout=0.0, differences=False, stride=1, learning_rate=setting.learning_rate, schedule=None,
        epochs=setting.epochs, batch_size=setting.batch, random_state=seed, n_jobs=setting.threads,
    )  # fmt: skip
    start = time.perf_counter()
    classifier.fit(problem.X_train, problem.y_train)
    return _Result(time.perf_counter() - start, classifier.score(problem.X_test, problem.y_test))


def _codes(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return standardized series of float32 and numbers of classes, as the peers take them."""
    scaler = fl.Standardizer().fit(problem.X_train)
    X_train, X_test = (scaler.transform(X).astype(np.float32) for X in (problem.X_train, problem.X_test))
    classes = np.unique(problem.y_train)
    return X_train, np.searchsorted(classes, problem.y_train), X_test, np.searchsorted(classes, problem.y_test)


def _skorch(problem: Problem, setting: Setting, seed: int) -> _Result:
    import torch
    from skorch import NeuralNetClassifier
    from skorch.callbacks import GradientNormClipping

    X_train, y_train, X_test, y_test = _codes(problem)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(X_train.shape[2], HIDDEN, batch_first=True, bidirectional=True)
            self.head = torch.nn.Linear(2 * HIDDEN, int(y_train.max()) + 1)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0].max(dim=1).values)

    torch.set_num_threads(setting.threads)
    torch.manual_seed(seed)
    classifier = NeuralNetClassifier(
        Network, criterion=torch.nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=setting.learning_rate,
        max_epochs=setting.epochs, batch_size=setting.batch, iterator_train__shuffle=True, train_split=None, verbose=0,
        callbacks=[GradientNormClipping(1.0)],
    )  # fmt: skip
    start = time.perf_counter()
    classifier.fit(X_train, y_train)
    return _Result(time.perf_counter() - start, float((classifier.predict(X_test) == y_test).mean()))


def _keras(problem: Problem, setting: Setting, seed: int) -> _Result:
    if "KERAS_BACKEND" not in os.environ and importlib.util.find_spec("tensorflow") is None:
        os.environ["KERAS_BACKEND"] = "jax" if importlib.util.find_spec("jax") is not None else "torch"
    import keras

    X_train, y_train, X_test, y_test = _codes(problem)
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input(X_train.shape[1:]),
            keras.layers.Bidirectional(keras.layers.LSTM(HIDDEN, return_sequences=True)),
            keras.layers.GlobalMaxPooling1D(),
            keras.layers.Dense(int(y_train.max()) + 1),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(setting.learning_rate, global_clipnorm=1.0), loss)
    start = time.perf_counter()
    model.fit(X_train, y_train, batch_size=setting.batch, epochs=setting.epochs, verbose=0)
    spent = time.perf_counter() - start
    return _Result(spent, float((model.predict(X_test, verbose=0).argmax(axis=1) == y_test).mean()))


PEERS: dict[str, tuple[tuple[str, ...], Callable[[Problem, Setting, int], _Result]]] = {
    "LSTMClassifier": ((), _own),
    "skorch": (("skorch", "torch"), _skorch),
    "Keras": (("keras",), _keras),
}
"""The packages that each needs, and the function that trains and tests it."""


def measure(
    name: str,
    folder: Path | None,
    setting: Setting,
    seeds: Sequence[int],
    progress: Callable[[str], Any] = lambda text: None,
) -> dict[str, Any]:
    """Train all peers in turns, a run for each seed; a peer that is not installed is left out with a line of progress.

    Parameters
    ----------
    name : str
        A set of series of equal length, such as ECG5000.
    folder : path or None
        As in `find`.
    setting : Setting
    seeds : sequence of int
    progress : callable, optional

    Returns
    -------
    dict
        ``name``, ``setting``, ``versions``, and ``peers``: for each the runs with ``fit_s`` and ``accuracy``.

    Raises
    ------
    ArchiveError
        If the set is not there.
    """
    problem = read(name, find([name], folder)[name])
    present = {}
    for peer, (packages, train) in PEERS.items():
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        if missing:
            progress(f"{peer} is left out: pip install {' '.join(missing)}")
        else:
            present[peer] = train
    runs: dict[str, list[dict[str, Any]]] = {peer: [] for peer in present}
    warm_up = setting._replace(epochs=1)
    for train in present.values():
        train(problem, warm_up, 0)
    for seed in seeds:
        for peer, train in present.items():
            result = train(problem, setting, seed)
            runs[peer].append({"seed": seed, **result._asdict()})
            progress(f"{peer}, seed {seed}: {result.fit_s:.1f} s, accuracy {result.accuracy:.3f}")
    return {"name": name, "setting": setting._asdict(), "versions": _versions(present), "peers": runs}


def _versions(peers: Mapping[str, Any]) -> dict[str, str]:
    import importlib.metadata as metadata

    names = ["fastlstm", *(package for peer in peers for package in PEERS[peer][0])]
    versions = {name: metadata.version(name) for name in names}
    if "Keras" in peers:
        import keras

        versions["Keras's backend"] = keras.backend.backend()
    return versions


def report(result: Record, machine: str) -> str:
    """Return Markdown: the median time of each peer, its ratio to that of `LSTMClassifier`, and the mean accuracy."""
    setting = Setting(**result["setting"])
    medians = {peer: float(np.median([run["fit_s"] for run in runs])) for peer, runs in result["peers"].items()}
    rows = []
    for peer, runs in result["peers"].items():
        scores = [run["accuracy"] for run in runs]
        error = standard_error(scores)
        accuracy = f"{np.mean(scores):.3f}" + ("" if error is None else f" ± {error:.3f}")
        rows.append([peer, f"{medians[peer]:.2f}", f"{medians[peer] / medians['LSTMClassifier']:.2f}", accuracy])
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    heading = (
        f"# Training an estimator\n\n{result['name']}: an LSTM of {HIDDEN} units in each direction, the maximum over "
        f"the steps, a linear layer; {setting.epochs} epochs in batches of {setting.batch}, Adam, clipping. {machine}, "
        f"threads: {setting.threads}. {versions}.\n"
    )
    return "\n".join([heading, table(["", "fit s", "of LSTMClassifier", "accuracy"], rows)])
