"""The structure that ARCHITECTURE.md draws: imports go down and close no circle; private members stay private."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "fastlstm"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py*") if path.suffix in (".py", ".pyx"))


def module_of(path: Path) -> str:
    """Return the dotted name of a source file below the package; that of the package itself is ``fastlstm``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts) or "fastlstm"


MODULES = {module_of(path): path for path in SOURCES}


def floors() -> dict[str, int]:
    """Return the floor of each entry in the table of ARCHITECTURE.md."""
    found: dict[str, int] = {}
    for number, entries in re.findall(r"^\| (\d+) \| ([^|]*) \|", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.M):
        found.update(dict.fromkeys(re.findall(r"`([\w.]+)`", entries), int(number)))
    return found


FLOORS = floors()


def entry_of(module: str) -> str:
    """Return the most specific entry of the table that holds a module."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in FLOORS:
            return ".".join(parts[:end])
    raise AssertionError(f"{module} is on no floor of ARCHITECTURE.md")


def resolve(package: list[str], level: int, name: str) -> str | None:
    """Return the module below the package that an import means; None for those of other packages."""
    if level:
        base = package[: len(package) - level + 1]
        full = [*base, *(name.split(".") if name else [])]
        return ".".join(full)
    if name.split(".")[0] != "fastlstm":
        return None
    return name.partition(".")[2] or "fastlstm"


def targets(module: str, text: str, is_package: bool) -> Iterator[str]:
    """Yield the modules of this package that a source imports, wherever the import stands."""
    parts = [] if module == "fastlstm" else module.split(".")
    package = parts if is_package else parts[:-1]

    def members(base: str, names: list[str]) -> Iterator[str]:
        prefix = "" if base in ("", "fastlstm") else f"{base}."
        for name in names:
            yield f"{prefix}{name}" if f"{prefix}{name}" in MODULES else (base or "fastlstm")

    if module == "_core":  # Cython, whose imports stand on lines of their own
        text += (PACKAGE / "_core_stream.pxi").read_text("utf-8")
        for dots, name, names in re.findall(r"^\s*from (\.*)([\w.]*) import ([\w, ]+)", text, re.M):
            base = resolve(package, len(dots), name)
            if base is not None:
                yield from members(base, [one.split()[0] for one in names.split(",")])
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            base = resolve(package, node.level, node.module or "")
            if base is not None:
                yield from members(base, [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                base = resolve(package, 0, alias.name)
                if base is not None:
                    yield base


IMPORTS = {
    module: sorted(set(targets(module, path.read_text("utf-8"), path.name == "__init__.py")) - {module})
    for module, path in MODULES.items()
}


def test_each_module_is_on_a_floor_and_each_entry_exists() -> None:
    for module in MODULES:
        entry_of(module)
    for entry in FLOORS:
        assert any(module == entry or module.startswith(f"{entry}.") for module in MODULES), entry


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down(module: str) -> None:
    here = entry_of(module)
    up = [target for target in IMPORTS[module] if entry_of(target) != here and FLOORS[entry_of(target)] >= FLOORS[here]]
    assert not up, f"{module} (floor {FLOORS[here]}) imports {up}"


def test_no_import_closes_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, f"a circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in done:
            for target in IMPORTS[module]:
                visit(target, [*path, module])
            done.add(module)

    for module in sorted(MODULES):
        visit(module, [])


def test_imported_names_are_public() -> None:
    """What a module takes from another one is in the other's ``__all__``, if it has one."""
    public = {}
    for module, path in MODULES.items():
        lists = re.findall(r"^__all__ = (\[[^\]]*\])", path.read_text("utf-8"), re.M)
        if lists:
            public[module] = set(ast.literal_eval(lists[0]))
    assert len(public) > 100
    for module, path in MODULES.items():
        if path.suffix == ".pyx":
            continue
        parts = [] if module == "fastlstm" else module.split(".")
        package = parts if path.name == "__init__.py" else parts[:-1]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            base = resolve(package, node.level, node.module or "") if isinstance(node, ast.ImportFrom) else None
            if isinstance(node, ast.ImportFrom) and base in public:
                names = {alias.name for alias in node.names if f"{base}.{alias.name}" not in MODULES}
                assert names - {"*", "__all__"} <= public[base], (module, base)


def test_what_runs_does_not_import_what_it_is_tested_against() -> None:
    importers = {
        module
        for module, found in IMPORTS.items()
        if any(target.split(".")[0] == "reference" for target in found) and module.split(".")[0] != "reference"
    }
    assert importers <= {"fastlstm"}  # for types; fl.reference is imported when it is asked for


# ----------------------------------------------------------------------------------------- private members

FOREIGN = {
    "_fields": "NamedTuple", "_asdict": "NamedTuple", "_replace": "NamedTuple", "_make": "NamedTuple",
    "_modules": "torch.nn.Module: named_children leaves out a layer that occurs twice",
    "_parameters": "torch.nn.Module: those of the module itself", "_buffers": "torch.nn.Module",
}  # fmt: skip
"""Private names that are another package's, with the reason why they are used."""


def private_uses(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and name of each use of a private member that the same file does not define."""
    tree = ast.parse(path.read_text("utf-8"))
    own = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls", "bound")
    }
    own |= {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not re.match(r"_[a-z]", node.attr) or node.attr in own | set(FOREIGN):
            continue
        if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            continue
        if isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "super":
            continue
        yield node.lineno, node.attr


@pytest.mark.parametrize("module", sorted(name for name, path in MODULES.items() if path.suffix == ".py"))
def test_no_private_member_of_another_class_is_used(module: str) -> None:
    assert list(private_uses(MODULES[module])) == []


# ----------------------------------------------------------------------------------------- sizes


def lines_of_code(path: Path) -> int:
    """Count the lines that are neither blank, nor comment, nor docstring."""
    text = path.read_text("utf-8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in docstrings
        for number, line in enumerate(text.splitlines(), start=1)
    )


def test_the_model_stays_a_face() -> None:
    assert lines_of_code(MODULES["model"]) <= 470


def test_the_extension_stays_thin() -> None:
    texts = [(PACKAGE / name).read_text("utf-8") for name in ("_core.pyx", "_core_stream.pxi")]
    without_docstrings = re.sub(r'"""(.|\n)*?"""', "", "\n".join(texts))
    code = [line for line in without_docstrings.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(code) <= 900


# ----------------------------------------------------------------------------------------- csrc


def test_the_headers_of_csrc_close_no_circle() -> None:
    csrc = ROOT / "csrc"
    files = [path for path in csrc.rglob("*.[ch]") if "build" not in path.relative_to(csrc).parts]
    assert len(files) > 20
    includes: dict[Path, list[Path]] = {}
    for path in files:
        names = re.findall(r'^\s*#\s*include "([^"]+)"', path.read_text("utf-8"), re.M)
        found = [folder / name for name in names for folder in (path.parent, csrc) if (folder / name).is_file()]
        includes[path.resolve()] = [one.resolve() for one in found]

    def visit(path: Path, above: list[Path]) -> None:
        assert path not in above, f"a circle: {[one.name for one in [*above, path]]}"
        for included in includes.get(path, []):
            visit(included, [*above, path])

    for path in includes:
        visit(path, [])
