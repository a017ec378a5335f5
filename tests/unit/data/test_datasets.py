"""The data sets that come with the package."""

import subprocess
import sys
from importlib import resources

import numpy as np
import pytest

import fastlstm as fl


def test_japanese_vowels_are_the_official_parts():
    vowels = fl.datasets.load_japanese_vowels()
    assert (len(vowels.X_train), len(vowels.X_test)) == (270, 370)
    assert np.bincount(vowels.y_train).tolist() == [30] * 9
    # The counts of the original file size_ae.test.
    assert np.bincount(vowels.y_test).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert vowels.classes == tuple("123456789") and vowels.y_train.dtype == vowels.y_test.dtype == np.int64
    for X, longest, frames in ((vowels.X_train, 26, 4274), (vowels.X_test, 29, 5687)):
        lengths = [len(x) for x in X]
        assert (min(lengths), max(lengths), sum(lengths)) == (7, longest, frames)
        assert all(x.shape[1] == 12 and x.dtype == np.float32 and x.flags.c_contiguous for x in X)
    # First and last frames, as printed in the original text files.
    assert vowels.X_train[0][0, :3].tolist() == np.float32([1.860936, -0.207383, 0.261557]).tolist()
    assert vowels.X_train[0][1, 11] == np.float32(0.093011)
    assert vowels.X_test[0][1, :2].tolist() == np.float32([1.547694, 0.008754]).tolist()
    assert repr(vowels) == "JapaneseVowels(270 training and 370 test utterances of 9 speakers)"


def test_steel_power_factor_is_the_whole_year():
    steel = fl.datasets.load_steel_power_factor()
    assert steel.values.shape == (35_040, 6) and steel.values.dtype == np.float32
    assert steel.values.flags.c_contiguous and len(steel.columns) == 6
    assert steel.columns[4] == "lagging_power_factor"
    # Rows 0, 95 and 35,039 of the original, with power factors / 100.
    assert steel.values[0].tolist() == np.float32([3.17, 2.95, 0, 0, 0.7321, 1]).tolist()
    assert steel.values[95].tolist() == np.float32([3.42, 3.46, 0, 0, 0.703, 1]).tolist()
    assert steel.values[-1].tolist() == np.float32([3.67, 3.02, 0.07, 0, 0.7722, 0.9998]).tolist()
    assert steel.values.max(axis=0).tolist() == np.float32([157.18, 96.91, 27.76, 0.07, 1, 1]).tolist()
    assert steel.values.min() == 0
    assert np.bincount(steel.load_type).tolist() == [18_072, 9_696, 7_272]
    assert steel.load_types == ("light", "medium", "maximum")
    assert repr(steel).startswith("SteelPowerFactor(35040 steps from 2018-01-01T00:15 to 2019-01-01T00:00")


def test_steel_time_runs_without_a_gap_and_midnight_ends_the_day():
    steel = fl.datasets.load_steel_power_factor()
    assert steel.time.dtype == np.dtype("datetime64[m]")
    assert steel.time[[0, 95, -1]].astype(str).tolist() == [
        "2018-01-01T00:15",
        "2018-01-02T00:00",
        "2019-01-01T00:00",
    ]
    assert (np.diff(steel.time) == np.timedelta64(15, "m")).all()
    # 2018-01-01 was a Monday, and so was 2018-12-31; row 95 ends Monday's last quarter of an hour.
    assert steel.day_of_week[[0, 95, 96, -1]].tolist() == [0, 0, 1, 0]
    assert np.bincount(steel.day_of_week).tolist() == [5_088] + [4_992] * 6  # as in the original
    assert steel.weekend.dtype == bool and steel.weekend.sum() == 9_984
    assert steel.weekend[5 * 96 : 7 * 96].all() and not steel.weekend[: 5 * 96].any()


def test_data_sets_cannot_be_rebound_and_are_fresh():
    steel = fl.datasets.load_steel_power_factor()
    with pytest.raises(AttributeError, match="cannot assign to field"):
        steel.values = None
    steel.values[:] = 0
    assert fl.datasets.load_steel_power_factor().values.any()


def test_files_are_small_and_attributed():
    folder = resources.files("fastlstm.data.datasets")
    attribution = folder.joinpath("ATTRIBUTION.md").read_text(encoding="utf-8")
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".npz")]
    assert len(files) == 2
    for entry in files:
        assert len(entry.read_bytes()) <= 500_000
        assert entry.name in attribution
    for expected in ("10.24432/C5NS47", "10.24432/C52G8C", "CC BY 4.0"):
        assert expected in attribution


def test_nothing_is_loaded_at_import(tmp_path):
    code = (
        "import numpy\n"
        "def refuse(*a, **k): raise AssertionError('loaded at import')\n"
        "numpy.load = refuse\n"
        "import fastlstm.datasets\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
