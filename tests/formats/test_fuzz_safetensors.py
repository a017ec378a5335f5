"""Reading damaged files: a short run of the fuzzer, every file that it has kept, and files with excessive claims."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("resource", reason="memory is measured by the limits of POSIX")

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
import fuzz_safetensors

from fastlstm.formats import safetensors as serialization

CORPUS = sorted((Path(__file__).parent / "data" / "safetensors").glob("*.safetensors"))

# Use a new process: the peak memory of a process can only grow.
CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import fuzz_safetensors
"""


def child(code: str, folder: Path, *arguments: object) -> str:
    command = [sys.executable, "-c", CHILD + code, str(Path(__file__).parent / "fuzz"), *map(str, arguments)]
    # Memory is limited by addresses, of which each arena of glibc's malloc reserves 64 MB at once.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_corpus(tmp_path: Path) -> None:
    assert len(CORPUS) > 50
    code = """
import os, shutil
path = Path("case.safetensors")
for name in sys.stdin:
    shutil.copy(name.strip(), path)
    for target in fuzz_safetensors.TARGETS:
        fuzz_safetensors.outcome(target, path)
print("all read")
"""
    command = [sys.executable, "-c", CHILD + code, str(Path(__file__).parent / "fuzz")]
    names = "\n".join(map(str, CORPUS))
    done = subprocess.run(command, cwd=tmp_path, input=names, capture_output=True, text=True, timeout=1200)
    assert done.stdout.endswith("all read\n"), done.stderr
    assert os.listdir(tmp_path) == ["case.safetensors"]


def test_some_hundred_new_files(tmp_path: Path) -> None:
    out = child("sys.exit(min(1, fuzz_safetensors.fuzz(0, 11, cases=400)))", tmp_path)
    assert "400 cases" in out and " 0 failures" in out
    assert os.listdir(tmp_path) == []


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(4))
def test_many_new_files(seed: int, tmp_path: Path) -> None:
    child(f"sys.exit(min(1, fuzz_safetensors.fuzz(0, {seed}, cases=10_000)))", tmp_path)


def test_a_case_is_always_the_same_file(tmp_path: Path) -> None:
    files = fuzz_safetensors.bases(tmp_path)
    assert os.listdir(tmp_path) == []
    cases = [fuzz_safetensors.case(files, 3, number) for number in range(50)]
    assert cases == [fuzz_safetensors.case(files, 3, number) for number in range(50)]
    assert len({*cases}) == 50
    assert cases != [fuzz_safetensors.case(files, 4, number) for number in range(50)]


# ------------------------------------------------------------------------------------------------ files that are large


def large(kind: str) -> bytes:
    """Return files made to take much memory."""
    zeros: dict[str, Any] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = {
        "many tensors": lambda: json.dumps({f"{k}": zeros for k in range(60_000)}),
        "many axes": lambda: json.dumps({"a": {**zeros, "shape": [0] * 2_000_000}}),
        "many numbers": lambda: json.dumps({"a": {**zeros, "shape": list(range(1000, 700_000))}}),
        "many lists": lambda: '{"a":[' + "[]," * 1_300_000 + "[]]}",
        "many empty objects": lambda: '{"a":[' + "{}," * 1_300_000 + "{}]}",
        "wide text": lambda: '{"__metadata__":{"a":"' + "x" * 3_900_000 + '\U0001f600"}}',
        "escaped text": lambda: '{"__metadata__":{"a":"' + "\\ud83d\\ude00" * 330_000 + '"}}',
        "a config of lists": lambda: json.dumps({"__metadata__": signed("[" + "[]," * 1_300_000 + "[]]")}),
        "a config of hidden commas": lambda: json.dumps(
            {"__metadata__": signed('{"a":[' + "{},{}" * 150_000 + "{}]}")}
        ).replace(",", "\\u002c"),
        "a config of many layers": lambda: json.dumps(
            {"__metadata__": signed(json.dumps({**CONFIG, "layers": [{"type": "Dropout", "p": 0.1}] * 18_000}))}
        ),
        "a layer of many parts": lambda: json.dumps(
            {"__metadata__": signed(json.dumps({**CONFIG, "layers": [{**LSTM, "num_layers": 10**9}]}))}
        ),
        "a layer of many units": lambda: json.dumps(
            {"__metadata__": signed(json.dumps({**CONFIG, "layers": [{**LSTM, "hidden_size": 10**9}]}))}
        ),
        "a large seed": lambda: json.dumps({"__metadata__": signed(json.dumps({**CONFIG, "seed": 10**4200}))}),
    }[kind]()
    return fuzz_safetensors.joined(header, b"")


CONFIG = {"layers": [], "input_size": 3, "dtype": "float32", "seed": 0, "steps": 0, "classes": None, "loss": None}
LSTM = {"type": "LSTM", "hidden_size": 4}


def signed(config: str) -> dict[str, str]:
    texts = {"format": "fastlstm", "format_version": "1", "config": config}
    return {**texts, "sha256": serialization._digest({}, config)}


LARGE = (
    "many tensors", "many axes", "many numbers", "many lists", "many empty objects", "wide text", "escaped text",
    "a config of lists", "a config of hidden commas", "a config of many layers", "a layer of many parts",
    "a layer of many units", "a large seed",
)  # fmt: skip


@pytest.mark.parametrize("kind", LARGE)
def test_files_made_to_take_much_memory(kind: str, tmp_path: Path) -> None:
    (tmp_path / "case").write_bytes(large(kind))
    out = child(
        'print(*[fuzz_safetensors.outcome(t, Path("case"))[:300] for t in ("load", "from_torch")], sep="\\n")', tmp_path
    )
    load, from_torch = out.splitlines()
    assert "ValueError" in from_torch and ("ValueError" in load or kind == "a config of many layers")


def test_a_large_model_takes_twice_its_file(tmp_path: Path) -> None:
    """100 MB of weights, once in the tensors of the file and once in the model; the gradients are not touched."""
    import fastlstm as fl

    model = fl.Model([fl.LSTM(2500), fl.Dense(2)], input_size=4)
    model.save(tmp_path / "case")
    size = (tmp_path / "case").stat().st_size
    assert size > 100_000_000
    code = """
import fastlstm as fl
before = fuzz_safetensors.peak()
model = fl.load("case")
print(fuzz_safetensors.peak() - before)
"""
    assert int(child(code, tmp_path)) < 2 * size + fuzz_safetensors.MOST
