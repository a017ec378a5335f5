"""The description of a model of which there are only the weights, as far as their names and sizes tell it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from .hdf5 import Hdf5
from .weights import CONTAINERS, datasets_below, is_numbered

__all__ = ["described"]

_ADVICE = (
    "give from_keras the description of the model, config=model.to_json() (or the path of the file you wrote it to), "
    "or save the whole model, model.save('model.keras')"
)
_SILENT = ("dropout", "spatial_dropout1d", "gaussian_noise", "input_layer", "activity_regularization", "identity")
"""Layers without weights that change no prediction."""
_MAX_LAYERS = 64
_MAX_STATES = 50_000


class _Found(NamedTuple):
    """A layer with weights."""

    name: str
    kind: str
    takes: int | None
    """Features that come in; None: token ids."""
    gives: int
    config: dict[str, Any]


def described(file: Hdf5, root: tuple[str, ...]) -> list[dict[str, Any]]:
    """Descriptions of the layers, as `chain` gives them for a model that is described.

    What no weight tells is taken to be as Keras has it by default: tanh and sigmoid inside an LSTM, no activation in a
    Dense, outputs side by side in a Bidirectional, no mask, and the last step of the last LSTM only.

    Raises
    ------
    ValueError
        If the names and sizes leave another order, or none, or tell of layers whose place or options are not told.
    """
    queues = _queues(file, root)
    ways = _orders(queues)
    if not ways:
        shown = ", ".join(f"{one.name} ({one.takes} to {one.gives} features)" for queue in queues for one in queue)
        raise ValueError(f"the file has weights only, and the sizes of its layers fit in no order ({shown}): {_ADVICE}")
    if len(ways) > 1:
        shown = " or ".join(", ".join(one.name for one in way) for way in ways)
        raise ValueError(f"the file has weights only, and its layers may stand in the order {shown}: {_ADVICE}")
    (order,) = ways
    last = max((k for k, one in enumerate(order) if one.kind in ("LSTM", "Bidirectional")), default=-1)
    per_step = any(one.kind == "TimeDistributed" for one in order[last + 1 :])
    return [_layer(one, k < last or per_step) for k, one in enumerate(order)]


def _layer(found: _Found, sequences: bool) -> dict[str, Any]:
    config = {**found.config, "name": found.name}
    if found.kind == "LSTM":
        config["return_sequences"] = sequences
    elif found.kind == "Bidirectional":
        inner = {**config.pop("inner"), "return_sequences": sequences}
        config["layer"] = {"class_name": "LSTM", "config": inner}
    elif found.kind == "TimeDistributed":
        config = {"name": found.name, "layer": {"class_name": "Dense", "config": config}}
    return {"class_name": found.kind, "config": config}


def _queues(file: Hdf5, root: tuple[str, ...]) -> list[list[_Found]]:
    """The layers of each class, in their order; a layer whose name tells no number is a class of its own."""
    numbered = is_numbered(file, root)
    place = (next(name for name in CONTAINERS if file.is_group((name,))),) if numbered else root
    names = [name for name in file.members(place) if numbered or name != "top_level_model_weights"]
    if len(names) > _MAX_LAYERS:
        raise ValueError(f"the file has weights only, of {len(names)} layers: {_ADVICE}")
    classes: dict[str, list[tuple[int, _Found]]] = {}
    for name in names:
        match = re.fullmatch(r"(.*?)(?:_([0-9]{1,9}))?", name, re.DOTALL)
        assert match is not None
        base, number = match[1], int(match[2] or 0)
        found = _found(file, (*place, name), name, base)
        if found is None and base not in _SILENT and (numbered or not _is_plain(file, (*place, name))):
            raise ValueError(f"the file has weights only, which do not tell the options of {name!r}: {_ADVICE}")
        if found is not None:
            key = base if base == _base(found.kind) else f"{base}/{number}"
            classes.setdefault(key, []).append((number, found))
    if not classes:
        raise ValueError(f"the file has no weights of a layer that from_keras knows: {_ADVICE}")
    return [[one for _, one in sorted(queue, key=lambda pair: pair[0])] for queue in classes.values()]


def _base(kind: str) -> str:
    return {"TimeDistributed": "time_distributed"}.get(kind, kind.lower())


def _is_plain(file: Hdf5, path: tuple[str, ...]) -> bool:
    """Whether the layer of that name in an .h5 file can be left out: a class without weights and without options."""
    return file.is_group(path) and path[-1].startswith(_SILENT)


def _found(file: Hdf5, path: tuple[str, ...], name: str, base: str) -> _Found | None:
    """A layer by its weights; None if it has none."""
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for one in datasets_below(file, path):
        leaf = one[-1].partition(":")[0]
        if "seed_generator" in one or leaf == "seed_generator_state":
            continue
        shapes.setdefault(_role(one, leaf, base), []).append(file.shape(one))
    if not shapes:
        return None
    sets, recurrent = len(shapes.get("kernel", [])), shapes.get("recurrent_kernel", [])
    expected = {"kernel": 2, "recurrent_kernel": 2, "bias": 1, "embeddings": 2}
    for role, found in shapes.items():
        if role not in expected or any(len(shape) != expected[role] for shape in found) or len(set(found)) > 1:
            raise ValueError(f"{name!r} has weights {role} of shapes {found}, which no layer of a known class has")
    if list(shapes) == ["embeddings"]:
        rows, columns = shapes["embeddings"][0]
        return _Found(name, "Embedding", None, columns, {"input_dim": rows, "output_dim": columns})
    if not sets or "embeddings" in shapes or sets > 2 or len(recurrent) not in (0, sets):
        raise ValueError(f"{name!r} has weights {shapes}, which no layer of a known class has")
    bias = len(shapes.get("bias", []))
    if bias not in (0, sets):
        raise ValueError(f"{name!r} has {bias} biases, expected none or {sets}")
    takes, columns = shapes["kernel"][0]
    if not recurrent:
        if sets > 1:
            raise ValueError(f"{name!r} has two kernels, which no layer of a known class has")
        kind = "TimeDistributed" if base == "time_distributed" else "Dense"
        return _Found(name, kind, takes, columns, {"units": columns, "use_bias": bias > 0})
    units = recurrent[0][0]
    if recurrent[0] != (units, 4 * units) or columns != 4 * units:
        raise ValueError(f"{name!r} has a recurrent_kernel {recurrent[0]}, expected (units, 4 * units) of an LSTM")
    config: dict[str, Any] = {"units": units, "use_bias": bias > 0}
    if sets == 2:
        return _Found(name, "Bidirectional", takes, 2 * units, {"inner": config})
    return _Found(name, "LSTM", takes, units, config)


def _role(path: tuple[str, ...], leaf: str, base: str) -> str:
    """What a weight is: by its name, or by its number and the class of the layer."""
    if not leaf.isdecimal():
        return leaf
    roles = {
        "lstm": ("kernel", "recurrent_kernel", "bias"),
        "bidirectional": ("kernel", "recurrent_kernel", "bias"),
        "dense": ("kernel", "bias"),
        "time_distributed": ("kernel", "bias"),
        "embedding": ("embeddings",),
    }.get(base, ())
    return roles[int(leaf)] if len(leaf) == 1 and int(leaf) < len(roles) else leaf


def _orders(queues: Sequence[Sequence[_Found]]) -> list[tuple[_Found, ...]]:
    """Up to two ways to put all layers behind each other so that their sizes fit, each class in its own order."""
    dead: set[tuple[tuple[int, ...], int | None]] = set()
    ways: list[tuple[_Found, ...]] = []
    visited = 0

    # Depth first, with a stack of its own: (how many of each class are used, features so far, the way).
    def steps(used: tuple[int, ...], features: int | None, first: bool) -> list[tuple[tuple[int, ...], _Found]]:
        found = []
        for k, queue in enumerate(queues):
            if used[k] == len(queue):
                continue
            one = queue[used[k]]
            if (one.takes is None and first) or (one.takes is not None and (features is None or one.takes == features)):
                found.append((used[:k] + (used[k] + 1,) + used[k + 1 :], one))
        return found

    def walk(used: tuple[int, ...], features: int | None, way: tuple[_Found, ...]) -> bool:
        """Whether an end was found; notes dead ends, so that no state is walked twice in vain."""
        nonlocal visited
        visited += 1
        if visited > _MAX_STATES:
            raise ValueError(f"the file has weights only, whose layers fit in too many orders: {_ADVICE}")
        if all(n == len(queue) for n, queue in zip(used, queues, strict=True)):
            ways.append(way)
            return True
        if (used, features) in dead:
            return False
        alive = False
        for after, one in steps(used, features, not way):
            alive |= walk(after, one.gives, (*way, one))
            if len(ways) > 1:
                return True
        if not alive:
            dead.add((used, features))
        return alive

    walk((0,) * len(queues), None, ())
    return ways
