"""Fuzz the readers of .safetensors files: `fl.load`, `fl.from_torch` and `fit(resume=...)`.

    python tests/formats/fuzz/fuzz_safetensors.py --seconds 600 --seed 1

Whatever a file holds, a reader must return what was saved, or raise a ValueError or OSError. It must not take more
memory than twice the file's size and 64 MB, nor make or change another file, nor hang. Case n of a seed is always the
same file. ``--failures`` keeps the files that break a promise. ``--corpus`` keeps one small file for each kind of
outcome, for tests/formats/data/safetensors, which the tests read again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import re
import resource
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fuzzing
import numpy as np
from fuzzing import Attempt, watched

import fastlstm as fl
from fastlstm.formats import safetensors as serialization

MOST = 64_000_000
"""Bytes that reading may take in addition to twice the file."""
HANGS = 120
"""Seconds after which a case counts as hanging."""
SMALL = 100_000
"""Number of parameters up to which a model that was read is also used."""

Data = bytes
Header = dict[str, Any]

# ------------------------------------------------------------------------------------------------ files to begin with


def run(path: Path, resume: bool, stop_after: int = 0) -> fl.Model:
    """Make the run to which the checkpoints among the files belong."""

    class Stop(fl.Callback):
        def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            nonlocal stop_after
            stop_after -= 1
            if stop_after == 0:
                raise InterruptedError

    x = np.arange(2 * 4 * 2).reshape(2, 4, 2) / 8 - 1
    model = fl.Model([fl.LSTM(2, return_sequences=True), fl.Dense(1)], scaler=fl.Standardizer())
    model.fit(
        x, x[:, :, 0], loss="mse", epochs=3, batch_size=1, tbptt_steps=3, verbose=0, n_threads=1,
        callbacks=[fl.EarlyStopping("loss"), Stop()] if resume else
        [fl.EarlyStopping("loss"), Stop(), fl.Checkpoint(path, every_batches=1)],
        resume=path if resume else None,
    )  # fmt: skip
    return model


def bases(folder: Path) -> list[Data]:
    """Return whole files of every kind."""
    models = [
        fl.Model([fl.LSTM(2), fl.Dense(2)], input_size=1, classes=["a", "é中"]),
        fl.Model([fl.Embedding(3, 2), fl.LSTM(2, num_layers=2, bidirectional=True, dropout=0.1), fl.Dense(1)]),
        fl.Model(
            [fl.GaussianNoise(0.1), fl.LSTM(2, proj_size=1, return_sequences=True, zoneout_h=0.1), fl.AttentionPool(2)],
            input_size=2, dtype="float64", scaler=fl.Standardizer().fit(np.eye(2)),
        ),
        fl.Model([fl.LSTM(2, return_sequences=True), fl.MaxPool(), fl.Activation("relu"), fl.Dropout()], input_size=1),
        fl.Model(
            [fl.LSTM(2)], input_size=2, scaler=fl.RobustScaler("mask").fit(np.array([[1, np.nan], [2, 3], [4, 5]])),
            target_scaler=fl.Standardizer().fit([1.0, 2.0]),
        ),
        fl.Model([fl.LSTM(2)], input_size=2, scaler=fl.Standardizer("mask-all", per_series=True).fit(np.eye(2))),
    ]  # fmt: skip
    models[0].fit(np.zeros((2, 2, 1)), [0, 1], epochs=1, verbose=0, n_threads=1)
    pair = fl.EncoderDecoder(
        [fl.Embedding(4, 2), fl.LSTM(1, bidirectional=True, return_sequences=True)],
        [fl.Embedding(3, 2), fl.LSTM(2, return_sequences=True), fl.LuongAttention(), fl.Dense(3)],
        source_tokens=list("abcd"),
    )
    found = []
    for model in (*models, pair):
        model.save(folder / "base")
        found.append((folder / "base").read_bytes())
    for updates in (2, 5, 0):
        try:
            run(folder / "base", False, updates)
        except InterruptedError:
            pass
        found.append((folder / "base").read_bytes())
    weights = models[0].to_torch_state_dict(["lstm", "fc"])
    for code, dtype in (
        ("F32", np.float32),
        ("F64", np.float64),
        ("F16", np.float16),
        ("BF16", np.uint16),
        ("I32", np.int32),
    ):
        tensors = {name: value.astype(dtype).tobytes() for name, value in weights.items()}
        header: Header = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, data in tensors.items():
            header[name] = {"dtype": code, "shape": list(weights[name].shape), "data_offsets": [end, end + len(data)]}
            end += len(data)
        found.append(joined(json.dumps(header), b"".join(tensors.values())))
    (folder / "base").unlink()
    return found


# ------------------------------------------------------------------------------------------------ parts of a file


def joined(header: str, body: Data) -> Data:
    text = header.encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + body


def parts(data: Data) -> tuple[Header, Data]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def signed(header: Header, body: Data) -> Data:
    """Give a file a right checksum, so that readers reach what comes after it; leave it if it cannot have one."""
    try:
        codes = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
        arrays = {}
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                flat = np.frombuffer(body[begin:end], codes[entry["dtype"]])
                arrays[name] = flat.reshape(entry["shape"])
        metadata = header["__metadata__"]
        metadata["sha256"] = serialization._digest(arrays, metadata["config"])
    except Exception:
        pass
    return joined(json.dumps(header), body)


# ------------------------------------------------------------------------------------------------ what is changed

NUMBERS = [
    0, 1, 2, 3, -1, 7, 8, 100, 2**31 - 1, 2**31, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, 10**400,
    0.5, -0.5, 1e-300, 1e300, 1e308, 0.1, 1.0,
]  # fmt: skip
VALUES = [
    None, True, False, "", "x", "LSTM", "Dense", "../../etc/passwd", "\ud800", "a" * 3000, "0.weight_ih_l0",
    "training.good", "NaN", [], {}, [[]], [1, 2, 3], {"a": 1}, "float16", "float64", "mse", "quantile",
    {"name": "huber", "delta": 1e400}, {"float": "nan"}, {"float": "x"}, {"tensor": "good"}, {"tensor": "none"},
    {"dict": {}}, {"dict": 3}, {"type": "LSTM"},
]  # fmt: skip


def value(rng: random.Random) -> Any:
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(NUMBERS)
    if kind < 0.9:
        return copy.deepcopy(rng.choice(VALUES))
    if kind < 0.95:
        deep: Any = 1
        for _ in range(rng.choice([10, 120, 130, 900, 3000])):
            deep = [deep] if rng.random() < 0.5 else {"a": deep}
        return deep
    return [rng.choice(NUMBERS + VALUES[:8])] * rng.choice([10, 1000, 70_000, 300_000])


def places(tree: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Append each (container, key) of a tree to `found`, and return it."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], (dict, list)):
            places(tree[key], found)
    return found


def change_tree(tree: Any, rng: random.Random) -> None:
    """Change one to three things in a tree, in place."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        found = places(tree, [])
        if not found:
            return
        container, key = rng.choice(found)
        how = rng.random()
        if how < 0.6:
            container[key] = value(rng)
        elif how < 0.75:
            del container[key]
        elif how < 0.9:
            other, place = rng.choice(found)
            if place in other if isinstance(other, dict) else place < len(other):
                container[key] = copy.deepcopy(other[place])
        elif isinstance(container, dict):
            container[rng.choice(["", "a", "__metadata__", "name", "0.weight", "training.good", "\udfff"])] = value(rng)
        else:
            container.insert(rng.randrange(len(container) + 1), value(rng))


def flip(data: Data, rng: random.Random) -> Data:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        place = rng.randrange(len(changed)) if rng.random() < 0.7 else rng.randrange(min(200, len(changed)))
        changed[place] ^= 1 << rng.randrange(8) if rng.random() < 0.5 else rng.randrange(1, 256)
    return bytes(changed)


def truncate(data: Data, rng: random.Random) -> Data:
    return data[: rng.randrange(len(data))]


def lengthen(data: Data, rng: random.Random) -> Data:
    return data + bytes(rng.randrange(256) for _ in range(rng.choice([1, 7, 8, 100]))) * rng.choice([1, 1, 5000])


def splice(data: Data, other: Data, rng: random.Random) -> Data:
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    c, d = sorted(rng.randrange(len(other) + 1) for _ in range(2))
    return data[:a] + other[c:d] + data[b:]


def other_length(data: Data, rng: random.Random) -> Data:
    size = int.from_bytes(data[:8], "little")
    near = [size - 1, size + 1, size - 8, size + 8, len(data) - 8, len(data) - 7, 2 * size]
    length = rng.choice([*near, 0, 1, 2, 2**31, 2**32 + 3, 2**63, 2**64 - 1, 4_000_000, 4_000_001, 100_000_000])
    return max(0, length).to_bytes(8, "little") + data[8:]


def change_text(data: Data, rng: random.Random) -> Data:
    """Insert or remove a piece of JSON in the text of the header."""
    size = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + size].decode()
    pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        '"a":1,',
        "NaN",
        "1e999",
        "-0",
        "0.0",
        "\\u0000",
        "\\ud800",
        " " * 9,
        "\x00",
    ]
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(1, len(text) + 1)
        how = rng.random()
        if how < 0.4:
            text = text[:place] + rng.choice(pieces) * rng.choice([1, 1, 1, 200, 100_000]) + text[place:]
        elif how < 0.6:
            text = text[:place] + text[place + rng.randrange(1, 9) :]
        else:  # a key twice
            entries = list(re.finditer(r'"[^"\\]*":("[^"\\]*"|\{[^{}]*\}|\[[^\[\]]*\]|[0-9]+),', text))
            if entries:
                text = text[:place] + rng.choice(entries).group() + text[place:]
    return joined(text, data[8 + size :])


def change_header(data: Data, rng: random.Random) -> Data:
    header, body = parts(data)
    change_tree(header, rng)
    return joined(json.dumps(header, ensure_ascii=rng.random() < 0.8), body)


def claim(data: Data, rng: random.Random) -> Data:
    """Give tensors huge, overlapping, swapped or missing shapes and offsets."""
    header, body = parts(data)
    names = [name for name in header if name != "__metadata__"]
    for _ in range(rng.choice([1, 1, 2])):
        entry = header[rng.choice(names)]
        how = rng.randrange(6)
        if how == 0:
            entry["shape"] = [rng.choice(NUMBERS[:17]) for _ in range(rng.choice([0, 1, 2, 3, 70]))]
        elif how == 1:
            entry["data_offsets"] = [
                rng.choice([0, 4, 8, len(body), *NUMBERS[:15]]) for _ in range(rng.choice([2, 2, 1, 3]))
            ]
        elif how == 2:
            entry["dtype"] = rng.choice(["F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "", "f32"])
        elif how == 3:
            other = header[rng.choice(names)]
            entry["data_offsets"], other["data_offsets"] = other["data_offsets"], entry["data_offsets"]
        elif how == 4:
            extra = [0] * rng.choice([1, 2, 31, 62])
            entry["shape"] = extra + entry["shape"] if rng.random() < 0.5 else [1] * 40 + entry["shape"]
        else:
            name = f"{rng.choice(names)}{rng.choice(['', 'x', '_reverse', '9'])}"
            header[name] = {
                "dtype": "F32",
                "shape": [0, rng.choice(NUMBERS[:17])],
                "data_offsets": [len(body), len(body)],
            }
    return signed(header, body)


def change_config(data: Data, rng: random.Random) -> Data:
    """Change architecture, training state or names, and give the file a right checksum."""
    header, body = parts(data)
    try:
        config = json.loads(header["__metadata__"]["config"])
    except KeyError:
        return change_header(data, rng)
    inner = config.get("training") if rng.random() < 0.7 else None
    change_tree(inner if isinstance(inner, dict) else config, rng)
    header["__metadata__"]["config"] = json.dumps(config)
    return signed(header, body)


def change_numbers(data: Data, rng: random.Random) -> Data:
    """Put NaN, infinities and other numbers into the tensors, and give the file a right checksum."""
    header, body = parts(data)
    changed = np.frombuffer(body, np.uint8).copy()
    for _ in range(rng.choice([1, 4, 100])):
        place = 4 * rng.randrange(max(1, len(changed) // 4))
        pattern = rng.choice(
            [b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\x80\x3f", b"\x01\0\0\0"]
        )
        changed[place : place + 4] = np.frombuffer(pattern, np.uint8)[: len(changed) - place]
    return signed(header, changed.tobytes())


def drop_tensor(data: Data, rng: random.Random) -> Data:
    """Drop or rename a tensor, and give the file a right checksum."""
    header, body = parts(data)
    names = [name for name in header if name != "__metadata__"]
    name = rng.choice(names)
    entry = header.pop(name)
    begin, end = entry["data_offsets"]
    if rng.random() < 0.5:
        header[rng.choice([*names, "training.good", "0.weight_ih_l0", "scaler.mean", "scaler.features", "a"])] = entry
        return signed(header, body)
    for other in header.values():
        if "data_offsets" in other and other["data_offsets"][0] >= end:
            other["data_offsets"] = [place - (end - begin) for place in other["data_offsets"]]
    return signed(header, body[:begin] + body[end:])


CHANGES: list[Callable[[Data, random.Random], Data]] = [
    flip, truncate, lengthen, other_length, change_text, change_header, claim, claim, change_config, change_config,
    change_config, change_numbers, drop_tensor,
]  # fmt: skip


def case(files: list[Data], seed: int, number: int) -> Data:
    """Return case `number` of a seed."""
    rng = random.Random(f"{seed} {number}")
    data = rng.choice(files)
    for _ in range(rng.choice([1, 1, 1, 2])):
        try:
            data = splice(data, rng.choice(files), rng) if rng.random() < 0.1 else rng.choice(CHANGES)(data, rng)
        except Exception:  # the changed file cannot be parsed any more, so change its bytes
            data = flip(data, rng) if data else b"{"
        data = data or b"\0"
    return data


# ------------------------------------------------------------------------------------------------ reading


def loads(path: Path) -> None:
    model: Any = fl.load(path)
    if isinstance(model, fl.EncoderDecoder):
        if model.flat_parameters.size <= SMALL and (model.input_size or 0) <= 1000:
            source: Any = np.zeros((1, 3), int) if model.takes_tokens else np.zeros((1, 3, model.input_size or 1))
            with np.errstate(all="ignore"):
                model.predict(source, beam=2, max_length=3, n_threads=1)
    elif model.flat_parameters.size <= SMALL and model.output_size <= 1000 and (model.input_size or 0) <= 1000:
        x: Any = np.zeros((1, 3), int) if model.takes_tokens else np.zeros((1, 3, model.input_size or 1))
        with np.errstate(all="ignore"):
            model.predict(x, n_threads=1)


def converts(path: Path) -> None:
    fl.from_torch(path)


def goes_on(path: Path) -> None:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run(path, True)
        except fl.TrainingDiverged:  # NaN in the weights does not damage the file
            pass


TARGETS: dict[str, Callable[[Path], None]] = {"load": loads, "from_torch": converts, "resume": goes_on}


def used(kind: int) -> int:
    """Return the bytes of the process: 0 all that are mapped, 1 those in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[kind]) * resource.getpagesize()


def peak() -> int:
    """Return the peak memory of the process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def outcome(target: str, path: Path) -> str:
    """Return the outcome of reading a file; raise a RuntimeError that explains it if that breaks a promise."""
    size = path.stat().st_size
    measured = Path("/proc/self/statm").exists()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if measured:
        resource.setrlimit(resource.RLIMIT_AS, (used(0) + 2 * size + MOST, hard))
    before, least = sorted(os.listdir(path.parent)), peak()
    try:
        with watched(HANGS):
            TARGETS[target](path)
        result = "fine"
    except (ValueError, OSError) as error:
        result = f"{type(error).__name__}: {error}"
    except BaseException:
        raise RuntimeError(f"{target}: {traceback.format_exc()}") from None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    if sorted(os.listdir(path.parent)) != before:
        raise RuntimeError(f"{target}: the folder held {before} and holds {os.listdir(path.parent)}")
    taken = peak() - max(least, used(1) if measured else 0)
    if taken > 2 * size + MOST:
        raise RuntimeError(f"{target}: {taken} bytes taken for a file of {size}")
    return f"{target} {result.replace(str(path), 'FILE')}"


def kind(result: str) -> str:
    """Return an outcome without the details of the single case."""
    plain = result.encode("ascii", "backslashreplace").decode()
    return re.sub(r"'[^']*'|\"[^\"]*\"|\[[^\[\]]*\]|\([^()]*\)|-?[0-9.]+(e[+-]?[0-9]+)?", "_", plain)[:160]


def fuzz(seconds: float, seed: int, *, cases: int = 0, failures: Path | None = None, corpus: Path | None = None) -> int:
    """Return the number of failures in `seconds`, or in `cases` cases."""
    with fuzzing.scratch() as name:
        folder = Path(name)
        files = bases(folder)
        path = folder / "case.safetensors"
        for data in files:  # also imports what is imported lazily
            path.write_bytes(data)
            for target in TARGETS:
                outcome(target, path)

        def attempts(number: int) -> Iterator[Attempt]:
            data = case(files, seed, number)
            path.write_bytes(data)
            for target in TARGETS:
                yield Attempt(data, f"-{target}.safetensors", lambda target=target: outcome(target, path))

        def keep(data: bytes) -> None:
            if corpus is not None and len(data) <= 8000:
                (corpus / f"{hashlib.sha256(data).hexdigest()[:12]}.safetensors").write_bytes(data)

        return fuzzing.run(attempts, kind, seconds=seconds, seed=seed, cases=cases, failures=failures, new_kind=keep)


if __name__ == "__main__":
    fuzzing.main(__doc__, fuzz, corpus=True)
