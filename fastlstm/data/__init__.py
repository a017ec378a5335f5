"""Prepare data: series read batch by batch, targets, windows, tables, splits, scaling; readers of published files."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from .robust_scaler import RobustScaler
from .scaler import SCALERS, Scaler, scaler_from_config
from .scaling import Standardizer
from .sequences import Sequences, as_sequences
from .shuffle import Shuffle
from .splits import split
from .targets import Targets, as_targets, encode_labels
from .windows import windows

if _TYPE_CHECKING:
    from . import datasets
    from .event_segments import segments
    from .numpy3d import from_numpy3d, to_numpy3d
    from .readers.aami import AAMI_CLASSES, MITBIH_DS1, MITBIH_DS2, MITBIH_PACED, aami_class
    from .readers.csv.table import CsvTable, read_csv
    from .readers.series_file import LabelledSeries, SeriesMeta
    from .readers.ts import read_ts
    from .readers.ucr_tsv import read_ucr_tsv
    from .readers.wfdb import WfdbRecord, read_wfdb
    from .tables.frames import FrameSeries, from_frame
    from .tables.group_windows import GroupWindows, windows_by_group
    from .tables.remaining_life import rul, will_fail

__all__ = [
    "AAMI_CLASSES",
    "MITBIH_DS1",
    "MITBIH_DS2",
    "MITBIH_PACED",
    "SCALERS",
    "CsvTable",
    "FrameSeries",
    "GroupWindows",
    "LabelledSeries",
    "RobustScaler",
    "Scaler",
    "Sequences",
    "SeriesMeta",
    "Shuffle",
    "Standardizer",
    "Targets",
    "WfdbRecord",
    "aami_class",
    "as_sequences",
    "as_targets",
    "datasets",
    "encode_labels",
    "from_frame",
    "from_numpy3d",
    "read_csv",
    "read_ts",
    "read_ucr_tsv",
    "read_wfdb",
    "rul",
    "scaler_from_config",
    "segments",
    "split",
    "to_numpy3d",
    "will_fail",
    "windows",
    "windows_by_group",
]

# Imported at first use, because a program that trains on arrays needs none of them.
_LAZY_NAMES = {  # the module of each name
    "AAMI_CLASSES": "readers.aami",
    "CsvTable": "readers.csv.table",
    "FrameSeries": "tables.frames",
    "GroupWindows": "tables.group_windows",
    "LabelledSeries": "readers.series_file",
    "MITBIH_DS1": "readers.aami",
    "MITBIH_DS2": "readers.aami",
    "MITBIH_PACED": "readers.aami",
    "SeriesMeta": "readers.series_file",
    "WfdbRecord": "readers.wfdb",
    "aami_class": "readers.aami",
    "from_frame": "tables.frames",
    "from_numpy3d": "numpy3d",
    "read_csv": "readers.csv.table",
    "read_ts": "readers.ts",
    "read_ucr_tsv": "readers.ucr_tsv",
    "read_wfdb": "readers.wfdb",
    "rul": "tables.remaining_life",
    "segments": "event_segments",
    "to_numpy3d": "numpy3d",
    "will_fail": "tables.remaining_life",
    "windows_by_group": "tables.group_windows",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_NAMES, "datasets"})


if not _TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "datasets":
            return _import_module(f"{__name__}.datasets")
        if name in _LAZY_NAMES:
            return getattr(_import_module(f"{__name__}.{_LAZY_NAMES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
