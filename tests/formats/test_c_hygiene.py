"""What compilers and analyzers say of exported C: nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from random_models import random_integer_model, random_model

import fastlstm as fl

WARNINGS = "-Wall -Wextra -Wconversion -Wdouble-promotion -Werror -pedantic -Wshadow -Wundef -Wcast-qual -Wvla".split()
NIGHTLY = os.environ.get("FASTLSTM_NIGHTLY") == "1"
MODELS = [("float32", 5), ("int8", 14)]
if NIGHTLY:
    MODELS = [(dtype, seed) for dtype in ("float32", "int8") for seed in range(50)]
COMPILERS = {
    "gcc": ["gcc", "-std=c99", "-O2"],
    "gcc with fma": ["gcc", "-std=c99", "-O2", "-mfma"],
    "gcc without fma": ["gcc", "-std=c99", "-O2", "-DNET_FMA=0"],
    "gcc freestanding": ["gcc", "-std=c99", "-O0", "-ffreestanding"],
    "gcc analyzer": ["gcc", "-std=c99", "-O2", "-fanalyzer"],
    "clang": ["clang", "-std=c99", "-O2"],
    "clang with fma": ["clang", "-std=c17", "-O2", "-mfma"],
    "g++": ["g++", "-std=c++11", "-x", "c++", "-O2"],
    "clang++": ["clang++", "-std=c++17", "-x", "c++", "-O2"],
}
ALLOWED = {"memcpy", "memset", "memmove", "_GLOBAL_OFFSET_TABLE_"}


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")


def silent(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), " ".join(command)


@pytest.fixture(params=MODELS, ids=str)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with net.c and net.h."""
    dtype, seed = request.param
    if dtype == "int8":
        model, series = random_integer_model(seed)
        model.to_c("net", tmp_path, dtype="int8", calibrate=series)
    else:
        random_model(seed)[0].to_c("net", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", COMPILERS)
def test_compilers_are_silent(name: str, folder: Path) -> None:
    command = COMPILERS[name]
    need(command[0])
    silent([*command, *WARNINGS, "-c", "net.c", "-o", "net.o"], folder)
    symbols = subprocess.run(["nm", "-u", "net.o"], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in symbols.splitlines()} <= ALLOWED


@pytest.mark.parametrize("sanitizers", ["undefined,float-divide-by-zero,address"])
def test_sanitizers_are_silent(sanitizers: str, folder: Path) -> None:
    need("gcc")
    (folder / "main.c").write_text('#include "net.h"\nint main(void)\n{\n    return net_selftest();\n}\n')
    silent(
        ["gcc", "-g", "-O1", f"-fsanitize={sanitizers}", "-fno-sanitize-recover", "net.c", "main.c", "-o", "main"],
        folder,
    )
    silent(["./main"], folder)


def test_cppcheck_is_silent(folder: Path) -> None:
    need("cppcheck")
    silent(["cppcheck", "--quiet", "--std=c99", "--enable=warning,portability,performance", "net.c"], folder)


def test_cppcheck_finds_no_mandatory_breach_of_misra(tmp_path: Path) -> None:
    """Rules of MISRA C:2012 whose breach cannot be excused, and those on memory, control flow and undefined values."""
    need("cppcheck")
    scaler = fl.Standardizer(missing="mask").fit([[1.0], [float("nan")], [3.0]])
    fl.Model([fl.LSTM(3, layer_norm=True), fl.Dense(2)], input_size=1, scaler=scaler).to_c("net", tmp_path, selftest=1)
    done = subprocess.run(
        ["cppcheck", "--quiet", "--std=c99", "--addon=misra", "-DNET_FMA=1", "net.c"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "misra.py" in done.stderr and "Failed" in done.stderr:
        pytest.skip("needs cppcheck's addon misra")
    broken = set(re.findall(r"misra-c2012-([\d.]+)", done.stderr))
    mandatory = {"9.1", "9.2", "9.3", "12.5", "13.6", "17.3", "17.4", "17.6", "19.1", "21.13", "21.17", "22.2", "22.5"}
    loops_and_memory = {"14.1", "14.2", "15.1", "15.2", "17.1", "17.2", "18.8", "21.3", "21.4", "21.5", "21.6"}
    assert broken & (mandatory | loops_and_memory) == set()


def test_a_single_header_may_be_included_often_and_two_models_fit_one_program(tmp_path: Path) -> None:
    need("g++")
    for name, seed in (("one", 3), ("two", 5)):
        random_model(seed)[0].to_c(name, tmp_path, style="header")
    (tmp_path / "main.cpp").write_text(
        '#include "one.h"\n#define ONE_IMPLEMENTATION\n#define TWO_IMPLEMENTATION\n#include "one.h"\n#include "two.h"\n'
        '#include "one.h"\nint main()\n{\n    return one_selftest() + two_selftest();\n}\n'
    )
    silent(["g++", "-std=c++11", "-O2", *WARNINGS, "main.cpp", "-o", "main"], tmp_path)
    silent(["./main"], tmp_path)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("-ffast-math", "without -ffast-math"),
        ("-Ofast", "without -ffast-math"),
        ("-ffinite-math-only", "without -ffast-math"),
        ("-mfpmath=387", "-mfpmath=sse"),
        ("-fsingle-precision-constant", "double_constants"),
    ],
)
def test_options_that_change_results_are_refused(flag: str, message: str, tmp_path: Path) -> None:
    need("gcc")
    fl.Model([fl.LSTM(3)], input_size=2, scaler=fl.Standardizer().fit([[1.0, 2.0], [3.0, 5.0]])).to_c("net", tmp_path)
    done = subprocess.run(
        ["gcc", flag, "-c", "net.c", "-o", "net.o"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if "387" in flag and "unrecognized" in done.stderr:
        pytest.skip("not an x86 processor")
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize("options", [["gcc", "-std=gnu11", "-ffp-contract=fast"], ["clang", "-std=gnu11"]])
def test_compilers_fuse_no_product_and_sum_by_themselves(options: list[str], tmp_path: Path) -> None:
    """All that is fused is written so, and NET_FMA=0 takes that away: no fused multiply-add is left."""
    need(options[0])
    if platform.machine() != "x86_64":
        pytest.skip("reads the assembly of an x86 processor")
    scaler = fl.Standardizer().fit([[1.0, 2.0], [3.0, 5.0]])
    layers = [fl.LSTM(3, layer_norm=True, zoneout_h=0.1, return_sequences=True), fl.AttentionPool(2), fl.Dense(2)]
    model = fl.Model(layers, input_size=2, scaler=scaler, target_scaler=scaler)
    model.to_c("net", tmp_path)

    def fused(fma: int) -> int:
        command = [*options, "-O2", "-mfma", f"-DNET_FMA={fma}", "-S", "net.c", "-o", "net.s"]
        silent(command, tmp_path)
        return len(re.findall(r"\tvfn?m(?:add|sub)", (tmp_path / "net.s").read_text()))

    assert fused(1) > 10
    assert fused(0) == 0


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_header_of_a_c_library_is_needed(compiler: str, tmp_path: Path) -> None:
    need(compiler)
    fl.Model([fl.LSTM(3), fl.Dense(2)], input_size=2).to_c("net", tmp_path)
    folder = subprocess.run([compiler, "-print-file-name=include"], capture_output=True, text=True, check=True).stdout
    own = ["-std=c99", "-ffreestanding", "-nostdinc", f"-isystem{folder.strip()}"]
    silent([compiler, *own, "-c", "net.c", "-o", "net.o"], tmp_path)


def test_text_has_no_loops_without_bound_and_no_memory_of_its_own() -> None:
    for seed in range(20):
        report = random_model(seed)[0].to_c("net")
        text = re.sub(r"/\*.*?\*/", "", report.files["net.c"], flags=re.DOTALL)
        assert set(re.findall(r"#include *(\S+)", text)) == {
            '"net.h"', "<float.h>", "<stddef.h>", "<string.h>", "<avr/pgmspace.h>"
        }  # fmt: skip
        assert not re.search(r"\b(malloc|free|printf|goto|do|alloca)\b", text)
        # the loops of the software multiply-add shift a number that is not zero until its first bit is in place
        assert set(re.findall(r"while \((.*?)\) ", text)) == {
            "product >> 61 == 0", "addend >> 61 == 0", "sum >> 62 == 0"
        }  # fmt: skip
        assert re.findall(r"^static (?!const|inline|void|int|float|double|uint)", text, re.MULTILINE) == []
