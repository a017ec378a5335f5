"""Data of a training run: pairs, and the part of them on which the model is validated."""

from __future__ import annotations

from ..data import split
from ..data.cases import Cases
from ..training.prepare import TrainingData, require_separable
from ..training.settings import Settings
from .cases import PairCases
from .network import PairNetwork

__all__ = ["training_data"]


def training_data(
    network: PairNetwork, train: PairCases, validation: PairCases | None, settings: Settings
) -> TrainingData:
    """Return the data of a training run, with a validation part split off if the settings say so.

    Raises
    ------
    ValueError
        If the settings do not fit the data or the network.
    """
    if settings.shards > 1:
        chains = (("encoder", network.encoder), ("decoder", network.decoder))
        named = [(f"{name}: layer {k}", layer) for name, layers in chains for k, layer in enumerate(layers)]
        require_separable(settings.shards, named)
    given: dict[str, Cases] = {"training": train}
    if validation is not None:
        given["validation"] = validation
    if settings.validation_split:
        if validation is not None:
            raise ValueError("got both validation_data and validation_split, expected one of them: leave one out")
        fractions = (1.0 - settings.validation_split, settings.validation_split)
        first, second = split(len(train), fractions, method="random", seed=settings.seed)
        train, validation = train.subset(first), train.subset(second)
    return TrainingData(given, train, validation, None, settings)
