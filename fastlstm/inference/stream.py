"""Streams: inference step by step, or block by block, while the data arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _checks, _core
from .._arrays import as_array, as_numeric
from .._typing import Array, State
from ..data.sequences import missing_cure
from ..layers import checked_states, finite, require_small
from ..protocols import InferenceModel
from ..runtime.config import resolve_threads
from .chains import StreamChain, stream_chain

__all__ = ["Stream"]


class Stream(_core.Stream):
    """Inference that keeps the state of each series from call to call; made by `Model.stream`.

    Each `step` or `run` continues where the last one ended, and returns the same bits as the model for the whole series
    so far. The weights and the scalers are those that the model had when the stream was made; they are packed once, and
    shared by all streams of a frozen model, so that a stream takes little more memory than its states. If the model has
    a scaler, pass unscaled data. One thread at a time may use a stream.

    ``step(x, out=None, rows=None)`` reads x (batch_size, features) and returns (batch_size, output_size); with `rows`,
    k distinct numbers of series, it reads (k, features), feeds these series alone and returns (k, output_size).
    ``run(x, out=None)`` reads a block (batch_size, steps, features) and returns (batch_size, steps, output_size). Token
    ids have no axis of features. The result is a new array, or ``out`` if given, a C-contiguous array of that shape
    that does not overlap x, of the model's dtype or, if the model has a target scaler, float64; with ``out`` a step of
    all series allocates nothing.

    A copy or a pickle continues from the same states, with the same weights, whatever becomes of the model.

    Attributes
    ----------
    batch_size : int
        Number of parallel series.
    state : list of (h, c)
        Copies of the states, one pair for each LSTM layer object, and for each pooling layer except `LastStep`. The
        attribute can be assigned. h and c of an LSTM are (num_layers, batch_size, hidden_size); with ``proj_size`` the
        last axis of h has this size. The pair of a pooling layer is its sums (1, batch_size, features) and its counts
        (1, batch_size, 3) so far, float64.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> stream = fl.Model([fl.LSTM(8), fl.Dense(2)], input_size=3).stream(batch_size=4)
    >>> stream.step(np.zeros((4, 3))).shape
    (4, 2)
    >>> answer = np.empty((4, 2), np.float32)
    >>> stream.step(np.zeros((4, 3), np.float32), out=answer) is answer
    True
    >>> stream.step(np.zeros((2, 3)), rows=[3, 0]).shape  # of two sensors that have reported
    (2, 2)
    """

    chain: StreamChain

    def __init__(self, model: InferenceModel, batch_size: int = 1, n_threads: int | None = None) -> None:
        model.network.require_built()
        batch_size = _checks.count("batch_size", batch_size, bits=31)
        super().__init__(stream_chain(model), batch_size, resolve_threads(n_threads))

    @property
    def batch_size(self) -> int:
        """Number of parallel series."""
        return self._series

    def _refusal(self, x: Array, position: int) -> str:
        chain = self.chain
        if not (chain.features_masked and np.isnan(x.reshape(-1)[position])):
            return super()._refusal(x, position)
        steps = 1 if x.ndim < 3 else x.shape[1]
        place, feature = divmod(position, chain.features)
        case, step = divmod(place, steps)
        return (
            f"x holds nan at [series, step, feature] = [{case}, {step}, {feature}], expected finite numbers: "
            f"{missing_cure(feature, chain.feature_names)}; the state has not changed"
        )

    def _numeric(self, x: npt.ArrayLike, dtype: str) -> Array:
        return as_numeric(x, dtype == "int64", "x")

    @property
    def state(self) -> list[State]:
        """Copies of the states, one pair for each layer that has one; the second array of a convolution is empty."""
        return [(np.stack([h for h, _ in stages]), np.stack([c for _, c in stages])) for stages in self.views()]

    @state.setter
    def state(self, value: Sequence[State]) -> None:
        self._set_states(value)

    def views(self) -> list[list[State]]:
        """Return the states of each stage as views (batch_size, size), in pairs, for each layer that has some.

        They are valid until `add_rows` or `remove_rows`.
        """
        pairs = iter(self._pairs())
        return [[next(pairs) for _ in range(depth)] for depth in self.chain.depths]

    def _pairs(self) -> list[State]:
        """Return the states of each stage that has some, as views, in pairs."""
        return [(a[0], a[1] if len(a) > 1 else a[0][:, :0]) for a in self._states]

    def _set_states(self, value: Sequence[State]) -> None:
        expected = [(h.shape, c.shape, h.dtype) for h, c in self.state]
        pairs = checked_states(value, expected, "layers with a state")
        for index, (h, _) in zip(self.chain.places, pairs, strict=True):
            if index in self.chain.quantized:
                require_small(h)
        new = [layer for pair in pairs for layer in zip(*pair, strict=True)]
        for (h, c), (new_h, new_c) in zip(self._pairs(), new, strict=True):
            h[:], c[:] = new_h, new_c

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Begin new series: set the states to zero, or to what the layers have learnt (``learn_state``).

        Parameters
        ----------
        rows : int array or boolean mask, optional
            The series to reset; by default all.

        Raises
        ------
        ValueError
            If there is no such series. No state has changed.
        """
        self._reset(None if rows is None else self._chosen(rows))

    def _chosen(self, rows: npt.ArrayLike) -> Array:
        """Return the numbers of the series that a user has chosen, int64; ValueError if there is no such series."""
        if type(rows) is np.ndarray and rows.dtype == np.int64 and rows.ndim == 1 and rows.flags.c_contiguous:
            if rows.size == 0 or rows.min() >= 0:
                return rows  # too large numbers are refused by the kernels' boundary
        size = self.batch_size
        chosen = as_array(rows, "rows")
        if chosen.shape == (0,):  # of any type: that of an empty list is float, and NumPy warns of a complex one
            return np.zeros(0, np.int64)
        mask = chosen.dtype == bool and chosen.shape == (size,)
        index = chosen.ndim < 2 and chosen.dtype.kind in "iu"
        index = index and bool(((chosen >= -size) & (chosen < size)).all())
        if not (mask or index):
            raise ValueError(
                f"rows holds {chosen!r:.200}, expected numbers of series from 0 to {size - 1}, or {size} booleans"
            )
        if mask:
            return np.flatnonzero(chosen)
        numbers = chosen.reshape(-1).astype(np.int64)
        return np.where(numbers < 0, numbers + size, numbers)

    def _numbers(self, rows: npt.ArrayLike) -> Array:
        return self._chosen(rows)

    # ------------------------------------------------------------------------------------ series come and go

    def add_rows(self, count: int = 1) -> Array:
        """Begin new series after the others.

        Parameters
        ----------
        count : int, default 1
            How many.

        Returns
        -------
        ndarray of int64, (count,)
            Their numbers. `batch_size` has grown; no other series has changed.

        Raises
        ------
        TypeError, ValueError
            If count is not an integer of at least 1.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> stream = fl.Model([fl.LSTM(8), fl.Dense(2)], input_size=3).stream(batch_size=4)
        >>> stream.add_rows(2).tolist(), stream.batch_size
        ([4, 5], 6)
        """
        before = self.batch_size
        self._append(_checks.count("count", count, bits=31))
        return np.arange(before, self.batch_size)

    def remove_rows(self, rows: npt.ArrayLike) -> Array:
        """Forget some series; those that remain keep their states and order, and are numbered anew from 0.

        Parameters
        ----------
        rows : int array without repeats, or boolean mask
            The series to forget. A stream may be left without series, to which `add_rows` adds some later.

        Returns
        -------
        ndarray of int64, (batch_size,)
            The former number of each series that remains.

        Raises
        ------
        ValueError
            If there is no such series, or a number is repeated. Nothing has changed.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> stream = fl.Model([fl.LSTM(8), fl.Dense(2)], input_size=3).stream(batch_size=4)
        >>> stream.remove_rows([1]).tolist(), stream.batch_size
        ([0, 2, 3], 3)
        """
        remains = np.ones(self.batch_size, bool)
        chosen = self._checked(rows)
        remains[chosen] = False
        kept = np.flatnonzero(remains)
        self._take_rows(kept, len(kept))
        return kept

    def _checked(self, rows: npt.ArrayLike) -> Array:
        """Return distinct numbers of series; ValueError if one is repeated, or there is no such series."""
        chosen = self._chosen(rows)
        if len(chosen) and int(chosen.max()) >= self.batch_size:
            raise ValueError(f"rows holds {chosen.max()}, expected 0 to {self.batch_size - 1}")
        if len(np.unique(chosen)) < len(chosen):
            raise ValueError(f"rows holds a number more than once, expected each series once: {chosen.tolist()!r:.200}")
        return chosen

    # ------------------------------------------------------------------------------------ states outside of the stream

    def save_state(self, rows: npt.ArrayLike | None = None) -> dict[str, Array]:
        """Return all that the stream remembers of its series, as arrays to store, send or put into another stream.

        Parameters
        ----------
        rows : int array without repeats, or boolean mask, optional
            The series, in this order; by default all k = batch_size of them.

        Returns
        -------
        dict of str to ndarray
            Copies, with the series on the first axis, so that arrays of several streams can be put together or apart.
            For layer number i: ``"i.h"`` (k, num_layers, hidden_size or proj_size) and ``"i.c"`` (k, num_layers,
            hidden_size) of an `LSTM`, in the model's dtype; ``"i.sums"`` (k, 1, features) and ``"i.counts"`` (k, 1, 3)
            of a pooling layer, float64. A stream of a model that masks steps adds the output of each series at a masked
            step, ``"last"`` (k, output_size), and whether that is known, ``"known"`` (k,), boolean.

        Raises
        ------
        ValueError
            If there is no such series.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> model = fl.Model([fl.LSTM(8), fl.Dense(2)], input_size=3)
        >>> stream, other = model.stream(2), model.stream(2)
        >>> out = stream.step(np.ones((2, 3)))
        >>> {name: array.shape for name, array in stream.save_state().items()}
        {'0.h': (2, 1, 8), '0.c': (2, 1, 8)}
        >>> other.load_state(stream.save_state())
        >>> np.array_equal(stream.step(np.ones((2, 3))), other.step(np.ones((2, 3))))
        True
        """
        chosen = slice(None) if rows is None else self._checked(rows)
        return {name: array[chosen] for name, array in self._state_arrays().items()}

    def load_state(self, state: Mapping[str, npt.ArrayLike], rows: npt.ArrayLike | None = None) -> None:
        """Continue from states that `save_state` has returned, of this stream or another one of the same architecture.

        Parameters
        ----------
        state : mapping of str to array
            Also a file of `numpy.savez`, opened by `numpy.load`.
        rows : int array without repeats, or boolean mask, optional
            The series that get the states, in their order; by default all.

        Raises
        ------
        TypeError, ValueError
            If an array is missing or unknown, has another shape, or holds NaN or infinity, or there is no such series.
            No state has changed.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must map names to arrays, as save_state() does, got a {type(state).__name__}")
        chosen = None if rows is None else self._checked(rows)
        size = self.batch_size if chosen is None else len(chosen)
        present = self._state_arrays()
        if set(state) != set(present):
            got = sorted(map(str, state))
            raise ValueError(f"got the states {got}, expected {sorted(present)}, the names of save_state()")
        new = {name: _like(state[name], name, (size, *array.shape[1:]), array.dtype) for name, array in present.items()}
        for index in self.chain.quantized & set(self.chain.places):
            require_small(new[f"{index}.h"])
        for name, array in present.items():
            array[slice(None) if chosen is None else chosen] = new[name]
        self._put(present)

    def _state_arrays(self) -> dict[str, Array]:
        """Return copies of what `save_state` returns, for all series."""
        pairs = iter(self._states)
        result = {}
        for index, depth in zip(self.chain.places, self.chain.depths, strict=True):
            layers = [next(pairs) for _ in range(depth)]
            names = self.chain.state_names(index)
            for name, arrays in zip(names, zip(*layers, strict=True), strict=True):
                result[f"{index}.{name}"] = np.stack(arrays, axis=1)
        return result

    def _put(self, arrays: Mapping[str, Array]) -> None:
        """Replace all that `_state_arrays` has returned."""
        pairs = iter(self._states)
        for index, depth in zip(self.chain.places, self.chain.depths, strict=True):
            names = self.chain.state_names(index)
            for k in range(depth):
                for name, array in zip(names, next(pairs), strict=True):
                    array[:] = arrays[f"{index}.{name}"][:, k]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (
            type(self),
            self.chain,
            self.batch_size,
            self._threads,
            dict(self._state_arrays()),
            vars(self),
        )


def _like(value: npt.ArrayLike, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array of a state; TypeError or ValueError if it has another shape or is not finite."""
    flags = dtype.kind == "b"
    array = as_array(value, name) if flags else as_numeric(value, False, name)
    if array.shape != shape or (flags and array.dtype.kind != "b"):
        raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}, expected {shape} and {dtype}")
    if flags:
        return array
    return finite(array, dtype, name)


def _restored(
    cls: type[Stream], chain: StreamChain, size: int, threads: int, states: dict[str, Array], attributes: dict[str, Any]
) -> Stream:
    stream = cls.__new__(cls)
    _core.Stream.__init__(stream, chain, size, threads)
    vars(stream).update(attributes)
    stream._put(states)
    return stream
