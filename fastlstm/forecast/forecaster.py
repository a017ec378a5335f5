"""The forecaster of tables."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from .._arguments import explain_arguments
from .._checks import as_bool, count, positive, real, short_repr
from .._tables import html_table
from .._typing import Array
from ..layers import Layer
from ..metrics.forecasting import interval_pairs
from ..training.history import History
from ..training.messages import Communicator
from ..training.ranks import checked_communicator, new_reduce
from ..training.reduce import Reduce
from .arguments import check_arguments, draw_seed, settings_for
from .backtest import backtest, cutoffs_of, table_of
from .engine import Engine
from .evaluation import Evaluation
from .files import Saved, load, save
from .frames import FrameReader
from .levels import at_levels, bounds_of, columns_of, percentages, probability_below
from .memory import Memory, ends_panel, padded
from .panel import Panel, SeriesData
from .rolling import evaluate
from .runs import Checkpoint, run_arguments, saved_seed
from .stream import ForecastStream

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..inference.quantizing import QuantizationReport

__all__ = ["Forecaster"]

_F = TypeVar("_F", bound="Forecaster")


class Forecaster:
    """Forecast series in tables: quantiles of the next `horizon` steps, from one network for all series.

    An LSTM reads the past of a series step by step; at an origin a head answers for all steps of the horizon at once
    (Wen et al. 2017), each with what is known in advance of its own time: your columns, the calendar, the values one
    or more seasons before it. The intervals are corrected on data that the training has not seen (Romano et al. 2019).

    The state is carried: `predict` reads a history from its first row to its last, however long it is, and a stream
    that is fed the same rows gives the same bits. Scales are those of the training data.

    Parameters
    ----------
    horizon : int or str
        Number of steps to forecast, or a time: ``96``, ``"1D"``. A day lasts until the same local time, 92, 96 or 100
        quarters of an hour where the clock changes.
    context : int or "auto", default "auto"
        Number of steps after which the training asks for forecasts, the warm-up.
    gap : int or str, default 0
        Steps between the last known value and the first forecast, or a time such as ``"14h"``.
    freq : str, optional
        Step of the time grid, such as ``"15min"``; by default it is inferred.
    time_zone : str, optional
        The zone whose clock the series follow, such as ``"Europe/Berlin"``.
    hist_exog, futr_exog, stat_exog, cat_exog : sequence of str
        Columns of numbers that are known up to the present, of numbers that are known in advance, and of numbers and
        categories that do not change within a series.
    calendar : "auto", None, or list of str
        Features of the calendar; "auto" takes those that vary in the data.
    holidays : None, str, list of dates, or callable
        A country such as ``"DE"``, dates, or a function from a date to a bool.
    season_length : int or "auto", default "auto"
        Steps of the season of the seasonal naive forecast, and of earlier values that each step of the horizon reads.
        "auto": a day, for daily data a week, for months and quarters a year.
    residual_of : {"auto", "naive", "seasonal_naive"} or None, default "auto"
        The network forecasts the difference from this forecast; with "auto" from a mixture of both, whose share it
        chooses for each step.
    quantiles : sequence of float, default (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
        Levels that the network is trained for. Others between them are interpolated.
    conformal : bool, default True
        Whether to correct the intervals on the validation part.
    bounds : (float, float), optional
        Least and greatest value, either may be None; forecasts never lie outside.
    missing : {"mask", "error"}, default "mask"
        Whether values may be missing. The network is then told so.
    min_observed : float, default 0.5
        Share of observed values that the horizon and the context of an origin need to be trained on.
    scaler : {"standard", "robust"} or None, default "standard"
        Scale of each series: mean and deviation, or median and quartiles.
    hidden_size, num_layers, dropout
        Of the LSTM. Dropout acts between its layers and after the last one.
    layers : sequence of Layer, optional
        Replaces the LSTM; the last layer must have an output at each step.
    precision : {"float32", "bfloat16"}, default "float32"
        Type to which the operands of the matrix products of the encoder's LSTM layers are rounded; "bfloat16" is faster
        for large layers on some processors, see docs/bfloat16.md.
    learning_rate : float, default 0.01
        Of AdamW; it falls to a hundredth along a cosine.
    weight_decay : float, default 0.01
    batch_size : int or "auto", default "auto"
        Number of long parts of the series that are read side by side.
    epochs : int or "auto", default "auto"
    patience : int or None, default None
        Epochs without improvement on the validation part after which the training ends. In any case the weights of the
        best epoch are kept.
    validation : float, default 0.15
        Share of the rows, the last ones in time, for validation: the first half chooses the epoch, and both halves
        correct the intervals (with ``conformal=False`` all of them choose the epoch). 0: none.
    learn_validation : bool, default True
        Whether the network learns the validation part as well when the epoch is chosen and the corrections are made:
        for a quarter of the epochs on all rows, at a falling third of the rate.
    random_state : int, RandomState, Generator or None
        Of the initial weights and the training; None draws it.
    n_jobs : int, optional
        Number of threads, on which results do not depend.
    verbose : {0, 1, 2}, default 1
        1 shows a progress bar, 2 prints a line for each epoch.

    Attributes
    ----------
    ids_ : list
        Series whose ends are known, from which ``predict()`` forecasts.
    report_ : GridReport
        What was understood of the table read last: step, gaps, duplicates; ``print`` it.
    horizon_steps_, gap_steps_, season_length_ : int
    coverage_ : dict
        For each interval, "90" for example, the share of true values in it on the validation part, of the network that
        has not learnt it: ``"network"`` before the correction and ``"corrected"``. Empty without such a part.
    history_ : History
        Losses of the epochs; not in a file.
    quantized_ : bool
        Whether the network has weights of 8 bits: `quantize`.
    quantization_report_ : QuantizationReport
        What `quantize` has changed, in the forecaster that it has returned; not in a file.
    seed_ : int

    Examples
    --------
    >>> import pandas as pd, numpy as np, fastlstm as fl
    >>> times = pd.date_range("2024-01-01", periods=500, freq="h")
    >>> df = pd.DataFrame({"ds": times, "y": np.sin(np.arange(500) * np.pi / 12)})
    >>> forecaster = fl.Forecaster(horizon=24, hidden_size=8, epochs=1, random_state=0, verbose=0).fit(df)
    >>> forecaster.predict(level=90).columns.tolist()
    ['ds', 'fastlstm', 'fastlstm-lo-90', 'fastlstm-hi-90']
    """

    _quantization_report: QuantizationReport | None = None

    @explain_arguments
    def __init__(
        self,
        horizon: int | str,
        *,
        context: int | Literal["auto"] = "auto",
        gap: int | str = 0,
        freq: Any = None,
        time_zone: str | None = None,
        hist_exog: Sequence[str] = (),
        futr_exog: Sequence[str] = (),
        stat_exog: Sequence[str] = (),
        cat_exog: Sequence[str] = (),
        calendar: Any = "auto",
        holidays: Any = None,
        season_length: int | Literal["auto"] = "auto",
        residual_of: Literal["auto", "naive", "seasonal_naive"] | None = "auto",
        quantiles: Sequence[float] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95),
        conformal: bool = True,
        bounds: Sequence[float | None] | None = None,
        missing: Literal["mask", "error"] = "mask",
        min_observed: float = 0.5,
        scaler: Literal["standard", "robust"] | None = "standard",
        hidden_size: int = 96,
        num_layers: int = 1,
        dropout: float = 0.3,
        layers: Sequence[Layer] | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        batch_size: int | Literal["auto"] = "auto",
        epochs: int | Literal["auto"] = "auto",
        patience: int | None = None,
        validation: float = 0.15,
        learn_validation: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 1,
    ) -> None:
        self.horizon = horizon
        self.context = context
        self.gap = gap
        self.freq = freq
        self.time_zone = time_zone
        self.hist_exog = hist_exog
        self.futr_exog = futr_exog
        self.stat_exog = stat_exog
        self.cat_exog = cat_exog
        self.calendar = calendar
        self.holidays = holidays
        self.season_length = season_length
        self.residual_of = residual_of
        self.quantiles = quantiles
        self.conformal = conformal
        self.bounds = bounds
        self.missing = missing
        self.min_observed = min_observed
        self.scaler = scaler
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.layers = layers
        self.precision = precision
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.validation = validation
        self.learn_validation = learn_validation
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    # ------------------------------------------------------------------------------------ parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        return {name: getattr(self, name) for name in names}

    def set_params(self: _F, **params: Any) -> _F:
        """Set arguments of the constructor; they act at the next `fit`."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"Forecaster has no parameter {name!r}, expected one of {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        settings = inspect.signature(type(self).__init__).parameters
        shown = []
        for name, value in self.get_params().items():
            default = settings[name].default
            if default is inspect.Parameter.empty or short_repr(value) != short_repr(default):
                shown.append(f"{name}={short_repr(value)}")
        return f"Forecaster({', '.join(shown)})"

    def _repr_html_(self) -> str:
        """Return the settings that are not the usual ones and, if it is fitted, the data that it knows."""
        report = self.report_ if hasattr(self, "_engine") else None
        rows = [("", "not fitted: fit(df) trains it")] if report is None else report.table()
        return html_table([repr(self), ""], rows, text_columns=(0, 1))

    # ------------------------------------------------------------------------------------ training

    @explain_arguments
    def fit(
        self: _F,
        df: Any,
        *,
        id_col: str = "unique_id",
        time_col: str = "ds",
        target_col: Any = "y",
        static_df: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
        shards: int = 1,
        communicator: Communicator | None = None,
        deadline: float = 600.0,
    ) -> _F:
        """Train a new network.

        Parameters
        ----------
        df : DataFrame of pandas or polars, Series, mapping of columns, or path of a CSV file
            A row for each series and time; without a column of ids it is one series. Or a wide frame, each of whose
            columns is a series.
        id_col, time_col : str
            Names of the columns.
        target_col : str, or list of str
            Column of the values; of a wide frame the columns that are series.
        static_df : DataFrame, optional
            A row for each series, with the columns of `stat_exog` and `cat_exog` that `df` has not.
        checkpoint : path, optional
            File that holds the state of the training after each epoch and after Ctrl-C; it is removed at the end.
        resume : bool, default False
            Whether to continue from the file `checkpoint` if there is one, to the same bits as without interruption.
        shards : int, default 1
            Number of parts in which the long parts of the series that are read side by side (`batch_size`) are divided.
            Their gradients are computed one by one and summed in a fixed order, with the random masks of the whole. See
            docs/shards.md.
        communicator : mpi4py.MPI.Comm, optional
            Processes that compute the shards together, for example ``MPI.COMM_WORLD`` in a program that is started by
            ``mpiexec -n 4 python -m mpi4py program.py``. All call `fit` with the same table and arguments, and end with
            the same forecaster, that of the same `shards` in one process. Rank 0 alone prints and writes. `shards` must
            be at least the number of processes, and `batch_size`, too, if all are to have work.
        deadline : float, default 600
            Seconds that a process waits for another one before all end.

        Returns
        -------
        Forecaster
            This forecaster.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong, the table cannot be understood, or the series are too short.
        KeyboardInterrupt
            After Ctrl-C.
        TrainingDiverged
            If the loss became NaN or infinite.
        RankError
            A RuntimeError: in all processes if another one has raised an exception or does not answer.
        """
        count("shards", shards, bits=16)
        positive("deadline", deadline)
        reduce = new_reduce(shards, checked_communicator(communicator, shards), deadline)
        with reduce.together():
            check_arguments(self)
            if as_bool("resume", resume) and checkpoint is None:
                raise ValueError("resume=True needs the file of the interrupted run: checkpoint='run.checkpoint'")
            reader = self._new_reader()
            panel = reader.fit(df, id_col, time_col, target_col, static_df)
            seed = self._seed_for(checkpoint if resume else None, reduce)
            engine = Engine(settings_for(self, reader.axis, _end(panel), max(map(len, panel.series)), seed))
            saved = None
            if checkpoint is not None:
                saved = Checkpoint(os.fspath(checkpoint), resume, run_arguments(engine.settings, panel, shards))
            engine.fit(panel, saved, reduce)
        self._reader, self._engine, self.seed_ = reader, engine, engine.settings.seed
        self._quantization_report = None
        self._fitted_params = self.get_params()  # those of set_params act at the next fit
        return self

    def _seed_for(self, resumed: str | os.PathLike[str] | None, reduce: Reduce) -> int:
        """Return the seed: the number that was given, that of a run that goes on, or one that rank 0 has drawn."""
        state = self.random_state
        if resumed is not None and state is None:
            state = saved_seed(resumed)
        seed = draw_seed(state)
        drawn = state is None or isinstance(state, (np.random.RandomState, np.random.Generator))
        found = reduce.joined({reduce.rank: (seed, drawn)})
        return found[0][0] if all(here for _, here in found.values()) else seed

    def _new_reader(self) -> FrameReader:
        return FrameReader(
            freq=self.freq,
            time_zone=self.time_zone,
            hist_exog=self.hist_exog,
            futr_exog=self.futr_exog,
            stat_exog=self.stat_exog,
            cat_exog=self.cat_exog,
            calendar=self.calendar,
            holidays=self.holidays,
        )

    @explain_arguments
    def partial_fit(self: _F, df: Any, *, static_df: Any = None) -> _F:
        """Train one epoch more on a table, at a tenth of `learning_rate`; scales and corrections stay.

        Afterwards the known ends are those of the series of `df`, read from its first row, since states of the old
        weights would not fit the new ones. A forecaster that is not fitted yet is fitted.
        """
        if not hasattr(self, "_engine"):
            return self.fit(df, static_df=static_df)
        if self.quantized_:
            raise RuntimeError(
                "the weights of this forecaster have 8 bits, which partial_fit cannot change: use the forecaster of "
                "which quantize() made it"
            )
        engine = copy.copy(self._engine)  # a failure leaves the old one
        engine.network = copy.deepcopy(self._engine.network)
        engine.scales = dict(engine.scales)
        engine.partial_fit(self._reader.read(df, static_df))
        self._engine = engine
        return self

    @explain_arguments
    def update(self: _F, df: Any, *, static_df: Any = None) -> _F:
        """Let the network read new rows, so that forecasts begin after them; nothing is trained.

        Rows that were read before are left out. Of a series that is not known, its scale is that of these rows.

        Raises
        ------
        ValueError
            If rows are missing between the last one known and the first one given.
        """
        engine = self._fitted
        panel = self._reader.read(df, static_df, after={one: memory.end for one, memory in engine.memories.items()})
        later = [one for given in panel.series if (one := self._new_rows(given)) is not None]
        if later:
            engine.update(Panel(later, panel.hist_names, panel.futr_names, panel.static_names))
        return self

    def _new_rows(self, given: SeriesData) -> SeriesData | None:
        """Return the rows of a series that follow those known; None if there is none."""
        memory = self._fitted.memories.get(given.id)
        if memory is None:
            return given
        start = int(np.searchsorted(given.times, memory.end, side="right"))
        if start == len(given):
            return None
        between = self._reader.axis.steps_between(memory.end, given.times[start]) - 1
        if between:
            raise ValueError(
                f"the series {given.id!r} is known up to {memory.end}, and df continues at {given.times[start]}: "
                f"{between} steps are missing between them, give them too, with empty values where there are none"
            )
        return SeriesData(
            given.id, given.times[start:], given.y[start:], given.hist[start:], given.futr[start:], given.static
        )

    # ------------------------------------------------------------------------------------ weights of 8 bits

    @explain_arguments
    def quantize(self: _F, df: Any = None, *, skip: Sequence[int] | int = (), static_df: Any = None) -> _F:
        """Return a copy of this forecaster whose network has weights of 8 bits; see `Model.quantize`.

        It forecasts, reads new rows, streams and is saved. Units, corrections of the intervals and the known ends of
        the series are those of this forecaster, which does not change. `partial_fit` and `to_onnx` are refused; `fit`
        and `cross_validation` train new networks of float32.

        Parameters
        ----------
        df : DataFrame, optional
            Typical series, in the form of the training data; some thousand rows are enough. None: each row of inputs
            has its own scale.
        skip : int or list of int, optional
            Numbers of layers that keep their weights, those of ``quantization_report_``.
        static_df : DataFrame, optional
            Static columns of new series in `df`.

        Returns
        -------
        Forecaster
            Its ``quantization_report_`` says what has changed: of all quantiles and steps of the horizon, in units of
            the series.

        Raises
        ------
        TypeError, ValueError
            If `df` does not have the form of the training data, or `skip` holds no numbers of layers; if no layer can
            be quantized.
        RuntimeError
            If the forecaster is quantized already.

        Examples
        --------
        >>> import numpy as np, fastlstm as fl
        >>> df = {"ds": np.arange(400), "y": np.sin(np.arange(400) / 5)}
        >>> forecaster = fl.Forecaster(horizon=3, hidden_size=32, epochs=1, random_state=0, verbose=0).fit(df)
        >>> small = forecaster.quantize(df)
        >>> small.quantized_, small.quantization_report_.error < 0.05
        (True, True)
        """
        engine = self._fitted
        if df is None and static_df is not None:
            raise ValueError("static_df belongs to df: give both")
        made = copy.copy(self)
        made._reader = copy.copy(self._reader)  # each keeps the report on the table that it has read last
        panel = None if df is None else made._reader.read(df, static_df)
        made._engine, made._quantization_report = engine.quantized(panel, skip)
        return made

    @property
    def quantized_(self) -> bool:
        """Whether the network has weights of 8 bits: `quantize`."""
        return self._fitted.network.quantized

    @property
    def quantization_report_(self) -> QuantizationReport:
        """What `quantize` has changed, in the forecaster that it has returned; not in a file."""
        if not self.quantized_:
            raise ValueError("the weights of this forecaster have 32 bits: quantize(df) returns one with 8 bits")
        if self._quantization_report is None:
            raise ValueError("a forecaster from a file has no quantization_report_")
        return self._quantization_report

    # ------------------------------------------------------------------------------------ what was fitted

    @property
    def _fitted(self) -> Engine:
        if not hasattr(self, "_engine"):
            raise ValueError("this Forecaster is not fitted yet: call fit(df) first")
        return self._engine

    @property
    def ids_(self) -> list[Any]:
        """Series whose ends are known."""
        return list(self._fitted.memories)

    @property
    def report_(self) -> Any:
        """What was understood of the table read last."""
        self._fitted  # noqa: B018
        return self._reader.report

    @property
    def horizon_steps_(self) -> int:
        """Number of steps of the horizon, the most that it can have."""
        return self._fitted.settings.horizon

    @property
    def gap_steps_(self) -> int:
        """Number of steps between the last known value and the first forecast."""
        return self._fitted.settings.gap

    @property
    def season_length_(self) -> int:
        """Number of steps of the seasonal naive forecast."""
        return self._fitted.settings.season

    @property
    def coverage_(self) -> dict[str, dict[str, float]]:
        """Coverage of the intervals on the conformal part, before and after the correction."""
        return self._fitted.coverage

    @property
    def history_(self) -> History:
        """Losses of the epochs."""
        history = self._fitted.history
        if history is None:
            raise ValueError("a forecaster from a file has no history_")
        return history

    # ------------------------------------------------------------------------------------ forecasts

    @explain_arguments
    def make_future(self, df: Any = None, *, static_df: Any = None) -> Any:
        """Return a frame of the ids and times that `predict` forecasts, and of those of the gap before them.

        Add the columns of `futr_exog` and pass it to ``predict(future=...)``.
        """
        memories = self._memories(df, static_df)
        return self._reader.make_future(ends_panel(memories), self._reach(memories))

    @explain_arguments
    def predict(
        self,
        df: Any = None,
        *,
        future: Any = None,
        horizon: int | str | None = None,
        level: Any = None,
        quantiles: Any = None,
        static_df: Any = None,
    ) -> Any:
        """Forecast the steps after the end of each series.

        Parameters
        ----------
        df : optional
            Past of the series, in the form of the training data. The network reads it from the zero state at its first
            row; give as much of the past as there is. By default forecasts begin after the training data and the rows
            of `update`.
        future : DataFrame, optional
            The columns of `futr_exog` for the times of `make_future`.
        horizon : int or str, optional
            A shorter horizon.
        level : float or list of float, optional
            Percentages of intervals, ``90`` for example, for columns ``fastlstm-lo-90`` and ``fastlstm-hi-90``.
        quantiles : list of float, optional
            Levels, for columns such as ``fastlstm-q-0.1``.
        static_df : DataFrame, optional
            Static columns of new series.

        Returns
        -------
        DataFrame
            Of the kind of the training data: ids, times, and ``fastlstm``, the median.

        Raises
        ------
        ValueError
            If `df` does not have the form of the training data, or values of `futr_exog` are missing.
        """
        memories = self._memories(df, static_df)
        times, answers = self._answers(memories, future, horizon)
        known = self._fitted.settings.quantiles
        rows = np.concatenate([block[: len(steps)] for block, steps in zip(answers, times, strict=True)])
        columns = columns_of(rows, known, level, quantiles)
        return self._frame(memories, times, columns)

    @explain_arguments
    def probability_below(
        self, value: float, df: Any = None, *, future: Any = None, horizon: int | str | None = None,
        static_df: Any = None,
    ) -> Any:  # fmt: skip
        """Return the probability that each value to come is less than `value`, by interpolation between the quantiles.

        Parameters
        ----------
        value : float
        df, future, horizon, static_df
            As in `predict`.

        Returns
        -------
        DataFrame
            Ids, times, and ``probability``.
        """
        memories = self._memories(df, static_df)
        times, answers = self._answers(memories, future, horizon)
        rows = np.concatenate([block[: len(steps)] for block, steps in zip(answers, times, strict=True)])
        found = probability_below(rows, self._fitted.settings.quantiles, real("value", value))
        return self._frame(memories, times, {"probability": found})

    def _frame(self, memories: Sequence[Memory], times: Sequence[Array], columns: dict[str, Array]) -> Any:
        ids = [one.id for one, steps in zip(memories, times, strict=True) for _ in range(len(steps))]
        return self._reader.frame(ids, np.concatenate(times), columns)

    def _memories(self, df: Any, static_df: Any, tail: int = 0) -> list[Memory]:
        """Return the ends of the series of `df`, with at least `tail` values, or those known."""
        engine = self._fitted
        if df is None:
            return list(engine.memories.values())
        return engine.read(self._reader.read(df, static_df), tail)

    def _reach(self, memories: Sequence[Memory], horizon: int | str | None = None) -> list[int]:
        """Return for each series the number of steps from its end to that of the horizon."""
        wanted = self._fitted_params["horizon"] if horizon is None else horizon
        axis, settings = self._reader.axis, self._fitted.settings
        reach = []
        for one in memories:
            start = axis.steps(one.end, settings.gap)[-1] if settings.gap else one.end
            steps = axis.horizon_steps(wanted, start)
            if not 1 <= steps <= settings.horizon:
                raise ValueError(
                    f"horizon={wanted!r} has {steps} steps, expected 1 to {settings.horizon}, those of the training"
                )
            reach.append(settings.gap + steps)
        return reach

    def _answers(
        self, memories: Sequence[Memory], future: Any, horizon: int | str | None = None
    ) -> tuple[list[Array], Array]:
        """Return the times of the forecasts after ends of series, and the quantiles (series, horizon, quantiles)."""
        engine = self._fitted
        settings, axis = engine.settings, self._reader.axis
        reach = self._reach(memories, horizon)
        futures = self._reader.read_future(future, ends_panel(memories), reach)
        whole = settings.gap + settings.horizon
        answers = engine.forecast(memories, [padded(one, whole) for one in futures])
        times = [axis.steps(one.end, steps)[settings.gap :] for one, steps in zip(memories, reach, strict=True)]
        return times, answers

    @explain_arguments
    def stream(self, ids: Sequence[Any] | None = None) -> ForecastStream:
        """Return a stream: forecasts after each reading, in microseconds, that continue after the rows known so far.

        Parameters
        ----------
        ids : list, optional
            The series, which must end at the same time; by default all.

        Examples
        --------
        See `ForecastStream`.
        """
        engine = self._fitted
        chosen = self.ids_ if ids is None else list(ids)
        unknown = [one for one in chosen if one not in engine.memories]
        if unknown or not chosen:
            raise ValueError(f"the series {short_repr(unknown)} are not known: update(df) reads them")
        memories = [engine.memories[one] for one in chosen]
        ends = {one.end for one in memories}
        if len(ends) > 1:
            raise ValueError(
                f"the series end at {len(ends)} times, from {min(ends)} to {max(ends)}, expected one: give ids= of "
                "those that end together, or make a stream for each"
            )
        return ForecastStream(engine, self._reader.axis, memories, len(self._reader.columns.futr_exog))

    # ------------------------------------------------------------------------------------ how good it is

    @explain_arguments
    def cross_validation(
        self,
        df: Any,
        *,
        n_windows: int = 5,
        step_size: int | None = None,
        refit: bool = False,
        level: Any = None,
        quantiles: Any = None,
        id_col: str = "unique_id",
        time_col: str = "ds",
        target_col: Any = "y",
        static_df: Any = None,
    ) -> Any:
        """Forecast from earlier times of a table, with networks that know nothing of later ones.

        A fresh network with the settings of this forecaster is trained on the rows up to the first cutoff; its scales
        and corrections come from these rows too. It answers at all cutoffs in one pass. This forecaster is not changed.

        Parameters
        ----------
        df
            As in `fit`.
        n_windows : int, default 5
            Number of cutoffs.
        step_size : int, optional
            Steps between them, by default those of the horizon.
        refit : bool, default False
            Whether to train a network for each cutoff.
        level, quantiles
            As in `predict`.
        id_col, time_col, target_col, static_df
            As in `fit`.

        Returns
        -------
        DataFrame
            Ids, times, ``cutoff``, ``y`` and the columns of `predict`. Series that begin after the first cutoff are
            left out.
        """
        check_arguments(self)
        reader = self._new_reader()
        panel = reader.fit(df, id_col, time_col, target_col, static_df)
        seed = draw_seed(self.random_state)
        settings = settings_for(self, reader.axis, _end(panel), max(map(len, panel.series)), seed)
        step = settings.horizon if step_size is None else count("step_size", step_size)
        reach = settings.gap + settings.horizon
        cutoffs = cutoffs_of(panel, reach, count("n_windows", n_windows), step)
        columns_of(np.zeros((1, len(settings.quantiles))), settings.quantiles, level, quantiles)  # before the training
        windows = backtest(settings, panel, cutoffs, refit)
        return table_of(windows, settings, reader, self.horizon, level, quantiles)

    @explain_arguments
    def evaluate(self, df: Any, *, step_size: int = 1, in_sample: bool = False, static_df: Any = None) -> Evaluation:
        """Measure the forecasts on rows that the training has not seen, next to the naive and seasonal naive forecast.

        Parameters
        ----------
        df
            Rows after the training data, in its form. Earlier rows may precede them: they are read, not measured. If
            `df` begins with the first step after the rows known, the known state goes on.
        step_size : int, default 1
            Steps between the origins.
        in_sample : bool, default False
            Measure all rows, also those of the training data: what was learnt by heart, not how good forecasts are.
        static_df : DataFrame, optional

        Returns
        -------
        Evaluation
            ``scores``, ``by_horizon`` and ``by_hour``; ``print`` it.

        Raises
        ------
        ValueError
            If no row lies after the training data.
        """
        engine, step = self._fitted, count("step_size", step_size)
        return evaluate(engine, self._reader.axis, self._reader.read(df, static_df), step, in_sample)

    # ------------------------------------------------------------------------------------ files and pictures

    @explain_arguments
    def plot(
        self,
        df: Any = None,
        *,
        future: Any = None,
        id: Any = None,
        level: Any = None,
        last: int | None = None,
        static_df: Any = None,
        path: str | os.PathLike[str] | None = None,
        title: str | None = None,
    ) -> Figure:
        """Draw the forecast of one series with its intervals, after the values before it; needs matplotlib.

        Parameters
        ----------
        df, future, static_df
            As in `predict`.
        id : optional
            The series, by default the first one.
        level : float or list of float, optional
            Percentages of the intervals, by default those that the network was trained for.
        last : int, optional
            Number of values before the forecast that are shown, by default two horizons. Of the known series as many
            as a forecast reads, and no less than two horizons, are kept; of `df` all.
        path : path, optional
            File to save the picture to.
        title : str, optional

        Returns
        -------
        matplotlib.figure.Figure
            A line for the median, bands for the intervals; `fl.plots.fan` draws your own arrays.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If there is no such series, more values are to be shown than are kept, or as in `predict`.
        """
        from ..plots import fan

        shown = 2 * self.horizon_steps_ if last is None else count("last", last)
        memories = self._memories(df, static_df, shown)
        ids = [one.id for one in memories]
        if id is not None and id not in ids:
            raise ValueError(f"there is no series {id!r}, expected one of {short_repr(ids)}")
        number = 0 if id is None else ids.index(id)
        memory, axis = memories[number], self._reader.axis
        if last is not None and min(last, memory.rows) > len(memory.tail):
            raise ValueError(
                f"last={last}, but {len(memory.tail)} values of the series {memory.id!r} are kept: give the past as df"
            )
        past = memory.tail[-shown:]
        times, answers = self._answers(memories, future)
        steps, known = times[number], self._fitted.settings.quantiles
        levels = _fan_levels(known, level)
        before = axis.local(axis.steps_before(memory.end, len(past)))
        name = self._reader.columns.target_col if len(ids) == 1 else f"{self._reader.columns.target_col}, {memory.id}"
        return fan(
            axis.local(steps), at_levels(answers[number, : len(steps)], known, levels), levels, past_times=before,
            past=past, name=name, path=path, title=title,
        )  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the fitted forecaster, with the known ends of its series, to one ``.safetensors`` file without pickle.

        Raises
        ------
        ValueError
            If a setting cannot be saved, such as a function that says what a holiday is.
        OSError
            If the file cannot be written.
        """
        engine = self._fitted
        save(path, Saved(self._fitted_params, self._reader, engine))

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the network to an ONNX file (opset 17) for other runtimes; needs ``pip install 'fastlstm[onnx]'``.

        The file computes in the units of the network: from ``x`` (batch, time, inputs), the past from its first row
        on, ``ahead`` (batch, horizon, inputs), what is known of each step of the horizon, and ``base`` (batch,
        horizon), what the forecast is relative to, the ``quantiles`` (batch, horizon, quantiles), corrected and sorted.
        Its metadata hold as JSON, under the key ``fastlstm.forecast``, names and units of all inputs, units of the
        series, and from where each number is taken; examples/forecast_onnx.py makes the inputs.

        Parameters
        ----------
        path : path
            The file, conventionally with the suffix ``.onnx``. It is written atomically.

        Raises
        ------
        ImportError
            If the package onnx is not installed.
        ValueError
            If ONNX's operators cannot compute a layer, or the weights have 8 bits.
        OSError
            If the file cannot be written.
        """
        engine = self._fitted
        from .onnx import save_onnx  # few programs need it

        save_onnx(path, self._reader, engine)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Forecaster:
        """Read a forecaster that `save` has written.

        Raises
        ------
        ValueError
            If the file is truncated, altered, or holds no forecaster.
        OSError
            If the file cannot be read.
        """
        saved = load(path, cls)
        forecaster = cls(**saved.parameters)
        forecaster._reader, forecaster._engine = saved.reader, saved.engine
        forecaster._fitted_params = saved.parameters
        forecaster.seed_ = saved.engine.settings.seed
        return forecaster


def _end(panel: Panel) -> Any:
    return max(one.times[-1] for one in panel.series)


def _fan_levels(known: Sequence[float], level: Any) -> list[float]:
    """Return the median and the bounds of the intervals of these percentages, by default of those known, rising."""
    if level is None:
        bounds = [known[number] for pair in interval_pairs(known) for number in pair]
    else:
        bounds = [bound for one in percentages(level) for bound in bounds_of(one)]
    return sorted({0.5, *bounds})
