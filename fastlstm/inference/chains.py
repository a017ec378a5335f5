"""Chains: the stages of a model with their packed weights, as streams and small predictions run them in C.

A chain is made once for each frozen network and its scalers, and kept with the network. Streams of a network that is
not frozen share a chain with copies of the weights, as long as the weights are the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import ReferenceType, ref

from .. import _core
from .._typing import Array
from ..data.scaler import Scaler
from ..layers import Layer, Stage, StageState, join_stages, quantized_layers, stages_describe_forward
from ..protocols import InferenceModel
from .inputs import input_features
from .stream_stages import between_scalers, stream_stages, with_scalers

__all__ = ["StreamChain", "predict_chain", "stream_chain"]


class _Scaling(NamedTuple):
    """Copies of the numbers of a model's scalers, from which a chain was made."""

    scaler: Scaler | None
    target_scaler: Scaler | None
    numbers: tuple[Array, ...]

    @classmethod
    def of(cls, model: InferenceModel) -> _Scaling:
        scalers = model.scaler, model.target_scaler
        numbers = tuple(array.copy() for one in scalers for array in _numbers(one))
        return cls(*scalers, numbers)

    def holds(self, model: InferenceModel) -> bool:
        """Return whether the model still scales in the same way."""
        if self.scaler is not model.scaler or self.target_scaler is not model.target_scaler:
            return False
        if not self.numbers:
            return True
        now = *_numbers(self.scaler), *_numbers(self.target_scaler)
        return len(now) == len(self.numbers) and all(map(_core.same_bytes, now, self.numbers))


def _numbers(scaler: Scaler | None) -> tuple[Array, ...]:
    if scaler is None or scaler.per_series:
        return ()
    return (
        (scaler.center(), scaler.scale_)
        if scaler.missing == "error"
        else (
            scaler.center(),
            scaler.scale_,
            scaler.indicator_,
        )
    )


class _Kept(NamedTuple):
    """A chain, with what it was made from."""

    packed: _core.PackedWeights | None
    """Of the frozen parameters; None if they may change."""
    scaling: _Scaling
    chain: _core.Chain | None


# ------------------------------------------------------------------------------------ whole series


def predict_chain(model: InferenceModel) -> _core.Chain | None:
    """Return the chain that computes whole series of a frozen model; None if there is none.

    There is none for a model that is not frozen, that masks steps, or that has a layer whose stages C does not have;
    such a model is computed layer by layer.
    """
    network = model.network
    packed = network.parameters.packed
    if packed is None:
        return None
    kept: _Kept | None = network.chains.get("predict")
    if kept is None or kept.packed is not packed or not kept.scaling.holds(model):
        scaling = _Scaling.of(model)
        kept = network.chains["predict"] = _Kept(packed, scaling, _whole_chain(model))
    return kept.chain


def _whole_chain(model: InferenceModel) -> _core.Chain | None:
    network = model.network
    if network.output_steps is not None or any(scaler is not None and scaler.per_series for scaler in _scalers(model)):
        return None
    layers = []
    for layer in network.layers:
        stages = None if layer.masks_steps or not _has_stages(layer) else _whole_stages(layer)
        if stages is None:
            return None
        layers.append(stages)
    stages = join_stages(between_scalers(model, layers))
    if not stages:
        return None
    chain = _core.Chain(stages, input_features(model), network.dtype, network.parameters.packed, True)
    return chain if chain.one_step is not network.per_step else None


def _scalers(model: InferenceModel) -> tuple[Scaler | None, Scaler | None]:
    return model.scaler, model.target_scaler


def _has_stages(layer: Layer) -> bool:
    return type(layer).stages is not Layer.stages and stages_describe_forward(layer)


def _whole_stages(layer: Layer) -> list[Stage] | None:
    """Return the stages of a layer for whole series, as `_core.Chain` reads them; None if it cannot."""
    try:
        stages = layer.stages()
    except TypeError:
        return None
    result: list[Stage] = []
    values = [0]
    for stage in stages:
        main = values[stage.main]
        side = {name: n if isinstance(n, str) else values[n] for name, n in stage.side.items()}
        translate = _TRANSLATIONS.get(stage.kind)
        translated = None if translate is None else translate(stage._replace(main=main, side=side), len(result))
        if translated is None:
            return None
        result += translated
        values.append(len(result))
    return result


def _same(stage: Stage, place: int) -> list[Stage] | None:
    return [stage]


def _pool(stage: Stage, place: int) -> list[Stage] | None:
    states = stage.states or (
        StageState("sums", stage.output_size, dtype="float64"),
        StageState("counts", 3, dtype="float64"),
    )
    return [stage._replace(settings={"method": stage.settings["method"], "last": True}, states=states)]


def _lstm(stage: Stage, place: int) -> list[Stage] | None:
    """Return a stage for each direction, and one that merges them."""
    settings = {**stage.settings, "bidirectional": False, "last": not stage.settings["return_sequences"]}
    if not stage.settings["bidirectional"]:
        return [stage._replace(settings=settings)]
    merge = stage.settings["merge"]
    if merge not in ("concat", "sum"):
        return None
    size = settings["proj_size"] or settings["hidden_size"]
    half = len(stage.states) // 2
    directions = [
        Stage(
            "lstm",
            size,
            {
                name.removesuffix("_reverse"): a
                for name, a in stage.weights.items()
                if name.endswith("_reverse") == back
            },
            {**settings, "reverse": back},
            main=stage.main,
            states=stage.states[half:] if back else stage.states[:half],
        )
        for back in (False, True)
    ]
    first, second = place + 1, place + 2
    if merge == "sum":
        return [*directions, Stage("add", size, main=first, side={"addend": second})]
    return [*directions, Stage("concat", 2 * size, main=first, side={"second": second})]


def _window(stage: Stage, place: int) -> list[Stage] | None:
    """Return the stage if it keeps the steps and reads none that comes later, as C computes it."""
    causal = stage.settings["padding"] == "causal" and stage.settings["stride"] == 1
    return [stage] if causal else None


_UNCHANGED = (
    *("embedding", "dense", "batch_norm", "layer_norm", "activation", "softmax", "add", "multiply", "concat", "final"),
    *("magnitude", "tap", "frame_conv", "take"),
)
"""Kinds of stages that C computes in the same way in whole series as in streams, and those of ends."""

_TRANSLATIONS = {
    **dict.fromkeys(_UNCHANGED, _same),
    "pool": _pool,
    "lstm": _lstm,
    "conv": _window,
    "window_pool": _window,
}

_STATE_NAMES = {"pool": ("sums", "counts"), "conv": ("steps",), "window_pool": ("steps", "count")}
"""Names of the states of each kind of stage other than an LSTM, as `Stream.save_state` gives them."""


# ------------------------------------------------------------------------------------ streams


class StreamChain(_core.Chain):
    """Chain of a stream, with what the stream knows of its model.

    Attributes
    ----------
    depths : list of int
        Number of stages with states, for each layer that has some.
    places : list of int
        Index of each such layer.
    kinds : dict of int to str
        Kind of its stages with states, by index.
    quantized : set of int
        Indices of the layers with weights of 8 bits.
    features : int
        Number of features that users pass.
    feature_names : list of str or None
    features_masked : bool
        Whether features may be missing.
    """

    depths: list[int]
    places: list[int]
    kinds: dict[int, str]
    quantized: set[int]
    features: int
    feature_names: list[str] | None
    features_masked: bool

    def state_names(self, place: int) -> tuple[str, ...]:
        """Return the names of the states of the layer with this index."""
        return _STATE_NAMES.get(self.kinds[place], ("h", "c"))

    def __reduce__(self) -> tuple[Any, ...]:
        plain = [
            stage._replace(weights=dict(stage.weights), settings=dict(stage.settings), side=dict(stage.side))
            for stage in self.description
        ]
        return _restored, (type(self), plain, self.dtype_name, vars(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> StreamChain:
        return self  # it does not change


def _restored(cls: type[StreamChain], stages: list[Stage], dtype: str, attributes: dict[str, Any]) -> StreamChain:
    chain = cls([_read_only(stage) for stage in stages], attributes["features"], dtype)
    vars(chain).update(attributes)
    return chain


def stream_chain(model: InferenceModel) -> StreamChain:
    """Return the chain of a stream with the weights and scalers that the model has now.

    Raises
    ------
    TypeError, ValueError
        If a layer or a scaler cannot be streamed.
    """
    network = model.network
    packed = network.parameters.packed
    if packed is None:
        return _copied_chain(model)
    kept: _Kept | None = network.chains.get("stream")
    if kept is None or kept.packed is not packed or not kept.scaling.holds(model):
        kept = network.chains["stream"] = _Kept(packed, _Scaling.of(model), _new_stream_chain(model, packed))
    chain = kept.chain
    assert isinstance(chain, StreamChain)
    if chain.feature_names != model.feature_names:
        chain.feature_names = model.feature_names
    return chain


class _Copied(NamedTuple):
    """A chain with copies of the weights of a network that is not frozen, as long as streams use it."""

    flat: Array
    scaling: _Scaling
    chain: ReferenceType[StreamChain]


def _copied_chain(model: InferenceModel) -> StreamChain:
    network = model.network
    kept: _Copied | None = network.chains.get("copied")
    chain = None if kept is None else kept.chain()
    flat = network.parameters.flat
    if kept is None or chain is None or not _core.same_bytes(flat, kept.flat) or not kept.scaling.holds(model):
        chain = _new_stream_chain(model, None)
        network.chains["copied"] = _Copied(flat.copy(), _Scaling.of(model), ref(chain))
    return chain


def _new_stream_chain(model: InferenceModel, packed: _core.PackedWeights | None) -> StreamChain:
    network = model.network
    layers = stream_stages(model)
    counts = [sum(bool(stage.states) for stage in stages) for stages in layers]
    if packed is None:
        layers = [[_read_only(stage) for stage in stages] for stages in layers]
    features = input_features(model)
    chain = StreamChain(with_scalers(model, layers), features, network.dtype, packed)
    chain.depths = [count for count in counts if count]
    chain.places = [index for index, count in enumerate(counts) if count]
    chain.kinds = {k: stage.kind for k in chain.places for stage in network.layers[k].stages() if stage.states}
    chain.quantized = {index for index, _ in quantized_layers(network.layers)}
    chain.features, chain.feature_names = features, model.feature_names
    chain.features_masked = model.scaler is not None and model.scaler.missing != "error"
    return chain


def _read_only(stage: Stage) -> Stage:
    """Return a stage with copies of its arrays that nobody writes to."""
    states = [one if one.initial is None else one._replace(initial=one.initial.copy()) for one in stage.states]
    weights = {name: array.copy() for name, array in stage.weights.items()}
    for array in weights.values():
        array.flags.writeable = False
    return stage._replace(weights=weights, states=tuple(states))
