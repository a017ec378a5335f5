import json
import os
import pickle
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest
import safetensors
from safetensors.numpy import save_file

from fastlstm.formats import safetensors as serialization
from fastlstm.formats.safetensors import load, save

CONFIG = {
    "layers": [{"type": "LSTM", "hidden_size": 3, "dropout": 0.25, "bias": True}],
    "classes": ["a", "\u00e9", "\u4e2d"],
    "none": None,
}


def some_tensors():
    rng = np.random.default_rng(0)
    return {
        "0.weight_ih_l0": rng.standard_normal((4, 3)).astype(np.float32),
        "0.bias_ih_l0": np.array([0.0, -0.0, np.nan, np.inf], np.float32),
        "scaler.mean": rng.standard_normal(3),
        "counts": np.array([-(2**63), 2**63 - 1], np.int64),
        "scalar": np.array(1.5),
        "empty": np.zeros((0, 4), np.float32),
    }


def assert_same(tensors, expected):
    assert set(tensors) == set(expected)
    for name, array in expected.items():
        assert tensors[name].dtype == array.dtype
        assert tensors[name].shape == array.shape
        assert tensors[name].tobytes() == array.tobytes()  # bytes: NaN and -0.0 too


def write(path, header, body=b""):
    """Write a .safetensors file by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def metadata(tensors=None, config="{}", **changes):
    """Return the metadata of a file with a right checksum, then changed."""
    texts = {
        "format": "fastlstm",
        "format_version": "1",
        "config": config,
        "sha256": serialization._digest(tensors or {}, config),
    }
    return {"__metadata__": {**texts, **changes}}


# --- what was saved comes back


def test_round_trip(tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, some_tensors(), CONFIG)
    tensors, config = load(path)
    assert_same(tensors, some_tensors())
    assert config == CONFIG
    assert list(config) == list(CONFIG)
    for array in tensors.values():
        assert array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_no_tensors_and_str_path(tmp_path):
    path = str(tmp_path / "m")
    save(path, {}, {})
    assert load(path) == ({}, {})


def test_the_safetensors_package_reads_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, some_tensors(), CONFIG)
    with safetensors.safe_open(path, framework="np") as file:
        assert file.metadata()["format"] == "fastlstm"
        assert json.loads(file.metadata()["config"]) == CONFIG
        assert_same({name: file.get_tensor(name) for name in file.keys()}, some_tensors())


def test_every_tensor_is_aligned(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {
        "a": np.ones(3, np.float32),
        "b": np.ones(3),
        "c": np.ones(1, np.float32),
        "d": np.ones(2, np.int64),
    }
    save(path, tensors, {})
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    for name, array in tensors.items():
        assert (8 + size + header[name]["data_offsets"][0]) % array.itemsize == 0


def test_layout_in_memory_does_not_matter(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    big_endian = array.astype(">f4")
    save(tmp_path / "a", {"t": array.T, "s": array[:, ::2], "e": array}, {})
    save(tmp_path / "b", {"e": big_endian, "s": array[:, ::2].copy(), "t": array.T.copy()}, {})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert_same(load(tmp_path / "b")[0], {"t": array.T, "s": array[:, ::2], "e": array})


def test_equal_models_give_equal_bytes(tmp_path):
    code = (
        "import sys; import numpy as np; from fastlstm.formats.safetensors import save; "
        "save(sys.argv[1], {n: np.ones(3) for n in 'abcdefgh'}, {'x': 1, 'y': 2})"
    )
    files = [tmp_path / "0", tmp_path / "1"]
    for seed, path in enumerate(files):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        subprocess.run([sys.executable, "-c", code, path], check=True, env=environment, cwd=tmp_path)
    assert files[0].read_bytes() == files[1].read_bytes()


# --- saving


@pytest.mark.parametrize(
    "tensor",
    [np.zeros(2, np.float16), np.zeros(2, np.int32), np.zeros(2, bool), np.array([None]), [1.0], 1.0],
)
def test_save_refuses_other_tensors(tmp_path, tensor):
    with pytest.raises(TypeError, match="tensor 'w' is .*expected a NumPy array of dtype float32"):
        save(tmp_path / "m", {"w": tensor}, {})
    assert os.listdir(tmp_path) == []


def test_save_refuses_names(tmp_path):
    with pytest.raises(TypeError, match="expected str"):
        save(tmp_path / "m", {1: np.zeros(2)}, {})
    with pytest.raises(ValueError, match="cannot be named '__metadata__'"):
        save(tmp_path / "m", {"__metadata__": np.zeros(2)}, {})


def test_save_refuses_configs(tmp_path):
    loop = []
    loop.append(loop)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TypeError, match="JSON"):
        save(tmp_path / "m", {}, {"x": object()})
    for value in (float("nan"), float("inf"), loop, deep):
        with pytest.raises(ValueError):
            save(tmp_path / "m", {}, {"x": value})
    assert os.listdir(tmp_path) == []


def test_save_refuses_a_header_no_reader_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(serialization, "_MAX_HEADER", 1000)
    save(tmp_path / "small", {}, {"x": "." * 500})
    with pytest.raises(ValueError, match="a file can hold 1000"):
        save(tmp_path / "large", {}, {"x": "." * 1000})
    assert os.listdir(tmp_path) == ["small"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step, error):
    path = tmp_path / "m"
    save(path, {"w": np.ones(2)}, {"old": True})
    before = path.read_bytes()

    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        save(path, {"w": np.zeros(2)}, {"old": False})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_kill_in_the_middle_leaves_the_old_file_whole(tmp_path, step):
    path = tmp_path / "m"
    save(path, {"w": np.ones(1000)}, {"old": True})
    code = (
        "import os, signal, sys; import numpy as np; from fastlstm.formats.safetensors import save; "
        f"os.{step} = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL); "
        "save(sys.argv[1], {'w': np.zeros(1000)}, {'old': False})"
    )
    ended = subprocess.run([sys.executable, "-c", code, path], cwd=tmp_path)
    assert ended.returncode == -signal.SIGKILL
    tensors, config = load(path)
    assert config == {"old": True}
    assert_same(tensors, {"w": np.ones(1000)})
    assert len(os.listdir(tmp_path)) == 2  # the killed process got as far as its temporary file
    save(path, {"w": np.zeros(1000)}, {"old": False})  # which does not get in the way
    assert load(path)[1] == {"old": False}


def test_save_to_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot save a file in this folder.*missing"):
        save(tmp_path / "missing" / "m", {}, {})


def test_save_to_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match="pass the name of a file"):
        save(tmp_path, {}, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_save_to_an_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="cannot save a file in this folder"):
            save(tmp_path / "m", {}, {})
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="POSIX files")
def test_save_does_not_replace_a_device_or_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        save(tmp_path / "pipe", {}, {})
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    with pytest.raises(ValueError, match="not a regular file"):
        load(tmp_path / "pipe")


@pytest.mark.skipif(os.name != "posix", reason="POSIX files")
def test_save_keeps_a_link_and_permissions(tmp_path):
    umask = os.umask(0o022)
    try:
        save(tmp_path / "m", {}, {"n": 1})
    finally:
        os.umask(umask)
    assert stat.S_IMODE(os.stat(tmp_path / "m").st_mode) == 0o644
    os.chmod(tmp_path / "m", 0o600)
    os.symlink("m", tmp_path / "latest")
    save(tmp_path / "latest", {}, {"n": 2})
    assert os.path.islink(tmp_path / "latest")
    assert load(tmp_path / "m")[1] == {"n": 2}
    assert stat.S_IMODE(os.stat(tmp_path / "m").st_mode) == 0o600


# --- loading other files


@pytest.fixture
def small(tmp_path):
    """Return the path and the bytes of a small file."""
    path = tmp_path / "small.safetensors"
    save(path, {"w": np.arange(3, dtype=np.float32), "m": np.array([0.5])}, {"hidden_size": 3})
    return path, path.read_bytes()


def test_every_truncation_is_refused(small):
    path, data = small
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError):
            load(path)


def test_trailing_bytes_are_refused(small):
    path, data = small
    path.write_bytes(data + b"\0")
    with pytest.raises(ValueError):
        load(path)


@pytest.mark.parametrize("mask", [0x01, 0x04, 0x20, 0x80, 0xFF])
def test_every_altered_byte_is_refused(small, mask):
    path, data = small
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= mask
        path.write_bytes(altered)
        with pytest.raises(ValueError, match=r"small\.safetensors"):
            load(path)


def test_white_space_in_the_header_is_no_alteration(small):
    path, data = small
    size = int.from_bytes(data[:8], "little")
    path.write_bytes((size + 8).to_bytes(8, "little") + data[8 : 8 + size] + b" " * 8 + data[8 + size :])
    tensors, config = load(path)
    assert config == {"hidden_size": 3}
    assert_same(tensors, {"w": np.arange(3, dtype=np.float32), "m": np.array([0.5])})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"{", "does not begin like"),
        (pickle.dumps({"w": [1.0] * 100}), "does not begin like"),
        (b"epoch,loss\n" * 100, "does not begin like"),
        (b"PK\x03\x04" + bytes(100), "does not begin like"),
        (bytes(100), "does not begin like"),
        ((2**63).to_bytes(8, "little") + b"{}", "truncated, or not a fastlstm model"),
        ((1000).to_bytes(8, "little") + b"{}" + bytes(100), "truncated, or not a fastlstm model"),
        ((200_000_000).to_bytes(8, "little") + b"{}" + bytes(100), "truncated, or not a fastlstm model"),
    ],
)
def test_other_files(tmp_path, content, reason):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        load(path)


def test_a_huge_foreign_file_is_not_read(tmp_path):
    path = tmp_path / "huge"
    with open(path, "wb") as file:
        file.truncate(2**40)  # sparse: takes no space, but would not fit in memory
    with pytest.raises(ValueError, match="does not begin like"):
        load(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing")
    with pytest.raises(IsADirectoryError if os.name == "posix" else PermissionError):
        load(tmp_path)


@pytest.mark.parametrize("texts", [None, {"format": "pt"}])
def test_foreign_safetensors_file(tmp_path, texts):
    path = tmp_path / "foreign.safetensors"
    save_file({"w": np.ones(3, np.float16)}, path, metadata=texts)
    with pytest.raises(ValueError, match="not a fastlstm model; only Model.save writes such files"):
        load(path)


def test_hand_written_file_is_read(tmp_path):
    """The files of the next tests are valid except for the part that each test changes."""
    array = np.arange(2, dtype=np.float32)
    entry = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    write(tmp_path / "m", metadata({"w": array}, '{"a": 1}') | entry, array.tobytes())
    tensors, config = load(tmp_path / "m")
    assert config == {"a": 1}
    assert_same(tensors, {"w": array})


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("2", "newer fastlstm.*pip install -U"),
        ("10", "newer"),
        ("0", "unknown"),
        ("", "unknown"),
        ("x" * 99, "unknown"),
    ],
)
def test_other_versions(tmp_path, version, reason):
    write(tmp_path / "m", metadata(format_version=version))
    with pytest.raises(ValueError, match=reason):
        load(tmp_path / "m")


@pytest.mark.parametrize("key", ["format", "format_version", "config", "sha256"])
@pytest.mark.parametrize("value", [None, 1, [], {}])
def test_metadata_missing_or_of_another_type(tmp_path, key, value):
    header = metadata()
    if value is None:
        del header["__metadata__"][key]
    else:
        header["__metadata__"][key] = value
    write(tmp_path / "m", header)
    with pytest.raises(ValueError):
        load(tmp_path / "m")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("", "not valid JSON"),
        ("{'a': 1}", "not valid JSON"),
        ("[1]", "config is a list, expected an object"),
        ("1", "expected an object"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": 1, "a": 2}', "appears twice"),
        ('{"a": {"b": 1, "b": 2}}', "appears twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 50_000, "nested too deeply"),
    ],
)
def test_config_with_a_right_checksum_is_still_checked(tmp_path, config, reason):
    write(tmp_path / "m", metadata(config=config))
    with pytest.raises(ValueError, match=reason):
        load(tmp_path / "m")


@pytest.mark.parametrize(
    ("dtype", "size"), [("F16", 2), ("BF16", 2), ("I32", 4), ("U8", 1), ("BOOL", 1), ("U64", 8), ("X", 4)]
)
def test_other_dtypes(tmp_path, dtype, size):
    write(
        tmp_path / "m",
        metadata() | {"w": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}},
        bytes(size),
    )
    with pytest.raises(ValueError, match=dtype):
        load(tmp_path / "m")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},  # shape and offsets differ
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},  # beyond the file
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**63, 4], "data_offsets": [0, 4]},  # 2**65 elements: 0 in 64 bits
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**64]},
        {"dtype": "F32", "shape": [1]},
        [1, 2, 3],
        None,
    ],
)
def test_wrong_tensor_entries(tmp_path, entry):
    write(tmp_path / "m", metadata() | {"w": entry}, bytes(4))
    with pytest.raises(ValueError):
        load(tmp_path / "m")


@pytest.mark.parametrize("shape", [[0, 2**63], [0, 2**62, 2**62], [0] * 100])
def test_shapes_that_numpy_cannot_hold(tmp_path, shape):
    write(tmp_path / "m", metadata() | {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}})
    with pytest.raises(ValueError):
        load(tmp_path / "m")


def test_header_with_a_key_twice(tmp_path):
    text = json.dumps(metadata())[1:-1]
    write(tmp_path / "m", f"{{{text}}}".encode())
    assert load(tmp_path / "m") == ({}, {})
    format_twice = text.replace('"format": "fastlstm"', '"format": "fastlstm", "format": "fastlstm"')
    entry = '"w": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}'
    for header in (f"{{{text}, {text}}}", f"{{{format_twice}}}", f"{{{text}, {entry}, {entry}}}"):
        write(tmp_path / "m", header.encode())
        with pytest.raises(ValueError):
            load(tmp_path / "m")


def test_header_nested_too_deeply(tmp_path):
    write(tmp_path / "m", b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    with pytest.raises(ValueError):
        load(tmp_path / "m")


def test_swapped_tensors_are_an_alteration(tmp_path):
    """The bytes and names are the same; only which bytes belong to which name differs."""
    arrays = {"a": np.zeros(1, np.float32), "b": np.ones(1, np.float32)}
    entries = {
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    }
    right = metadata(arrays) | entries
    write(tmp_path / "m", right, arrays["b"].tobytes() + arrays["a"].tobytes())
    assert_same(load(tmp_path / "m")[0], arrays)
    write(tmp_path / "m", right, arrays["a"].tobytes() + arrays["b"].tobytes())
    with pytest.raises(ValueError, match="altered or damaged"):
        load(tmp_path / "m")


@pytest.mark.parametrize(
    "other",
    [
        {"w": np.zeros((3, 2), np.float32)},
        {"w": np.zeros(6, np.float32)},
        {"w": np.zeros((2, 3), np.float64)},
        {"w": np.zeros((2, 3), np.float64).view(np.int64)},
        {"v": np.zeros((2, 3), np.float32)},
        {"v": np.zeros(0), "w": np.zeros((2, 3), np.float32)},
    ],
)
def test_the_checksum_covers_name_dtype_and_shape(other):
    digest = serialization._digest({"w": np.zeros((2, 3), np.float32)}, "{}")
    assert serialization._digest(other, "{}") != digest
