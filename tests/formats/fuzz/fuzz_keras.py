"""Feed damaged files to `fastlstm.from_keras`, which must read them or raise a ValueError, and nothing else.

    python tests/formats/fuzz/fuzz_keras.py --seconds 60 [--seed 0] [--keep FOLDER]
    python tests/formats/fuzz/fuzz_keras.py --replay FILE...
    python tests/formats/fuzz/fuzz_keras.py --collect tests/formats/data/keras/corpus.zip   (one file for each message)

Case k of a seed is always the same. A child process reads the files, so that a crash of libhdf5, too much memory or an
endless loop are detected; the file that caused it is kept.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent / "data" / "keras"
SOURCES = (
    ("keras3.zip", "no_bias.keras"),
    ("keras3.zip", "mask_zero.keras"),
    ("keras3.zip", "both_concat.keras"),
    ("keras3.zip", "functional_mask.keras"),
    ("keras3.zip", "activation_layers.keras"),
    ("keras3.zip", "no_bias.h5"),
    ("keras3.zip", "both_concat.h5"),
    ("keras3.zip", "both_concat.weights.h5"),
    ("keras2.zip", "functional.keras"),
    ("keras2.zip", "mask_zero.h5"),
    ("keras2.zip", "stacked.old.h5"),
)
EDGES = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1]
JUNK: list[Any] = [None, True, False, 0, -1, 1, 3.5, 1e308, 10**40, float("nan"), "", "relu", "LSTM", "../x", [], {}]
JUNK += [[None, 7, 3], [[]], {"class_name": "Lambda", "config": {}}, {"class_name": "LSTM", "config": {"units": 4}}]

SECONDS_PER_FILE = 20
MEMORY = 4 << 30  # bytes; the files have some tens of kB


# ---------------------------------------------------------------------------------------------- damage


def sources() -> list[bytes]:
    archives = {name: zipfile.ZipFile(DATA / name) for name in {archive for archive, _ in SOURCES}}
    return [archives[archive].read(name) for archive, name in SOURCES]


def damaged_bytes(rng: random.Random, data: bytes) -> bytes:
    """Change bytes in some places; move, drop or repeat pieces."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        if not out:
            break
        place, kind = rng.randrange(len(out)), rng.randrange(8)
        if kind <= 1:
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            out[place] = rng.randrange(256)
        elif kind <= 4:  # a number, at a place where HDF5 and zip have one
            size = rng.choice([1, 2, 4, 8])
            place -= place % size
            out[place : place + size] = (rng.choice(EDGES) % 256**size).to_bytes(size, "little")
        elif kind == 5:
            size, source = rng.choice([8, 16, 64, 512]), rng.randrange(len(out))
            out[place : place + size] = out[source : source + size]
        elif kind == 6:
            del out[place : place + rng.choice([1, 8, 100, 4096])]
        else:
            del out[place:]
    return bytes(out)


def damaged_value(rng: random.Random, value: Any) -> Any:
    """Replace, drop or repeat one value of a parsed description."""
    if isinstance(value, dict) and value and rng.random() < 0.93:
        key = rng.choice(list(value))
        if rng.random() < 0.05:
            return {name: item for name, item in value.items() if name != key}
        return {name: damaged_value(rng, item) if name == key else item for name, item in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.93:
        k = rng.randrange(len(value))
        if rng.random() < 0.1:
            return value[:k] + value[k + 1 :] if rng.random() < 0.5 else value[: k + 1] + value[k:]
        return [damaged_value(rng, item) if j == k else item for j, item in enumerate(value)]
    return rng.choice(JUNK)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Make one damaged file."""
    if not data.startswith(b"PK") or rng.random() < 0.15:
        return damaged_bytes(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if rng.random() < 0.5:
        members["model.weights.h5"] = damaged_bytes(rng, members["model.weights.h5"])
    else:
        name = rng.choice(["config.json", "config.json", "config.json", "metadata.json"])
        if rng.random() < 0.1:
            members[name] = damaged_bytes(rng, members[name])
        else:
            members[name] = json.dumps(damaged_value(rng, json.loads(members[name]))).encode()
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return into.getvalue()


def case(seed: int, k: int, files: list[bytes]) -> bytes:
    rng = random.Random(f"{seed}/{k}")
    return damaged(rng, rng.choice(files))


# ---------------------------------------------------------------------------------------------- the child


def read(path: Path) -> str:
    """Read one file; return the outcome in one line."""
    import fastlstm as fl

    try:
        model = fl.from_keras(path)
    except ValueError as error:
        return f"ValueError: {str(error)[:300]!r}"
    return f"read: {model!r}"[:300]


def limited() -> None:
    """Limit the memory and time of this process, beyond which it ends."""
    import faulthandler

    faulthandler.enable()
    try:
        import resource
    except ImportError:  # not on Windows
        return
    if "asan" not in os.environ.get("LD_PRELOAD", ""):  # the address sanitizer takes 16 TB of addresses
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def child(seed: int, start: int, seconds: float, place: Path) -> int:
    """Read case after case; the file `place` holds the present one."""
    limited()
    files, end, k = sources(), time.monotonic() + seconds, start
    while time.monotonic() < end:
        place.write_bytes(case(seed, k, files))
        print(f"case {k}", flush=True)
        if hasattr(signal, "alarm"):
            signal.alarm(SECONDS_PER_FILE)
        try:
            print(read(place), flush=True)
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            print(f"failed {k}", flush=True)
            return 1
        k += 1
    return 0


# ---------------------------------------------------------------------------------------------- the parent


def fuzz(seed: int, seconds: float, keep: Path) -> int:
    """Run one child after the other, each from the case after the one that ended its predecessor."""
    end, start, failures, outcomes = time.monotonic() + seconds, 0, 0, {"ValueError": 0, "read": 0}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "case.bin"
        while time.monotonic() < end:
            left = str(max(0.1, end - time.monotonic()))
            arguments = [str(start), left, str(place)]
            command = [sys.executable, __file__, "--seed", str(seed), "--child", *arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            lines = done.stdout.splitlines()
            cases = [int(line.split()[1]) for line in lines if line.startswith("case ")]
            for outcome in outcomes:
                outcomes[outcome] += sum(line.startswith(f"{outcome}: ") for line in lines)
            if done.returncode == 0:
                break
            failures += 1
            last = cases[-1] if cases else start
            keep.mkdir(parents=True, exist_ok=True)
            name = keep / f"seed{seed}-case{last}.bin"
            name.write_bytes(place.read_bytes())
            print(f"seed {seed}, case {last}: the child ended with {done.returncode}; the file is {name}")
            print("\n".join(lines[-25:]))
            start = last + 1
    total = sum(outcomes.values())
    print(f"{total} files: {outcomes['ValueError']} refused, {outcomes['read']} read, {failures} failures")
    return 1 if failures or not total else 0


def collect(seed: int, target: Path, cases: int = 6000, most: int = 48) -> int:
    """Write the smallest file that gives each error message into the archive `target`, rare messages first."""
    limited()
    files, found, counts = sources(), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "case.bin"
        for k in range(cases):
            data = case(seed, k, files)
            place.write_bytes(data)
            message = read(place).replace(str(place), "")
            key = re.sub(r"[^a-z ]+", "", message.lower())[:60]
            if message.startswith("ValueError"):
                counts[key] = counts.get(key, 0) + 1
                if key not in found or len(data) < len(found[key][1]):
                    found[key] = k, data
    chosen = sorted(found[key] for key in sorted(found, key=counts.__getitem__)[:most])
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for k, data in chosen:
            name = zipfile.ZipInfo(f"seed{seed}-case{k}.bin", (2026, 1, 1, 0, 0, 0))
            archive.writestr(name, data, zipfile.ZIP_DEFLATED)
    print(f"{len(found)} messages, {len(chosen)} files, {target.stat().st_size} bytes")
    return 0


def replay(paths: list[Path]) -> int:
    limited()
    for path in paths:
        print(path.name, read(path), flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="where files that failed are put")
    parser.add_argument("--replay", type=Path, nargs="+", help="only read these files")
    parser.add_argument("--collect", type=Path, help="write a corpus")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return child(given.seed, int(given.child[0]), float(given.child[1]), Path(given.child[2]))
    if given.replay:
        return replay(given.replay)
    if given.collect:
        return collect(given.seed, given.collect)
    os.environ["OMP_NUM_THREADS"] = "1"
    return fuzz(given.seed, given.seconds, given.keep)


if __name__ == "__main__":
    sys.exit(main())
