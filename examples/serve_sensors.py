"""Many sensors that report when they like: the callback of a stream processor.

A `Bank` keeps one state for each sensor in one stream. The consumer of a queue (Kafka, MQTT, ...) hands over the
messages of a poll at once, in any order, some sensors several times; sensors that have been silent for long are
forgotten; a snapshot lets another process continue.

    bank = Bank(fl.load("model.safetensors").freeze())
    for messages in consumer:                     # lists of (name, features)
        for name, answer in bank.feed(messages):
            ...
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm as fl


class Bank:
    """The series of many sensors, by name.

    Parameters
    ----------
    model : Model
        A frozen one needs least memory and time.
    """

    def __init__(self, model: fl.Model) -> None:
        self._stream = model.stream(1)
        self._stream.remove_rows([0])
        self._features = model.input_size
        self._rows: dict[str, int] = {}
        self._turn = 0
        self._last_turn: list[int] = []

    @property
    def sensors(self) -> list[str]:
        """Names of the sensors, in the order of their states."""
        return list(self._rows)

    def feed(self, messages: Iterable[tuple[str, Sequence[float]]]) -> list[tuple[str, np.ndarray]]:
        """Take a step for each message, in their order for each sensor; return the answers in that of the messages."""
        self._turn += 1
        messages = list(messages)
        answers: list[Any] = [None] * len(messages)
        waiting = list(range(len(messages)))
        while waiting:
            chosen: dict[str, int] = {}  # the first message of each sensor
            later = [k for k in waiting if chosen.setdefault(messages[k][0], k) != k]
            rows = [self._row(name) for name in chosen]
            x = np.array([messages[k][1] for k in chosen.values()], np.float32)
            for k, answer in zip(chosen.values(), self._stream.step(x, rows=rows), strict=True):
                answers[k] = answer
            waiting = later
        return [(name, answer) for (name, _), answer in zip(messages, answers, strict=True)]

    def forget_silent(self, turns: int) -> list[str]:
        """Forget the sensors that have not reported in the last `turns` calls of `feed`; return their names."""
        names = self.sensors
        silent = [row for row, last in enumerate(self._last_turn) if last <= self._turn - turns]
        kept = self._stream.remove_rows(silent)
        self._rows = {names[row]: k for k, row in enumerate(kept)}
        self._last_turn = [self._last_turn[row] for row in kept]
        return [names[row] for row in silent]

    def save(self, path: str | Path) -> None:
        """Write names and states to a file of NumPy."""
        np.savez(path, names=np.array(self.sensors, str), **self._stream.save_state())

    def load(self, path: str | Path) -> None:
        """Continue from a file that `save` has written."""
        with np.load(path) as stored:
            names = stored["names"].tolist()
            self._stream.remove_rows(range(self._stream.batch_size))
            if names:
                self._stream.add_rows(len(names))
            self._stream.load_state({key: stored[key] for key in stored.files if key != "names"})
        self._rows = {name: row for row, name in enumerate(names)}
        self._last_turn = [self._turn] * len(names)

    def _row(self, name: str) -> int:
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = int(self._stream.add_rows()[0])
            self._last_turn.append(self._turn)
        self._last_turn[row] = self._turn
        return row
