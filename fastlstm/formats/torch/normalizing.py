"""The layers of torch.nn that normalise, pool windows of steps or join steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._typing import Array
from ...layers import AvgPool1D, BatchNorm, Conv1D, Flatten, LayerNorm, MaxPool1D
from .parts import Part, build, joined
from .tensors import as_float_array

__all__ = ["batch_norm_part", "flatten_part", "layer_norm_part", "pool_part", "with_steps"]


def batch_norm_part(name: str, module: Any) -> Part:
    """Return the layer of an ``nn.BatchNorm1d``."""
    if not module.track_running_stats:
        raise ValueError(
            f"BatchNorm1d {name!r}: track_running_stats=False is not supported, which normalises by the batch in "
            "inference, too"
        )
    if module.momentum is None:
        raise ValueError(f"BatchNorm1d {name!r}: momentum=None, an average over all batches, is not supported: set one")
    tensors = _tensors(name, module)
    layer = build(
        BatchNorm,
        "BatchNorm1d",
        name,
        momentum=module.momentum,
        eps=module.eps,
        weight="weight" in tensors,
        bias="bias" in tensors,
    )
    return Part(name, "BatchNorm1d", layer, module.num_features, module.num_features, tensors)


def layer_norm_part(name: str, module: Any) -> Part:
    """Return the layer of an ``nn.LayerNorm`` over the features."""
    if len(module.normalized_shape) != 1:
        raise ValueError(
            f"LayerNorm {name!r}: normalized_shape={tuple(module.normalized_shape)} is not supported, expected the "
            "number of features"
        )
    tensors, size = _tensors(name, module), int(module.normalized_shape[0])
    settings = {"weight": "weight" in tensors, "bias": "bias" in tensors}
    layer = build(LayerNorm, "LayerNorm", name, eps=module.eps, **settings)
    return Part(name, "LayerNorm", layer, size, size, tensors)


def _tensors(name: str, module: Any) -> dict[str, Array]:
    return {
        key: as_float_array(joined(name, key), value)
        for key, value in module.state_dict().items()
        if key != "num_batches_tracked"
    }


def pool_part(name: str, module: Any) -> Part:
    """Return the layer of an ``nn.MaxPool1d`` or ``nn.AvgPool1d``; it reads (batch, features, time)."""
    kind = type(module).__qualname__
    kernel, stride, padding, dilation = (
        _one(getattr(module, key, 1)) for key in ("kernel_size", "stride", "padding", "dilation")
    )
    counted = kind == "AvgPool1d" and module.count_include_pad and padding > 0
    if dilation != 1 or getattr(module, "return_indices", False):
        raise ValueError(
            f"{kind} {name!r}: dilation={dilation} or return_indices is not supported, expected 1 and False"
        )
    pads: int | tuple[int, int] | str = padding or "valid"
    if module.ceil_mode and stride > 1:
        if padding + stride > kernel or counted:
            raise ValueError(
                f"{kind} {name!r}: ceil_mode=True with kernel_size={kernel}, stride={stride}, padding={padding} is not "
                "supported: use ceil_mode=False"
            )
        pads = (padding, padding + stride - 1)
    settings: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "padding": pads}
    if kind == "AvgPool1d":
        return Part(name, kind, build(AvgPool1D, kind, name, count_include_pad=bool(counted), **settings))
    return Part(name, kind, build(MaxPool1D, kind, name, **settings))


def _one(value: Any) -> int:
    return int(value[0] if isinstance(value, (tuple, list)) else value)


def flatten_part(name: str, module: Any) -> Part:
    """Return a layer whose number of steps `with_steps` sets."""
    if module.start_dim != 1 or module.end_dim not in (-1, 2):
        raise ValueError(
            f"Flatten {name!r}: start_dim={module.start_dim}, end_dim={module.end_dim} is not supported, expected 1 "
            "and -1"
        )
    return Part(name, "Flatten", Flatten(1))


def with_steps(parts: Sequence[Part]) -> list[Part]:
    """Return the layers with the numbers of steps of each Flatten, which the sizes around it tell.

    Directly after layers that read (batch, features, time) the joined features are those of all steps, feature by
    feature; the weights of the linear layer that follows are turned then. A Flatten of one vector is left out.
    """
    result: list[Part] = []
    turned = 0  # number of steps that the next linear layer reads feature by feature
    for k, part in enumerate(parts):
        if part.kind == "Flatten":
            before = next((p.out_features or p.in_features for p in reversed(parts[:k]) if p.weights), None)
            after = next((p.in_features for p in parts[k + 1 :] if p.in_features is not None), None)
            if before is None or after is None or after % before:
                raise ValueError(
                    f"Flatten {part.name!r}: its number of steps follows from the layers around it, which have "
                    f"{before} features before it and {after} after it"
                )
            steps = after // before
            if steps > 1:
                result.append(part._replace(layer=Flatten(steps), in_features=before, out_features=after))
                turned = steps if _channels_first(parts[:k]) else 0
            continue
        if turned and part.kind == "Linear":
            weight = part.weights["weight"]
            straight = weight.reshape(len(weight), -1, turned).swapaxes(1, 2).reshape(weight.shape)
            part = part._replace(weights={**part.weights, "weight": np.ascontiguousarray(straight)})
            turned = 0
        result.append(part)
    return result


def _channels_first(parts: Sequence[Part]) -> bool:
    """Return whether the last layer that tells reads and returns (batch, features, time)."""
    for part in reversed(parts):
        if isinstance(part.layer, (Conv1D, MaxPool1D, AvgPool1D)):
            return True
        if part.kind in ("LSTM", "Linear", "LayerNorm"):
            return False
    return False
