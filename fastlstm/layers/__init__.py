"""Layers of a model."""

from __future__ import annotations

from .activation import Activation
from .base import Layer, ParameterSpec, Signal
from .context import LayerCache, PassContext
from .dense import Dense
from .dropout import Dropout
from .embedding import Embedding
from .lstm import LSTM
from .masked import backward_masked, forward_masked
from .masking import Masking
from .noise import GaussianNoise
from .pooling import AttentionPool, LastStep, MaxPool, MeanPool, Pool
from .registry import layer_from_config, register, registered_layers
from .reverse import Reverse
from .seeds import mixed_seed
from .stack import connect, stack_parameters, takes_tokens
from .stages import Stage, StageState, join_stages, scaling_stage
from .states import checked_states

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
    "LayerCache",
    "Masking",
    "MaxPool",
    "MeanPool",
    "ParameterSpec",
    "PassContext",
    "Pool",
    "Reverse",
    "Signal",
    "Stage",
    "StageState",
    "backward_masked",
    "checked_states",
    "connect",
    "forward_masked",
    "join_stages",
    "layer_from_config",
    "mixed_seed",
    "register",
    "registered_layers",
    "scaling_stage",
    "stack_parameters",
    "takes_tokens",
]
