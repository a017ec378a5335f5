"""Errors about arguments that a function does not have: they name the argument that does what was meant.

Python's own message, "got an unexpected keyword argument", leaves newcomers to search. The table below holds names that
other packages use; for misspellings the nearest name is found.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from ._checks import short_repr

__all__ = ["ExplainsArguments", "closest", "explain_arguments"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

# For each function or class: the name elsewhere, and the name here; or, if it holds more than a name, what to do, in
# which {value} is what was given.
_SIZE = "leave it out, the model takes the size of the input from the data, or fl.Model(..., input_size={value})"
_DECAY = "leave it out, weight decay is the optimizer's: fl.AdamW(weight_decay=0.01)"
_LAYERS = {
    "activation": "put it after this layer: {call}, fl.Activation({value})",
    "batch_input_shape": "leave it out, the model takes the size of the input from the data",
    "batch_size": "leave it out, it is an argument of fit and predict",
    "device": "leave it out, everything runs on the CPU",
    "dtype": "leave it out, it is an argument of the model: fl.Model(..., dtype={value})",
    "input_shape": "leave it out, the model takes the size of the input from the data",
    "input_size": _SIZE,
    "kernel_regularizer": _DECAY,
    "name": "leave it out, layers are numbered by their place in the model",
    "seed": "leave it out, it is an argument of the model: fl.Model(..., seed={value})",
}
_WINDOWS = {
    "data": "series",
    "length_of_window": "length",
    "lookback": "length",
    "n_steps": "length",
    "sequence_length": "length",
    "sequence_stride": "stride",
    "step": "stride",
    "window": "length",
    "window_size": "length",
}
_GROUP_WINDOWS = {
    **_WINDOWS,
    "data": "df",
    "by": "group",
    "group_by": "group",
    "groupby": "group",
    "group_col": "group",
    "id": "group",
    "id_col": "group",
    "lookahead": "horizon",
    "step": "stride",
    "target_col": "target",
    "time_col": "time",
    "y": "target",
}
_LIFE = {
    "group": "groups",
    "ids": "groups",
    "units": "groups",
    "censored": "write failed=False for such groups, as in failed={group: bool}",
}
_OPTIMIZERS = {
    "beta_1": "write betas=({value}, 0.999)",
    "beta_2": "write betas=(0.9, {value})",
    "clipnorm": "clip_norm",
    "clipvalue": "clip_value",
    "decay": "weight_decay",
    "epsilon": "eps",
    "global_clipnorm": "clip_norm",
    "learning_rate": "lr",
    "max_grad_norm": "clip_norm",
    "params": "leave it out, fit gives the optimizer the model's parameters",
    "rho": "alpha",
}
_PREDICT = {
    "inputs": "X",
    "data": "X",
    "sequence_lengths": "lengths",
    "steps": "leave it out, X is read to its end",
    "verbose": "leave it out, nothing is printed",
    "x": "X",
}
_FIT = {
    "class_weights": "class_weight",
    "data": "X",
    "early_stopping": "write callbacks=[fl.EarlyStopping()]",
    "eval_set": "validation_data",
    "inputs": "X",
    "labels": "y",
    "learning_rate": "write optimizer=fl.Adam(lr={value})",
    "lr": "write optimizer=fl.Adam(lr={value})",
    "max_epochs": "epochs",
    "n_epochs": "epochs",
    "nb_epoch": "epochs",
    "num_epochs": "epochs",
    "patience": "write callbacks=[fl.EarlyStopping(patience={value})]",
    "random_state": "seed",
    "sample_weights": "sample_weight",
    "sequence_lengths": "lengths",
    "targets": "y",
    "val_data": "validation_data",
    "validation_set": "validation_data",
    "x": "X",
}
_ELSEWHERE: dict[str, dict[str, str]] = {
    "Layer": _LAYERS,
    "LSTM": {
        "activation": "write cell_activation={value}, output_activation={value}",
        "batch_first": "leave it out, arrays are always (batch, time, features)",
        "bias_initializer": "write forget_bias=1.0, the one bias that can be chosen",
        "dim": "hidden_size",
        "go_backwards": "reverse",
        "hidden_dim": "hidden_size",
        "hidden_units": "hidden_size",
        "kernel_initializer": "weight_init",
        "layers": "num_layers",
        "merge_mode": "merge",
        "n_layers": "num_layers",
        "n_units": "hidden_size",
        "num_units": "hidden_size",
        "recurrent_activation": "gate_activation",
        "recurrent_initializer": "recurrent_init",
        "recurrent_regularizer": _DECAY,
        "return_state": "leave it out, it is an argument of Model.forward",
        "size": "hidden_size",
        "stateful": "leave it out, Model.stream() and Model.forward(state=...) keep states",
        "unit_forget_bias": "write forget_bias=1.0",
        "units": "hidden_size",
        "unroll": "leave it out, it would change no result",
        "use_bias": "bias",
    },
    "Dense": {
        "in_features": _SIZE,
        "kernel_initializer": "weight_init",
        "out_features": "output_size",
        "units": "output_size",
        "use_bias": "bias",
    },
    "Dropout": {"dropout": "p", "noise_shape": "per_series", "prob": "p", "rate": "p"},
    "Embedding": {
        "dim": "embedding_dim",
        "input_dim": "num_embeddings",
        "input_length": "leave it out, series may have any length",
        "mask_zero": "write mask_token=0",
        "output_dim": "embedding_dim",
        "padding_idx": "mask_token",
        "vocab_size": "num_embeddings",
    },
    "GaussianNoise": {"sigma": "stddev", "std": "stddev"},
    "Masking": {"mask_value": "value"},
    "Activation": {"activation": "kind", "negative_slope": "alpha"},
    "Optimizer": _OPTIMIZERS,
    "Adam": {"amsgrad": "leave it out, this Adam has no such variant"},
    "RMSprop": {"centered": "leave it out, the mean square is not centered"},
    "SGD": {"dampening": "leave it out, the momentum is not dampened"},
    "Loss": {
        "from_logits": "leave it out, the loss knows from the model whether its outputs are scores",
        "reduction": "leave it out, a loss is the mean over the positions that count",
    },
    "CTC": {"blank_index": "blank"},
    "Huber": {"beta": "delta"},
    "Quantile": {"alpha": "quantiles", "q": "quantiles", "tau": "quantiles"},
    "Callback": {"filepath": "path", "restore_best_weights": "restore_best"},
    "EarlyStopping": {"baseline": "leave it out"},
    "ModelCheckpoint": {"save_weights_only": "leave it out, the file holds the whole model"},
    "ReduceLROnPlateau": {"epsilon": "min_delta", "threshold": "min_delta"},
    "Schedule": {
        "T_max": "leave it out, fit tells the schedule the number of updates",
        "base_lr": "lr",
        "eta_min": "min_lr",
        "initial_learning_rate": "lr",
        "learning_rate": "lr",
        "total_steps": "leave it out, fit tells the schedule the number of updates",
    },
    "Forecaster": {
        "context_length": "context",
        "forecast_horizon": "horizon",
        "futr_exog_list": "futr_exog",
        "h": "horizon",
        "hist_exog_list": "hist_exog",
        "input_chunk_length": "context",
        "input_size": "context",
        "level": "leave it out, it is an argument of predict; quantiles=(0.05, 0.5, 0.95) are those that are trained",
        "lr": "learning_rate",
        "max_epochs": "epochs",
        "max_steps": "epochs",
        "n_threads": "n_jobs",
        "output_chunk_length": "horizon",
        "prediction_length": "horizon",
        "random_seed": "random_state",
        "seed": "random_state",
        "stat_exog_list": "stat_exog",
        "units": "hidden_size",
    },
    "Model": {
        "device": "leave it out, everything runs on the CPU",
        "input_shape": "write input_size=3 for 3 features, or leave it out: the size is taken from the data",
        "inputs": "leave it out, a model is a list of layers",
        "loss": "leave it out, it is an argument of fit",
        "name": "leave it out",
        "optimizer": "leave it out, it is an argument of fit",
        "outputs": "leave it out, a model is a list of layers",
        "random_state": "seed",
    },
    "fit": _FIT,
    "evaluate": {**_PREDICT, "labels": "y", "sample_weights": "sample_weight", "targets": "y"},
    "predict": {**_PREDICT, "fh": "horizon", "h": "horizon"},
    "predict_classes": _PREDICT,
    "predict_proba": _PREDICT,
    "rul": {**_LIFE, "clip": "cap", "early_rul": "cap", "max_rul": "cap"},
    "will_fail": {**_LIFE, "horizon": "within"},
    "windows": _WINDOWS,
    "windows_by_group": _GROUP_WINDOWS,
    "from_frame": {"columns": "features", "id": "group", "id_col": "group", "time_col": "time"},
    "split": {
        "X": "cases",
        "random_state": "seed",
        "sizes": "fractions",
        "stratify": "write method='stratified', y={value}",
        "test_size": "write fractions=(1 - {value}, {value})",
    },
}


def closest(word: str, names: Iterable[str]) -> str | None:
    """Return the name that a misspelt word means: the same but for case, an abbreviation, or the most similar."""
    lower = {name.lower(): name for name in names}
    if word.lower() in lower:
        return lower[word.lower()]
    longer = [name for low, name in lower.items() if len(word) > 2 and low.startswith(word.lower())]
    if len(longer) == 1:
        return longer[0]
    import difflib  # only for a message

    found = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    return lower[found[0]] if found else None


class ExplainsArguments:
    """Base of classes whose constructors, those of subclasses included, explain arguments that they do not have."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        constructor = vars(cls).get("__init__")
        if inspect.isfunction(constructor):
            cls.__init__ = explain_arguments(constructor)  # type: ignore[method-assign]


def explain_arguments(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a function or method explain arguments that it does not have; use as a decorator.

    Signature, docstring and pickling stay as they are.
    """
    parameters = list(inspect.signature(function).parameters.values())
    kinds = {parameter.kind for parameter in parameters}
    if inspect.Parameter.VAR_KEYWORD in kinds or inspect.Parameter.VAR_POSITIONAL in kinds:
        return function
    is_method = bool(parameters) and parameters[0].name == "self"
    parameters = parameters[is_method:]
    own = [parameter.name for parameter in parameters]
    by_position = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    known = frozenset(own)

    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not known.issuperset(kwargs):
            raise TypeError(_unknown(_names(function, args), args[is_method:], kwargs, own))
        if len(args) > len(by_position) + is_method:
            raise TypeError(_too_many(_names(function, args)[0], args[is_method:], by_position, own))
        return function(*args, **kwargs)

    return checked


def _names(function: Callable[..., Any], args: tuple[Any, ...]) -> list[str]:
    """Return the names under which the table may hold a function: its own, or those of a constructor's classes."""
    if function.__name__ == "__init__" and args:
        return [one.__name__ for one in type(args[0]).__mro__]
    return [function.__name__]


def _unknown(names: list[str], args: tuple[Any, ...], given: Mapping[str, Any], own: list[str]) -> str:
    name = next(name for name in given if name not in own)
    value = _short(given[name])
    meant = next((table[name] for table in map(_ELSEWHERE.get, names) if table and name in table), None)
    if not own:
        advice = "leave it out, there are none"
    elif meant is not None and meant in own:
        advice = f"write {meant}={value}"
    elif meant is not None and not meant.isidentifier():
        rest = [*map(_short, args), *(f"{key}={_short(one)}" for key, one in given.items() if key != name)]
        advice = meant.replace("{value}", value).replace("{call}", f"fl.{names[0]}({', '.join(rest)})")
    else:  # nothing is known, or the name of an argument that only relatives of this class have
        near = closest(name, own)
        advice = f"there are {', '.join(own)}" if near is None else f"did you mean {near}={value}?"
    return f"{names[0]}() has no argument {name!r}: {advice}"


def _too_many(called: str, args: tuple[Any, ...], by_position: list[str], own: list[str]) -> str:
    if not own:
        return f"{called}() takes no arguments, got {_short(args[0])}: leave it out"
    others = [name for name in own if name not in by_position]
    advice = f"give the others by name, {'=..., '.join(others[:4])}=..." if others else "leave the others out"
    if called == "Dense" and isinstance(args[1], str):
        advice = f"put an activation after it: fl.Dense({args[0]!r}), fl.Activation({args[1]!r})"
    elif called in ("LSTM", "Dense") and all(type(size) is int for size in args):
        # As in PyTorch, which wants the size of the input first.
        layers = f", num_layers={args[2]}" if called == "LSTM" and len(args) > 2 else ""
        advice = f"write fl.{called}({args[1]}{layers}): the model takes the size of the input from the data"
    takes = f"takes {' and '.join(by_position)} by position" if by_position else "takes all arguments by name"
    return f"{called}() {takes}, got {len(args)} arguments: {advice}"


def _short(value: Any) -> str:
    """Return the repr of a value, or "..." if it is long."""
    text = short_repr(value)
    return text if len(text) <= 60 and "\n" not in text else "..."
