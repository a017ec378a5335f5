"""Read encoder-decoders from files. Files are not trusted: all sizes are checked before memory is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._checks import MANY, count, short_repr
from .._typing import Array
from ..data import Scaler, scaler_from_config
from ..formats import safetensors
from ..formats.safetensors import RUN_KEY, RUN_PREFIX, Source
from ..layers import Layer, layer_from_config
from .model import EncoderDecoder
from .network import PairNetwork

__all__ = ["pair_from"]

_KEY = "encoder_layers"


def pair_from(path: Source, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> EncoderDecoder:
    """Return the model of a file whose content has been read; raise ValueError if it describes none."""
    if RUN_KEY in config:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(RUN_PREFIX)}
    try:
        return _pair(config, dict(tensors))
    except KeyError as error:
        message = f"the file does not describe an encoder-decoder: {error} is missing"
    except (AttributeError, OverflowError, RecursionError, TypeError, ValueError) as error:
        message = str(error)
    raise ValueError(f"{safetensors.name_of(path)}: {message}")


def _pair(config: Mapping[str, Any], tensors: dict[str, Array]) -> EncoderDecoder:
    layers = [_layer(layer) for layer in config["layers"]]
    cut = count(_KEY, config[_KEY])
    if cut >= len(layers):
        raise ValueError(f"{_KEY} is {cut}, expected fewer than the {len(layers)} layers")
    scaler: Scaler | None = None
    if config["scaler"] is not None:
        scaler = scaler_from_config(config["scaler"])
        state = {name: tensors.pop(name) for name in list(tensors) if name.partition(".")[0] == "scaler"}
        if state:
            scaler.load_state({name.partition(".")[2]: value for name, value in state.items()})
    input_size = 0 if layers and layers[0].takes_tokens else count("input_size", config["input_size"])
    PairNetwork(layers[:cut], layers[cut:], np.dtype(np.float32), 0).require_tensors(input_size, tensors)
    model = EncoderDecoder(
        layers[:cut],
        layers[cut:],
        bos=count("bos", config["bos"], least=0),
        eos=count("eos", config["eos"], least=0),
        dtype=config["dtype"],
        precision=config.get("precision"),
        seed=count("seed", config["seed"], least=0, bits=MANY),
        scaler=scaler,
        source_tokens=config["source_tokens"],
        target_tokens=config["target_tokens"],
    )
    if not model.takes_tokens:
        model.network.build(input_size)
    model.metadata = config.get("metadata")
    model.longest_target = count("longest_target", config["longest_target"], least=0)
    model.network.passes = count("steps", config["steps"], least=0)
    model.load_state_dict(tensors)
    return model


def _layer(config: Any) -> Layer:
    if not isinstance(config, Mapping):
        raise ValueError(f"a layer is described by {short_repr(config)}, expected an object")
    if config.get("bits") is not None:
        raise ValueError("a layer has weights of 8 bits, which an encoder-decoder cannot have")
    return layer_from_config(config)
