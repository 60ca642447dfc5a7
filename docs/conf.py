"""Sphinx configuration: Markdown through MyST, reference from docstrings, warnings as errors."""

import importlib.metadata
from typing import Any

from sphinx.application import Sphinx

project = "eventcore"
author = "eventcore contributors"
copyright = "eventcore contributors"
release = importlib.metadata.version("eventcore-es")
version = ".".join(release.split(".")[:2])

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Fields in the list of their class: not as objects of their own, of which every class has a "type".
napoleon_use_ivar = True
napoleon_custom_sections = [("Class arguments", "params_style")]

# A build must not need the network, so other projects' names cannot be looked up: only a
# reference to one of our own names has to resolve. Type variables and private names are not ours
# to show.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!eventcore\b).*"),
    (r"py:.*", r"eventcore\..*\b(_\w+|[A-Z]\w*T|A|E|E_co)"),
]

# "More than one target found": the name of a field, which the reader does not click on, is that of
# several properties.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = f"eventcore {release}"


def skip_fields_of_named_tuples(
    _app: Sphinx,
    _what: str,
    _name: str,
    member: Any,
    skip: bool,  # noqa: FBT001 - Sphinx passes it by position
    _options: Any,
) -> bool:
    """Leave out "Alias for field number 0": the class says what its fields are."""
    return skip or type(member).__name__ == "_tuplegetter"


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("autodoc-skip-member", skip_fields_of_named_tuples)
