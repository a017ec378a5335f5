"""Settings of the documentation site: ``sphinx-build -W -n -b html docs build/site``, without a network.

The pages are those that one reads in the repository. What the site needs besides is made while it is built, by
_extensions/repository.py: the menu from index.md, and the links to files of the repository. They lead to
``FASTLSTM_REPOSITORY``, such as ``https://github.com/OWNER/fastlstm/blob/main``; without it, files are copied into the
site as downloads.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import fastlstm  # the installed package, which the reference describes

project = "fastlstm"
author = "The fastlstm authors"
copyright = "the fastlstm authors. Apache License 2.0"
release = version = fastlstm.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "repository",
    "guides",
    "accessible",
    "reference",
]
root_doc = "index"
exclude_patterns = ["_extensions", "guides/results"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

# Markdown as GitHub reads it: anchors of all headings, tables, bare addresses.
myst_heading_anchors = 6

# The reference. Types stand in the docstrings, which say more of them than the annotations: shapes, defaults, limits.
autosummary_generate = False  # one page for each group, whose entries _extensions/reference.py adds
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
default_role = "name"

repository = os.environ.get("FASTLSTM_REPOSITORY", "").rstrip("/")
"""Address of the repository's files; empty: there is none."""

nitpicky = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"fastlstm {release}"
html_show_sourcelink = False
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
