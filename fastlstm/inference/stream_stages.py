"""The stages of a whole model, scalers included, as streams run them and as the C export writes them."""

from __future__ import annotations

from ..activations import Activation
from ..data.scaler import Scaler
from ..layers import Layer, Stage, join_stages, scaling_stage, stages_describe_forward
from ..protocols import InferenceModel
from .inputs import input_features, known_channels

__all__ = ["between_scalers", "stream_stages", "with_scalers"]

_IDENTITY = Activation("affine", 1.0, 0.0)


def stream_stages(model: InferenceModel) -> list[list[Stage]]:
    """Return the stages of each layer of a built model; those of the identity if no layer does anything.

    Raises
    ------
    RuntimeError
        If the model is not built yet.
    ValueError
        If a layer cannot work step by step; the message says why.
    TypeError
        If a layer has no stages.
    """
    network = model.network
    network.require_built()
    if not network.is_chain:
        raise ValueError(
            "the model is an encoder with a decoder, whose layers are no chain: use its methods predict and stream"
        )
    for index, layer in enumerate(network.layers):
        if layer.streaming_obstacle():
            raise ValueError(f"layer {index} {layer.streaming_obstacle()}, or predict on blocks")
        if type(layer).stages is not Layer.stages and not stages_describe_forward(layer):
            raise TypeError(
                f"layer {index}, {layer!r}, cannot be streamed: {type(layer).__name__} overrides forward() and "
                "inherits stages(), which describes another computation; define stages() too"
            )
    return [layer.stages() for layer in network.layers]


def with_scalers(model: InferenceModel, layers: list[list[Stage]]) -> list[Stage]:
    """Join the stages of the layers, with those of the scalers before and after them.

    Raises
    ------
    ValueError
        If a scaler cannot work step by step, or gives other channels than the network reads.
    """
    if not join_stages(layers, _passes):
        identity = Stage("activation", model.network.output_size, settings={"function": _IDENTITY})
        layers = [*layers, [identity]]
    return join_stages(between_scalers(model, layers), _passes)


def between_scalers(model: InferenceModel, layers: list[list[Stage]]) -> list[list[Stage]]:
    """Return the stages of the layers, with those of the scalers before and after them; errors as `with_scalers`."""
    if model.scaler is not None:
        known_channels(model)  # raises ValueError if they are not those of the network
        layers = [[_scaling(model.scaler, input_features(model), inverse=False)], *layers]
    if model.target_scaler is not None:
        layers = [*layers, [_scaling(model.target_scaler, model.network.output_size, inverse=True)]]
    return layers


def _passes(stage: Stage) -> bool:
    """Return whether a stage is the identity in a stream, where every step is the last one so far."""
    return stage.kind in ("final", "mask") or (stage.kind == "pool" and stage.settings["method"] == "last")


def _scaling(scaler: Scaler, width: int, inverse: bool) -> Stage:
    if scaler.per_series:
        raise ValueError(
            "the model's scaler scales each series by its own mean and scale (per_series=True), which a stream "
            "cannot know before a series has ended: train a model with fl.Standardizer(), or use predict"
        )
    # A scaler of one feature is broadcast to all outputs, as in Model.predict.
    missing = scaler.missing_features() if scaler.added_channels else None
    return scaling_stage(scaler.center(), scaler.scale_, width, inverse=inverse, missing=missing)
