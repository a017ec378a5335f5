"""Foreign, damaged and malicious Keras files: a ValueError, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl

h5py = pytest.importorskip("h5py")

DATA = Path(__file__).parent / "data" / "keras"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Return a valid file."""
    with zipfile.ZipFile(DATA / "keras3.zip") as archive:
        return Path(archive.extract("no_bias.keras", tmp_path))


@pytest.fixture
def good_h5(tmp_path: Path) -> Path:
    with zipfile.ZipFile(DATA / "keras3.zip") as archive:
        return Path(archive.extract("no_bias.h5", tmp_path))


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path: Path, parts: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        fl.from_keras(path)
    assert str(raised.value).startswith(str(path))


def changed_weights(path: Path, change: Callable[[Any], None]) -> Path:
    """Return the .keras file with other HDF5 in it."""
    parts = members(path)
    inner = path.with_name("inner.h5")
    inner.write_bytes(parts["model.weights.h5"])
    with h5py.File(inner, "r+") as file:
        change(file)
    return zipped(path.with_name("changed.keras"), {**parts, "model.weights.h5": inner.read_bytes()})


KERNEL = "layers/lstm/cell/vars/0"


# ---------------------------------------------------------------------------------------------- the archive


@pytest.mark.parametrize("data", [b"", b"PK", b"hello, world", b"\x89HDF", b"{}", b"\x80\x04\x95pickle"])
def test_other_files(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(data)
    refused(tmp_path / "model.keras", r"it is neither a .keras file \(zip\) nor a .h5 file \(HDF5\)")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_truncated(good: Path, good_h5: Path, share: float) -> None:
    for path, message in ((good, "the zip archive is damaged"), (good_h5, "is damaged")):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        refused(path, message)


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", "it is not a regular file")


@pytest.mark.parametrize("name", ["../evil.h5", "/evil.h5", "a/../../evil", "..\\evil", "C:/evil"])
def test_names_that_lead_out(good: Path, name: str, tmp_path: Path) -> None:
    refused(zipped(tmp_path / "x.keras", {**members(good), name: b""}), "whose name points outside it")
    assert {path.name for path in tmp_path.parent.iterdir() if path.name.startswith("evil")} == set()


def test_missing_members(good: Path, tmp_path: Path) -> None:
    for name in ("config.json", "metadata.json", "model.weights.h5"):
        parts = members(good)
        del parts[name]
        refused(zipped(tmp_path / "x.keras", parts), f"{name} is missing")
    parts["model.weights.npz"] = b"never unpickled"
    refused(zipped(tmp_path / "x.keras", parts), "weights in .npz or in several files are not supported")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice(good: Path) -> None:
    with zipfile.ZipFile(good, "a") as archive:
        archive.writestr("config.json", b"{}")
    refused(good, "two members 'config.json'")


def test_a_member_that_unpacks_to_much_more(good: Path, tmp_path: Path) -> None:
    parts = members(good) | {"model.weights.h5": bytes(100 << 20)}
    path = zipped(tmp_path / "x.keras", parts, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    refused(path, "the members claim to unpack to 10[0-9]+ bytes, but the file has")


def test_a_member_that_is_longer_than_it_says(good: Path, tmp_path: Path) -> None:
    """Sizes and checksums in the directory of the archive belong to the first bytes only."""
    parts = members(good) | {"model.weights.h5": bytes(100 << 20)}
    path = zipped(tmp_path / "x.keras", parts, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    size = (100 << 20).to_bytes(4, "little")
    crc = zlib.crc32(bytes(100 << 20)).to_bytes(4, "little")
    assert data.count(size) == 2
    data = data.replace(size, (1000).to_bytes(4, "little")).replace(crc, zlib.crc32(bytes(1000)).to_bytes(4, "little"))
    path.write_bytes(data)
    refused(path, "the weights are not an HDF5 file|not have the length that the archive states|is damaged")


def test_encrypted_and_rare_compression(good: Path, tmp_path: Path) -> None:
    for kind in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        refused(zipped(tmp_path / "x.keras", members(good), kind), "is compressed by a method other than deflate")
    data = bytearray(good.read_bytes())
    for start in (m.start() for m in re.finditer(b"PK\x01\x02", bytes(data))):
        data[start + 8] |= 1
    good.write_bytes(data)
    refused(good, "is encrypted")


def test_deflated_files_are_read(good: Path, tmp_path: Path) -> None:
    fl.from_keras(zipped(tmp_path / "x.keras", members(good), zipfile.ZIP_DEFLATED))


# ---------------------------------------------------------------------------------------------- the description


@pytest.mark.parametrize(
    "config, message",
    [
        (b"", "config.json is not valid JSON"),
        (b"[]", "config.json is a list, expected an object"),
        (b'{"a": 1, "a": 2}', "config.json is not valid JSON .a key appears twice"),
        (b'{"a":' * 100_000, "config.json is nested too deeply"),
        (b"[" * 100_000, "config.json is nested too deeply"),
        (b"\xff\xfe\xff", "config.json is not valid JSON"),
        (b"{}", "the model is a 'None', expected Keras's Sequential or Functional"),
        (b'{"class_name": "Sequential"}', "has no list of layers"),
        (b'{"class_name": "Sequential", "config": []}', "has no list of layers"),
        (b'{"class_name": "Functional", "config": [{"class_name": "LSTM", "config": {}}]}', "has no list of layers"),
        (b'{"class_name": "Sequential", "config": [3]}', "has a layer that is not an object"),
        (b'{"class_name": "Sequential", "config": [{"class_name": [], "config": {}}]}', "a layer without a class_name"),
        (b'{"class_name": "Sequential", "config": [{"class_name": "Masking", "config": {}}]}', "no layer with weights"),
    ],
)
def test_descriptions(good: Path, tmp_path: Path, config: bytes, message: str) -> None:
    refused(zipped(tmp_path / "x.keras", {**members(good), "config.json": config}), message)


@pytest.mark.parametrize("version", ['"1.2"', "3", "[]", '"four"'])
def test_versions(good: Path, tmp_path: Path, version: str) -> None:
    parts = {**members(good), "metadata.json": b'{"keras_version": %s}' % version.encode()}
    refused(zipped(tmp_path / "x.keras", parts), "it was written by Keras")


def test_a_lambda_is_not_run(good: Path, tmp_path: Path) -> None:
    parts = members(good)
    config = json.loads(parts["config.json"])
    harm = f"__import__('pathlib').Path({str(tmp_path / 'harm')!r}).touch()"
    layer = {"class_name": "Lambda", "config": {"name": "l", "function": harm}, "module": "keras.layers"}
    config["config"]["layers"].insert(1, layer)
    parts["config.json"] = json.dumps(config).encode()
    refused(zipped(tmp_path / "x.keras", parts), "Lambda 'l' holds code, which is never run")
    assert not (tmp_path / "harm").exists()


# ---------------------------------------------------------------------------------------------- the weights


def test_compressed_and_chunked(good: Path) -> None:
    for options in ({"compression": "gzip"}, {"chunks": (1, 2)}, {"shuffle": True}, {"fletcher32": True}):

        def change(file: Any, options: dict[str, Any] = options) -> None:
            del file[KERNEL]
            file.create_dataset(KERNEL, data=np.zeros((3, 16), np.float32), **options)

        refused(changed_weights(good, change), "0 is compressed or stored in chunks, which Keras does not do")


def test_claims_beyond_the_file(good: Path) -> None:
    """A dataset that was never written needs no bytes, whatever it claims to hold."""

    def change(file: Any) -> None:
        del file[KERNEL]
        space = h5py.h5s.create_simple((2**40, 16))
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
        h5py.h5d.create(file["layers/lstm/cell/vars"].id, b"0", h5py.h5t.IEEE_F32LE, space, dcpl=settings)

    refused(changed_weights(good, change), r"has shape \(1099511627776, 16\), 70368744177664 bytes, of which the file")


def test_the_same_numbers_under_many_names(tmp_path: Path) -> None:
    """A thousand layers that share their weights would take a thousand times the memory of the file."""
    layers = [{"class_name": "Dense", "config": {"name": f"d{k}", "units": 64, "use_bias": False}} for k in range(1000)]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
        file["model_weights/d0/kernel"] = np.zeros((64, 64), np.float32)
        for k in range(1, 1000):
            file[f"model_weights/d{k}/kernel"] = file["model_weights/d0/kernel"]
    refused(tmp_path / "x.h5", "model_weights/d[0-9]+/kernel and the datasets before it are larger than the file")


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((3, 15), np.float32), r"kernel has shape \(3, 15\), expected \(3, 16\)"),
        (np.zeros((0, 16), np.float32), r"kernel has shape \(0, 16\), expected"),
        (np.zeros(48, np.float32), r"kernel has shape \(48,\), expected"),
        (np.zeros((), np.float32), r"kernel has shape \(\), expected"),
        (np.zeros((3, 16), np.int32), "does not hold float16, float32, float64 or bfloat16 numbers"),
        (np.zeros((3, 16), np.complex64), "does not hold float16"),
        (np.zeros((3, 16), "S4"), "does not hold float16"),
        (np.zeros((3, 16), "V2"), "does not hold float16"),
        (np.full((3, 16), np.nan, np.float32), "kernel holds NaN or infinity"),
        (np.full((3, 16), np.inf), "kernel holds NaN or infinity"),
    ],
)
def test_wrong_arrays(good: Path, array: np.ndarray, message: str) -> None:
    def change(file: Any) -> None:
        del file[KERNEL]
        file[KERNEL] = array

    refused(changed_weights(good, change), message)


def test_objects_in_datasets(good: Path) -> None:
    def objects(file: Any) -> None:
        del file[KERNEL]
        file.create_dataset(
            KERNEL, data=np.array(["cos\nsystem\n"] * 48, object).reshape(3, 16), dtype=h5py.string_dtype()
        )

    def references(file: Any) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, (3, 16), dtype=h5py.ref_dtype)

    def nothing(file: Any) -> None:
        del file[KERNEL]
        file[KERNEL] = h5py.Empty("f4")

    for change, message in ((objects, "does not hold"), (references, "does not hold"), (nothing, "holds no numbers")):
        refused(changed_weights(good, change), message)


def test_missing_and_additional_weights(good: Path) -> None:
    def missing(file: Any) -> None:
        del file[KERNEL]

    def more(file: Any) -> None:
        file["layers/dense/vars/1"] = np.zeros(2, np.float32)

    def group(file: Any) -> None:
        del file[KERNEL]
        file.create_group(KERNEL)

    for change, message in (
        (missing, r"LSTM 'lstm' has the weights \('kernel', 'recurrent_kernel'\), but the file has \['1'\]"),
        (more, r"Dense 'dense' has the weights \('kernel',\), but the file has \['0', '1'\]"),
        (group, "vars/0 is not a dataset"),
    ):
        refused(changed_weights(good, change), message)


def test_half_precision_and_other_byte_orders(good: Path) -> None:
    before = fl.from_keras(good).state_dict()["0.weight_ih_l0"]
    for dtype in ("<f2", ">f2", ">f4", "<f8", ">f8"):

        def change(file: Any, dtype: str = dtype) -> None:
            value = file[KERNEL][()]
            del file[KERNEL]
            file[KERNEL] = value.astype(dtype)

        got = fl.from_keras(changed_weights(good, change)).state_dict()["0.weight_ih_l0"]
        assert np.abs(got - before).max() <= (1e-3 if "2" in dtype else 0)

    def half(file: Any) -> None:  # Keras writes bfloat16 like this: the upper half of a float32, as opaque bytes
        value = file[KERNEL][()]
        del file[KERNEL]
        file[KERNEL] = (value.view(np.uint32) >> 16).astype("<u2").view("V2")
        file[KERNEL].attrs["dtype"] = "bfloat16"

    got = fl.from_keras(changed_weights(good, half)).state_dict()["0.weight_ih_l0"]
    assert np.array_equal(got, (before.view(np.uint32) >> 16 << 16).view(np.float32))


LINKS = """
import sys
import fastlstm as fl

try:
    fl.from_keras(sys.argv[1])
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("where", ["layers", "layers/lstm", "layers/lstm/cell/vars", KERNEL])
@pytest.mark.parametrize("kind", ["soft", "external"])
def test_links(good: Path, tmp_path: Path, where: str, kind: str) -> None:
    """Links lead to a pipe, so that opening one waits for ever."""

    def change(file: Any) -> None:
        file.move(where, "elsewhere")
        file[where] = h5py.SoftLink("/elsewhere") if kind == "soft" else h5py.ExternalLink(str(tmp_path / "pipe"), "/x")

    os.mkfifo(tmp_path / "pipe")
    check_unopened(changed_weights(good, change), f"{where} is a soft or external link, which is not followed")


def test_numbers_in_other_files(good: Path, tmp_path: Path) -> None:
    def external(file: Any) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, (3, 16), "f4", external=[(str(tmp_path / "pipe"), 0, h5py.h5f.UNLIMITED)])

    def virtual(file: Any) -> None:
        del file[KERNEL]
        layout = h5py.VirtualLayout((3, 16), "f4", maxshape=(None, 16))
        source = h5py.VirtualSource(str(tmp_path / "pipe"), "x", (3, 16), "f4", maxshape=(None, 16))
        layout[0 : h5py.h5s.UNLIMITED, :] = source[0 : h5py.h5s.UNLIMITED, :]
        file.create_virtual_dataset(KERNEL, layout)

    for change in (external, virtual):
        path = changed_weights(good, change)
        os.mkfifo(tmp_path / "pipe")
        check_unopened(path, f"{KERNEL} is stored in other files, which are not read")
        (tmp_path / "pipe").unlink()


def check_unopened(path: Path, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LINKS, str(path)],
        cwd=path.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert message in done.stdout


def test_a_heap_of_texts_without_end(good_h5: Path) -> None:
    """libhdf5 goes from object to object, and from one without a size to that object again."""
    data = bytearray(good_h5.read_bytes())
    heap = data.find(b"GCOL\x01")
    end, place = heap + int.from_bytes(data[heap + 8 : heap + 16], "little"), heap + 16
    while int.from_bytes(data[place : place + 2], "little"):  # 0 is the remaining space
        place += 16 + (int.from_bytes(data[place + 8 : place + 16], "little") + 7) // 8 * 8
    assert heap < place < end
    for size in (0, 8, 2**40, 2**64 - 16):
        data[place + 8 : place + 16] = size.to_bytes(8, "little")
        good_h5.write_bytes(data)
        check_unopened(good_h5, "a heap of strings is inconsistent")


def test_a_description_that_is_not_text(good_h5: Path) -> None:
    for value in (np.zeros(3), np.array(["{}"] * 3, "S2"), 7):
        with h5py.File(good_h5, "r+") as file:
            file.attrs["model_config"] = value
        refused(good_h5, "attribute 'model_config' of the file is not a string")


# ---------------------------------------------------------------------------------------------- the corpus


def test_the_corpus(tmp_path: Path) -> None:
    """Read damaged files that fuzz/fuzz_keras.py made, one for each message, in a process of its own."""
    with zipfile.ZipFile(DATA / "corpus.zip") as archive:
        archive.extractall(tmp_path)
    files = sorted(tmp_path.glob("*.bin"))
    assert len(files) >= 40
    script = Path(__file__).parent / "fuzz" / "fuzz_keras.py"
    done = subprocess.run(
        [sys.executable, str(script), "--replay", *map(str, files)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ValueError") == len(files)
