"""Telling nine speakers apart by one vowel: ``python -m fastlstm demo``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..callbacks import EarlyStopping
from ..data import Standardizer, split
from ..datasets import load_japanese_vowels
from ..layers import LSTM, Dense, Dropout
from ..model import Model
from ..optimizers import AdamW
from ..schedules import CosineLR
from .report import check_reloaded, printer, save_plot, table

__all__ = ["noisy_copies", "run_vowels"]

# Chosen by repeated cross-validation on the training utterances.
HIDDEN_SIZE = 128
INPUT_DROPOUT = 0.2
OUTPUT_DROPOUT = 0.5
COPIES = 12
NOISE = 0.9
LEARNING_RATE = 3e-3
EPOCHS = 5
PATIENCE = 5


def run_vowels(out_dir: Path, seed: int = 0, verbose: int = 1) -> dict[str, Any]:
    """Train, validate, test, save and reuse a classifier of the Japanese vowels.

    Parameters
    ----------
    out_dir : Path
        An existing folder, for ``vowels.safetensors`` and ``vowels.png``.
    seed : int, default 0
        Decides the validation part, the noise, weights, dropout and the order of the training utterances.
    verbose : {0, 1}, default 1
        Whether to print, and to show a progress bar if stderr is a terminal.

    Returns
    -------
    dict
        ``"accuracy"`` and ``"loss"`` on the test part, ``"val_accuracy"`` and ``"val_loss"``; ``"confusion"``, the
        test utterances by speaker (rows) and by speaker recognised (columns), int64 (9, 9); ``"epochs"`` and
        ``"best_epoch"``; ``"seconds"`` that the training took; ``"model"`` and ``"plot"``: the files (the plot None
        without matplotlib).

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C ended the training.
    """
    say = printer(verbose)
    data = load_japanese_vowels()
    train, validation = split(data.y_train, (0.85, 0.15), method="stratified", seed=seed)
    X_train, y_train = [data.X_train[i] for i in train], data.y_train[train]
    X_val, y_val = [data.X_train[i] for i in validation], data.y_train[validation]
    frames = [len(x) for x in data.X_train + data.X_test]
    say(f"Japanese vowels: which of {len(data.classes)} speakers said /ae/?")
    say(f"  {len(X_train)} utterances for training, {len(X_val)} for validation, {len(data.X_test)} for the test;")
    say(f"  {min(frames)} to {max(frames)} steps of 6.4 ms, with {X_train[0].shape[1]} coefficients each")

    scaler = Standardizer().fit(X_train)
    X_noisy, y_noisy = noisy_copies(X_train, y_train, COPIES, NOISE * scaler.scale_, seed)
    say(f"\nTraining on the utterances and {COPIES - 1} copies of each with noise")
    model = Model(
        [
            Dropout(INPUT_DROPOUT),
            LSTM(HIDDEN_SIZE, bidirectional=True),
            Dropout(OUTPUT_DROPOUT),
            Dense(len(data.classes)),
        ],
        seed=seed,
        scaler=scaler,
        classes=data.classes,
    )
    start = time.perf_counter()
    history = model.fit(
        X_noisy,
        y_noisy,
        loss="cross_entropy",
        optimizer=AdamW(CosineLR(LEARNING_RATE)),
        epochs=EPOCHS,
        validation_data=(X_val, y_val),
        callbacks=[EarlyStopping(patience=PATIENCE)],
        verbose=verbose,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    seconds = time.perf_counter() - start
    validated = model.evaluate(X_val, y_val)
    say(
        f"  {history.epochs} epochs in {seconds:.1f} s, kept the weights of epoch {history.best_epoch}: "
        f"validation accuracy {validated['accuracy']:.3f}"
    )

    tested = model.evaluate(data.X_test, data.y_test)
    predicted = model.predict(data.X_test).argmax(axis=1)
    confusion = np.zeros((len(data.classes),) * 2, np.int64)
    np.add.at(confusion, (data.y_test, predicted), 1)
    say(f"\nTest accuracy {tested['accuracy']:.4f}: {confusion.trace()} of {confusion.sum()} utterances")
    say("Speakers (rows), and who was recognised (columns):")
    say(_confusion_table(confusion, data.classes))

    say("\nFiles")
    path = out_dir / "vowels.safetensors"
    model.save(path)
    say(f"  {path}: the model; read again, ", end="")
    check_reloaded(path, lambda loaded: loaded.predict_classes(data.X_test), model.predict_classes(data.X_test))
    say("it gives the same predictions")
    plot = save_plot(history.plot, out_dir / "vowels.png", "loss and accuracy over the epochs", say)
    say("\nTo use the model:")
    say(f'  import fastlstm as fl; model = fl.load("{path.as_posix()}")')
    say("  model.predict_classes([utterance])  # a list of arrays (time, 12)")
    return {
        **tested,
        "val_loss": validated["loss"],
        "val_accuracy": validated["accuracy"],
        "confusion": confusion,
        "epochs": history.epochs,
        "best_epoch": history.best_epoch,
        "seconds": seconds,
        "model": path,
        "plot": plot,
    }


def noisy_copies(
    X: list[NDArray[np.float32]], y: NDArray[np.int64], copies: int, noise: NDArray[np.float64], seed: int
) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    """Give a training set more variety: itself, and copies of it with normal noise.

    Parameters
    ----------
    X : list of ndarray (time, features)
    y : ndarray (n,)
    copies : int
        Copies of each series, the first one as it is.
    noise : ndarray (features,)
        Standard deviation of the noise.
    seed : int
        Decides the noise.

    Returns
    -------
    list of ndarray, ndarray
        `copies` times as many series, and their labels.
    """
    rng = np.random.default_rng(seed)
    noisy = [(x + noise * rng.standard_normal(x.shape)).astype(x.dtype) for _ in range(copies - 1) for x in X]
    return X + noisy, np.tile(y, copies)


def _confusion_table(confusion: NDArray[np.int64], names: tuple[str, ...]) -> str:
    rows = [["", *names]]
    for name, counts in zip(names, confusion, strict=True):
        rows.append([name, *(str(count) if count else "." for count in counts)])
    return table(rows)
