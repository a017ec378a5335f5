"""Read models from files. Files are not trusted: all sizes are checked before memory is allocated."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from .._checks import MANY, count, short_repr
from ..data import SCALERS, Scaler, Standardizer, scaler_from_config
from ..layers import EightBits, Layer, layer_from_config, restore_layer, takes_tokens
from ..losses import get_loss
from ..model import Model
from ..network import Network
from . import safetensors
from .foreign import with_advice
from .safetensors import RUN_KEY, RUN_PREFIX, Source

__all__ = ["any_model_from", "load", "model_from", "read_config"]

_FORECASTER_KEY = "forecaster"
_PAIR_KEY = "encoder_layers"


def load(path: Source) -> Model:
    """Read a model that `Model.save` has written, or the model of a run that a `Checkpoint` has saved.

    Parameters
    ----------
    path : path, bytes-like or binary file object
        The file; or its content, such as an object store or a zip archive gives it; or an object whose ``read()``
        returns its content.

    Returns
    -------
    Model or EncoderDecoder
        Equal to the saved model, including its scalers and the names of its tokens.

    Raises
    ------
    ValueError
        If the file is truncated, altered, or not a fastlstm model; the message says which, and of a model of another
        package which function reads it.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.Model([fl.LSTM(4), fl.Dense(2)], input_size=3).save("model.safetensors")
    >>> fl.load("model.safetensors")
    Model([LSTM(hidden_size=4), Dense(output_size=2)])
    """
    with with_advice(path, "load") if isinstance(path, (str, os.PathLike)) else nullcontext():
        tensors, config = safetensors.load(path)
    return any_model_from(path, config, tensors)


def any_model_from(path: Source, config: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> Model:
    """Do `model_from`, or return the EncoderDecoder of a file that holds one."""
    if _PAIR_KEY in config:
        from ..seq2seq.files import pair_from  # few files hold such a model

        return cast("Model", pair_from(path, config, tensors))  # the type of nearly all files
    return model_from(path, config, tensors)


def read_config(path: Source) -> dict[str, Any]:
    """Return what a model's file says of the model: `Model.get_config` with ``"metadata"``. No weights are read.

    Parameters
    ----------
    path : path, bytes-like or binary file object
        As in `load`.

    Returns
    -------
    dict
        ``"metadata"`` holds `Model.metadata`, an empty dict if it has none. The checksum is not verified, since it
        covers the weights.

    Raises
    ------
    ValueError
        If the file is not a fastlstm model.
    OSError
        If the file cannot be read.
    """
    with with_advice(path, "load") if isinstance(path, (str, os.PathLike)) else nullcontext():
        config = safetensors.load_config(path)
    return {**config, "metadata": config.get("metadata") or {}}


def model_from(path: Source, config: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> Model:
    """Return the model of a file whose content has been read; raise ValueError if it describes none."""
    if RUN_KEY in config:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(RUN_PREFIX)}
    if _FORECASTER_KEY in config:
        raise ValueError(f"{safetensors.name_of(path)}: the file holds a forecaster: fl.Forecaster.load reads it")
    if _PAIR_KEY in config:
        raise ValueError(f"{safetensors.name_of(path)}: the file holds an encoder-decoder: fl.load reads it")
    try:
        return _model(config, dict(tensors))
    except ValueError as error:
        raise ValueError(f"{safetensors.name_of(path)}: {error}") from error


def _model(config: Mapping[str, Any], tensors: dict[str, npt.NDArray[Any]]) -> Model:
    """Return the model that a file describes; raise ValueError if it describes none."""
    scalers: dict[str, Scaler] = {}
    try:
        for name in SCALERS:
            state = {key: tensors.pop(key) for key in list(tensors) if key.partition(".")[0] == name}
            # Files of the time before there were several scalers describe none.
            described = config.get(name)
            scaler = Standardizer() if described is None else scaler_from_config(described)
            if state:
                scaler.load_state({key.partition(".")[2]: value for key, value in state.items()})
            if state or described is not None:
                scalers[name] = scaler
        layers = [_layer(layer) for layer in config["layers"]]
        if not layers:
            raise ValueError("it has no layers")
        tokens = takes_tokens(layers)
        input_size = count("input_size", config["input_size"], least=0 if tokens else 1)
        of_inputs = scalers.get("scaler")
        if of_inputs is not None and of_inputs.missing == "mask" and not (of_inputs.fitted or tokens):
            raise ValueError("the arrays of its scaler are missing")
        network = Network(layers, np.dtype(np.float32), 0)
        network.require_tensors(input_size + _channels(of_inputs, input_size), tensors)
        model = Model(
            layers,
            dtype=config["dtype"],
            precision=config.get("precision"),
            seed=count("seed", config["seed"], least=0, bits=MANY),
            classes=config["classes"],
            scaler=scalers.get("scaler"),
            target_scaler=scalers.get("target_scaler"),
        )
        if not tokens:
            model.build_to_load(input_size)
        model.feature_names = config.get("feature_names")
        model.metadata = config.get("metadata")
        model.network.passes = count("steps", config["steps"], least=0)
        model.loss = None if config["loss"] is None else get_loss(config["loss"])
        model.restore_outputs(config.get("output_kind"), config.get("target_shape"))
    except KeyError as error:
        raise ValueError(f"the file does not describe a fastlstm model: {error} is missing") from error
    except (AttributeError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"the file does not describe a fastlstm model: {error}") from error
    quantized: dict[int, EightBits] = {}
    for index in (k for k, layer in enumerate(config["layers"]) if layer.get("bits") is not None):
        prefix = f"{index}."
        own = {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}
        try:
            quantized[index] = restore_layer(layers[index], own)
        except ValueError as error:
            raise ValueError(f"layer {index}: {error}") from None
        tensors.update({prefix + name: tensor for name, tensor in own.items()})
    model.load_state_dict(tensors)
    for index, integers in quantized.items():
        layers[index].quantized = integers
    return model.freeze() if quantized else model


def _layer(config: Mapping[str, Any]) -> Layer:
    if not isinstance(config, Mapping):
        raise ValueError(f"a layer is described by {short_repr(config)}, expected an object")
    if config.get("type") == "OnnxGraph":
        from .onnx.graph import layer  # noqa: F401  (registers the class; few models have one)
    return layer_from_config(config)


def _channels(scaler: Scaler | None, features: int) -> int:
    """Return the number of channels that a scaler adds to the features of a model."""
    if scaler is None or scaler.missing == "error":
        return 0
    return scaler.added_channels if scaler.fitted else features
