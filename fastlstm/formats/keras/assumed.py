"""What a file with weights only leaves open: activations that the caller states, and a list of all else."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..._checks import as_list, short_repr

__all__ = ["Activations", "assumptions", "with_activations"]

Activations = Mapping[str, Any] | Sequence[Any]
"""By the name of a layer, or one for each layer with weights: None, a name, or a pair of names for an LSTM."""

_WRAPPERS = ("Bidirectional", "TimeDistributed")


def _inner(layer: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the class and the options of the layer that computes: the layer itself, or the one that it wraps."""
    if layer["class_name"] in _WRAPPERS:
        inner = layer["config"]["layer"]
        return inner["class_name"], inner["config"]
    return layer["class_name"], layer["config"]


def with_activations(
    layers: Sequence[Mapping[str, Any]], activations: Activations | None
) -> tuple[list[dict[str, Any]], set[str]]:
    """Return the descriptions of the layers with these activations, and the names of the layers that have them.

    Raises
    ------
    TypeError
        If `activations` is neither a mapping nor a list, or an activation is not a name.
    ValueError
        If it names a layer that the file does not have, has another number of entries than the layers, or gives an
        activation to a layer that has none.
    """
    found = [copy.deepcopy(dict(layer)) for layer in layers]
    if activations is None:
        return found, set()
    names = [layer["config"]["name"] for layer in found]
    if isinstance(activations, Mapping):
        unknown = [name for name in activations if name not in names]
        if unknown:
            raise ValueError(f"activations has {short_repr(unknown[0])}, which is not a layer of the file: {names}")
        given = dict(activations)
    else:
        entries = as_list("activations", activations, "the names of activations, or a mapping of layers to names")
        if len(entries) != len(names):
            raise ValueError(
                f"activations has {len(entries)} entries, expected one for each of the layers {names}; None is Keras's "
                "default"
            )
        given = {name: entry for name, entry in zip(names, entries, strict=True) if entry is not None}
    for layer, name in zip(found, names, strict=True):
        if name in given:
            _apply(layer, name, given[name])
    return found, set(given)


def _apply(layer: Mapping[str, Any], name: str, activation: Any) -> None:
    kind, config = _inner(layer)
    pair = activation if isinstance(activation, (tuple, list)) else (activation,)
    if any(one is not None and not isinstance(one, str) for one in pair):
        raise TypeError(
            f"the activation of {name!r} must be a name such as 'relu', or for an LSTM a pair (activation, "
            f"recurrent_activation), got {short_repr(activation)}"
        )
    if kind == "Embedding" or len(pair) not in ((1, 2) if kind == "LSTM" else (1,)):
        raise ValueError(f"{kind} {name!r} does not take the activation {short_repr(activation)}")
    for option, one in zip(("activation", "recurrent_activation"), pair, strict=False):
        if one is not None or kind == "Dense":
            config[option] = one


def assumptions(layers: Sequence[Mapping[str, Any]], stated: Collection[str]) -> list[str]:
    """Return what is assumed about these layers, as sentences that follow "that".

    Parameters
    ----------
    layers : sequence of mapping
        As `with_activations` returns them.
    stated : collection of str
        Names of the layers whose activation the caller has stated.
    """
    names = [layer["config"]["name"] for layer in layers]
    found = [f"the data pass {', '.join(names)} in this order"] if len(names) > 1 else []
    for layer, name in zip(layers, names, strict=True):
        kind, config = _inner(layer)
        if kind == "Dense" and name not in stated:
            found.append(f"{name} has no activation (linear)")
        elif kind == "LSTM":
            functions = [] if name in stated else ["the activation tanh"]
            functions += [] if "recurrent_activation" in config else ["the recurrent_activation sigmoid"]
            if functions:
                found.append(f"{name} has {' and '.join(functions)}")
            steps = "every step" if config["return_sequences"] else "only its last step"
            found.append(f"{name} returns {steps} (return_sequences={config['return_sequences']})")
            both = layer["class_name"] == "Bidirectional"
            found.append(f"{name} concatenates its two directions" if both else f"{name} goes forward")
        elif kind == "Embedding":
            found.append(f"{name} masks no token (mask_zero=False)")
    found.append("no Masking, pooling, Activation or Dropout stands between them")
    return found
