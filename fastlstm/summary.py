"""Table of the layers of a model, as text and as HTML for notebooks."""

from __future__ import annotations

from typing import Any, NamedTuple

from ._checks import short_repr
from ._tables import html_table
from .network import Network
from .protocols import InferenceModel

__all__ = ["html_summary", "text_summary"]

_MANY_NAMES = 10


class _Row(NamedTuple):
    """One layer, as both tables show it."""

    layer: str
    output: str
    parameters: str
    trainable: bool
    bits: int | None
    """8 if its weights have so many."""

    @property
    def trained(self) -> bool:
        """Whether training changes the layer."""
        return self.trainable and self.bits is None

    @property
    def remark(self) -> str:
        """What is not as usual."""
        if self.bits is not None:
            return f"  weights of {self.bits} bits"
        return "" if self.trainable else "  not trainable"


def _rows(network: Network) -> list[_Row]:
    """Return the rows of the layers; without shapes and sizes if the network is not built yet."""
    if not network.built:
        return [_Row(repr(layer), "", "", layer.trainable, None) for layer in network.layers]
    rows = []
    for layer, signal in zip(network.layers, network.signals(), strict=True):
        groups = "time" if signal.stride == 1 else f"time / {signal.stride}"
        groups = groups if signal.keeps_steps else f"~{groups}"
        time = groups if signal.steps is None else signal.steps
        shape = f"(batch, {time}, {signal.features})" if signal.per_step else f"(batch, {signal.features})"
        size = sum(p.size for p in layer.parameters.values())
        bits = None if layer.quantized is None else 8
        rows.append(_Row(repr(layer), shape, f"{size:,}", layer.trainable, bits))
    return rows


def _trained(network: Network) -> int:
    """Return the number of parameters that training changes."""
    ranges = network.parameters.trainable_ranges
    return network.parameters.flat.size if ranges is None else sum(part.stop - part.start for part in ranges)


def _rounding(network: Network) -> str:
    """Return a remark on the type of operands, if it is not that of the network."""
    return "" if network.precision == network.dtype.name else f"  LSTM products in {network.precision}"


def text_summary(model: InferenceModel) -> str:
    """Return the table that `Model.summary` prints; RuntimeError if the model is not built yet."""
    network = model.network
    network.require_built()
    rows = [("layer", "output", "parameters", "")]
    if model.scaler is not None and model.scaler.added_channels:
        rows.append((f"scaler {model.scaler!r}", f"(batch, time, {network.input_size})", "0", ""))
    for name, row in zip(network.parameters.names, _rows(network), strict=True):
        rows.append((f"{name} {row.layer}", row.output, row.parameters, row.remark))
    total = network.parameters.flat.size
    rows.append(("total", network.dtype.name, f"{total:,}", _rounding(network)))
    if network.parameters.trainable_ranges is not None:
        rows.append(("trainable", "", f"{_trained(network):,}", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}{row[3]}" for row in rows)


def html_summary(model: InferenceModel) -> str:
    """Return the layers and the settings of a model, built or not, as two HTML tables."""
    network = model.network
    rows = [
        (
            name,
            row.layer,
            row.output or "?",
            row.parameters or "?",
            "yes" if row.trainable and row.bits is None else "no",
        )
        for name, row in zip(network.parameters.names, _rows(network), strict=True)
    ]
    if network.built:
        total = network.parameters.flat.size
        rows.append(("", "total", network.dtype.name, f"{total:,}", f"{_trained(network):,}"))
    caption = "Model" if network.built else "Model, not built yet: fit, or input_size, makes its weights"
    header = ("", "layer", "output", "parameters", "trainable")
    layers = html_table(header, rows, caption=caption, text_columns=(0, 1, 2))
    settings = html_table(("setting", "value"), _settings(model), text_columns=(0, 1))
    return f"<div>\n{layers}\n{settings}\n</div>"


def _settings(model: InferenceModel) -> list[tuple[str, str]]:
    """Return what a notebook shows of a model besides its layers."""
    network, loss = model.network, model.loss
    added = 0 if model.scaler is None else model.scaler.added_channels
    size = None if network.input_size is None else network.input_size - added
    given = "token ids" if network.takes_tokens else "not known yet" if size is None else _features(size)
    if model.feature_names is not None:
        given += f": {_some_names(model.feature_names)}"
    rows = [
        ("input", given),
        ("loss", "not known" if loss is None else short_repr(loss)),
        ("outputs", "not known" if model.output_kind is None else model.output_kind.replace("_", " ")),
    ]
    if model.classes is not None:
        rows.append(("classes", f"{len(model.classes)}: {_some_names(model.classes)}"))
    rows += [("scaler", _scaling(model.scaler)), ("target scaler", _scaling(model.target_scaler))]
    rows += [("dtype", network.dtype.name + _rounding(network)), ("seed", str(network.seed))]
    if network.parameters.frozen:
        rows.append(("frozen", "yes"))
    return rows


def _some_names(names: list[str]) -> str:
    return ", ".join(names[:_MANY_NAMES]) + ("" if len(names) <= _MANY_NAMES else ", ...")


def _features(size: int) -> str:
    return f"{size} feature{'' if size == 1 else 's'}"


def _scaling(scaler: Any) -> str:
    if scaler is None:
        return "none"
    return f"{type(scaler).__name__}, {'fitted' if scaler.fitted else 'not fitted yet'}"
