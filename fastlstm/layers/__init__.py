"""The layers of which a model is made."""

from __future__ import annotations

from .activation import Activation
from .base import Layer, LayerTape, ParameterSpec, Signal, Tape
from .dense import Dense
from .dropout import Dropout
from .embedding import Embedding
from .lstm import LSTM
from .masking import Masking
from .noise import GaussianNoise
from .pooling import AttentionPool, LastStep, MaxPool, MeanPool, Pool
from .registry import layer_from_config, register, registered_layers
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
    "register",
    "registered_layers",
    "scaling_stage",
    "stack_parameters",
    "takes_tokens",
]
