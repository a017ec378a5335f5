"""Weights of 8 bits for a trained model: which layers get them, with which limits, and what that changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._checks import as_list, count
from .._tables import aligned
from .._typing import Array
from ..layers import inputs_of, quantize_layer, quantized_layers
from ..network import Network
from ..protocols import InferenceModel
from .predict import predict

__all__ = ["QuantizationReport", "QuantizedLayer", "quantize", "quantize_networks"]


class QuantizedLayer(NamedTuple):
    """What `Model.quantize` has done with a layer that has weights."""

    number: int
    """Of the layer in the model."""
    layer: str
    """Its type; in a forecaster also the part of the network to which it belongs."""
    bits: int
    """8, or those of the model's type."""
    reason: str
    """Why it has not 8 bits; empty if it has."""
    bytes: int
    """Of its weights in a file."""
    error: float | None
    """Root mean square of the change of the outputs if this layer alone is quantized, divided by the outputs' standard
    deviation; None without calibration data."""


class QuantizationReport(NamedTuple):
    """What `Model.quantize` has done, and what it has changed on the calibration data; printed as a table."""

    layers: list[QuantizedLayer]
    error: float | None
    """As of a layer, for all of them together."""
    agreement: float | None
    """Share of the answers (of cases, or of steps) with the same most probable class; None if there are no classes."""

    def __str__(self) -> str:
        rows = [("layer", "bits", "bytes", "change of the outputs", "")]
        for one in self.layers:
            change = "" if one.error is None else f"{one.error:.2%}"
            rows.append((f"{one.number} {one.layer}", str(one.bits), f"{one.bytes:,}", change, one.reason))
        change = "" if self.error is None else f"{self.error:.2%}"
        same = "" if self.agreement is None else f"the same class in {self.agreement:.2%}"
        rows.append(("all", "", f"{sum(one.bytes for one in self.layers):,}", change, same))
        return "\n".join(aligned(rows))


def quantize(
    model: InferenceModel, calibrate: Any, lengths: Any, *, skip: Sequence[int] | int, n_threads: int | None
) -> QuantizationReport:
    """Give a model, a copy that belongs to the caller, weights of 8 bits; see `fastlstm.Model.quantize`."""
    if calibrate is None and lengths is not None:
        raise ValueError("lengths belong to calibrate: give both")
    run = None if calibrate is None else partial(predict, model, calibrate, lengths, n_threads=n_threads)
    return quantize_networks([model.network], run, skip, classes=str(model.output_kind).startswith("class_"))


def quantize_networks(
    networks: Sequence[Network],
    predict: Callable[[], Any] | None,
    skip: Sequence[int] | int = (),
    *,
    names: Sequence[str] = ("",),
    classes: bool = False,
) -> QuantizationReport:
    """Give networks that work together weights of 8 bits, and freeze them; their layers are numbered in one row.

    Layers that keep their weights do not round to bfloat16 any more.

    Parameters
    ----------
    networks : sequence of Network
        They belong to the caller, who drops them after an error.
    predict : callable, optional
        Returns the answers for the calibration data, the result of all networks.
    skip : sequence of int
        Numbers of layers that keep their weights, counted from the end if negative.
    names : sequence of str
        What the report calls each network; empty: nothing.
    classes : bool
        Whether the largest of several answers is the most probable class.

    Raises
    ------
    TypeError, ValueError
        If the numbers are no layers, the type of the weights is not float32, or no layer can be quantized.
    RuntimeError
        If a network is not built, or quantized already.
    """
    for network in networks:
        network.require_built()
        if quantized_layers(network.layers):
            raise RuntimeError("the model is quantized already: quantize the one of which it was made")
        network.unfreeze()
        network.set_precision(network.dtype.name)
    return _Quantizing(networks, predict, skip, names, classes).run()


class _Quantizing:
    """One call of `quantize_networks`."""

    def __init__(
        self,
        networks: Sequence[Network],
        predict: Callable[[], Any] | None,
        skip: Sequence[int] | int,
        names: Sequence[str],
        classes: bool,
    ) -> None:
        self._networks, self._predict, self._classes = networks, predict, classes
        self._layers = [layer for network in networks for layer in network.layers]
        self._names = [
            f"{type(layer).__name__} of the {name}" if name else type(layer).__name__
            for network, name in zip(networks, names, strict=True)
            for layer in network.layers
        ]
        for network in networks:
            if network.dtype != np.float32:
                raise ValueError(
                    f"the model computes in {network.dtype}, expected float32: weights of 8 bits serve speed and "
                    "size; make a fl.Model of dtype='float32' and give it the weights by load_state_dict"
                )
        self._skip = _places(skip, len(self._layers))
        reasons = {k: self._reason(k) for k, layer in enumerate(self._layers) if layer.parameters}
        self._reasons: dict[int, str] = {k: reason or "" for k, reason in reasons.items()}
        self._chosen = [k for k, reason in self._reasons.items() if not reason]
        if not self._chosen:
            found = "; ".join(f"layer {k} {reason}" for k, reason in self._reasons.items()) or "no layer has weights"
            raise ValueError(f"there is nothing to quantize: {found}")

    def _reason(self, index: int) -> str | None:
        return "is left out" if index in self._skip else self._layers[index].quantizing_obstacle()

    def run(self) -> QuantizationReport:
        """Quantize the layers, and return what that has changed."""
        names = {k: inputs_of(self._layers[k]) for k in self._chosen}
        largest: dict[int, dict[str, Array | None]] = {k: dict.fromkeys(names[k]) for k in self._chosen}
        before = alone = None
        if self._predict is not None:
            first = 0
            for network in self._networks:
                network.observer = partial(_note, largest, first)
                first += len(network.layers)
            try:
                before = _flat(self._predict())
            finally:
                for network in self._networks:
                    network.observer = None
            alone = {k: _change(before, self._answers([k], largest)) for k in self._chosen}
        after = self._answers(self._chosen, largest, keep=True)
        agreement = None
        if before is not None and self._classes and before.shape[-1] > 1:
            agreement = float((before.argmax(axis=-1) == after.argmax(axis=-1)).mean()) if len(before) else None
        rows = []
        for k, reason in self._reasons.items():
            layer, size = self._layers[k], sum(p.nbytes for p in self._layers[k].parameters.values())
            if layer.quantized is not None:
                size -= sum(3 * q.size - s.nbytes for q, s in layer.quantized.integers.values())
                size += sum(one.nbytes for one in layer.quantized.limits.values() if one is not None)
            error = None if alone is None else alone.get(k)
            bits = 32 if layer.quantized is None else 8
            rows.append(QuantizedLayer(k, self._names[k], bits, reason, size, error))
        return QuantizationReport(rows, None if before is None else _change(before, after), agreement)

    def _answers(self, chosen: Sequence[int], largest: dict[int, dict[str, Array | None]], keep: bool = False) -> Any:
        """Quantize some layers and predict; undo it unless `keep`."""
        weights = [network.parameters.flat.copy() for network in self._networks]
        for k in chosen:
            try:
                quantize_layer(self._layers[k], largest[k])
            except ValueError as error:
                raise ValueError(f"layer {k}: {error}") from None
        for network in self._networks:
            network.freeze()
        answers = None if self._predict is None else _flat(self._predict())
        if not keep:
            for k in chosen:
                self._layers[k].quantized = None
            for network, flat in zip(self._networks, weights, strict=True):
                network.unfreeze()
                network.parameters.flat[:] = flat
        return answers


def _places(skip: Sequence[int] | int, layers: int) -> set[int]:
    numbers = as_list("skip", [skip] if isinstance(skip, int) else skip, "numbers of layers")
    places = set()
    for number in numbers:
        place = count("skip", number, least=-layers)
        if place >= layers:
            raise ValueError(f"skip holds {place}, expected numbers of the {layers} layers, 0 to {layers - 1}")
        places.add(place % layers)
    return places


def _note(
    largest: dict[int, dict[str, Array | None]], first: int, index: int, name: str, x: Array, lengths: Array | None
) -> None:
    """Keep the largest magnitude of each feature of an input of a layer, `first` layers after the first one."""
    index += first
    if index not in largest:
        return
    values = np.abs(x)
    if lengths is not None:
        values[np.arange(x.shape[1]) >= lengths[:, None]] = 0
    found = values.max(axis=tuple(range(x.ndim - 1)), initial=0)
    earlier = largest[index][name]
    largest[index][name] = found if earlier is None else np.maximum(earlier, found)


def _flat(answers: Any) -> Array:
    """Return the outputs of all cases and steps, (n, outputs)."""
    parts = answers if isinstance(answers, list) else [answers]
    rows = [np.asarray(part, np.float64).reshape(-1, np.shape(part)[-1] if np.ndim(part) > 1 else 1) for part in parts]
    return np.concatenate(rows) if rows else np.empty((0, 1))


def _change(before: Array, after: Array) -> float:
    difference = float(np.sqrt(np.square(after - before).mean())) if before.size else 0.0
    spread = float((before - before.mean(axis=0)).std()) if before.size else 0.0
    return difference / spread if spread > 0 else difference
