"""The layers of which a model is made."""

from __future__ import annotations

from typing import Any

from .activation import Activation
from .base import Layer, LayerTape, ParameterSpec, Signal, Tape
from .dense import Dense
from .dropout import Dropout
from .embedding import Embedding
from .lstm import LSTM
from .masking import Masking
from .noise import GaussianNoise
from .pooling import AttentionPool, LastStep, MaxPool, MeanPool, Pool
from .reverse import Reverse
from .seeds import mixed_seed
from .stack import connect, stack_parameters, takes_tokens
from .stages import Stage, StageState, join_stages, scaling_stage

__all__ = [
    "LSTM",
    "Activation",
    "AttentionPool",
    "Dense",
    "Dropout",
    "Embedding",
    "GaussianNoise",
    "LastStep",
    "Layer",
    "LayerTape",
    "Masking",
    "MaxPool",
    "MeanPool",
    "ParameterSpec",
    "Pool",
    "Reverse",
    "Signal",
    "Stage",
    "StageState",
    "Tape",
    "connect",
    "join_stages",
    "layer_from_config",
    "mixed_seed",
    "scaling_stage",
    "stack_parameters",
    "takes_tokens",
]

_LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        Activation,
        AttentionPool,
        Dense,
        Dropout,
        Embedding,
        GaussianNoise,
        LSTM,
        LastStep,
        Masking,
        MaxPool,
        MeanPool,
        Reverse,
    )
}


def layer_from_config(config: dict[str, Any]) -> Layer:
    """The layer that ``{"type": ..., **get_config()}`` describes; ValueError if it describes none."""
    settings = dict(config)
    name = settings.pop("type", None)
    if name == "OnnxGraph":
        from ..onnx.layer import OnnxGraph  # here: few models have one, and that package reads this one

        _LAYERS[name] = OnnxGraph
    if name not in _LAYERS:
        raise ValueError(f"unknown layer type {name!r}, expected one of {sorted(_LAYERS)}")
    try:
        return _LAYERS[name](**settings)
    except TypeError as error:
        raise ValueError(f"wrong settings for a {name} layer: {error}") from error
