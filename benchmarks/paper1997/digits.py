"""Handwritten digits of 8 x 8 pixels, read as sequences of 64 numbers; scikit-learn ships the 1,797 images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import fastlstm as fl
from fastlstm._draws import Draws

from .recipe import RECIPE, Recipe
from .tasks import Task
from .trial import Clock, Progress

__all__ = ["Digits"]

_TRAIN, _VALIDATION = 1100, 247
"""Images of each part; the rest, 450, is the test part."""


class _Pixels(Task):
    inputs = 1
    outputs = 10
    memory = 64


@dataclass(frozen=True)
class Digits:
    """The experiment: it has no criterion of success; the result is the accuracy on held-out images."""

    name: str = "digits"
    title: str = "digits of 8 x 8 pixels, one after the other"
    epochs: int = 200
    patience: int = 40
    recipe: Recipe = RECIPE

    def settings(self) -> dict[str, Any]:
        """Return the settings on which the results depend, as data for JSON."""
        return {**self.recipe.as_dict(), "epochs": self.epochs, "patience": self.patience}

    def trial(self, seed: int, progress: Progress) -> tuple[dict[str, Any], Any]:
        """Train with early stopping on the validation part, and measure on the test part; return record and model."""
        from sklearn.datasets import load_digits

        clock = Clock()
        data = load_digits()
        x = (data.data / 16).astype(np.float32)[:, :, None]
        order = Draws(seed, "digits").permutation(len(x))
        train, validation, test = np.split(order, [_TRAIN, _TRAIN + _VALIDATION])
        model = self.recipe.model(_Pixels(), seed)
        history = model.fit(
            x[train],
            data.target[train],
            validation_data=(x[validation], data.target[validation]),
            epochs=self.epochs,
            batch_size=self.recipe.batch,
            optimizer=self.recipe.optimizer(),
            callbacks=[fl.EarlyStopping("val_accuracy", patience=self.patience, restore_best=True)],
            verbose=0,
        )
        accuracy = float((model.predict_classes(x[test]) == data.target[test]).mean())
        epochs = len(history.history["loss"])
        progress(epochs * len(train), 1 - accuracy)
        return {
            "solved": True,
            "presented": epochs * len(train),
            "milestones": {"accuracy": accuracy},
            **clock.as_dict(),
            "curve": {"each": len(train), "errors": [round(1 - one, 4) for one in history.history["val_accuracy"]]},
        }, model
