"""Objects of other packages, recognised by name and attributes without importing the packages; what to type for each.

`name` is the name of an argument in messages, such as "X", "X[3]" or "validation X"; `typed` makes code of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = [
    "array_code",
    "cure",
    "frame_cure",
    "frames_cure",
    "is_frame",
    "is_misread",
    "is_missing",
    "type_name",
    "typed",
]

_MANY_COLUMNS = 20


def type_name(value: Any) -> str:
    """Return the type of a value as its users call it, such as "pandas.DataFrame" or "generator"."""
    kind, package = type(value), _package(value)
    return kind.__name__ if package in ("builtins", "__main__") else f"{package}.{kind.__name__}"


def _package(value: Any) -> str:
    return str(type(value).__module__).partition(".")[0]


def typed(name: str) -> str:
    """Return the name of an argument as it can stand in code: "X" for "validation X"."""
    return re.sub(r"^([a-z]+ )+", "", name)


def array_code(value: Any, name: str) -> str:
    """Return code that makes a NumPy array of an argument."""
    code = typed(name)
    if isinstance(value, np.ndarray):
        return code
    if hasattr(type(value), "to_numpy"):
        return f"{code}.to_numpy()"
    if is_frame(value):
        return f"{code}.to_pandas().to_numpy()"
    return f"{code}.numpy()" if _package(value) == "torch" else f"numpy.asarray({code})"


def is_missing(value: Any) -> bool:
    """Return whether a value is what packages put in the place of one that is missing: None, nan, NA or NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def is_frame(value: Any) -> bool:
    """Return whether a value is a table with named columns, such as a DataFrame of pandas or polars."""
    kind = type(value)
    return hasattr(kind, "columns") and (hasattr(kind, "to_numpy") or hasattr(kind, "to_pandas"))


def _is_packed(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "batch_sizes")


def is_misread(value: Any) -> bool:
    """Return whether NumPy would make an array of a value that is none: a PackedSequence, the groups of a table."""
    return _is_packed(value) or type(value).__name__.endswith("GroupBy")


def frame_cure(frame: Any, name: str) -> str:
    """Return the text that says what to pass as inputs instead of a table, whose rows may be steps or cases."""
    code, array = typed(name), array_code(frame, name)
    rows = frame.shape[0]
    ways = [
        f"{array}[None] for one series of {rows} steps",
        f"X, y = fl.windows({array}, length=24) for windows of it",
    ]
    if hasattr(type(frame), "groupby"):
        groups = f"[one.drop(columns='id').to_numpy() for _, one in {code}.groupby('id')]"
        ways.append(f"{groups} if a column 'id' says which rows are a series")
    elif hasattr(type(frame), "group_by") and hasattr(type(frame), "to_numpy"):
        groups = f"[one.drop('id').to_numpy() for _, one in {code}.group_by('id', maintain_order=True)]"
        ways.append(f"{groups} if a column 'id' says which rows are a series")
    ways.append(f"{array}[:, :, None] if each row is a series of one feature")
    why = "because rows may be steps or series"
    return f"{name} is a {type_name(frame)}, expected an array, {why}: pass {'; '.join(ways)}"


def frames_cure(frame: Any, name: str) -> str:
    """Return the text that says what to pass instead of a list of tables, of which `frame` is called `name`."""
    code = typed(name).partition("[")[0]
    columns = [str(column) if isinstance(column, str) else column for column in frame.columns]
    chosen = repr(columns) if len(columns) <= _MANY_COLUMNS else "columns"
    convert = "to_numpy()" if hasattr(type(frame), "to_numpy") else "to_pandas().to_numpy()"
    return (
        f"{name} is a {type_name(frame)}, expected arrays, because a model does not know columns by name: pass "
        f"[one[{chosen}].{convert} for one in {code}], with the columns in the same order at each call"
    )


def cure(value: Any, name: str) -> str | None:
    """Return what to pass instead of an object that is no array, to follow "expected an array: "; None if unknown."""
    code, kind = typed(name), type(value).__name__
    if _is_packed(value):
        return (
            f"pad it: {code}, lengths = torch.nn.utils.rnn.pad_packed_sequence({code}, batch_first=True), and pass "
            "lengths=lengths"
        )
    if kind.endswith("GroupBy"):
        return f"pass {_groups(value, code)}"
    if hasattr(type(value), "collect") and hasattr(type(value), "lazy"):  # a LazyFrame
        return f"pass {code}.collect().to_numpy(), with the axes that the argument needs"
    if hasattr(type(value), "toarray"):  # a sparse matrix of SciPy
        return f"pass {code}.toarray()"
    if _package(value) == "torch" and hasattr(type(value), "detach"):
        return _of_tensor(value, code)
    if isinstance(value, Mapping):
        return (
            f"pass list({code}.values()) if each value is a series or the target of a case, or "
            f"numpy.stack(list({code}.values()), axis=-1) if each is a feature"
        )
    if isinstance(value, (set, frozenset)):
        return "pass a list in the order of the cases, a set has no order"
    if isinstance(value, Iterable):
        return f"pass list({code})"
    return None


def _groups(groups: Any, code: str) -> str:
    """Return code that makes a list of arrays of the groups of a table."""
    keys: Any = getattr(groups, "keys", None)  # pandas
    if hasattr(type(groups), "to_numpy") or type(groups).__name__ == "SeriesGroupBy":
        return f"[one.to_numpy() for _, one in {code}]"
    if isinstance(keys, str) or (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        return f"[one.drop(columns={keys!r}).to_numpy() for _, one in {code}]"
    by = getattr(groups, "by", None)  # polars
    if isinstance(by, (list, tuple)) and by and all(isinstance(key, str) for key in by):
        return f"[one.drop({', '.join(map(repr, by))}).to_numpy() for _, one in {code}]"
    return f"[one.to_numpy() for _, one in {code}]"


def _of_tensor(tensor: Any, code: str) -> str | None:
    if str(getattr(tensor, "device", "cpu")) == "meta":
        return "make it on the device 'cpu', a tensor on the device 'meta' has no values"
    dense = "" if "strided" in str(getattr(tensor, "layout", "strided")) else ".to_dense()"
    wide = ".float()" if "bfloat16" in str(getattr(tensor, "dtype", "")) else ""
    return f"pass {code}.detach().cpu(){dense}{wide}.numpy()"
