"""Records of PhysioNet, through the package wfdb."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..._arguments import explain_arguments
from ..._checks import as_list, count, short_repr
from ..._checks import path as as_path

__all__ = ["WfdbRecord", "read_wfdb"]


class WfdbRecord(NamedTuple):
    """A record of PhysioNet."""

    signal: NDArray[np.float64]
    """(T, channels), in physical units; NaN where the record has no value."""
    fs: float
    """Sampling frequency in Hz."""
    channels: tuple[str, ...]
    """Names of the channels, in the order of the last axis."""
    units: tuple[str, ...]
    """Unit of each channel, such as "mV"."""
    samples: NDArray[np.int64] | None
    """(m,): the steps of `signal` that are annotated; None without annotations."""
    symbols: NDArray[np.str_] | None
    """(m,): the symbol of each annotation, such as "N" or "V"."""


@explain_arguments
def read_wfdb(
    record: Any,
    *,
    annotations: str | None = "atr",
    channels: Any = None,
    start: int = 0,
    stop: int | None = None,
) -> WfdbRecord:
    """Read a record of PhysioNet, such as those of the MIT-BIH Arrhythmia Database, with its annotations.

    Needs wfdb (``pip install 'fastlstm[wfdb]'``), which reads the files; nothing is downloaded.

    Parameters
    ----------
    record : str or path-like
        Path of the record without a suffix, such as ``mitdb/100`` for ``mitdb/100.hea`` and ``mitdb/100.dat``.
    annotations : str or None, default "atr"
        Suffix of the file of annotations; None: do not read any.
    channels : list of str, optional
        Names of the channels to read, in this order; by default all.
    start, stop : int, optional
        First step, and the step after the last one; by default the whole record.

    Returns
    -------
    WfdbRecord
        `signal`, float64 of shape (T, channels) in physical units; `fs`, its sampling frequency in Hz; the names of the
        `channels` and their `units`; `samples`, the annotated steps, counted from `start`, and their `symbols`.

    Raises
    ------
    FileNotFoundError
        If there is no such record, or no such file of annotations.
    ImportError
        If wfdb is not installed.
    ValueError
        If wfdb cannot read the record, a channel does not exist or occurs twice, or `start` and `stop` do not fit.

    Notes
    -----
    Channels that were sampled more often than others are averaged over each frame, as wfdb does by default.

    Examples
    --------
    .. code-block:: python

        record = fl.data.read_wfdb("mitdb/100")
        classes = fl.data.aami_class(record.symbols)
        X, kept = fl.data.segments(record.signal, record.samples[classes != ""], before=100, after=150)
        y = classes[classes != ""][kept]
    """
    name, wanted = _checked_name(record), None if channels is None else as_list("channels", channels, "names")
    start = count("start", start, 0)
    if stop is not None and count("stop", stop) <= start:
        raise ValueError(f"got start = {start} and stop = {stop}, expected start < stop")
    if not os.path.exists(f"{name}.hea"):
        raise FileNotFoundError(f"there is no file {name}.hea, expected the path of a record without its suffix")
    if annotations is not None and not os.path.exists(f"{name}.{annotations}"):
        raise FileNotFoundError(
            f"there is no file {name}.{annotations}, expected the annotations of the record: pass annotations=None to "
            "read the signal alone"
        )
    wfdb = _imported()
    try:
        read = wfdb.rdrecord(name, sampfrom=start, sampto=stop, physical=True, return_res=64)
    except OSError:
        raise
    except Exception as error:  # wfdb raises what it meets in a file that is damaged
        raise ValueError(f"wfdb cannot read the record {name}: {type(error).__name__}: {error}") from error
    signal, names, units = _chosen(read, wanted, name)
    samples = symbols = None
    if annotations is not None:
        samples, symbols = _annotations(wfdb, name, annotations, start, len(signal), float(read.fs))
    return WfdbRecord(signal, float(read.fs), names, units, samples, symbols)


def _checked_name(record: Any) -> str:
    name = as_path(record)
    for suffix in (".hea", ".dat", ".atr"):
        name = name.removesuffix(suffix)
    return name


def _imported() -> Any:
    try:
        import wfdb
    except ImportError as error:
        raise ImportError("reading a record of PhysioNet needs wfdb: pip install 'fastlstm[wfdb]'") from error
    return wfdb


def _chosen(
    read: Any, wanted: list[Any] | None, name: str
) -> tuple[NDArray[np.float64], tuple[str, ...], tuple[str, ...]]:
    """Return the signal of the wanted channels, (T, channels), their names and units."""
    signal = read.p_signal
    if signal is None or signal.ndim != 2 or not signal.size:
        raise ValueError(f"the record {name} has no signal in the steps asked for, expected at least one step")
    there = [str(one) for one in read.sig_name]
    places = list(range(len(there)))
    if wanted is not None:
        for one in wanted:
            if there.count(one) != 1:
                problem = "more than once" if one in there else "not"
                raise ValueError(f"the record {name} has the channel {short_repr(one)} {problem}, it has {there}")
        places = [there.index(one) for one in wanted]
    chosen = np.ascontiguousarray(signal[:, places], np.float64)
    return chosen, tuple(there[i] for i in places), tuple(str(read.units[i]) for i in places)


def _annotations(
    wfdb: Any, name: str, suffix: str, start: int, steps: int, fs: float
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Return the annotated steps, counted from `start`, and their symbols."""
    try:
        read = wfdb.rdann(name, suffix)
        symbols = np.array(read.symbol, np.str_).reshape(-1)
        samples = np.asarray(read.sample, np.int64).reshape(-1) - start
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"wfdb cannot read {name}.{suffix}: {type(error).__name__}: {error}") from error
    if read.fs is not None and float(read.fs) != fs:
        raise ValueError(
            f"{name}.{suffix} counts steps at {read.fs} Hz and the signal at {fs} Hz, expected the same: pass "
            "annotations=None, and read them with wfdb"
        )
    inside = (samples >= 0) & (samples < steps)
    return samples[inside], symbols[inside]
