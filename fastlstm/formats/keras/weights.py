"""Find the weights of each layer in the files of all Keras versions; convert them to this package's layout.

===========================  ==========================================================================
``.keras``, ``.weights.h5``  ``layers/lstm_1/cell/vars/0``: the second LSTM, its first weight; Keras 2.12
                             writes ``_layer_checkpoint_dependencies`` instead of ``layers``
``.h5``                      ``model_weights/NAME/.../lstm_cell/kernel:0``: the layer of that name; without
                             ``model_weights`` in a file of weights only, and without ``:0`` since Keras 3
===========================  ==========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..._typing import Array
from ...network_model import NetworkModel
from .hdf5 import GroupPath, Hdf5
from .layers.registry import Part

__all__ = ["CONTAINERS", "arrays_of", "converted", "datasets_below", "give_weights", "is_numbered"]

CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_MAX_DEPTH = 8
_MAX_OBJECTS = 96
"""Maximum number of groups and datasets below one layer, far more than any valid file needs."""


def is_numbered(file: Hdf5, root: GroupPath) -> bool:
    """Return whether layers are named by class and number (``.keras``) instead of by the user's names (``.h5``)."""
    return not root and any(file.is_group((name,)) for name in CONTAINERS)


def arrays_of(file: Hdf5, root: GroupPath, parts: Sequence[Part]) -> list[list[dict[str, Array]]]:
    """Return for each layer its sets of weights, by Keras's names.

    Raises
    ------
    ValueError
        If a weight is missing, or there are more than the layer has.
    """
    numbered = is_numbered(file, root)
    container = next((name for name in CONTAINERS if numbered and file.is_group((name,))), "")
    seen: dict[str, int] = {}
    result: list[list[dict[str, Array]]] = []
    for part in parts:
        base = _snake(part.kind)
        number = seen[base] = seen.get(base, -1) + 1
        if not part.paths:
            result.append([])
        elif numbered:
            group = (container, f"{base}_{number}" if number else base)
            result.append([_numbered(file, part, (*group, *filter(None, path.split("/")))) for path in part.paths])
        else:
            result.append(_named(file, part, (*root, part.name)))
    return result


def give_weights(model: NetworkModel, parameters: Mapping[str, Array]) -> None:
    """Give a model its weights; ValueError if they do not fit, or are out of the range of its dtype."""
    with np.errstate(over="ignore"):
        model.load_state_dict(parameters)
    for name, value in model.parameters().items():
        if not np.isfinite(value).all():
            raise ValueError(f"{name} holds numbers out of the range of {model.dtype.name}: omit dtype")


def _snake(kind: str) -> str:
    """Convert the name of a class as Keras does for its files: TimeDistributed to time_distributed, LSTM to lstm."""
    name = re.sub(r"\W+", "", kind)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _numbered(file: Hdf5, part: Part, path: GroupPath) -> dict[str, Array]:
    path = (*path, "vars")
    found = sorted(file.members(path))
    if found != [str(k) for k in range(len(part.weights))]:
        raise ValueError(f"{part} has the weights {part.weights}, but the file has {found} in {'/'.join(path)}")
    return {name: file.array((*path, str(k))) for k, name in enumerate(part.weights)}


def _named(file: Hdf5, part: Part, path: GroupPath) -> list[dict[str, Array]]:
    sets: dict[GroupPath, dict[str, GroupPath]] = {}
    for found in datasets_below(file, path):
        sets.setdefault(found[:-1], {})[found[-1].partition(":")[0]] = found
    if len(sets) != len(part.paths) or any(sorted(names) != sorted(part.weights) for names in sets.values()):
        shown = ["/".join(one) for names in sets.values() for one in names.values()]
        raise ValueError(f"{part} has {len(part.paths)} times the weights {part.weights}, but the file has {shown}")
    order = list(sets)
    if len(order) == 2:
        forward = [group for group in order if any(name.startswith("forward_") for name in group[len(path) :])]
        if len(forward) != 1:
            raise ValueError(f"{part}: the names of its weights do not show which ones run forward")
        order = forward + [group for group in order if group not in forward]
    return [{name: file.array(sets[group][name]) for name in part.weights} for group in order]


def datasets_below(file: Hdf5, path: GroupPath) -> Iterator[GroupPath]:
    """Yield the paths of all datasets below a group; raise ValueError if there are more than a layer can have."""
    count, waiting = 0, [path]
    while waiting:
        group = waiting.pop()
        for name in file.members(group):
            one = (*group, name)
            count += 1
            if count > _MAX_OBJECTS or len(one) > len(path) + _MAX_DEPTH:
                raise ValueError(f"{'/'.join(path)} holds more than the weights of a layer")
            if file.is_dataset(one):
                yield one
            else:
                waiting.append(one)


# ---------------------------------------------------------------------------------------------- this package's layout


def converted(
    part: Part, sets: Sequence[dict[str, Array]], features: int | None
) -> tuple[dict[str, Array], int | None]:
    """Return the parameters of a part's first layer by this package's names, and the part's number of output features.

    The number is None only if `features` is, and the layer has no weights.

    Parameters
    ----------
    part : Part
    sets : sequence of dict
        Its weights, as `arrays_of` returns them.
    features : int or None
        Number of input features; None if it is not known yet.

    Raises
    ------
    ValueError
        If a weight does not have the shape that the layer needs, or holds NaN or infinity.
    """
    if part.convert is None:
        return {}, features
    for weights in sets:
        _check_finite(part, weights)
    return part.convert(part, sets, features)


def _check_finite(part: Part, weights: dict[str, Array]) -> None:
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{part}: {name} holds NaN or infinity")
