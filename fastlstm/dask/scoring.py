"""Predictions for Dask's collections: a task for each chunk or partition, and one copy of the model for each worker."""

from __future__ import annotations

import copy
import inspect
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .._checks import count, short_repr
from .._foreign import type_name
from ..data.tables.frames import from_frame
from .frames import is_dataframe, require_columns, whole_series, with_column, with_types
from .packages import dask_module

__all__ = ["predict"]


def predict(
    model: Any,
    collection: Any,
    *,
    by: str | None = None,
    time: str | None = None,
    features: list[str] | None = None,
    partitioned: bool = False,
    method: str = "predict",
    n_threads: int | None = 1,
    **arguments: Any,
) -> Any:
    """Predict a collection of Dask, without loading it: nothing is computed until the result is.

    Each chunk or partition is one task, and must fit the memory of a worker. The model is sent once to each worker, not
    with each task. The answers are those of ``model.predict``, to the bit, in the order of the collection.

    Parameters
    ----------
    model : Model, Forecaster, or an estimator of fastlstm.sklearn
    collection : dask array, bag or dataframe
        - array (n, T, F) or (n, T): cases, in chunks along the first axis; other axes are joined into one chunk;
        - bag of series, (T_i, F) or (T_i,) each: a bag of answers;
        - dataframe whose rows are steps of series: a dataframe of forecasts, or of one answer for each series.
    by : str, optional
        Column of a dataframe that says to which series a row belongs; for a `Forecaster` that of its training data.
    time : str, optional
        Column of a dataframe by which the steps of each series are ordered. A `Forecaster` knows its own.
    features : list of str, optional
        Columns of a dataframe that the model reads, by default all but `by` and `time`.
    partitioned : bool, default False
        Whether all rows of a series are known to be in one partition, in order. Otherwise the dataframe is shuffled,
        unless its index is the column `by` and its divisions are known.
    method : str, default "predict"
        Method of the model that is called, such as ``"predict_proba"``.
    n_threads : int or None, default 1
        Threads of the kernels for each task: 1, because the workers run a task on each of their threads. None: as the
        worker is configured.
    **arguments
        Of the method: `level` or `quantiles` of a forecaster, for example.

    Returns
    -------
    dask array, bag or dataframe
        A dataframe has the column `by`, and ``prediction`` or, for several outputs, ``prediction_0`` and so on; that of
        a `Forecaster` has the columns of its `predict`.

    Raises
    ------
    ImportError
        If Dask is not installed.
    TypeError, ValueError
        If the collection or an argument does not fit.

    Examples
    --------
    >>> import numpy as np, fastlstm as fl
    >>> import dask.array as da
    >>> X, y = np.random.default_rng(0).standard_normal((40, 10, 2)), np.arange(40) % 2
    >>> model = fl.Model([fl.LSTM(4), fl.Dense(2)])
    >>> history = model.fit(X, y, epochs=1, verbose=0)
    >>> lazy = fl.dask.predict(model, da.from_array(X, chunks=(16, 10, 2)))
    >>> lazy.shape, bool((lazy.compute() == model.predict(X)).all())
    ((40, 2), True)
    """
    dask = dask_module()
    call = _Call(model, method, n_threads, arguments)
    if isinstance(collection, dask_module("dask.array").Array):
        _refuse_columns(by=by, time=time, features=features)
        return _of_array(dask, call, collection)
    if isinstance(collection, dask_module("dask.bag").Bag):
        _refuse_columns(by=by, time=time, features=features)
        return _of_bag(dask, call, collection)
    if is_dataframe(collection):
        if hasattr(model, "horizon"):
            _refuse_columns(time=time, features=features)
            return _of_forecaster(dask, call, collection, by, partitioned)
        return _of_frame(dask, call, collection, by, time, features, partitioned)
    hint = f"for data in memory call model.{method}"
    if isinstance(collection, dask_module("dask.delayed").Delayed):  # which has any attribute
        hint = "take dask.array.from_delayed(one, shape=..., dtype=...), or dask.bag.from_delayed(list_of_them)"
    elif hasattr(collection, "columns"):
        hint = "take dask.dataframe.from_pandas(df, npartitions=8), after df.to_pandas() if it is one of polars"
    raise TypeError(f"collection is a {type_name(collection)}, expected a dask array, bag or dataframe: {hint}")


class _Call:
    """A method of a model with its arguments, and a node of the graph that stands for it in all tasks."""

    def __init__(self, model: Any, method: str, n_threads: int | None, arguments: dict[str, Any]) -> None:
        if not callable(getattr(model, method, None)):
            raise TypeError(f"model is a {type_name(model)} without a method {method}(), expected one with it")
        threads = None if n_threads is None else count("n_threads", n_threads)
        if "n_threads" in inspect.signature(getattr(model, method)).parameters:
            arguments = {"n_threads": threads, **arguments}
        elif threads is not None and getattr(model, "n_jobs", 0) is None:
            model = copy.copy(model)
            model.n_jobs = threads
        self.model, self.run = model, partial(_run, method=method, arguments=arguments)

    def node(self, dask: Any) -> Any:
        """Return the model as one node: each worker fetches it once, and keeps it while it has tasks for it."""
        return dask.delayed(self.model, name=f"fastlstm-model-{uuid.uuid4().hex}", traverse=False)

    def now(self, x: Any) -> Any:
        """Return the answer in this process."""
        return self.run(self.model, x)


def _run(model: Any, x: Any, *, method: str, arguments: dict[str, Any]) -> Any:
    return getattr(model, method)(x, **arguments)


def _refuse_columns(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"got {name}={short_repr(value)}, which is for dataframes of the series of other models")


# ---------------------------------------------------------------------------------------------- arrays and bags


def _of_array(dask: Any, call: _Call, collection: Any) -> Any:
    if collection.ndim not in (2, 3):
        raise ValueError(f"the array has shape {collection.shape}, expected (cases, time, features) or (cases, time)")
    whole = collection.rechunk(dict.fromkeys(range(1, collection.ndim), -1))
    shape = whole.shape[1:]
    if any(np.isnan(size) for size in shape):
        raise ValueError(f"the array has shape {collection.shape}: only the number of cases may be unknown")
    sample = np.asarray(call.now(np.zeros((1, *shape), whole.dtype)))
    arrays, model = dask_module("dask.array"), call.node(dask)
    task = dask.delayed(call.run, pure=False)
    parts = [
        arrays.from_delayed(task(model, chunk), shape=(rows, *sample.shape[1:]), dtype=sample.dtype, meta=sample[:0])
        for chunk, rows in zip(whole.to_delayed().ravel(), whole.chunks[0], strict=True)
    ]
    return arrays.concatenate(parts, allow_unknown_chunksizes=True)


def _of_bag(dask: Any, call: _Call, collection: Any) -> Any:
    _refuse_unfitted(call)
    model, task = call.node(dask), dask.delayed(partial(_answers_of_list, run=call.run), pure=False)
    return dask_module("dask.bag").from_delayed([task(model, part) for part in collection.to_delayed()])


def _refuse_unfitted(call: _Call) -> None:
    """Raise what a model that is not fitted says, which otherwise comes from the workers when the bag is computed."""
    model = call.model
    fitted = model.network.built if hasattr(model, "network") else hasattr(model, "model_") or hasattr(model, "seed_")
    if not fitted:
        call.now([np.zeros((1, 1), np.float32)])


def _answers_of_list(model: Any, part: Any, *, run: Callable[[Any, Any], Any]) -> list[Any]:
    series = list(part)
    return list(run(model, series)) if series else []


# ---------------------------------------------------------------------------------------------- dataframes


def _of_forecaster(dask: Any, call: _Call, collection: Any, by: str | None, partitioned: bool) -> Any:
    model = call.model
    sample = call.run(model, None)
    if not hasattr(sample, "iloc"):
        raise TypeError(f"the forecaster was trained on a {type_name(sample)}, expected a DataFrame of pandas")
    id_col = str(sample.columns[0]) if by is None else by
    collection, _ = whole_series(collection, id_col, partitioned)
    require_columns(collection, by=id_col)
    empty = sample.iloc[:0]
    is_text: Any = dask_module("pandas").api.types.is_string_dtype
    given = _type_of(collection, id_col)
    if not (is_text(given) and is_text(empty[sample.columns[0]].dtype)):  # names of another type than in the training
        empty = empty.astype({sample.columns[0]: given})
    task = dask.delayed(partial(_forecasts, run=call.run, id_col=id_col, empty=empty), pure=False)
    node = call.node(dask)
    parts = [task(node, part) for part in collection.to_delayed()]
    return dask_module("dask.dataframe").from_delayed(parts, meta=empty, verify_meta=False)


def _forecasts(model: Any, part: Any, *, run: Callable[[Any, Any], Any], id_col: str, empty: Any) -> Any:
    if len(part) == 0:
        return empty
    answers = run(model, with_column(part, id_col))
    return with_types(answers, empty, id_col)


def _of_frame(
    dask: Any, call: _Call, collection: Any, by: str | None, time: str | None, features: Any, partitioned: bool
) -> Any:
    if by is None:
        raise ValueError("by is missing: name the column of the dataframe that says to which series a row belongs")
    require_columns(collection, by=by, time=time, features=features)
    names = [name for name in collection.columns if name not in (by, time)] if features is None else list(features)
    collection, moved = whole_series(collection, by, partitioned)
    if moved and time is None:
        raise ValueError(
            "the rows of a series may be in several partitions, which are brought together without their order: give "
            "time=, the column of times, or partitioned=True if each series is in one partition, in order"
        )
    answer = np.asarray(call.now([np.zeros((8, len(names)), np.float32)]))
    if answer.ndim > 2:
        raise ValueError(
            "the model has an answer for each step of a series, expected one for a whole series: pass a bag of series"
        )
    columns = ["prediction"] if answer.ndim == 1 else [f"prediction_{k}" for k in range(answer.shape[1])]
    pandas = dask_module("pandas")
    names_of_series = pandas.Series(dtype=_type_of(collection, by))
    empty = pandas.DataFrame({by: names_of_series, **{c: answer.reshape(-1)[:0] for c in columns}})
    task = dask.delayed(
        partial(_answers_of_frame, run=call.run, by=by, time=time, features=names, empty=empty), pure=False
    )
    node = call.node(dask)
    parts = [task(node, part) for part in collection.to_delayed()]
    return dask_module("dask.dataframe").from_delayed(parts, meta=empty, verify_meta=False)


def _type_of(collection: Any, column: str) -> Any:
    return collection.index.dtype if collection.index.name == column else collection[column].dtype


def _answers_of_frame(
    model: Any,
    part: Any,
    *,
    run: Callable[[Any, Any], Any],
    by: str,
    time: str | None,
    features: list[str],
    empty: Any,
) -> Any:
    if len(part) == 0:
        return empty
    part = with_column(part, by)
    if time is not None:
        part = part.sort_values(time, kind="stable")
    X, _, groups = from_frame(part, group=by, time=time, features=features)
    answers = np.asarray(run(model, X))
    frame = empty.iloc[:0].reindex(range(len(answers)))
    frame[by] = np.asarray(groups)
    for place, column in enumerate(empty.columns[1:]):
        frame[column] = answers if answers.ndim == 1 else answers[:, place]
    return with_types(frame, empty, by)
