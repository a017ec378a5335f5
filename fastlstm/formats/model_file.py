"""From a model file back to a model. The file is not trusted: what it claims is checked before memory is taken."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .._checks import count
from ..data import SCALERS, Standardizer
from ..layers import Layer, connect, layer_from_config, stack_parameters, takes_tokens
from ..losses import get_loss
from ..model import Model
from ..training.run_state import KEY, PREFIX
from . import safetensors

__all__ = ["load"]


def load(path: str | os.PathLike[str]) -> Model:
    """Reads a model that `Model.save` wrote, or the model of a run that a `Checkpoint` saved.

    Parameters
    ----------
    path : path

    Returns
    -------
    Model
        Equal to the one saved: it takes raw data if that one had a scaler.

    Raises
    ------
    ValueError
        If the file is truncated, altered, or no fastlstm model; the message says which.
    OSError
        If it cannot be read.
    """
    tensors, config = safetensors.load(path)
    if KEY in config:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}
    try:
        return _model(config, tensors)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def _model(config: Mapping[str, Any], tensors: dict[str, npt.NDArray[Any]]) -> Model:
    """The model that a file describes; ValueError if it describes none."""
    scalers: dict[str, Standardizer] = {}
    try:
        for name in SCALERS:
            state = {key: tensors.pop(f"{name}.{key}") for key in ("mean", "scale") if f"{name}.{key}" in tensors}
            if state:
                scalers[name] = Standardizer.from_state(state)
        layers = [_layer(layer) for layer in config["layers"]]
        if not layers:
            raise ValueError("it has no layers")
        tokens = takes_tokens(layers)
        input_size = count("input_size", config["input_size"], least=0 if tokens else 1)
        _check_tensors(layers, input_size, tensors)
        model = Model(
            layers,
            input_size=None if tokens else input_size,
            dtype=config["dtype"],
            seed=config["seed"],
            classes=config["classes"],
            scaler=scalers.get("scaler"),
            target_scaler=scalers.get("target_scaler"),
        )
        model.network.passes = count("steps", config["steps"], least=0)
        model.loss = None if config["loss"] is None else get_loss(config["loss"])
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"the file does not describe a fastlstm model: {error}") from error
    model.load_state_dict(tensors)
    return model


def _layer(config: Mapping[str, Any]) -> Layer:
    if config.get("type") == "OnnxGraph":
        from .onnx.graph import layer  # noqa: F401  (registers the class; few models have one)
    return layer_from_config(config)


def _check_tensors(layers: list[Layer], input_size: int, tensors: Mapping[str, np.ndarray]) -> None:
    """Stops at the first parameter that the tensors do not bear out: a claim of a billion layers ends there."""
    connect(layers, input_size)
    for _, name, spec in stack_parameters(layers):
        if name not in tensors:
            raise ValueError(f"the tensors do not fit the model: missing {[name]}")
        if tensors[name].shape != spec.shape:
            raise ValueError(f"{name} has shape {tensors[name].shape}, expected {spec.shape}")
