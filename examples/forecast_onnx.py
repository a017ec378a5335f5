"""A forecaster in ONNX Runtime: the inputs of its network, made by NumPy from the recipe in the file.

    python examples/forecast_onnx.py        # trains one, writes it, and compares both

`network_inputs` and `in_units` need nothing but NumPy and the file: copy them.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np


def network_inputs(
    recipe: dict[str, Any], y: np.ndarray, hist: np.ndarray, futr: np.ndarray, static: np.ndarray, series: str
) -> dict[str, np.ndarray]:
    """Return x (1, T, inputs), ahead (1, horizon, inputs) and base (1, horizon) for a forecast from the last row.

    y (T,), hist (T, columns), futr (T + gap + horizon, columns) and static (columns,) are in the order of
    ``recipe["units"]``, the calendar among futr; NaN where a value is missing.
    """
    horizon, gap, rows = recipe["horizon"], recipe["gap"], np.arange(len(y))
    center, scale = recipe["series"][series]
    own = (y - center) / scale
    known = np.maximum.accumulate(np.where(np.isnan(own), -1, rows))  # the row of the last value
    filled = np.where(known < 0, 0.0, own[known])

    def at(row: np.ndarray) -> np.ndarray:
        """Return values of rows; those before the series are missing."""
        return np.where(row < 0, np.nan, own[np.maximum(row, 0)])

    def scaled(kind: str, values: np.ndarray) -> np.ndarray:
        units = np.array(list(recipe["units"][kind].values())).reshape(-1, 2)
        return np.nan_to_num((values - units[:, 0]) / units[:, 1])

    missing = {name: np.isnan(hist[:, k]) for k, name in enumerate(recipe["units"]["hist"])}
    hist, futr, static = scaled("hist", hist), scaled("futr", futr), scaled("static", static)
    lags = np.array(recipe["lags"], np.int64).reshape(horizon, -1)
    earlier = at(rows[:, None] - (lags[0] - gap - 1)) - filled[:, None]
    flags = [missing[name.removesuffix(" missing")] for name in recipe["inputs"] if name.endswith(" missing")]
    x = np.column_stack(
        [filled, np.isnan(y), np.nan_to_num(earlier), hist, futr[: len(y)], np.tile(static, (len(y), 1)), *flags]
    )

    steps = len(y) + gap + np.arange(horizon)
    last, base = filled[-1], np.zeros(horizon)
    if recipe["residual_of"] == "naive":
        base[:] = last
    elif recipe["residual_of"] is not None:
        base[:] = np.nan
        for back in recipe["fallbacks"]:
            base = np.where(np.isnan(base), at(steps - recipe["base_lags"] - back), base)
        base = np.where(np.isnan(base), last, base)
    values = at(steps[:, None] - lags)
    relative = np.nan_to_num(values - base[:, None])
    ahead = np.column_stack([futr[steps], last - base, relative, ~np.isnan(values)])
    return {name: one[None].astype(np.float32) for name, one in (("x", x), ("ahead", ahead), ("base", base))}


def in_units(recipe: dict[str, Any], quantiles: np.ndarray, series: str) -> np.ndarray:
    """Return the file's output in the units of a series."""
    center, scale = recipe["series"][series]
    values = quantiles.astype(np.float64) * scale + center
    return values if recipe["bounds"] is None else np.clip(values, *recipe["bounds"])


def main() -> None:
    import onnxruntime

    import fastlstm as fl

    data = fl.datasets.load_steel_power_factor()
    y = data.values[:3000, data.columns.index("lagging_power_factor")].astype(np.float64)
    forecaster = fl.Forecaster(8, calendar=None, bounds=(0, 1), hidden_size=16, epochs=3, random_state=0)
    forecaster.fit({"ds": data.time[:3000], "y": y})
    forecaster.to_onnx("power.onnx")

    session = onnxruntime.InferenceSession("power.onnx")
    recipe = json.loads(session.get_modelmeta().custom_metadata_map["fastlstm.forecast"])
    (name,) = recipe["series"]
    nothing = np.zeros((len(y) + 8, 0))
    feed = network_inputs(recipe, y, nothing[: len(y)], nothing, np.zeros(0), name)
    answers = in_units(recipe, session.run(None, feed)[0][0], name)
    own = forecaster.predict().filter(like="fastlstm").to_numpy()
    median = answers[:, recipe["quantiles"].index(0.5)]
    print("next steps by ONNX Runtime:", median.round(4))
    print("largest difference from predict:", abs(median - own[:, 0]).max())


if __name__ == "__main__":
    main()
