"""The programs of examples/ about values, anomalies and text, on tiny data in the formats of the archives."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import EXAMPLES, load_example

import fastlstm as fl

RNG = np.random.default_rng(3)
PROGRAMS = ["engine_life", "fails_soon", "power_factor", "sensor_anomaly", "text_generation", "mitbih"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_short_and_in_the_table(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    besides: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        document = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        command_line = isinstance(node, (ast.Assign, ast.Expr)) and "parse" in ast.unparse(node)
        guard = isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
        if document or command_line or guard or isinstance(node, (ast.Import, ast.ImportFrom)):
            besides.update(range(node.lineno, (node.end_lineno or 0) + 1))
    lines = [line.strip() for k, line in enumerate(text.splitlines(), start=1) if k not in besides]
    assert sum(bool(line) and not line.startswith("#") for line in lines) <= 40
    assert "Your own CSV" in text or "Your own records" in text or "any text file" in text
    assert f"'{name} " in (EXAMPLES.parent / ".ci" / "programs").read_text(encoding="utf-8")


def rows_of_engines(lives: list[int], seen: list[int]) -> np.ndarray:
    """Return rows as in train_FD001.txt: engine, cycle, 3 settings, 21 sensors, of which 18 are constant."""
    parts = []
    for number, (life, steps) in enumerate(zip(lives, seen, strict=True), start=1):
        cycle = np.arange(1, steps + 1)
        wear = np.clip(1 - (life - cycle) / 60, 0, 1)[:, None] + RNG.normal(0, 0.02, (steps, 3))
        rest = np.tile([0.1, 0.2, 100.0, *np.full(18, 5.0)], (steps, 1))
        parts.append(np.column_stack([np.full(steps, number), cycle, rest, wear]))
    return np.concatenate(parts)


@pytest.fixture(params=["txt", "npz"])
def engines(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    lives = [60, 70, 80, 90, 75, 65]
    train = rows_of_engines(lives, lives)
    left = np.array([5, 40, 22, 9])
    test = rows_of_engines([60, 80, 70, 66], [55, 40, 48, 57])
    if request.param == "npz":
        np.savez(tmp_path / "fd001.npz", train=train, test=test, rul_test=left)
        return tmp_path / "fd001.npz"
    for name, values in (("train", train), ("test", test)):
        np.savetxt(tmp_path / f"{name}_FD001.txt", values, fmt="%.4f", delimiter=" ", newline="  \n")
    np.savetxt(tmp_path / "RUL_FD001.txt", left, fmt="%d", newline=" \n")
    return tmp_path


def test_engine_life(engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    load_example("engine_life").main(["--data", str(engines), "--epochs", "60", "--seeds", "2"])
    lines = capsys.readouterr().out.splitlines()
    mean, line, lstm = (float(re.search(r"RMSE +([\d.]+)", one)[1]) for one in lines[:3])
    # Wear falls by a sixtieth of a cycle, the noise is that of a cycle: the sensors tell the rest of the life well.
    assert lstm < 0.6 * mean and line < 0.6 * mean
    assert "2 models" in lines[2] and "16.14" in lines[3]


def test_fails_soon(engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    load_example("fails_soon").main(["--data", str(engines), "--epochs", "60", "--seeds", "2"])
    lines = capsys.readouterr().out.splitlines()
    chance, line, lstm = (float(re.findall(r"\d\.\d\d\d", one)[0]) for one in lines[1:4])
    soon = sum(max(0, 31 - left) for left in (5, 22, 9))  # cycles within 30 of the end: 26, 9 and 22
    assert chance == round(soon / 200, 3)
    assert lstm > 2 * chance and line > 2 * chance


def test_power_factor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    days = 60
    step = np.arange(96 * days)
    day = step // 96 % 7
    factor = 70 + 20 * np.sin(2 * np.pi * step / 96) * (day < 5) + RNG.normal(0, 1, len(step))
    names = "date,Usage_kWh,Lagging_Current_Reactive.Power_kVarh,Leading_Current_Reactive_Power_kVarh,CO2(tCO2)"
    with open(tmp_path / "steel.csv", "w") as file:
        file.write(f"{names},Lagging_Current_Power_Factor,Leading_Current_Power_Factor,NSM,WeekStatus,...\n")
        for k, value in zip(step, factor, strict=True):
            file.write(f"01/01/2018 00:15,{value / 10:.2f},2.95,0,0,{value:.2f},100,{k % 96 * 900},Weekday,Monday\n")
    program = load_example("power_factor")
    program.main(["--data", str(tmp_path / "steel.csv"), "--epochs", "40", "--seeds", "1"])
    text = capsys.readouterr().out
    for line in text.splitlines()[1:]:
        now, week, lstm = (float(x) for x in re.findall(r" (0\.\d{4})", line))
        assert lstm < now and lstm < 1.1 * week, line
    np.testing.assert_array_equal(program.ago(np.arange(4), 1), [np.nan, 0, 1, 2])
    np.testing.assert_array_equal(program.ago(np.arange(4), -1), [1, 2, 3, np.nan])
    assert program.read(None).shape == (35040, 6)


def test_parts_of_the_power_factor_share_no_target() -> None:
    # Windows of two days, a day apart: the targets of window i end within day i + 2, what is measured in window j
    # begins with day j + 1.
    train, validation, test = fl.split(300, (0.7, 0.15, 0.15), method="time", gap=2)
    assert validation.start + 1 > train.stop - 1 + 2 and test.start + 1 > validation.stop - 1 + 2


@pytest.mark.parametrize("form", ["ts", "tsv", "npz"])
def test_sensor_anomaly(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    time = np.arange(100) + RNG.uniform(0, 100, (90, 1))
    labels = np.repeat([1, 1, -1], 30)
    X = np.where(labels[:, None] == 1, np.sin(time / 5), 0.7 * np.sign(np.sin(time / 2)))
    X += RNG.normal(0, 0.1, X.shape)
    parts = {"TRAIN": slice(0, None, 2), "TEST": slice(1, None, 2)}
    for name, part in parts.items():
        rows = [",".join(f"{value:.5f}" for value in x) for x in X[part]]
        if form == "ts":
            head = "@problemName FordA\n@univariate true\n@equalLength true\n@seriesLength 100\n"
            head += "@classLabel true 1 -1\n@data\n"
            pairs = zip(rows, labels[part], strict=True)
            (tmp_path / f"FordA_{name}.ts").write_text(head + "".join(f"{row}:{label}\n" for row, label in pairs))
        elif form == "tsv":
            pairs = zip(rows, labels[part], strict=True)
            text = "".join(f"{label}\t{row}\n".replace(",", "\t") for row, label in pairs)
            (tmp_path / f"FordA_{name}.tsv").write_text(text)
    data = tmp_path
    if form == "npz":
        arrays = {f"X_{name.lower()}": X[part][:, :, None] for name, part in parts.items()}
        arrays |= {f"y_{name.lower()}": (labels[part] == 1).astype(np.int64) for name, part in parts.items()}
        np.savez(data := tmp_path / "forda.npz", **arrays)
    picture = tmp_path / "picture.png"
    load_example("sensor_anomaly").main(["--data", str(data), "--epochs", "40", "--picture", str(picture)])
    text = capsys.readouterr().out
    figures = re.findall(r"PR-AUC of the steps +([\d.]+) +([\d.]+) +([\d.]+)", text)[0]
    found, chance, untrained = map(float, figures)
    assert found > 0.9 and found > chance + 0.2 and found > untrained + 0.1
    assert "45 engines, 33.3% of them with a fault" in text and picture.stat().st_size > 10_000


def test_text_generation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = load_example("text_generation")
    text = "the cat sat on the mat. " * 120
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    np.savez(tmp_path / "text.npz", text=np.frombuffer(text.encode(), np.uint8))
    given = ["--hidden", "32", "--window", "24", "--updates", "150", "--steps", "48"]
    outputs = []
    for name in ("text.txt", "text.npz"):
        program.main(["--data", str(tmp_path / name), *given])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] and outputs[0].count(" the mat. the ") >= 2
    zero, one, two, lstm = (float(x) for x in re.findall(r"  (\d\.\d{3})$", outputs[0], re.MULTILINE))
    assert zero > one > two and lstm < 0.6 < one  # after the first word everything is certain
    with pytest.raises(SystemExit):
        program.main(["--data", str(tmp_path / "text.txt"), "--prompt", "é"])
    assert "has no ['é'], expected a --prompt" in capsys.readouterr().err
    # By hand: of "aab" the counts 2 and 1, smoothed by 0.1, with 2 characters.
    np.testing.assert_allclose(program.count_bits("aab", "b", 0, 2), -np.log2(1.1 / 3.2))
    np.testing.assert_allclose(program.count_bits("aab", "ab", 1, 2), -np.log2(1.1 / 2.2))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wfdb calls what pandas will drop
def test_mitbih(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wfdb = pytest.importorskip("wfdb")
    pytest.importorskip("sklearn")
    program = load_example("mitbih")
    with pytest.raises(SystemExit):
        program.main(["--data", str(tmp_path)])
    assert "wfdb.dl_database('mitdb'" in capsys.readouterr().err
    for name in (*fl.data.MITBIH_DS1, *fl.data.MITBIH_DS2):
        peaks = np.cumsum(RNG.integers(270, 330, 14)) + 100
        symbols = RNG.choice(["N", "N", "V"], 14)
        t = np.arange(peaks[-1] + 400)[:, None]
        wide = np.where(symbols == "V", 30.0, 8.0)  # ventricular beats are wide
        signal = np.exp(-(((t - peaks) / wide) ** 2)).sum(axis=1) + RNG.normal(0, 0.02, len(t))
        both = np.stack([signal[::-1], signal], axis=1)
        wfdb.wrsamp(
            name, fs=360, units=["mV"] * 2, sig_name=["V5", "MLII"], p_signal=both, fmt=["212"] * 2,
            write_dir=str(tmp_path),
        )  # fmt: skip
        marks = np.concatenate([[50], peaks])  # the first one is no beat but a remark on the rhythm
        wfdb.wrann(name, "atr", marks, symbol=["+", *symbols], fs=360, write_dir=str(tmp_path))
    X, y, patient = program.beats(tmp_path, "100")
    assert X.shape == (len(y), 65, 3) and set(y) <= {"N", "V"} and set(patient) == {"100"}
    # The peak is step 100 of the segment, so between steps 24 and 25 of the averages of four.
    assert np.isin(X[:, :, 0].argmax(axis=1), (24, 25)).all()
    program.main(["--data", str(tmp_path), "--epochs", "12"])
    text = capsys.readouterr().out
    assert "of 22 patients trained on" in text and "of 22 others tested" in text
    for name in ("N", "V"):
        sensitivity, precision = re.findall(rf"^{name} +([\d.]+) +([\d.]+)", text, re.MULTILINE)[0]
        assert float(sensitivity) > 0.9 and float(precision) > 0.9
