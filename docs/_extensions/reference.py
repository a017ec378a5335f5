"""The reference: an entry for each name in the tables of its pages, and links to these entries.

In docstrings, text in single backticks is a parameter or a name of the package. The role `name` makes a link of it
where there is something to link to. A name with a dot, such as ``Model.fit``, must be documented; others may be
parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from inspect import isclass
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.environment import BuildEnvironment

from fastlstm.layers import Layer
from fastlstm.losses import Loss
from fastlstm.optimizers import Optimizer
from fastlstm.schedules import Schedule

PREFIXES = (
    "",
    *(f"fastlstm.{module}" for module in ("", "data.", "metrics.", "dask.", "sklearn.", "losses.", "layers.")),
)
"""Where public names are documented, in the order in which they are looked up."""

INTERFACES = (Layer, Loss, Optimizer, Schedule)
"""Classes whose methods are described once, and not again for each of their subclasses."""

OWNERS = {"fl": "fastlstm", "model": "fastlstm.Model", "stream": "fastlstm.Stream", "forecaster": "fastlstm.Forecaster"}
CODE = re.compile(rf"({'|'.join(OWNERS)})\.([\w.]+)(?:\([^()]*\))?")
"""A name, or a call, by the names that objects have in the guides."""

OTHER_PACKAGES = ("numpy.", "torch.", "sklearn.", "pandas.", "scipy.")


class Name(PyXRefRole):
    """The role of text in single backticks."""

    def __init__(self) -> None:
        super().__init__(warn_dangling=True)

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        self.name = "py:obj"
        found, messages = super().run()
        for node in found:
            if isinstance(node, pending_xref):
                node["is_name"] = True
        return found, messages


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Node | None:
    """Find a public name from within another module, or take a single word for a parameter."""
    if not node.get("is_name"):
        return None
    written, domain = node["reftarget"], env.domains.python_domain
    target = written.partition("(")[0].removeprefix("fl.").removesuffix(".")
    if written.startswith(OTHER_PACKAGES) or ("." not in target and not (target[:1].isupper() or "(" in written)):
        return content
    if target.startswith("fastlstm.") and is_module(target):
        return content  # of the package's inside, for those who read the source
    owner, _, attribute = target.rpartition(".")
    for prefix in PREFIXES:
        for name in (f"{prefix}{target}", f"{prefix}{owner}" if has_attribute(f"{prefix}{owner}", attribute) else ""):
            if name in domain.objects:
                return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)
    return None if "." in target else content


def is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def has_attribute(owner: str, attribute: str) -> bool:
    """Whether the docstring of a class lists an attribute, which has no entry of its own in the reference."""
    module, _, name = owner.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return False
    return re.search(rf"^ *(\w+, )*{attribute}(, \w+)* :", found.__doc__ or "", re.M) is not None


def link_sources(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let names of pages lead there, and the numbers of sources to the page of the mathematics, which lists them."""
    lines[:] = [re.sub(r"(?<![\w`/])docs/([\w-]+)\.md", r":doc:`/\1`", line) for line in lines]
    if name == "fastlstm.reference":
        text = re.sub(r"^\.\. \[(\d+)\] ", r"- [\1] ", "\n".join(lines), flags=re.M)
        lines[:] = [*re.sub(r"\n {4,}", " ", text).rstrip().splitlines(), ""]
    elif name.startswith("fastlstm.reference."):
        lines[:] = [re.sub(r"\[(\d+)\]_", r":doc:`[\1] </reference/mathematics>`", line) for line in lines]


def add_entries(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add an entry for each name in a table of the reference, after the table."""
    if not docname.startswith("reference/"):
        return
    module, lines = "", []
    for block in source[0].split("\n\n"):
        if found := re.fullmatch(r"\.\. currentmodule:: (\S+)", block.strip()):
            module = found[1]
        lines.append(block.strip("\n"))
        if lines[-2:-1] == [".. autosummary::"]:
            lines += [entry(module, name) for name in block.split()]
    source[0] = "\n\n".join(lines) + "\n"


def entry(module: str, name: str) -> str:
    """Return the directive of a name: classes with their methods, except those that an interface describes."""
    found = getattr(import_module(module), name)
    if not isclass(found):
        return f".. auto{'function' if callable(found) else 'data'}:: {name}"
    if found not in INTERFACES and issubclass(found, INTERFACES):
        return f".. autoclass:: {name}"
    return f".. autoclass:: {name}\n   :members:\n   :inherited-members: Exception, tuple"


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what a class inherits from scikit-learn, as its own pages describe it."""
    module = getattr(obj, "__module__", None) or getattr(getattr(obj, "fget", None), "__module__", None) or ""
    return True if what == "class" and module.partition(".")[0] in ("sklearn", "builtins") and module else None


def link_code(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let code in the text of a guide, such as ``fl.split`` or ``model.fit(...)``, lead to its entry."""
    domain = app.env.domains.python_domain
    for node in list(doctree.findall(nodes.literal)):
        found = CODE.fullmatch(node.astext())
        if found is None or any(isinstance(parent, nodes.reference | nodes.title) for parent in parents(node)):
            continue
        name = f"{OWNERS[found[1]]}.{found[2]}"
        if name in domain.objects:
            link = domain.resolve_xref(app.env, docname, app.builder, "obj", name, pending_xref(), node.deepcopy())
            if link is not None:
                node.replace_self(link)


def parents(node: nodes.Node) -> Iterator[nodes.Node]:
    while (node := node.parent) is not None:
        yield node


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("name", Name())
    app.connect("source-read", add_entries)
    app.connect("missing-reference", resolve)
    app.connect("doctree-resolved", link_code)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", link_sources, priority=100)  # before numpydoc, which knows one docstring
    return {"parallel_read_safe": True, "parallel_write_safe": True}
