import importlib.metadata
import re
from pathlib import Path

import pytest

import fastlstm as fl

DISTRIBUTION = importlib.metadata.distribution("fastlstm")


def installed_files():
    """Return the files of the installed wheel, or skip: an editable install lists only a link."""
    files = {file.as_posix() for file in DISTRIBUTION.files or []}
    if "fastlstm/__init__.py" not in files:
        pytest.skip("editable install")
    return files


def test_version():
    assert fl.__version__ == DISTRIBUTION.version
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?", fl.__version__)


def test_dependencies():
    names = {re.match(r"[\w-]+", line).group() for line in DISTRIBUTION.requires if "extra ==" not in line}
    assert names == {"numpy", "safetensors", "tqdm"}


def test_extras_and_licence():
    extras = {"test", "plot", "onnx", "keras", "sklearn", "frames", "wfdb", "forecast", "holidays", "cli", "mpi"}
    extras |= {"dask", "docs", "peers", "bench", "dev"}
    assert set(DISTRIBUTION.metadata.get_all("Provides-Extra")) == extras
    assert DISTRIBUTION.metadata["License-Expression"] == "Apache-2.0"
    assert DISTRIBUTION.metadata["Requires-Python"] == ">=3.10"


def test_command():
    (command,) = [e for e in DISTRIBUTION.entry_points if e.group == "console_scripts"]
    assert command.name == "fastlstm"
    assert command.load() is fl.cli.main


def test_the_package_is_typed_and_has_its_data():
    folder = Path(fl.__file__).parent
    assert (folder / "py.typed").is_file()
    assert (folder / "_core.pyi").is_file()
    data = [path for path in (folder / "data" / "datasets").iterdir() if path.suffix not in (".py", ".pyc", "")]
    assert len(data) >= 2
    assert all(path.stat().st_size <= 500_000 for path in data)


def test_the_wheel_holds_the_package_and_nothing_else():
    files = installed_files()
    packaged = {name for name in files if not name.startswith(("fastlstm-", "../"))}
    # A wheel for other machines contains OpenMP's runtime.
    brought = {name for name in packaged if re.fullmatch(r"fastlstm\.(libs|dylibs)/lib(g|i|)omp[\w.-]+", name)}
    assert all(name.startswith("fastlstm/") for name in packaged - brought)
    assert len([name for name in packaged if re.fullmatch(r"fastlstm/_core\.[\w.-]*(so|pyd)", name)]) == 1
    assert {"fastlstm/py.typed", "fastlstm/_core.pyi", "fastlstm/data/datasets/__init__.py"} <= packaged
    leftovers = [name for name in packaged if re.search(r"\.(pyx|pxd|pxi|c|h|o|obj|html)$|/tests?/", name)]
    assert leftovers == []
    assert any(name.endswith("licenses/LICENSE") for name in files)
