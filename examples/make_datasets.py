"""Make the two data files of fastlstm/data/datasets from their originals, and check that nothing is lost.

    python examples/make_datasets.py japanese_vowels.npz Steel_industry_data.csv fastlstm/data/datasets

The first file holds the padded arrays X_train (270, 29, 12), lengths_train, y_train (from 0) and the same for
test (370 utterances), as the UEA archive provides the Japanese vowels; the second is the CSV file from UCI.
"""

from __future__ import annotations

import argparse
import csv
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

LOAD_TYPES = ("Light_Load", "Medium_Load", "Maximum_Load")


def planes(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the lower half of the bits of integers and the rest apart: the file is a quarter smaller than together."""
    bits = 4 * values.itemsize
    low = (values & (2**bits - 1)).astype(f"u{bits // 8}")
    high = (values >> bits).astype(f"i{bits // 8}")
    return {f"{name}_low": low, f"{name}_high": high.astype(np.int8)}


def make_vowels(source: Path, target: Path) -> None:
    """Store only the valid frames, as integer millionths, one row per coefficient."""
    arrays = {}
    with np.load(source, allow_pickle=False) as original:
        for part in ("train", "test"):
            X, lengths = original[f"X_{part}"], original[f"lengths_{part}"]
            frames = X[np.arange(X.shape[1]) < lengths[:, None]]
            millionths = np.rint(frames.astype(np.float64) * 1e6).astype(np.int32)
            if not np.array_equal((millionths / 1e6).astype(np.float32), frames):
                raise ValueError(f"{source}: six decimals do not hold X_{part} exactly")
            arrays.update(planes(f"millionths_{part}", millionths.T))
            arrays[f"lengths_{part}"] = lengths.astype(np.uint8)
            arrays[f"y_{part}"] = original[f"y_{part}"].astype(np.uint8)
    np.savez_compressed(target, **arrays)


def make_steel(source: Path, target: Path) -> None:
    """Store the measured columns as integer hundredths, one row per column, and the load type."""
    with source.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))[1:]
    for k, (date, *_, seconds, week_status, day, _) in enumerate(rows):
        end = datetime(2018, 1, 1) + timedelta(minutes=15 * (k + 1))
        begin = end - timedelta(minutes=15)
        # The last row of a day is stamped 00:00 of that same day.
        stamp = f"{begin.day}-{begin.month}-{begin:%y} {end.hour}.{end:%M}"
        weekend = "Weekend" if begin.weekday() >= 5 else "Weekday"
        expected = (stamp, str(end.hour * 3600 + end.minute * 60), weekend, f"{begin:%A}")
        if (date.replace("/", "-"), seconds, week_status, day) != expected:
            raise ValueError(f"{source}: row {k} is {rows[k]}, expected {expected}")
    decimals = [[Decimal(value) * 100 for value in row[1:7]] for row in rows]
    hundredths = np.array([[int(value) for value in row] for row in decimals], np.int16)
    if hundredths.tolist() != decimals:
        raise ValueError(f"{source}: two decimals do not hold the values exactly")
    load_type = np.array([LOAD_TYPES.index(row[10]) for row in rows], np.uint8)
    np.savez_compressed(target, **planes("hundredths", hundredths.T), load_type=load_type)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vowels", type=Path)
    parser.add_argument("steel", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    make_vowels(arguments.vowels, arguments.folder / "japanese_vowels.npz")
    make_steel(arguments.steel, arguments.folder / "steel_power_factor.npz")


if __name__ == "__main__":
    main()
