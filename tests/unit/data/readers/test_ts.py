"""Files of the UCR and UEA archives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cures import message_of

import fastlstm as fl

HEAD = "@problemName Some\n@timeStamps false\n@univariate true\n@classLabel true a b\n"


def read(folder: Path, text: str | bytes, name: str = "Some_TRAIN.ts") -> fl.data.LabelledSeries:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return fl.data.read_ucr_tsv(path) if name.endswith("tsv") else fl.data.read_ts(path)


def test_series_of_equal_lengths(tmp_path: Path) -> None:
    X, y, meta = read(tmp_path, HEAD + "@equalLength true\n@seriesLength 3\n@data\n1,2.5,-3e2:b\n\n 4 , 5,6 : a \n")
    assert X.tolist() == [[[1], [2.5], [-300]], [[4], [5], [6]]] and X.dtype == np.float64
    assert y.tolist() == ["b", "a"]
    assert meta.name == "Some" and meta.classes == ("a", "b") and not meta.missing
    assert meta.header["serieslength"] == "3" and meta.header["classlabel"] == "true a b"


def test_several_channels_of_unequal_lengths(tmp_path: Path) -> None:
    text = "@univariate false\n@dimensions 2\n@equalLength false\n@classLabel true 1 -1\n@data\n1,2:3,4:-1\n5:6:1\n"
    X, y, meta = read(tmp_path, text)
    assert [one.tolist() for one in X] == [[[1, 3], [2, 4]], [[5, 6]]]
    assert y.tolist() == ["-1", "1"] and meta.classes == ("1", "-1") and meta.name == ""


def test_missing_values(tmp_path: Path) -> None:
    X, _, meta = read(tmp_path, HEAD + "@missing false\n@data\n1,?,NaN:a\nnan,2, ? :b\n")
    np.testing.assert_array_equal(X[:, :, 0], [[1, np.nan, np.nan], [np.nan, 2, np.nan]])
    assert meta.missing


def test_targets_that_are_numbers_and_no_labels(tmp_path: Path) -> None:
    X, y, meta = read(tmp_path, "@TARGETLABEL True\n@data\n1,2:0.5\n3,4:?\n5,6:-1e-3\n")
    np.testing.assert_array_equal(y, [0.5, np.nan, -1e-3])
    assert y.dtype == np.float64 and meta.classes is None and X.shape == (3, 2, 1)
    X, y, _ = read(tmp_path, "@classLabel false\n@data\n1,2:3,4\n")
    assert X.tolist() == [[[1, 3], [2, 4]]] and y is None


def test_comments_line_ends_and_encodings(tmp_path: Path) -> None:
    head = "\ufeff# d\u00e9j\u00e0\r\n%# old\r\n@problemName a\r\n@problemName b\r\n@classLabel\ttrue  \u00e9  x\r\n"
    text = head + "@data\r\n# one\r\n1,2:\u00e9\r\n"
    X, y, meta = read(tmp_path, text)
    assert X.shape == (1, 2, 1) and y.tolist() == ["\u00e9"] and meta.classes == ("\u00e9", "x")
    X, _, _ = read(tmp_path, b"# d\xe9, as in some files of the archive\n" + HEAD.encode() + b"@data\n1:a")
    assert X.shape == (1, 1, 1)


def test_labels_are_those_that_fit_takes(tmp_path: Path) -> None:
    lines = "".join(f"{k % 2},{k},1:{'ab'[k % 2]}\n" for k in range(8))
    X, y, meta = read(tmp_path, HEAD + "@data\n" + lines)
    model = fl.Model([fl.LSTM(3), fl.Dense(2)], classes=meta.classes)
    model.fit(X, y, epochs=1, verbose=0)
    assert set(model.predict_classes(X).tolist()) <= {"a", "b"}


def test_a_length_in_the_header_that_is_wrong_for_all(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="line 6: got @seriesLength 3, but all series have 2 steps"):
        X, _, _ = read(tmp_path, HEAD + "@equalLength true\n@seriesLength 3\n@data\n1,2:a\n3,4:b\n")
    assert X.shape == (2, 2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no line @data"),
        (HEAD, "has no line @data"),
        (HEAD + "@data\n", "has no case after @data"),
        (HEAD + "@data x\n1:a", "line 5: got 'x' after @data"),
        ("1,2:a\n", "line 1: got '1,2:a' before @data, expected a tag"),
        ("1\t2\n", "a .tsv file is read by fl.data.read_ucr_tsv(path)"),
        ("@problemName x\n@data\n1,2:a\n", "line 2: got no tag @classLabel or @targetLabel before @data"),
        (
            "@classLable true a\n@data\n1:a\n",
            "line 1: got the tag @classlable, expected one of problemname, classlabel",
        ),
        ("@classLable true a\n@data\n1:a\n", "did you mean @classlabel?"),
        ("@classLabel true\n@data\n1:a\n", "line 1: got @classlabel 'true', expected false, or true and the labels"),
        ("@classLabel\n@data\n1:a\n", "line 1: got @classlabel '', expected false"),
        ("@classLabel true a a\n@data\n1:a\n", "line 1: got a class label twice"),
        ("@classLabel true a\n@targetLabel true\n@data\n1:a\n", "line 2: got @targetLabel true, but line 1 has class"),
        ("@univariate yes\n", "line 1: got @univariate 'yes', expected true or false"),
        ("@dimensions -1\n", "line 1: got @dimensions '-1', expected a number"),
        ("@seriesLength 1e3\n", "line 1: got @serieslength '1e3', expected a number"),
        ("@missing true\n@missing false\n", "line 2: got @missing 'false', but it is 'true' in line 1"),
        (
            "\n@timestamps true\n",
            "line 2: got @timestamps true, expected false, since the steps of a series have no times",
        ),
        (HEAD + "@data\n1,2:c\n", "line 6: got the label 'c', expected one of those of @classLabel: 'a b'"),
        (HEAD + "@data\n1,2\n", "line 6: got the label '1,2'"),
        (HEAD + "@data\na\n", "line 6: got a label only"),
        (HEAD + "@data\n1:2:a\n", "line 6: got 2 channels, but the header says 1"),
        (HEAD + "@data\n1,x:a\n", "line 6: value 2 is 'x', expected a finite number, or ? for a missing one"),
        (HEAD + "@data\n1,,2:a\n", "line 6: value 2 is ''"),
        (HEAD + "@data\n1,2,:a\n", "line 6: value 3 is ''"),
        (HEAD + "@data\n1,inf:a\n", "line 6: value 2 is 'inf'"),
        (HEAD + "@data\n1,1e999:a\n", "line 6: value 2 is '1e999'"),
        (HEAD + "@data\n1,1_0:a\n", "line 6: value 2 is '1_0'"),
        (HEAD + "@data\n1,\u0663:a\n", "line 6: value 2 is '\u0663'"),
        (HEAD + "@data\n1,-nan:a\n", "line 6: value 2 is '-nan'"),
        (HEAD + "@data\n1,-?:a\n", "line 6: value 2 is '-?'"),
        (HEAD + "@data\n(0,1),(1,2):a\n", "line 6: value 1 is '(0'"),
        (HEAD + "@equalLength true\n@data\n1,2:a\n1:b\n", "line 8: got 1 values, but the first case has 2"),
        (
            HEAD + "@seriesLength 2\n@data\n1,2:a\n1:b\n",
            "line 5: got @seriesLength 2, but the series have 1 to 2 steps",
        ),
        ("@classLabel true a\n@data\n1,2:3:a\n", "line 3, channel 2: got 1 values, expected 2"),
        ("@classLabel true a\n@data\n1:2:a\n1:a\n", "line 4: got 1 channels, but the first case has 2"),
        ("@targetLabel true\n@data\n1:x\n", "line 3, target: value 1 is 'x'"),
        ("@targetLabel true\n@data\n1:2,3\n", "line 3: got several numbers after the last colon"),
        ("@targetLabel true\n@data\n1:\n", "line 3, target: value 1 is ''"),
        (b"@classLabel true a\n@data\n1,\xff:a\n", "line 3: got bytes that are no UTF-8"),
        ("\ufeff@data".encode("utf-16"), "is UTF-16, expected UTF-8"),
        (b"\x00" * 100, "line 1: got a null character"),
        (HEAD + "@data\n1,2:a\0\n", "line 6: got a null character"),
    ],
)
def test_the_message_names_the_line(text: Any, message: str, tmp_path: Path) -> None:
    refusal = message_of(lambda: read(tmp_path, text), ValueError)
    assert message in refusal and "Some_TRAIN.ts" in refusal


def test_a_long_file_of_many_classes_takes_linear_time(tmp_path: Path) -> None:
    names = [f"c{k}" for k in range(20_000)]
    text = f"@classLabel true {' '.join(names)}\n@data\n" + "".join(f"1:{name}\n" for name in names)
    assert read(tmp_path, text).y.tolist() == names
    assert "expected one of" in message_of(lambda: read(tmp_path, "@" + "x" * 1_000_000 + "\n@data\n"), ValueError)


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fl.data.read_ts(tmp_path / "none.ts")
    with pytest.raises(OSError):
        fl.data.read_ucr_tsv(tmp_path)
    with pytest.raises(TypeError, match="path must be a str"):
        fl.data.read_ts(3)


# ------------------------------------------------------------------------------------------------ .tsv


def tsv(folder: Path, text: str | bytes) -> fl.data.LabelledSeries:
    return read(folder, text, "Some_TEST.tsv")


def test_tsv(tmp_path: Path) -> None:
    X, y, meta = tsv(tmp_path, "10\t1\t2.5\n2\t3\t-4e-1\r\n-1\t5\t6\n")
    assert X.tolist() == [[[1], [2.5]], [[3], [-0.4]], [[5], [6]]]
    assert y.tolist() == ["10", "2", "-1"] and meta == ("Some", ("-1", "2", "10"), False, {})
    assert tsv(tmp_path, "b\t1\na\t2\n").meta.classes == ("a", "b")


def test_tsv_of_unequal_lengths_and_with_gaps(tmp_path: Path) -> None:
    text = "1\t1\tNaN\t3\n2\t4\t5\tNaN\n"
    X, _, meta = tsv(tmp_path, text)
    np.testing.assert_array_equal(X[0][:, 0], [1, np.nan, 3])
    np.testing.assert_array_equal(X[1][:, 0], [4, 5])
    assert meta.missing
    X, _, meta = fl.data.read_ucr_tsv(tmp_path / "Some_TEST.tsv", trailing_nan="missing")
    np.testing.assert_array_equal(X[:, :, 0], [[1, np.nan, 3], [4, 5, np.nan]])
    assert not tsv(tmp_path, "1\t1\tNaN\n2\t4\t5\n").meta.missing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("1,2,3\n", "line 1: got '1,2,3', expected a label and values, separated by tabs: replace the commas"),
        ("@data\n", "a .ts file is read by fl.data.read_ts(path)"),
        ("1\t2\n1\t2\t3\n", "line 2: got 2 values, expected 1"),
        ("1\tx\n", "line 1: value 1 is 'x'"),
        ("1\t2\t\n", "line 1: value 2 is ''"),
        ("\t2\t3\n", "line 1: got the label ''"),
        ("NaN\t2\t3\n", "line 1: got the label 'NaN'"),
        ("1\tNaN\tNaN\n", "line 1: got no value that is a number"),
        (b"1\t\xff\n", "line 1: got bytes that are no UTF-8"),
    ],
)
def test_damaged_tsv(text: Any, message: str, tmp_path: Path) -> None:
    refusal = message_of(lambda: tsv(tmp_path, text), ValueError)
    assert message in refusal and "Some_TEST.tsv" in refusal
    with pytest.raises(ValueError, match="trailing_nan must be 'padding' or 'missing'"):
        fl.data.read_ucr_tsv("none", trailing_nan="cut")
