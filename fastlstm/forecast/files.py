"""Forecasters in files: one safetensors file with the network and, as JSON, everything else. No pickle."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._checks import MANY, as_bool, as_list, count, real, short_repr
from .._typing import Array
from ..formats import safetensors
from ..formats.foreign import with_advice
from ..formats.model_file import model_from
from ..layers import layer_from_config
from ..tasks.described import plain_parameter
from .arguments import check_arguments, settings_for
from .conformal import Corrections
from .engine import Engine, widths_of
from .frames import FrameReader
from .layout import Layout
from .memory import Memory
from .network import ForecastNetwork
from .roles import names_of
from .series import ColumnScales, Scale
from .settings import Settings

__all__ = ["KEY", "Saved", "load", "save"]

KEY = "forecaster"
"""Key in the config of the file."""
_VERSION = 2
"""1 had no `reads_ahead`, `direct` and shares: such networks do without them."""
_PARTS = ("encoder", "common", "local")
_OF_FIT = ("freq", "time_zone", "hist_exog", "futr_exog", "stat_exog", "cat_exog", "calendar", "holidays")
"""Parameters that matter at fit only; those that JSON cannot hold are left out of the file."""
_MOST_STEPS = 10_000_000
"""Number of steps that the network looks back at most, so that a file cannot ask for any amount of memory."""


class Saved(NamedTuple):
    """What a file holds."""

    parameters: dict[str, Any]
    """Arguments of `Forecaster`."""
    reader: FrameReader
    engine: Engine


def save(path: str | os.PathLike[str], saved: Saved) -> None:
    """Do the work of `Forecaster.save`."""
    parameters, reader, engine = saved
    memories = list(engine.memories.values())
    described = {
        "version": _VERSION,
        "parameters": {name: _described(name, value) for name, value in parameters.items()},
        "seed": engine.settings.seed,
        "steps": [engine.settings.horizon, engine.settings.gap],
        "season": engine.settings.season,
        "widths": [engine.settings.step_context, engine.settings.common_context, engine.settings.local_units],
        "layout": _layout_config(engine.layout),
        "reader": reader.to_config(),
        "parts": [part.get_config() for part in engine.network.parts],
        "direct": engine.network.direct,
        "coverage": engine.coverage,
        "memories": {
            "ids": [_id(one.id) for one in memories],
            "rows": [one.rows for one in memories],
            "tails": [len(one.tail) for one in memories],
        },
        "scales": [_id(one) for one in engine.scales],
        "trained_until": [_id(one) for one in engine.trained_until],
    }
    safetensors.save(path, {**engine.network.tensors(), **_tensors(reader, engine)}, {KEY: described})


def _tensors(reader: FrameReader, engine: Engine) -> dict[str, Array]:
    axis, layout, memories = reader.axis, engine.layout, list(engine.memories.values())
    tensors = {
        "shares": engine.network.shares,
        "scales": np.array([[one.center, one.scale] for one in engine.scales.values()]).reshape(-1, 2),
        "trained_until": np.array([int(axis.as_numbers(one)) for one in engine.trained_until.values()], np.int64),
        "hist_scales": np.stack(layout.scales.hist),
        "futr_scales": np.stack(layout.scales.futr),
        "static_scales": np.stack(layout.scales.static),
        "memory.ends": np.array([int(axis.as_numbers(one.end)) for one in memories], np.int64),
        "memory.numbers": np.array(
            [[one.scale.center, one.scale.scale, one.last, one.naive_error] for one in memories]
        ).reshape(-1, 4),
        "memory.tails": np.concatenate([one.tail for one in memories]) if memories else np.zeros(0),
        "memory.static": np.stack([one.static for one in memories]) if memories else np.zeros((0, 0)),
        "memory.contexts": np.stack([one.context for one in memories]) if memories else np.zeros((0, 0)),
    }
    if memories:
        for index in range(len(memories[0].states)):
            for part, name in enumerate("hc"):
                joined = np.concatenate([one.states[index][part] for one in memories], axis=1)
                tensors[f"memory.states.{index}.{name}"] = joined
    if engine.corrections is not None:
        tensors["corrections"] = engine.corrections.shifts
        tensors["corrections.counts"] = engine.corrections.counts
    return tensors


def _layout_config(layout: Layout) -> dict[str, Any]:
    return {
        "seasons": [list(one) for one in layout.seasons],
        "hist_flags": list(layout.hist_flags),
        "residual_of": layout.residual_of,
        "reads_ahead": layout.reads_ahead,
    }


def _id(value: Any) -> Any:
    """Return an id as data for JSON: a string or an integer as it is, a time as text."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, (str, int)) and not isinstance(plain, bool):
        return plain
    raise ValueError(f"the id {short_repr(value)} cannot be saved, expected strings or whole numbers")


def _described(name: str, value: Any) -> Any:
    """Return a parameter as data for JSON."""
    try:
        return plain_parameter(name, value)
    except TypeError:
        if name in _OF_FIT:
            return None  # what follows from it is in the reader's description
        raise ValueError(
            f"{name}={short_repr(value)} cannot be saved, expected a number, a string or a list of these"
        ) from None


# ------------------------------------------------------------------------------------ reading


def load(path: str | os.PathLike[str], make: Callable[..., Any]) -> Saved:
    """Return what a file holds; `make` is the class `Forecaster`, which checks its arguments."""
    with with_advice(path, "load"):
        tensors, config = safetensors.load(path)
    described = config.get(KEY)
    if not isinstance(described, Mapping):
        raise ValueError(f"{os.fspath(path)}: a file without a forecaster: fl.load reads the model in it")
    version = described.get("version")
    if version not in (1, _VERSION) or isinstance(version, bool):
        raise ValueError(
            f"{os.fspath(path)}: the description of a forecaster has version {short_repr(version)}, this fastlstm "
            f"reads 1 to {_VERSION}: a newer one has written it; update with: pip install -U fastlstm"
        )
    try:
        with np.errstate(over="ignore"):  # initial weights of a scale that a type does not have; they are replaced
            return _saved(path, make, described, tensors)
    except (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: the file does not describe a forecaster: {error}") from error


def _saved(path: Any, make: Callable[..., Any], described: Mapping[str, Any], tensors: Mapping[str, Array]) -> Saved:
    """Return what a file describes; the checks are those of data that are not trusted."""
    given = {name: _restored(name, value) for name, value in described["parameters"].items()}
    forecaster = make(**given)
    check_arguments(forecaster)
    reader = FrameReader.from_config(described["reader"])
    for name in ("hist_exog", "futr_exog", "stat_exog", "cat_exog"):
        if names_of(name, given[name]) != getattr(reader.columns, name):
            raise ValueError(f"{name} is {given[name]}, but the network reads {getattr(reader.columns, name)}")
    engine = Engine(_settings(forecaster, reader, described, tensors))
    engine.layout = _layout(engine, described, tensors, reader)
    engine.network = _network(path, engine, described, tensors)
    engine.scales = _scales(described, tensors)
    engine.trained_until = _trained_until(described, tensors, reader)
    engine.corrections = _corrections(engine, tensors)
    engine.memories = _memories(engine, reader, described["memories"], tensors)
    engine.coverage = _coverage(described["coverage"])
    return Saved(given, reader, engine)


def _restored(name: str, value: Any) -> Any:
    if name == "layers" and value is not None:
        return [layer_from_config(layer) for layer in value]
    return tuple(value["tuple"]) if isinstance(value, dict) else value


def _settings(
    forecaster: Any, reader: FrameReader, described: Mapping[str, Any], tensors: Mapping[str, Array]
) -> Settings:
    """Return the settings; those that follow from the data are compared with the file."""
    ends = tensors["trained_until"]
    if ends.ndim != 1 or ends.dtype != np.int64 or not len(ends):
        raise ValueError("there must be one end for each series of the training data")
    end = reader.axis.as_times(ends[int(np.argmax(ends)) :][:1])[0]
    seed = count("seed", described["seed"], least=0, bits=MANY)
    settings = settings_for(forecaster, reader.axis, end, 2**40, seed)
    horizon, gap = (count("steps", one, least=0) for one in as_list("steps", described["steps"], "two numbers"))
    if not 1 <= horizon <= len(tensors["common.0.weight"]) or gap > _MOST_STEPS:
        raise ValueError(f"horizon and gap have {horizon} and {gap} steps, which do not fit the network")
    for name, steps, known in (("horizon", horizon, settings.horizon), ("gap", gap, settings.gap)):
        # The clocks of a zone may have been changed since, and with them the hours of a day.
        if steps != known and not isinstance(getattr(forecaster, name), str):
            raise ValueError(f"{name} has {known} steps, not {steps}")
    widths = [count("widths", one, bits=31) for one in as_list("widths", described["widths"], "three numbers")]
    step, common, local = widths
    return replace(
        settings,
        horizon=horizon,
        gap=gap,
        season=_season(described["season"]),
        step_context=step,
        common_context=common,
        local_units=local,
    )


def _season(given: Any) -> int:
    season = count("season", given)
    if season > _MOST_STEPS:
        raise ValueError(f"a season has {season} steps, expected at most {_MOST_STEPS}")
    return season


def _layout(engine: Engine, described: Mapping[str, Any], tensors: Mapping[str, Array], reader: FrameReader) -> Layout:
    settings, config = engine.settings, described["layout"]
    static = tensors["memory.static"].shape[1] if len(tensors["memory.static"]) else tensors["static_scales"].shape[1]
    columns = (
        ("hist", len(reader.columns.hist_exog)),
        ("futr", len(reader.columns.futr_exog) + len(reader.axis.feature_names)),
        ("static", static),
    )
    scales = {name: _pair(f"{name}_scales", tensors, size) for name, size in columns}
    seasons = [(_season(one), count("seasons", times)) for one, times in as_list("seasons", config["seasons"], "pairs")]
    if sum(season * times for season, times in seasons) > _MOST_STEPS:
        raise ValueError(f"the network reads the seasons {seasons}, expected at most {_MOST_STEPS} steps")
    flags = [count("hist_flags", one, least=0) for one in as_list("hist_flags", config["hist_flags"], "numbers")]
    if flags != sorted(set(flags)) or (flags and flags[-1] >= len(scales["hist"][0])):
        raise ValueError(f"hist_flags are {flags}, expected numbers of columns in rising order")
    if config["residual_of"] != settings.residual_of:
        raise ValueError(f"residual_of is {short_repr(config['residual_of'])}, expected {settings.residual_of!r}")
    return Layout(
        settings.horizon,
        settings.gap,
        tuple(seasons),
        tuple(flags),
        settings.residual_of,
        settings.season,
        ColumnScales(**scales),
        described["version"] > 1 and as_bool("reads_ahead", config["reads_ahead"]),
    )


def _pair(name: str, tensors: Mapping[str, Array], columns: int) -> tuple[Array, Array]:
    """Return centers and scales (columns,) of columns."""
    pair = _tensor(name, tensors, (2, columns))
    if not np.isfinite(pair).all() or not (pair[1] > 0).all():
        raise ValueError(f"{name} must hold finite centers, and scales above 0")
    return pair[0], pair[1]


def _tensor(name: str, tensors: Mapping[str, Array], shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
    tensor = tensors[name]
    if tensor.shape != shape or tensor.dtype != dtype:
        raise ValueError(f"{name} is {tensor.dtype} of shape {tensor.shape}, expected {np.dtype(dtype)} of {shape}")
    return tensor


def _network(path: Any, engine: Engine, described: Mapping[str, Any], tensors: Mapping[str, Array]) -> ForecastNetwork:
    """Return the network, whose parts have the sizes that the layout gives them."""
    configs = as_list("parts", described["parts"], "models")
    if len(configs) != len(_PARTS):
        raise ValueError(f"the network has {len(configs)} parts, expected {len(_PARTS)}")
    parts = []
    for name, config in zip(_PARTS, configs, strict=True):
        own = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        parts.append(model_from(path, config, own))
    if len({part.dtype for part in parts}) > 1:
        raise ValueError("the parts of the network compute in different types")
    network = ForecastNetwork.of_parts((parts[0], parts[1], parts[2]), widths_of(engine.settings, engine.layout))
    if described["version"] == 1:
        network.direct = False
        return network
    network.direct = as_bool("direct", described["direct"])
    shares = _tensor("shares", tensors, network.shares.shape, network.shares.dtype)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError("shares must be numbers from 0 to 1")
    network.shares[:] = shares
    return network


def _ids(name: str, given: Any) -> list[Any]:
    ids = as_list(name, given, "ids")
    if not all(isinstance(one, (str, int)) and not isinstance(one, bool) for one in ids) or len(set(ids)) < len(ids):
        raise ValueError(f"{name} must be different strings or whole numbers, got {short_repr(given)}")
    return ids


def _scale(center: float, scale: float) -> Scale:
    if not (np.isfinite(center) and np.isfinite(scale) and scale > 0):
        raise ValueError(f"a series has center {center} and scale {scale}, expected a scale above 0")
    return Scale(float(center), float(scale))


def _scales(described: Mapping[str, Any], tensors: Mapping[str, Array]) -> dict[Any, Scale]:
    ids = _ids("scales", described["scales"])
    numbers = _tensor("scales", tensors, (len(ids), 2))
    return {one: _scale(*pair) for one, pair in zip(ids, numbers.tolist(), strict=True)}


def _trained_until(described: Mapping[str, Any], tensors: Mapping[str, Array], reader: FrameReader) -> dict[Any, Any]:
    ids = _ids("trained_until", described["trained_until"])
    ends = _tensor("trained_until", tensors, (len(ids),), np.int64)
    return dict(zip(ids, reader.axis.as_times(ends), strict=True))


def _corrections(engine: Engine, tensors: Mapping[str, Array]) -> Corrections | None:
    if "corrections" not in tensors:
        return None
    settings = engine.settings
    shifts = _tensor("corrections", tensors, (settings.horizon, len(settings.quantiles)))
    if not settings.conformal or not np.isfinite(shifts).all():
        raise ValueError("corrections must be finite, and only there with conformal=True")
    return Corrections(shifts, _tensor("corrections.counts", tensors, (settings.horizon,), np.int64))


def _memories(
    engine: Engine, reader: FrameReader, described: Mapping[str, Any], tensors: Mapping[str, Array]
) -> dict[Any, Memory]:
    ids = _ids("memories", described["ids"])
    n, network = len(ids), engine.network
    if not n:
        return {}
    rows, tails = (
        [count(name, one) for one in as_list(name, described[name], "numbers")] for name in ("rows", "tails")
    )
    if len(rows) != n or len(tails) != n or max(tails) > engine.layout.kept:
        raise ValueError(f"rows and tails must be numbers of {n} series, tails of at most {engine.layout.kept} rows")
    values = _tensor("memory.tails", tensors, (sum(tails),))
    numbers = _tensor("memory.numbers", tensors, (n, 4))
    static = _tensor("memory.static", tensors, (n, len(engine.layout.scales.static[0])))
    contexts = _tensor("memory.contexts", tensors, (n, network.context_size), network.encoder.dtype)
    ends = reader.axis.as_times(_tensor("memory.ends", tensors, (n,), np.int64))
    shapes = [shape for layer in network.encoder.layers if (shape := layer.state_shapes(n)) is not None]
    dtype = network.encoder.dtype
    states = [
        (_tensor(f"memory.states.{k}.h", tensors, of_h, dtype), _tensor(f"memory.states.{k}.c", tensors, of_c, dtype))
        for k, (of_h, of_c) in enumerate(shapes)
    ]
    if any(np.isinf(one).any() for one in (values, numbers, static)) or not np.isfinite(contexts).all():
        raise ValueError("the ends of series must hold finite numbers")
    found: dict[Any, Memory] = {}
    edges = np.concatenate([[0], np.cumsum(tails)])
    for k, one in enumerate(ids):
        center, scale, last, error = numbers[k].tolist()
        own = [(h[:, k : k + 1].copy(), c[:, k : k + 1].copy()) for h, c in states]
        tail = values[edges[k] : edges[k + 1]].copy()
        found[one] = Memory(
            one, ends[k], rows[k], _scale(center, scale), static[k].copy(), tail, last, contexts[k].copy(), own, error
        )
    return found


def _coverage(given: Any) -> dict[str, dict[str, float]]:
    if not isinstance(given, Mapping):
        raise ValueError(f"coverage is {short_repr(given)}, expected an object")
    return {
        str(level): {name: real("coverage", pair[name]) for name in ("network", "corrected")}
        for level, pair in given.items()
    }
