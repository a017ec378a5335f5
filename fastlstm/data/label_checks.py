"""What is wrong with labels that a model cannot take, and what to type instead.

Shapes: n cases, T steps, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array, is_masked, place_of
from .._checks import short_repr
from .._foreign import array_code, is_frame, is_missing, type_name, typed

__all__ = [
    "check_label_axes",
    "check_listed_axes",
    "column_of",
    "is_listed",
    "label_type_error",
    "names_cure",
    "numbering_cure",
]

_LOOKED_AT = 64
"""Number of cases, and of steps, by which one-hot labels are recognised."""
_MANY_CLASSES = 10_000


def column_of(y: Any, per_step: bool, labels: bool, name: str) -> tuple[Any, str]:
    """Return targets, and their name for messages, as an array if they are a table of one column.

    Raise TypeError for other tables, masked arrays and text.

    The columns of a table may come in another order at the next call, and a model does not know them by name.
    """
    if isinstance(y, str):
        raise TypeError(
            f"{name} is text, expected one target for each case: read the file first, for example "
            f"numpy.loadtxt({typed(name)})"
        )
    if is_masked(y):
        code = typed(name)
        filled = (
            f"{code}.filled(-100)" if labels else f"{code}.filled(0) with sample_weight=~numpy.ma.getmaskarray({code})"
        )
        raise TypeError(
            f"{name} is a masked array, expected an array: to let the loss ignore what is masked, pass {filled}"
        )
    if not is_frame(y):
        return y, name
    code = array_code(y, name)
    array = as_array(y, name)
    if per_step:
        column = ", :, 0]" if labels and array.shape[1] == 1 else "]"
        raise TypeError(
            f"{name} is a {type_name(y)}, expected an array, because the model has an output for each step and rows "
            f"may be steps or cases: pass {code}[None{column} for the targets of one series, or {code} if each row is "
            "a case"
        )
    if array.shape[1] == 1:
        return (array[:, 0], _labels_code(y, name)) if labels else (array, name)
    if labels and _is_one_hot(array):
        raise TypeError(
            f"{name} is a {type_name(y)} of {array.shape[1]} columns, expected labels ({len(array)},): for a one-hot "
            f"table pass {code}.argmax(-1)"
        )
    columns = list(y.columns)
    whole = "" if hasattr(type(y), "to_numpy") else ".to_pandas()"
    raise TypeError(
        f"{name} is a {type_name(y)} of {len(columns)} columns, expected an array, because a model does not know "
        f"columns by name: pass {typed(name)}{whole}[{columns!r}].to_numpy(), with the columns in the same order at "
        "each call"
    )


def label_type_error(array: NDArray[Any], y: Any, name: str) -> TypeError:
    """Return the error about labels that are neither integers nor strings; it names the first that is not whole."""
    code = array_code(y, name)
    if array.dtype.kind == "f":
        bad = np.flatnonzero(~(np.isfinite(array) & (array == np.rint(array))))
        if not len(bad):
            return TypeError(
                f"{name} has type {array.dtype}, expected integer labels from 0, or strings: use {_as_floats(y, code)}"
                ".astype(int) for labels stored as floats; for regression use a loss such as 'mse'"
            )
        value, place = array.flat[bad[0]], place_of(int(bad[0]), array.shape)
        if np.isnan(value):
            whole = _as_floats(y, code)
            return TypeError(
                f"{name}{place} is missing (nan), expected integer labels from 0, or strings: drop such cases, or let "
                f"the loss ignore them, numpy.where(numpy.isnan({whole}), -100, {whole}).astype(int)"
            )
        return TypeError(
            f"{name}{place} is {value}, expected integer labels from 0, or strings: for regression use a loss such as "
            "'mse'"
        )
    if array.dtype == object:
        for number, value in enumerate(array.flat):
            place = place_of(number, array.shape)
            if is_missing(value):
                return TypeError(f"{name}{place} is missing ({value}), expected a label: drop such cases")
            if not isinstance(value, (str, int, np.integer, np.bool_)):
                return TypeError(
                    f"{name}{place} is the {type_name(value)} {short_repr(value)}, expected integer labels from 0, or "
                    f"strings: pass {code}.astype(str) to take each label by its name"
                )
    if array.dtype.names is not None:
        return TypeError(
            f"{name} has type {array.dtype}, expected integer labels from 0, or strings: pass one of its fields, "
            f"{code}[{array.dtype.names[0]!r}]"
        )
    return TypeError(
        f"{name} has type {array.dtype}, expected integer labels from 0, or strings: pass {code}.astype(str) to take "
        "each label by its name; for regression use a loss such as 'mse'"
    )


def _as_floats(y: Any, code: str) -> str:
    """Return code for labels as floats, in which nan stands for what is missing."""
    if isinstance(y, (list, tuple)):
        return f"{code[:-1]}, float)"  # numpy.asarray(y, float)
    if isinstance(y, np.ndarray) and y.dtype == object:
        return f"{code}.astype(float)"
    return code


def check_label_axes(array: NDArray[Any], y: Any, cases: int, time: int, per_step: bool, name: str) -> None:
    """Raise ValueError if labels have other axes than (cases,), or (cases, time) if `per_step`.

    This is checked before the type, so that one message suffices for one-hot labels that are floats.
    """
    axes = 2 if per_step else 1
    if array.dtype.kind not in "fiub":
        return
    if array.ndim == 0:
        raise ValueError(f"{name} is the single label {array}, expected one for each case")
    if array.ndim == axes and not (per_step and array.shape[1] != time):
        return
    expected = f"({cases}, {time}), a label for each step" if per_step else f"({cases},), one label for each case"
    code = array_code(y, name)
    whole = ".astype(int)" if array.dtype.kind == "f" else ""
    steps = not per_step and array.ndim > 1 and array.shape[1] == time
    advice = []
    if array.ndim in (axes + 1, 3) and array.shape[-1] == 1:
        advice.append(f"for a last axis of 1 pass {code}[..., 0]{whole}")
    elif array.ndim in (axes + 1, 3) and _is_one_hot(array):
        advice.append(f"for one-hot labels pass {code}.argmax(-1)")
    elif array.ndim > 1 and not (steps and array.ndim == 2):
        advice.append(
            "for several labels of each case use loss='binary_cross_entropy', for values to predict a loss such as "
            "'mse'"
        )
    if not per_step and ((steps and array.ndim == 3) or (steps and not advice)):
        advice.append("for labels of each step set return_sequences=True in the last LSTM")
    if (per_step and array.ndim < 2) or (per_step and not advice):
        advice.append("for one label per case set return_sequences=False in the last LSTM")
    raise ValueError(f"{name} has shape {array.shape}, expected {expected}: {'; '.join(advice)}")


def check_listed_axes(array: NDArray[Any], labels: bool, name: str) -> None:
    """Raise ValueError if the targets of a series, called such as "y[3]", have no axis of steps, or labels another."""
    code = typed(name).partition("[")[0]
    if array.ndim == 0:
        raise ValueError(
            f"{name} is one target, expected one for each step, because the model has an output for each step: for one "
            "target per case set return_sequences=False in the last LSTM"
        )
    if labels and array.ndim == 2:
        what, pick = ("a last axis of 1", "[..., 0]") if array.shape[1] == 1 else ("one-hot labels", ".argmax(-1)")
        raise ValueError(
            f"{name} has shape {array.shape}, expected ({len(array)},), a label for each step: for {what} pass "
            f"[numpy.asarray(one){pick} for one in {code}]"
        )


def _is_one_hot(array: NDArray[Any]) -> bool:
    """Return whether the first positions of an array (..., C) each hold a single 1 and else zeros."""
    if array.dtype.kind not in "fiub" or array.shape[-1] > _MANY_CLASSES or 0 in array.shape or array.ndim < 2:
        return False
    some = array[(slice(_LOOKED_AT),) * (array.ndim - 1)]
    return bool(((some == 0) | (some == 1)).all() and (some.sum(axis=-1) == 1).all())


def is_listed(y: Any) -> TypeGuard[Sequence[Any]]:
    """Return whether targets are a list of one array for each series, rather than a list of numbers or names."""
    if not isinstance(y, (list, tuple)) or not y:
        return False
    return isinstance(y[0], (list, tuple)) or getattr(y[0], "shape", ()) != ()


def names_cure(y: Any, name: str) -> str:
    """Return code that takes each label by its name, for labels that are not numbered from 0."""
    if is_listed(y):
        return f"[numpy.asarray(one).astype(str) for one in {typed(name)}]"
    return f"{_labels_code(y, name)}.astype(str)"


def _labels_code(y: Any, name: str) -> str:
    """Return code that makes an array (n,) of the labels of cases."""
    return f"{array_code(y, name)}[:, 0]" if is_frame(y) else array_code(y, name)


def numbering_cure(labels: NDArray[Any], outputs: int, y: Any, name: str) -> str | None:
    """Return what to do about labels that are not numbered from 0, if the model has enough outputs; else None.

    `labels` are the different labels that count, sorted.
    """
    first, last = int(labels[0]), int(labels[-1])
    wide = f"give the last layer {last + 1} outputs, fl.Dense({last + 1})"
    if first > 0 and (last == outputs or last - first + 1 == outputs):
        begin = 1 if last == outputs else first
        one = "numpy.asarray(one)" if is_listed(y) else _labels_code(y, name)
        ignored = any(bool((as_array(part, name) < 0).any()) for part in (y if is_listed(y) else [y]))
        shifted = f"numpy.where({one} < 0, {one}, {one} - {begin})" if ignored else f"{one} - {begin}"
        shifted = f"[{shifted} for one in {typed(name)}]" if is_listed(y) else shifted
        if first == begin:
            return f"labels begin at {begin}, expected 0: pass {shifted}; or names, {names_cure(y, name)}"
        return f"if labels begin at {begin}, pass {shifted}; or names, {names_cure(y, name)}; otherwise {wide}"
    if len(labels) <= outputs:
        return (
            f"only {len(labels)} labels between {first} and {last} occur: pass names, {names_cure(y, name)}, or {wide}"
        )
    return None
