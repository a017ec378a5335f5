"""Recognise nine speakers by one vowel: ``python -m fastlstm demo``.

The model is trained twice with the same settings: first on 85 % of the training utterances, with the rest for
validation, then on all of them for the test. 270 utterances are too few to keep 15 % of them out of the final training,
or to choose the best epoch.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Standardizer, split
from ..data.datasets import JapaneseVowels, load_japanese_vowels
from ..layers import LSTM, Dense, Dropout, GaussianNoise
from ..model import Model
from ..optimizers import AdamW
from ..schedules import CosineLR
from ..training.history import History
from .report import check_reloaded, printer, save_plot, table

__all__ = ["run_vowels"]

# Chosen by the mean cross-entropy of five-fold cross-validation, repeated three times, on the training utterances.
HIDDEN_SIZE = 200
NOISE = 0.9
INPUT_DROPOUT = 0.2
OUTPUT_DROPOUT = 0.5
LEARNING_RATE = 3e-3
EPOCHS = 80


def run_vowels(out_dir: Path, seed: int = 0, verbose: int = 1) -> dict[str, Any]:
    """Train, validate, test, save and reuse a classifier of the Japanese vowels.

    Parameters
    ----------
    out_dir : Path
        An existing folder, for ``vowels.safetensors`` and ``vowels.png``.
    seed : int, default 0
        Decides the validation part, weights, noise, dropout and the order of the training utterances.
    verbose : {0, 1}, default 1
        Whether to print, and to show a progress bar if stderr is a terminal.

    Returns
    -------
    dict
        ``"accuracy"`` and ``"loss"`` on the test part; ``"val_accuracy"`` and ``"val_loss"`` of the first training;
        ``"confusion"``, the test utterances by speaker (rows) and by speaker recognised (columns), int64 (9, 9);
        ``"epochs"`` of each training; ``"seconds"`` that both took; ``"model"`` and ``"plot"``: the files (the plot
        None without matplotlib).

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C ended the training.
    """
    say = printer(verbose)
    data = load_japanese_vowels()
    frames = [len(x) for x in data.X_train + data.X_test]
    say(f"Japanese vowels: which of {len(data.classes)} speakers said /ae/?")
    say(f"  {len(data.X_train)} utterances for training and validation, {len(data.X_test)} for the test;")
    say(f"  {min(frames)} to {max(frames)} steps of 6.4 ms each, with {data.X_train[0].shape[1]} coefficients")

    train, validation = split(data.y_train, (0.85, 0.15), method="stratified", seed=seed)
    say(f"\nTraining on {len(train)} utterances, validating on {len(validation)}")
    start = time.perf_counter()
    _, history = _train(data, train, seed, verbose, validation)
    val_loss, val_accuracy = (history.history[name][-1] for name in ("val_loss", "val_accuracy"))
    say(f"  {history.epochs} epochs: validation accuracy {val_accuracy:.3f}, loss {val_loss:.3f}")
    say(f"Training again, on all {len(data.X_train)}")
    model, _ = _train(data, np.arange(len(data.X_train)), seed, verbose)
    seconds = time.perf_counter() - start
    say(f"  both took {seconds:.1f} s")

    tested = model.evaluate(data.X_test, data.y_test)
    confusion = np.zeros((len(data.classes), len(data.classes)), np.int64)
    np.add.at(confusion, (data.y_test, model.predict(data.X_test).argmax(axis=1)), 1)
    say(f"\nTest accuracy {tested['accuracy']:.4f}: {confusion.trace()} of {confusion.sum()} utterances")
    say("Speakers (rows), and who was recognised (columns):")
    say(_confusion_table(confusion, data.classes))

    say("\nFiles")
    path = out_dir / "vowels.safetensors"
    model.save(path)
    check_reloaded(path, lambda loaded: loaded.predict(data.X_test), model.predict(data.X_test))
    say(f"  {path}: the model; loaded again, it gives the same predictions")
    plot = save_plot(history.plot, out_dir / "vowels.png", "loss and accuracy over the epochs", say)
    say("\nTo use the model:")
    say(f'  import fastlstm as fl; model = fl.load("{path.as_posix()}")')
    say("  model.predict_classes(fl.datasets.load_japanese_vowels().X_test)  # a list of arrays (time, 12)")
    return {
        **tested,
        "val_loss": val_loss,
        "val_accuracy": val_accuracy,
        "confusion": confusion,
        "epochs": history.epochs,
        "seconds": seconds,
        "model": path,
        "plot": plot,
    }


def _train(
    data: JapaneseVowels,
    train: NDArray[np.int64],
    seed: int,
    verbose: int,
    validation: NDArray[np.int64] | None = None,
) -> tuple[Model, History]:
    """Train a model on some of the training utterances."""
    model = Model(
        [
            GaussianNoise(NOISE),
            Dropout(INPUT_DROPOUT),
            LSTM(HIDDEN_SIZE, bidirectional=True),
            Dropout(OUTPUT_DROPOUT),
            Dense(len(data.classes)),
        ],
        seed=seed,
        scaler=Standardizer(),
        classes=data.classes,
    )
    history = model.fit(
        *_cases(data, train),
        optimizer=AdamW(CosineLR(LEARNING_RATE)),
        epochs=EPOCHS,
        validation_data=None if validation is None else _cases(data, validation),
        verbose=verbose,
    )
    return model, history


def _cases(data: JapaneseVowels, chosen: NDArray[np.int64]) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    return [data.X_train[index] for index in chosen], data.y_train[chosen]


def _confusion_table(confusion: NDArray[np.int64], names: tuple[str, ...]) -> str:
    rows = [["", *names]]
    for name, counts in zip(names, confusion, strict=True):
        rows.append([name, *(str(count) if count else "." for count in counts)])
    return table(rows)
