"""The reference of the site: every public name is on one of its pages."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

import fastlstm as fl

pytestmark = pytest.mark.packages

PAGES = sorted((Path(__file__).parents[2] / "docs" / "reference").glob("*.rst"))
MODULES = ["callbacks", "data", "datasets", "metrics", "metrics.anomaly", "plots", "reference"]
SKLEARN = ["LSTMAnomalyDetector", "LSTMClassifier", "LSTMFeatures", "LSTMRegressor"]


def listed() -> list[str]:
    """Return the full names in the tables of all pages."""
    names = []
    for page in PAGES:
        module = ""
        for line in page.read_text("utf-8").splitlines():
            if found := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
                module = found[1]
            elif found := re.fullmatch(r"   (\w+)", line):
                names.append(f"{module}.{found[1]}")
    return names


LISTED = listed()


def identity(name: str) -> object:
    """Return the object of a name, or, for what cannot be told apart by its value, the name."""
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    return found if inspect.isclass(found) or inspect.isroutine(found) else attribute


def test_every_name_exists_and_is_listed_once() -> None:
    assert len(LISTED) > 150
    assert len(set(LISTED)) == len(LISTED)
    for name in LISTED:
        try:
            identity(name)
        except ImportError:  # of an extra that is not installed
            continue


def test_every_public_name_is_listed() -> None:
    known = []
    for name in LISTED:
        try:
            known.append(identity(name))
        except ImportError:
            continue
    public = [f"fastlstm.{name}" for name in fl.__all__ if name != "__version__"]
    for module in MODULES:
        names = importlib.import_module(f"fastlstm.{module}").__all__
        public += [f"fastlstm.{module}.{name}" for name in names]
    missing = []
    for name in public:
        module, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
        if not inspect.ismodule(found) and identity(name) not in known:
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("name", SKLEARN)
def test_the_estimators_are_listed(name: str) -> None:
    assert f"fastlstm.{name}" in LISTED
