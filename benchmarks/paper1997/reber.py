"""The embedded Reber grammar as an automaton: strings, endless streams, and which symbols may come next."""

from __future__ import annotations

import numpy as np

from fastlstm._draws import Draws

__all__ = ["LEGAL", "SYMBOLS", "Strings", "states_after"]

SYMBOLS = "BTPSXVE"

_INNER = (
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 7},
)
"""The Reber grammar: for each state the symbols that leave it, and where they lead; 7 is the end."""

_BRANCH = len(_INNER) + 1
_CLOSING = 2 + 2 * _BRANCH
"""The state before the last E of an embedded string."""
_TABLE: list[dict[str, int]] = [{"B": 1}, {"T": 2, "P": 2 + _BRANCH}]
for _first in "TP":
    _base = len(_TABLE)
    _TABLE += [{symbol: _base + state for symbol, state in edges.items()} for edges in _INNER]
    _TABLE.append({_first: _CLOSING})
_TABLE.append({"E": 0})

_EDGES = [[(SYMBOLS.index(symbol), state) for symbol, state in edges.items()] for edges in _TABLE]

LEGAL = np.zeros((len(_TABLE), len(SYMBOLS)), bool)
"""(states, symbols): the symbols that may come next in each state of the embedded grammar; state 0 is the beginning."""
for _state, _edges in enumerate(_EDGES):
    LEGAL[_state, [symbol for symbol, _ in _edges]] = True


class Strings:
    """Strings of the embedded grammar; at a fork both ways are equally likely.

    Parameters
    ----------
    draws : Draws
        Source of the random numbers.
    """

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._coins: list[int] = []
        self._rest: list[int] = []

    def _toss(self) -> int:
        if not self._coins:
            self._coins = self._draws.integers(2, 4096).tolist()
        return self._coins.pop()

    def draw(self) -> tuple[int, ...]:
        """Return a string, as indices into `SYMBOLS`."""
        state, symbols = 0, []
        while True:
            edges = _EDGES[state]
            symbol, state = edges[self._toss()] if len(edges) == 2 else edges[0]
            symbols.append(symbol)
            if state == 0:
                return tuple(symbols)

    def stream(self, steps: int) -> np.ndarray:
        """Return the next `steps` symbols of an endless row of strings, (steps,) int64."""
        while len(self._rest) < steps:
            self._rest.extend(self.draw())
        symbols, self._rest = self._rest[:steps], self._rest[steps:]
        return np.array(symbols, np.int64)


def states_after(symbols: np.ndarray, start: int = 0) -> np.ndarray:
    """Return the state after each symbol of a legal string or stream that begins in state `start`; see `LEGAL`.

    Raises
    ------
    ValueError
        If a symbol is not legal.
    """
    states, state = [], start
    for place, symbol in enumerate(np.asarray(symbols).tolist()):
        following = dict(_EDGES[state]).get(symbol)
        if following is None:
            raise ValueError(f"symbol {place} is {SYMBOLS[symbol]}, expected one of {'/'.join(_TABLE[state])}")
        state = following
        states.append(state)
    return np.array(states)
