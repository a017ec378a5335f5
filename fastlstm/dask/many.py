"""One model for each series of a table, trained by the workers of Dask."""

from __future__ import annotations

import copy
import hashlib
import inspect
import os
import tempfile
import time as clock
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from .. import _checks
from .._foreign import type_name
from ..formats import atomic
from .frames import is_dataframe, require_columns, whole_series, with_column
from .local import AHEAD, by_processes
from .packages import active_client, dask_module

__all__ = ["fit_many"]

_LONGEST_NAME = 180
"""Characters of a series' name in that of its file: file systems take 255, and files being written have a suffix."""


class _Result(NamedTuple):
    """What a worker sends back."""

    file: bytes | None
    epochs: int
    loss: float
    seconds: float
    error: str | None


def fit_many(
    estimator: Any,
    frame: Any,
    *,
    by: str,
    folder: str | os.PathLike[str],
    time: str | None = None,
    target: str | None = None,
    features: list[str] | None = None,
    retries: int = 2,
    verbose: int = 0,
    **arguments: Any,
) -> Any:
    """Train a copy of a forecaster or estimator on each series of a table, and save each to a file of its own.

    The work is done by the cluster whose client the program has opened, else by as many processes of this machine as
    `get_num_threads` says. Each model is trained by one thread, with the bits that a loop over the series gives. A task
    whose worker is lost starts again on another one. A series that cannot be trained on does not end the others: the
    result says why.

    Parameters
    ----------
    estimator : Forecaster, or an estimator of fastlstm.sklearn
        Not changed. With a `random_state` each model can be trained again to the same bits.
    frame : DataFrame of pandas or polars, or dask dataframe
        Rows of all series. A dask dataframe is shuffled so that each series is in one partition, unless its index is
        the column `by` and its divisions are known; a partition is then one task.
    by : str
        Column that says to which series a row belongs.
    folder : path
        Where the files go, ``NAME.safetensors`` for each series; characters that do not fit into a file name are
        written as in addresses of the web, ``%2F`` for a slash. It is made if it does not exist; older files of the
        same names are replaced.
    time : str, optional
        Column by which the rows of each series are ordered; of a forecaster, its `time_col`.
    target : str, optional
        Column of the targets; of a forecaster, its `target_col`. An anomaly detector has none.
    features : list of str, optional
        Columns that an estimator reads, by default all but the others that are named. Rows are cases of a classifier or
        regressor, and steps of the series of an anomaly detector.
    retries : int, default 2
        How often a task is repeated that fails for another reason than its data, such as a lack of memory.
    verbose : {0, 1}, default 0
        1: print how many series are done.
    **arguments
        Further arguments of the forecaster's `fit`.

    Returns
    -------
    pandas DataFrame
        A row for each series, in the order of their first rows (of a dask dataframe: of the partitions): the column
        `by`, ``file``, ``epochs``, ``loss`` (of the last epoch), ``seconds`` and ``error``, which is None where all
        went well.

    Raises
    ------
    ImportError
        If Dask is not installed.
    RuntimeError
        If workers are killed again and again, for lack of memory for example. Files that were written stay.
    TypeError, ValueError
        If an argument does not fit, a name of a series is missing, or two have the same file.

    Examples
    --------
    >>> import numpy as np, pandas as pd, fastlstm as fl
    >>> hours = pd.date_range("2026-01-01", periods=200, freq="h")
    >>> y = np.sin(np.arange(200) / 5)
    >>> table = pd.concat([pd.DataFrame({"meter": name, "ds": hours, "y": y}) for name in ("a", "b")])
    >>> forecaster = fl.Forecaster(6, hidden_size=4, epochs=1, random_state=0, verbose=0)
    >>> found = fl.dask.fit_many(forecaster, table, by="meter", folder="meters")
    >>> found["meter"].tolist(), found["error"].isna().all().item()
    (['a', 'b'], True)
    >>> len(fl.Forecaster.load(found["file"][0]).predict())
    6
    """
    dask_module()
    pandas = dask_module("pandas")
    retries = _checks.count("retries", retries, least=0)
    template = _template(estimator)
    try:
        inspect.signature(template.fit).bind_partial(None, **arguments)
    except TypeError as error:
        raise TypeError(f"{type(template).__name__}.fit and fit_many: {error}") from None
    fit = _Fit(template, by, time, target, None if features is None else list(features), arguments)
    tasks = _tasks(frame, by)
    forecaster = hasattr(fit.template, "horizon")
    require_columns(frame, time="ds" if forecaster and time is None else time, features=features)
    require_columns(frame, target="y" if forecaster and target is None else target)
    Path(folder).mkdir(parents=True, exist_ok=True)
    client = active_client()
    found = by_processes(fit, tasks, retries) if client is None else _by_cluster(client, fit, tasks, retries)
    rows: list[tuple[int, int, dict[str, Any]]] = []
    files: dict[str, Any] = {}
    for number, results in found:
        for place, (name, result) in enumerate(results):
            file = os.path.join(folder, _file_name(name))
            if file in files:
                raise ValueError(f"the series {files[file]!r} and {name!r} would have the same file, {file}")
            files[file] = name
            if result.file is not None:
                atomic.write(file, [result.file])
            described = result._asdict() | {"file": file if result.file is not None else None}
            rows.append((number, place, {by: name, **described}))
            if verbose:
                print(f"{len(rows)} series: {name} {'trained' if result.error is None else result.error}", flush=True)
    columns = [by, "file", "epochs", "loss", "seconds", "error"]
    return pandas.DataFrame([row for *_, row in sorted(rows, key=lambda row: row[:2])], columns=columns)


def _file_name(name: Any) -> str:
    """Return the name of a series' file; of one that is too long for file systems only the beginning, and a digest."""
    quoted = quote(str(name), safe=" ")
    if len(quoted) > _LONGEST_NAME:
        quoted = f"{quoted[:_LONGEST_NAME]}-{hashlib.sha256(quoted.encode()).hexdigest()[:16]}"
    return f"{quoted}.safetensors"


def _template(estimator: Any) -> Any:
    """Return a copy that is not fitted, with one thread; TypeError for anything but a forecaster or estimator."""
    if not all(callable(getattr(estimator, name, None)) for name in ("fit", "save", "get_params")):
        raise TypeError(
            f"estimator is a {type_name(estimator)}, expected a Forecaster or an estimator of fastlstm.sklearn"
        )
    parameters = estimator.get_params()
    if parameters.get("n_jobs") is None:
        parameters["n_jobs"] = 1
    return type(estimator)(**{name: copy.deepcopy(value) for name, value in parameters.items()})


@dataclass(frozen=True)
class _Fit:
    """The work on a task: train a copy of the template on each of some series."""

    template: Any
    by: str
    time: str | None
    target: str | None
    features: list[str] | None
    arguments: dict[str, Any]

    def __call__(self, part: Any) -> list[tuple[Any, _Result]]:
        """Return the names of the series in a part of the table, and their results."""
        return [(name, self._one(rows)) for name, rows in _groups(part, self.by)]

    def _one(self, rows: Any) -> _Result:
        begin = clock.perf_counter()
        try:
            fitted = self._fitted(rows)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            text = f"{type(error).__name__}: {error}"
            return _Result(None, 0, float("nan"), clock.perf_counter() - begin, text)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.safetensors")
            fitted.save(path)
            data = Path(path).read_bytes()
        losses = fitted.history_.history["loss"]
        return _Result(data, len(losses), float(losses[-1]), clock.perf_counter() - begin, None)

    def _fitted(self, rows: Any) -> Any:
        fresh = copy.deepcopy(self.template)
        if hasattr(fresh, "horizon"):
            columns = {"id_col": self.by, "time_col": self.time, "target_col": self.target}
            return fresh.fit(rows, **{name: one for name, one in columns.items() if one is not None}, **self.arguments)
        from ..data.tables.frames import from_frame

        named = [name for name in (self.by, self.time, self.target) if name is not None]
        features = [name for name in rows.columns if name not in named] if self.features is None else self.features
        X: Any = from_frame(rows, time=self.time, features=features).X
        if self.target is None:
            return fresh.fit(X[None], **self.arguments)
        return fresh.fit(X, np.asarray(rows[self.target]), **self.arguments)


def _groups(part: Any, by: str) -> Iterator[tuple[Any, Any]]:
    """Yield the series of a table with their names, in the order of their first rows."""
    if len(part) == 0:
        return
    if type(part).__module__.partition(".")[0] == "pandas":
        part = with_column(part, by)
        _check_names(bool(part[by].isna().any()), by)
        for name, rows in part.groupby(by, sort=False, observed=True):
            yield name, rows
        return
    narwhals: Any = dask_module("narwhals")
    table = narwhals.from_native(part, eager_only=True)
    _check_names(bool(table[by].is_null().any()), by)
    for name in table[by].unique(maintain_order=True).to_list():
        yield name, table.filter(narwhals.col(by) == name).to_native()


def _check_names(missing: bool, by: str) -> None:
    if missing:
        raise ValueError(f"column {by!r} lacks the name of the series in some rows: drop these rows, or name them")


def _tasks(frame: Any, by: str) -> Iterable[Any]:
    """Return the parts of a table that are one task each: a series, or a partition."""
    if is_dataframe(frame):
        return list(whole_series(frame, by, partitioned=False)[0].to_delayed())
    delayed = isinstance(frame, dask_module("dask.delayed").Delayed)  # which has any attribute
    if not delayed and hasattr(frame, "collect") and not hasattr(frame, "__len__"):
        raise TypeError(f"frame is a {type_name(frame)}, which has no rows yet: give frame.collect()")
    if delayed or not hasattr(frame, "columns"):
        raise TypeError(
            f"frame is a {type_name(frame)}, expected a DataFrame of pandas, polars or Dask; a list of delayed ones "
            "becomes one by dask.dataframe.from_delayed"
        )
    require_columns(frame, by=by)
    return (rows for _, rows in _groups(frame, by))


def _by_cluster(client: Any, fit: _Fit, tasks: Iterable[Any], retries: int) -> Iterator[tuple[int, Any]]:
    """Yield the results of all tasks by number, as the workers of a cluster send them."""
    distributed = dask_module("distributed")
    # A node of the graph, which is computed again if the workers that have it are lost.
    shared = client.submit(_shared, fit, pure=False)
    pending: dict[Any, int] = {}
    finished = distributed.as_completed()
    waiting = enumerate(tasks)

    def give_out() -> None:
        # Asked again each time: the workers of a cluster's jobs come when the jobs start.
        most = max(AHEAD * sum(client.nthreads().values()), AHEAD)
        if len(pending) >= most:
            return
        for number, part in waiting:
            if hasattr(part, "dask"):
                part = client.compute(part)
            future = client.submit(_call, shared, part, retries=retries, pure=False)
            pending[future] = number
            finished.add(future)
            if len(pending) >= most:
                return

    give_out()
    while pending:
        future = next(finished)
        yield pending.pop(future), future.result()
        give_out()


def _shared(fit: _Fit) -> _Fit:
    return fit


def _call(fit: Callable[[Any], Any], part: Any) -> Any:
    return fit(part)
