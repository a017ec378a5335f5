"""Records of PhysioNet, and the classes of beats."""

from __future__ import annotations

import builtins
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cures import cure, message_of

import fastlstm as fl

FS, STEPS = 360, 2000

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wfdb calls what pandas will drop


@pytest.fixture
def wfdb() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        return pytest.importorskip("wfdb", reason="wfdb is not installed: pip install 'fastlstm[wfdb]'")


@pytest.fixture
def record(wfdb: Any, tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray, list[str]]:
    """Write a record in the format of the MIT-BIH Arrhythmia Database: two leads, format 212, 11 bits over 10 mV."""
    t = np.arange(STEPS) / FS
    peaks = np.arange(100, STEPS - 100, 300)
    signal = 0.1 * np.sin(2 * np.pi * t)[:, None] * [1, -1]
    signal[peaks, 0] += 1.5
    signal[peaks, 1] += 0.7
    digital = np.round(signal * 200).astype(np.int64) + 1024
    wfdb.wrsamp(
        "x100", fs=FS, units=["mV", "mV"], sig_name=["MLII", "V5"], d_signal=digital, fmt=["212", "212"],
        adc_gain=[200, 200], baseline=[1024, 1024], write_dir=str(tmp_path),
    )  # fmt: skip
    symbols = ["+", *(["N", "V", "L", "A", "/", "F", "N"][: len(peaks)])]
    samples = np.r_[20, peaks]
    wfdb.wrann("x100", "atr", samples, symbols, fs=FS, write_dir=str(tmp_path))
    return tmp_path / "x100", (digital - 1024) / 200, samples, symbols


def test_a_record(record: Any) -> None:
    path, signal, samples, symbols = record
    for name in (path, str(path), f"{path}.hea", f"{path}.dat"):
        read = fl.data.read_wfdb(name)
        np.testing.assert_allclose(read.signal, signal, atol=1e-12)  # (digital - baseline) / gain, in float64
        assert read.signal.dtype == np.float64 and read.signal.flags.c_contiguous
        assert (read.fs, read.channels, read.units) == (360.0, ("MLII", "V5"), ("mV", "mV"))
        np.testing.assert_array_equal(read.samples, samples)
        assert read.symbols.tolist() == symbols


def test_a_part_of_a_record(record: Any) -> None:
    path, signal, samples, symbols = record
    read = fl.data.read_wfdb(path, channels=["V5"], start=300, stop=1000)
    np.testing.assert_allclose(read.signal, signal[300:1000, 1:], atol=1e-12)
    inside = (samples >= 300) & (samples < 1000)
    np.testing.assert_array_equal(read.samples, samples[inside] - 300)
    assert read.symbols.tolist() == [symbol for symbol, one in zip(symbols, inside, strict=True) if one]
    read = fl.data.read_wfdb(path, channels=["V5", "MLII"], annotations=None)
    np.testing.assert_allclose(read.signal, signal[:, ::-1], atol=1e-12)
    assert read.samples is None and read.symbols is None and read.channels == ("V5", "MLII")


def test_from_a_record_to_labelled_beats(record: Any) -> None:
    """The code of the docstring."""
    path = record[0]
    read = fl.data.read_wfdb(path)
    classes = fl.data.aami_class(read.symbols)
    beats = classes != ""
    X, kept = fl.data.segments(read.signal, read.samples[beats], before=100, after=150)
    y = classes[beats][kept]
    assert X.shape == (6, 250, 2) and y.tolist() == ["N", "V", "N", "S", "Q", "F"]
    assert (X[:, :, 0].argmax(axis=1) == 100).all()


def test_what_is_not_there(record: Any) -> None:
    path = record[0]
    message = message_of(lambda: fl.data.read_wfdb(path, annotations="qrs"), FileNotFoundError)
    assert f"there is no file {path}.qrs" in message and "annotations=None" in message
    with pytest.raises(FileNotFoundError, match="there is no file .*x101.hea, expected the path of a record"):
        fl.data.read_wfdb(path.parent / "x101")
    message = message_of(lambda: fl.data.read_wfdb(path, channels=["V1"]), ValueError)
    assert message.endswith("has the channel 'V1' not, it has ['MLII', 'V5']")
    assert "start < stop" in message_of(lambda: fl.data.read_wfdb(path, start=5, stop=5), ValueError)
    assert "cannot read the record" in message_of(lambda: fl.data.read_wfdb(path, start=STEPS + 5), ValueError)
    with pytest.raises(TypeError, match="channels must be a list of names"):
        fl.data.read_wfdb(path, channels="V5")


@pytest.mark.parametrize("damage", ["x100 2 360\n", "", "x100 2 360 2000\nx100.dat 999 200\n", "\x00" * 50])
def test_a_damaged_header(record: Any, damage: str) -> None:
    path = record[0]
    path.with_suffix(".hea").write_text(damage)
    with pytest.raises((ValueError, OSError)):
        fl.data.read_wfdb(path)


def test_damaged_signals_and_annotations(record: Any) -> None:
    path = record[0]
    path.with_suffix(".dat").write_bytes(path.with_suffix(".dat").read_bytes()[:100])
    with pytest.raises(ValueError, match="wfdb cannot read the record"):
        fl.data.read_wfdb(path)


def test_without_wfdb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "wfdb":
            raise ImportError(name)
        return real(name, *rest, **named)

    (tmp_path / "x.hea").write_text("x 1")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"needs wfdb: pip install 'fastlstm\[wfdb\]'"):
        fl.data.read_wfdb(tmp_path / "x", annotations=None)


# ------------------------------------------------------------------------------------------------ classes


def test_the_table_of_symbols() -> None:
    table = {"N": "N L R e j", "S": "A a J S", "V": "V E", "F": "F", "Q": "/ f Q", "": '+ ~ | [ ! ] x "'}
    for name, symbols in table.items():
        assert fl.data.aami_class(symbols.split()).tolist() == [name] * len(symbols.split())
    assert set(table) - {""} == set(fl.data.AAMI_CLASSES)
    assert fl.data.aami_class([]).shape == (0,)


def test_symbols_of_other_databases() -> None:
    for symbol in "Bnr?":
        symbols = ["N", symbol]
        message = message_of(lambda symbols=symbols: fl.data.aami_class(symbols), ValueError)
        assert f"got the symbol {symbol!r}" in message
        extra = cure(message, "extra=")
        assert fl.data.aami_class(symbols, extra=extra).tolist() == ["N", "Q"]
    assert fl.data.aami_class(["n", "B"], extra={"n": "S", "B": ""}).tolist() == ["S", ""]
    with pytest.raises(ValueError, match=r"extra\['n'\] must be 'N', 'S', 'V', 'F' or 'Q', got 'X'"):
        fl.data.aami_class(["n"], extra={"n": "X"})
    with pytest.raises(TypeError, match="symbols"):
        fl.data.aami_class([1, 2])


def test_the_two_parts_of_the_database() -> None:
    first, second, paced = fl.data.MITBIH_DS1, fl.data.MITBIH_DS2, fl.data.MITBIH_PACED
    assert len(first) == len(second) == 22 and len({*first, *second, *paced}) == 48
    assert paced == ("102", "104", "107", "217")
    # The database has the records 100 to 124 and 200 to 234 with gaps.
    every = {*map(str, range(100, 125)), *map(str, range(200, 235))}
    gaps = {"110", "120", "204", "206", "211", "216", "218", "224", "225", "226", "227", "229"}
    assert {*first, *second, *paced} == every - gaps
    assert {"101", "207", "230"} <= set(first) and {"100", "200", "234"} <= set(second)
