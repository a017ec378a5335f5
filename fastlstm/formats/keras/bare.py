"""Infer the description of a model from the names and sizes of its weights alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from .hdf5 import GroupPath, Hdf5
from .weights import CONTAINERS, datasets_below, is_numbered

__all__ = ["described"]

_ADVICE = (
    "pass from_keras the description of the model, config=model.to_json() (or the path of a file with it), or save the "
    "whole model, model.save('model.keras')"
)
_SILENT = ("dropout", "spatial_dropout1d", "gaussian_noise", "input_layer", "activity_regularization", "identity")
"""Layers without weights that change no prediction."""
_MAX_LAYERS = 64
_MAX_STATES = 50_000


class _Found(NamedTuple):
    """A layer with weights."""

    name: str
    kind: str
    in_features: int | None
    """Number of input features; None for token ids."""
    out_features: int
    config: dict[str, Any]


def described(file: Hdf5, root: GroupPath) -> list[dict[str, Any]]:
    """Return descriptions of the layers, in the form that `chain` returns for a model with a description.

    Options that no weight determines get Keras's defaults: tanh and sigmoid inside an LSTM, no activation in a Dense,
    concatenated outputs in a Bidirectional, no mask, and only the last step of the last LSTM.

    Raises
    ------
    ValueError
        If the names and sizes allow several orders or none, or there are layers whose options they do not determine.
    """
    queues = _queues(file, root)
    orders = _orders(queues)
    if not orders:
        shown = ", ".join(
            f"{one.name} ({one.in_features} to {one.out_features} features)" for queue in queues for one in queue
        )
        raise ValueError(f"the file has weights only, and the sizes of its layers fit in no order ({shown}): {_ADVICE}")
    if len(orders) > 1:
        shown = " or ".join(", ".join(one.name for one in order) for order in orders)
        raise ValueError(f"the file has weights only, and its layers may have the order {shown}: {_ADVICE}")
    (order,) = orders
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


def _queues(file: Hdf5, root: GroupPath) -> list[list[_Found]]:
    """Return the layers of each class in their order; a layer with a name chosen by the user forms its own class."""
    numbered = is_numbered(file, root)
    group = (next(name for name in CONTAINERS if file.is_group((name,))),) if numbered else root
    names = [name for name in file.members(group) if numbered or name != "top_level_model_weights"]
    if len(names) > _MAX_LAYERS:
        raise ValueError(f"the file has weights only, of {len(names)} layers: {_ADVICE}")
    classes: dict[str, list[tuple[int, _Found]]] = {}
    for name in names:
        match = re.fullmatch(r"(.*?)(?:_([0-9]{1,9}))?", name, re.DOTALL)
        assert match is not None
        base, number = match[1], int(match[2] or 0)
        found = _found(file, (*group, name), name, base)
        if found is None and base not in _SILENT and (numbered or not _is_plain(file, (*group, name))):
            raise ValueError(f"the file has weights only, which do not give the options of {name!r}: {_ADVICE}")
        if found is not None:
            key = base if base == _base(found.kind) else f"{base}/{number}"
            classes.setdefault(key, []).append((number, found))
    if not classes:
        raise ValueError(f"the file has no weights of a layer that from_keras knows: {_ADVICE}")
    return [[one for _, one in sorted(queue, key=lambda pair: pair[0])] for queue in classes.values()]


def _base(kind: str) -> str:
    return {"TimeDistributed": "time_distributed"}.get(kind, kind.lower())


def _is_plain(file: Hdf5, path: GroupPath) -> bool:
    """Return whether a layer of an .h5 file can be skipped: its class has no weights and changes no prediction."""
    return file.is_group(path) and path[-1].startswith(_SILENT)


def _found(file: Hdf5, path: GroupPath, name: str, base: str) -> _Found | None:
    """Return the layer that its weights determine; None if it has no weights."""
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
            raise ValueError(f"{name!r} has weights {role} of shapes {found}, which no supported layer has")
    if list(shapes) == ["embeddings"]:
        rows, columns = shapes["embeddings"][0]
        return _Found(name, "Embedding", None, columns, {"input_dim": rows, "output_dim": columns})
    if not sets or "embeddings" in shapes or sets > 2 or len(recurrent) not in (0, sets):
        raise ValueError(f"{name!r} has weights {shapes}, which no supported layer has")
    bias = len(shapes.get("bias", []))
    if bias not in (0, sets):
        raise ValueError(f"{name!r} has {bias} biases, expected none or {sets}")
    in_features, columns = shapes["kernel"][0]
    if not recurrent:
        if sets > 1:
            raise ValueError(f"{name!r} has two kernels, which no supported layer has")
        kind = "TimeDistributed" if base == "time_distributed" else "Dense"
        return _Found(name, kind, in_features, columns, {"units": columns, "use_bias": bias > 0})
    units = recurrent[0][0]
    if recurrent[0] != (units, 4 * units) or columns != 4 * units:
        raise ValueError(f"{name!r} has a recurrent_kernel {recurrent[0]}, expected (units, 4 * units) of an LSTM")
    config: dict[str, Any] = {"units": units, "use_bias": bias > 0}
    if sets == 2:
        return _Found(name, "Bidirectional", in_features, 2 * units, {"inner": config})
    return _Found(name, "LSTM", in_features, units, config)


def _role(path: GroupPath, leaf: str, base: str) -> str:
    """Return the role of a weight: its name, or the role that its number has in this class of layers."""
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
    """Return up to two orders of all layers in which their sizes fit; the order inside each class is fixed."""
    dead: set[tuple[tuple[int, ...], int | None]] = set()
    orders: list[tuple[_Found, ...]] = []
    visited = 0

    # The state of the depth-first search: number of layers used of each class, number of features after them.
    def successors(used: tuple[int, ...], features: int | None, first: bool) -> list[tuple[tuple[int, ...], _Found]]:
        found = []
        for k, queue in enumerate(queues):
            if used[k] == len(queue):
                continue
            one = queue[used[k]]
            size = one.in_features
            if (size is None and first) or (size is not None and (features is None or size == features)):
                found.append((used[:k] + (used[k] + 1,) + used[k + 1 :], one))
        return found

    def search(used: tuple[int, ...], features: int | None, order: tuple[_Found, ...]) -> bool:
        """Return whether a complete order was found; record dead ends, so that no state is searched twice in vain."""
        nonlocal visited
        visited += 1
        if visited > _MAX_STATES:
            raise ValueError(
                f"the file has weights only, and there are too many orders of its layers to try: {_ADVICE}"
            )
        if all(n == len(queue) for n, queue in zip(used, queues, strict=True)):
            orders.append(order)
            return True
        if (used, features) in dead:
            return False
        alive = False
        for used_then, one in successors(used, features, not order):
            alive |= search(used_then, one.out_features, (*order, one))
            if len(orders) > 1:
                return True
        if not alive:
            dead.add((used, features))
        return alive

    search((0,) * len(queues), None, ())
    return orders
