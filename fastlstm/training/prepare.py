"""Data of a training run: checks, validation split, class weights, order of each epoch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._foreign import type_name
from .._typing import Array
from ..data import split
from ..data.batching import sequential_batches
from ..data.case_objects import gives_cases, refuse_batches, refuse_dataset
from ..data.cases import Cases
from ..data.dataset import DatasetCases
from ..data.label_sequences import LabelSequences
from ..data.sequences import Indices, Sequences
from ..data.shuffle import Shuffle
from ..data.targets import Targets
from ..inference.dataset_inputs import dataset_cases
from ..inference.feeding import check_segments, count_segments
from ..inference.inputs import checked_cases, checked_inputs
from ..inference.outputs import skipped_layer
from ..layers import Layer
from ..losses import Loss
from ..protocols import TrainableModel
from .joined import joining_layers
from .parts import joined_parts, joined_validation
from .reduce import Reduce
from .settings import Settings

__all__ = ["TrainingData", "prepare", "require_separable"]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Training and validation data of a run."""

    given: dict[str, Cases]
    """``"training"`` and, if the user gave them, ``"validation"`` data, before any split."""
    train: Cases
    validation: Cases | None
    class_weights: Array | None
    """(classes,), float64; None: all classes have weight 1."""
    settings: Settings

    def batches(self, epoch: int, first: int = 0) -> Iterator[Indices]:
        """Yield the case numbers of each batch of an epoch, from batch `first` on."""
        n, batch_size = len(self.train), self.settings.batch_size
        if self.settings.shuffle:
            return Shuffle(n, self.settings.seed, epoch).batches(batch_size, first)
        return sequential_batches(n, batch_size, first)

    @property
    def steps_per_epoch(self) -> int:
        """Number of updates in an epoch; with `tbptt_steps`, in the first epoch."""
        if self.settings.tbptt_steps:
            return count_segments(self.train.inputs, self.batches(1), self.settings.tbptt_steps)
        return -(-len(self.train) // self.settings.batch_size)

    @property
    def quantities(self) -> list[str]:
        """Names of the values that the run records after each epoch."""
        loss = self.settings.loss
        names = ["loss"] if loss.metric_name is None else ["loss", loss.metric_name]
        if self.validation is not None:
            names += [f"val_{name}" for name in (*names, *self.settings.metrics)]
        return [*names, "lr"]


def prepare(
    model: TrainableModel,
    settings: Settings,
    X: Any,
    y: ArrayLike | None,
    reduce: Reduce,
    *,
    lengths: ArrayLike | None,
    sample_weight: ArrayLike | None,
    validation_data: Any,
) -> TrainingData:
    """Check the data of `Model.fit` and split off the validation part, without changing any weight.

    `reduce` joins the data of several processes, if each has a part.

    Raises
    ------
    TypeError, ValueError
        If the data do not fit the model or each other.
    """
    loss = settings.loss
    exchange = reduce.exchange
    if settings.partitioned and exchange is not None:
        tokens = model.network.takes_tokens
        joined = joined_parts(exchange, X, y, lengths, sample_weight, tokens=tokens, names=("X", "y"))
        X, y, sample_weight = joined
        lengths = None
        validation_data = joined_validation(exchange, validation_data, tokens=tokens)
    adds_channels = _scaler_adds_channels(model)
    was_built = adds_channels and model.network.built
    train: Cases
    if y is None:
        train = dataset_cases(model, X, loss, lengths=lengths, sample_weight=sample_weight, training=True)
        _check_network(model, settings)
    else:
        refuse_dataset(X)
        inputs = checked_inputs(model, X, lengths, training=True)
        _check_network(model, settings)
        train = checked_cases(model, inputs, y, loss, sample_weight=sample_weight)
    validation = _validation_cases(model, train, loss, validation_data)
    numbers: Array | None = None  # of the validation cases in the training data
    given = {"training": train} if validation is None else {"training": train, "validation": validation}
    if settings.validation_split:
        if validation is not None:
            raise ValueError("got both validation_data and validation_split, expected one of them: leave one out")
        train, validation, numbers = _split_off(train, settings)
    if settings.metrics and validation is None:
        raise ValueError("metrics are measured on validation data: give validation_data or validation_split")
    if adds_channels:
        _settle_scaler(model, was_built, train)
        # The cases of a data set are checked when they are read.
        if validation is not None and not isinstance(validation, DatasetCases):
            _check_missing(model, validation.inputs, numbers)
    class_weights = None
    if settings.class_weight is not None:
        class_weights = _class_weights(settings.class_weight, train.targets, loss, model.network.output_size)
    return TrainingData(given, train, validation, class_weights, settings)


def _scaler_adds_channels(model: TrainableModel) -> bool:
    """Return whether the scaler is not fitted yet, and adds channels that depend on the training data."""
    scaler = model.scaler
    return scaler is not None and scaler.missing != "error" and not (scaler.fitted or model.network.takes_tokens)


def _settle_scaler(model: TrainableModel, was_built: bool, train: Cases) -> None:
    """Fit a scaler that adds channels to the training part, and build the network for the channels that it has.

    For the checks before, the network was built for a channel of every feature.
    """
    scaler, network = model.scaler, model.network
    assert scaler is not None
    scaler.fit(train.inputs)
    size = train.inputs.features + scaler.added_channels
    if size != network.input_size:
        if was_built:
            raise ValueError(
                f"the model's scaler gives {train.inputs.features} features and {scaler.added_channels} indicator "
                f"channels, the model was built for {network.input_size} inputs: make a new model with this scaler, "
                "fl.Model([...], scaler=...)"
            )
        outputs = network.output_size
        network.rebuild(size)
        if network.output_size != outputs:
            raise ValueError(
                f"the model has an output for each of its inputs, of which missing={scaler.missing!r} adds some: give "
                "it a last layer with a number of outputs, for example fl.Dense(1)"
            )


def _check_missing(model: TrainableModel, inputs: Sequences, numbers: Array | None) -> None:
    """Raise ValueError if a value of validation inputs is missing in a feature that had all in the training part."""
    scaler, network = model.scaler, model.network
    assert scaler is not None
    if numbers is not None:
        inputs = copy.copy(inputs)
        inputs.numbers = numbers
    missing_steps = network.layers[0].masks_missing_steps
    inputs.check_finite(network.dtype, missing_steps=missing_steps, missing=scaler.may_be_missing)


def require_separable(shards: int, layers: Iterable[tuple[str, Layer]]) -> None:
    """Raise ValueError if one of the layers, each with its place, cannot be computed for a part of a batch alone."""
    for place, layer in layers:
        obstacle = layer.shard_obstacle()
        if obstacle is not None:
            raise ValueError(f"shards={shards} computes each part of a batch alone, and {place} {obstacle}")


def _check_network(model: TrainableModel, settings: Settings) -> None:
    """Raise ValueError if a built network cannot be trained with these settings."""
    model.network.parameters.require_trainable()
    skipped_layer(model.network, settings.loss, training=True)  # raises ValueError if the two do not fit each other
    if settings.tbptt_steps:
        check_segments(model.network, settings.loss)
    if settings.shards > 1:
        joining = joining_layers(model.network)
        if joining and settings.tbptt_steps:
            name = type(model.network.layers[joining[0]]).__name__
            raise ValueError(
                f"layer {joining[0]} is a {name}, which needs the statistics of the whole batch, and those of a "
                "segment are not known with several shards: leave tbptt_steps or shards out, or use fl.LayerNorm"
            )
        alone = [(f"layer {k}", layer) for k, layer in enumerate(model.network.layers) if k not in joining]
        require_separable(settings.shards, alone)


def _validation_cases(model: TrainableModel, train: Cases, loss: Loss, validation_data: Any) -> Cases | None:
    if validation_data is None:
        return None
    refuse_batches(validation_data, "validation_data")
    in_tuple = isinstance(validation_data, (tuple, list))
    given: tuple[Any, ...] = tuple(validation_data) if in_tuple else (validation_data,)
    refuse_batches(given[0] if given else None, "validation_data[0]")
    alone = len(given) == 1 and not (gives_cases(given[0]) or (in_tuple and isinstance(given[0], list)))
    if alone or len(given) not in (1, 2, 3, 4):
        got = f"a {type_name(validation_data)}"
        if in_tuple:
            got += f" of {len(given)} members"
        advice = ""
        if isinstance(validation_data, float):
            advice = f": for a share of the training data give validation_split={validation_data}"
        elif in_tuple:
            advice = ": put a list of cases (x, y) into a tuple, (cases,)"
        raise ValueError(
            "validation_data must be (X, y), (X, y, lengths) or (X, y, lengths, sample_weight), or an object that "
            f"gives cases (x, y), got {got}{advice}"
        )
    name = "validation_data[0]" if in_tuple else "validation_data"
    X, y, lengths, weight = (*given, None, None, None)[:4]
    classes = train.targets.classes
    if y is None:
        return dataset_cases(
            model,
            X,
            loss,
            lengths=lengths,
            sample_weight=weight,
            classes=classes,
            name=name,
            target_name="validation y",
        )
    refuse_dataset(X, name)
    inputs = checked_inputs(model, X, lengths, "validation X")
    return checked_cases(model, inputs, y, loss, sample_weight=weight, classes=classes, name="validation y")


def _split_off(cases: Cases, settings: Settings) -> tuple[Cases, Cases, Array]:
    """Return the training part, the validation part and the numbers of the cases of the latter."""
    fractions = (1.0 - settings.validation_split, settings.validation_split)
    strata = settings.loss.strata(cases.targets)
    if strata is not None:
        train, validation = split(strata, fractions, method="stratified", seed=settings.seed)
    else:
        train, validation = split(len(cases), fractions, method="random", seed=settings.seed)
    return cases.subset(train), cases.subset(validation), validation


def _class_weights(class_weight: Any, targets: Targets | LabelSequences, loss: Loss, outputs: int) -> Array:
    """Return the weight of each class, (classes,) float64."""
    classes = loss.class_count(targets, outputs)
    if classes is None:
        raise ValueError(
            f"class_weight is for classes, and loss={loss.name!r} with {targets.n_outputs} target values has "
            "no classes: use sample_weight"
        )
    weights = np.ones(classes)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight must be a dict or 'balanced', got {_checks.short_repr(class_weight)}")
        counts = np.zeros(classes, np.int64)
        for block in targets.blocks():
            labels = loss.class_labels(block)
            counts += np.bincount(labels[labels >= 0].astype(np.int64).reshape(-1), minlength=classes)
        present = counts > 0
        weights[present] = counts.sum() / (present.sum() * counts[present])
        return weights
    if not isinstance(class_weight, Mapping):
        advice = ": pass dict(enumerate(class_weight))" if isinstance(class_weight, (list, tuple)) else ""
        raise TypeError(
            f"class_weight must be a dict or 'balanced', got the {type_name(class_weight)} "
            f"{_checks.short_repr(class_weight)}{advice}"
        )
    labels_of = list(range(classes)) if targets.classes is None else targets.classes
    for label, weight in class_weight.items():
        if label not in labels_of:
            raise ValueError(f"class_weight names {label!r}, expected one of the classes {labels_of}")
        weights[labels_of.index(label)] = _checks.non_negative(f"class_weight[{label!r}]", weight)
    return weights
