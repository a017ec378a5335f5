"""From a network to the state dict of a PyTorch module, without importing torch."""

from __future__ import annotations

from collections.abc import Sequence

from ..._checks import as_list
from ..._typing import Array
from ...layers import LSTM, Layer
from ...network import Network

__all__ = ["to_torch_state_dict"]

_WITHOUT_COUNTERPART = (
    "merge", "reverse", "residual", "learn_state", "peepholes", "coupled", "layer_norm", "gate_clip", "cell_clip",
    "output_clip", "gate_activation", "cell_activation", "output_activation", "zoneout_h", "zoneout_c",
)  # fmt: skip
"""Options of an LSTM that torch's LSTM does not have and that change its output even without dropout."""


def to_torch_state_dict(network: Network, prefixes: Sequence[str] | None = None) -> dict[str, Array]:
    """Return a model's weights as a PyTorch state dict; the implementation of `Model.to_torch_state_dict`."""
    network.require_built()
    for index, layer in enumerate(network.layers):
        option = _unsupported_option(layer)
        if option is not None:
            raise ValueError(f"layer {index} has {option}, which no PyTorch module has: a state dict cannot express it")
    holders = {index: layer for index, layer in enumerate(network.layers) if layer.parameters}
    if prefixes is None:
        alone = len(network.layers) == 1 and isinstance(network.layers[0], LSTM)
        names = [""] if alone else [str(index) for index in holders]
    else:
        names = [prefixes] if isinstance(prefixes, str) else as_list("prefixes", prefixes, "strings such as 'lstm'")
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"prefixes must be strings such as 'lstm', got {prefixes!r}")
        if len(names) != len(holders) or len(set(names)) != len(names):
            raise ValueError(
                f"prefixes must be {len(holders)} different names, one for each layer that has parameters, "
                f"got {prefixes!r}"
            )
    return {
        f"{name}.{key}" if name else key: value.copy()
        for name, layer in zip(names, holders.values(), strict=True)
        for key, value in layer.parameters.items()
    }


def _unsupported_option(layer: Layer) -> str | None:
    """Return an option of a layer that changes its output and that PyTorch does not have; None if there is none.

    The names and shapes of the tensors would often match nevertheless.
    """
    if not isinstance(layer, LSTM):
        return None
    config, plain = layer.get_config(), LSTM(layer.hidden_size).get_config()
    if layer.proj_size >= layer.hidden_size:
        return f"proj_size={layer.proj_size}, which is not below hidden_size,"
    return next((f"{name}={config[name]!r}" for name in _WITHOUT_COUNTERPART if config[name] != plain[name]), None)
