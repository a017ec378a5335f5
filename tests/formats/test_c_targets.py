"""Exported C on the processors that it is for: cross-compiled, and run under QEMU with its self-test."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from random_models import random_integer_model, random_model

import fastlstm as fl
from fastlstm.formats.c import CReport

ROOT = Path(__file__).parents[2]
CORTEX = ROOT / "examples" / "firmware" / "cortex-m"
WARNINGS = "-Wall -Wextra -Wconversion -Wdouble-promotion -Werror -pedantic -Wshadow -Wundef -Wcast-qual".split()
NIGHTLY = os.environ.get("FASTLSTM_NIGHTLY") == "1"
SEEDS = range(50) if NIGHTLY else [5, 18, 34]

MAIN = """\
#include "net.h"
static net_state state;
int main(void)
{
    return net_check(&state);
}
"""


def need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def run(command: list[str], *, cwd: Path | None = None) -> str:
    """Run a program that must end well; return what it printed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr[:3000]}"
    return done.stdout + done.stderr


def exported(seed: int, folder: Path, steps: int = 200) -> CReport:
    model, _ = random_model(seed)
    return model.to_c("net", folder, selftest=steps)


def cortex(report: CReport, cpu: str, *options: str) -> str:
    """Build a model for a board and run it."""
    need("arm-none-eabi-gcc", "qemu-system-arm", "make")
    folder = str(report.directory)
    tokens = ["X_TYPE=int32_t"] if report.tokens else []
    return run(
        [
            "make",
            "-s",
            "run",
            "MODEL=net",
            f"FOLDER={folder}",
            f"BUILD={folder}/build",
            f"CPU={cpu}",
            *tokens,
            *options,
        ],
        cwd=CORTEX,
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cpu", ["m4f", "m7"])
def test_cortex_m_with_fpu(seed: int, cpu: str, tmp_path: Path) -> None:
    assert "every bit" in cortex(exported(seed, tmp_path), cpu)


@pytest.mark.parametrize("cpu", ["m0", "m0plus", "m3"])
def test_cortex_m_without_fpu(cpu: str, tmp_path: Path) -> None:
    assert "every bit" in cortex(exported(14, tmp_path, 20), cpu)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("machine", ["aarch64", "riscv64"])
def test_linux_processors(seed: int, machine: str, tmp_path: Path) -> None:
    compiler, emulator = f"{machine}-linux-gnu-gcc", f"qemu-{machine}"
    need(compiler, emulator)
    exported(seed, tmp_path)
    (tmp_path / "main.c").write_text(MAIN)
    program = str(tmp_path / "program")
    run([compiler, "-std=c99", "-O2", *WARNINGS, "-static", "-o", program, "net.c", "main.c"], cwd=tmp_path)
    run([emulator, program])


def avr(folder: Path) -> str:
    """Build a model for an AVR and run it."""
    need("avr-gcc", "simavr")
    source = CORTEX.parent / "avr" / "main.c"
    options = ["-mmcu=atmega1284p", "-std=c99", "-Os", *WARNINGS, "-Wno-pedantic", "-DMODEL=net", '-DMODEL_H="net.h"']
    run(["avr-gcc", *options, "-I.", str(source), "net.c", "-o", "net.elf"], cwd=folder)
    return run(["simavr", "-m", "atmega1284p", "-f", "16000000", "net.elf"], cwd=folder)


@pytest.mark.parametrize("seed", [3, 9, 21] if NIGHTLY else [3])
def test_avr_has_the_integers(seed: int, tmp_path: Path) -> None:
    model, series = random_integer_model(seed)
    model.to_c("net", tmp_path, dtype="int8", calibrate=series)
    assert "self-test passed" in avr(tmp_path)


@pytest.mark.parametrize("scaled", [False, True])
def test_avr_in_float(scaled: bool, tmp_path: Path) -> None:
    """Every bit without a scaler; with one, whose double has 32 bits there, within 1e-4 of the largest answer."""
    scaler = fl.Standardizer().fit(np.random.default_rng(0).normal(50, 3, (40, 2))) if scaled else None
    fl.Model([fl.LSTM(8), fl.Dense(3), fl.Activation("softmax")], input_size=2, scaler=scaler).to_c("net", tmp_path)
    assert "self-test passed" in avr(tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cpu", ["m0", "m4f"])
def test_cortex_m_has_the_integers(seed: int, cpu: str, tmp_path: Path) -> None:
    model, series = random_integer_model(seed)
    report = model.to_c("net", tmp_path, dtype="int8", calibrate=series, selftest=20)
    assert "every bit" in cortex(report, cpu)


def test_engine_is_small(tmp_path: Path) -> None:
    """LSTM and Dense on a Cortex-M4F take less than 8 kB besides the weights: 1 kB at this writing."""
    need("arm-none-eabi-gcc")
    report = fl.Model([fl.LSTM(32), fl.Dense(5)], input_size=1).to_c("net", tmp_path)
    options = "-mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard -std=c99 -Os -DNET_NO_SELFTEST".split()
    run(["arm-none-eabi-gcc", *options, "-c", "net.c"], cwd=tmp_path)
    text = int(run(["arm-none-eabi-size", "net.o"], cwd=tmp_path).splitlines()[1].split()[0])
    assert text - report.rom_bytes < 2000


def test_example_from_training_to_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specification = importlib.util.spec_from_file_location("make_models", CORTEX.parent / "make_models.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.main(["-o", str(tmp_path), "--epochs", "1"])
    assert "int8: mean absolute error" in capsys.readouterr().out
    need("arm-none-eabi-gcc", "qemu-system-arm", "make")
    for form in ("float32", "int8"):
        folder = tmp_path / f"pf_{form}"
        out = run(["make", "-s", "run", "MODEL=pf", f"FOLDER={folder}", f"BUILD={folder}/build", "CPU=m4f"], cwd=CORTEX)
        assert "every bit" in out
        assert "instructions of a step" in out


ARDUINO = Path("/usr/share/arduino/hardware/arduino/avr")


def test_arduino_sketch_builds(tmp_path: Path) -> None:
    need("avr-g++", "avr-gcc")
    if not (ARDUINO / "cores" / "arduino" / "Arduino.h").exists():
        pytest.skip("needs the package arduino-core-avr")
    X = np.random.default_rng(0).normal(size=(4, 20, 6))
    model = fl.Model([fl.LSTM(16), fl.Dense(1)], input_size=6)
    model.to_c("pf", tmp_path, dtype="int8", calibrate=X)
    sketch = (CORTEX.parent / "arduino" / "power_factor" / "power_factor.ino").read_text()
    (tmp_path / "sketch.cpp").write_text(f"#include <Arduino.h>\n{sketch}")  # as the Arduino IDE does
    core = ARDUINO / "cores" / "arduino"
    common = ["-mmcu=atmega328p", "-Os", "-DF_CPU=16000000L", "-DARDUINO=10800", "-DARDUINO_ARCH_AVR"]
    common += ["-I.", f"-I{core}", f"-I{ARDUINO / 'variants' / 'standard'}", "-ffunction-sections", "-fdata-sections"]
    cpp = ["avr-g++", *common, "-std=gnu++11", "-fno-exceptions", "-fno-threadsafe-statics"]
    run([*cpp, "-Wall", "-Wextra", "-c", "sketch.cpp"], cwd=tmp_path)
    run(["avr-gcc", *common, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-c", "pf.c"], cwd=tmp_path)
    run([*cpp, "-w", "-DDECIMAL_DIG=9", "-c", *map(str, sorted(core.glob("*.cpp")))], cwd=tmp_path)  # for avr-gcc 5
    run(["avr-gcc", *common, "-w", "-c", *map(str, sorted(core.glob("*.c")))], cwd=tmp_path)
    run(["avr-gcc", *common, "-c", *map(str, sorted(core.glob("*.S")))], cwd=tmp_path)
    objects = sorted(path.name for path in tmp_path.glob("*.o"))
    run(["avr-gcc", *common, "-Wl,--gc-sections", "-o", "sketch.elf", *objects, "-lm"], cwd=tmp_path)
    sizes = run(["avr-size", "sketch.elf"], cwd=tmp_path).splitlines()[1].split()
    assert int(sizes[0]) + int(sizes[1]) < 32256  # flash of an Arduino Uno
    assert int(sizes[1]) + int(sizes[2]) < 2048 - 400  # its RAM, with room for the stack
