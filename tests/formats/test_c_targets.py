"""Exported C on the processors that it is for: cross-compiled, and run under QEMU with its self-test."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from random_models import random_model

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


@pytest.mark.parametrize("cpu", ["m0", "m3"])
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
