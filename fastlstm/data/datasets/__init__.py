"""Two small real data sets, distributed under CC BY 4.0 (see ATTRIBUTION.md in this folder)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["JapaneseVowels", "SteelPowerFactor", "load_japanese_vowels", "load_steel_power_factor"]


@dataclass(frozen=True, eq=False, repr=False)
class JapaneseVowels:
    """Utterances of /ae/ by nine male speakers, to be recognised by their voice.

    Attributes
    ----------
    X_train : list of 270 ndarrays of float32, shape (7 to 26, 12)
        Cepstrum coefficients by linear prediction of degree 12, one row per 6.4 ms.
    y_train : ndarray of int64, shape (270,)
        Indices into `classes`; 30 utterances of each speaker.
    X_test : list of 370 ndarrays of float32, shape (7 to 29, 12)
        As `X_train`.
    y_test : ndarray of int64, shape (370,)
        As `y_train`; 24 to 88 utterances of each speaker.
    classes : tuple of str
        The speakers, "1" to "9".
    """

    X_train: list[NDArray[np.float32]]
    y_train: NDArray[np.int64]
    X_test: list[NDArray[np.float32]]
    y_test: NDArray[np.int64]
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        return (
            f"JapaneseVowels({len(self.X_train)} training and {len(self.X_test)} test utterances of "
            f"{len(self.classes)} speakers)"
        )


@dataclass(frozen=True, eq=False, repr=False)
class SteelPowerFactor:
    """Energy data of a small steel works in South Korea: one year in steps of 15 minutes.

    Attributes
    ----------
    time : ndarray of datetime64[m], shape (35040,)
        End of each step, from 2018-01-01T00:15 to 2019-01-01T00:00, without gaps.
    values : ndarray of float32, shape (35040, 6)
        One column per name in `columns`.
    columns : tuple of str
        "usage" (kWh), "lagging_reactive_power" and "leading_reactive_power" (kVarh), "co2" (t),
        "lagging_power_factor" and "leading_power_factor" (0 to 1).
    load_type : ndarray of int64, shape (35040,)
        Indices into `load_types`.
    load_types : tuple of str
        "light", "medium", "maximum".
    day_of_week : ndarray of int64, shape (35040,)
        0 for Monday to 6 for Sunday; a step that ends at midnight belongs to the day that ends.
    weekend : ndarray of bool, shape (35040,)
        Saturday or Sunday.
    """

    time: NDArray[np.datetime64]
    values: NDArray[np.float32]
    columns: tuple[str, ...]
    load_type: NDArray[np.int64]
    load_types: tuple[str, ...]
    day_of_week: NDArray[np.int64]
    weekend: NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"SteelPowerFactor({len(self.time)} steps from {self.time[0]} to {self.time[-1]}, {self.columns})"


def load_japanese_vowels() -> JapaneseVowels:
    """Load the Japanese vowels: 640 utterances of different lengths, in the official training and test parts.

    Returns
    -------
    JapaneseVowels
        Inputs as lists of float32 arrays (steps, 12), labels as int64 arrays.

    References
    ----------
    Kudo, Toyama and Shimbo, "Japanese Vowels", UCI Machine Learning Repository,
    https://doi.org/10.24432/C5NS47 (CC BY 4.0). The same authors, "Multidimensional curve classification using
    passing-through regions", Pattern Recognition Letters 20(11-13), 1999.

    Examples
    --------
    >>> import fastlstm as fl
    >>> fl.datasets.load_japanese_vowels()
    JapaneseVowels(270 training and 370 test utterances of 9 speakers)
    """
    arrays = _read("japanese_vowels.npz")
    X: dict[str, list[NDArray[np.float32]]] = {}
    for part in ("train", "test"):
        frames = (_integers(arrays, f"millionths_{part}").T / 1e6).astype(np.float32, order="C")
        X[part] = np.split(frames, np.cumsum(arrays[f"lengths_{part}"], dtype=np.int64)[:-1])
    y_train, y_test = (arrays[f"y_{part}"].astype(np.int64) for part in ("train", "test"))
    return JapaneseVowels(X["train"], y_train, X["test"], y_test, tuple("123456789"))


def load_steel_power_factor() -> SteelPowerFactor:
    """Load the electric energy, reactive power and power factor of a steel works in 2018.

    Returns
    -------
    SteelPowerFactor
        35,040 steps of 15 minutes, six columns of float32.

    References
    ----------
    Sathishkumar V E, Shin and Cho, "Steel Industry Energy Consumption", UCI Machine Learning Repository,
    https://doi.org/10.24432/C52G8C (CC BY 4.0).

    Examples
    --------
    >>> import fastlstm as fl
    >>> steel = fl.datasets.load_steel_power_factor()
    >>> steel.values.shape, steel.columns[0]
    ((35040, 6), 'usage')
    """
    arrays = _read("steel_power_factor.npz")
    values = _integers(arrays, "hundredths").T / 100
    values[:, 4:] /= 100  # the file has power factors in percent
    steps = np.arange(1, len(values) + 1)
    time = np.datetime64("2018-01-01T00:00") + (15 * steps).astype("timedelta64[m]")
    day_of_week = (steps - 1) // 96 % 7  # 96 steps a day; 2018-01-01 was a Monday
    return SteelPowerFactor(
        time=time,
        values=values.astype(np.float32, order="C"),
        columns=(
            "usage",
            "lagging_reactive_power",
            "leading_reactive_power",
            "co2",
            "lagging_power_factor",
            "leading_power_factor",
        ),
        load_type=arrays["load_type"].astype(np.int64),
        load_types=("light", "medium", "maximum"),
        day_of_week=day_of_week.astype(np.int64),
        weekend=day_of_week >= 5,
    )


def _integers(arrays: dict[str, NDArray[np.integer]], name: str) -> NDArray[np.int32]:
    """Return integers whose lower bits are stored apart from the others: the file compresses better."""
    low, high = arrays[f"{name}_low"], arrays[f"{name}_high"].astype(np.int32)
    return (high << (8 * low.itemsize)) | low


def _read(name: str) -> dict[str, NDArray[np.integer]]:
    from importlib import resources  # here, because it takes a fifth of the time of `import fastlstm`

    with (
        resources.files(__name__).joinpath(name).open("rb") as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        return dict(archive)
