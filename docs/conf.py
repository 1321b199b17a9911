"""Sphinx configuration of the manual."""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import sb3_quantum

project = "sb3-quantum"
author = "the sb3-quantum authors"
project_copyright = f"{author}. MIT license"
release = sb3_quantum.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
# Tutorials are shown as they are stored; `make tutorials` runs them
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
html_title = f"sb3-quantum {release}"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "description"
autodoc_member_order = "bysource"
# `activation_fn=nn.LeakyReLU` as in the source, not `<class 'torch.nn...'>`
autodoc_preserve_defaults = True

#: letters of a constant's value that are shown; longer ones are in the source, one click away
LONGEST_VALUE = 80


def shorten_api(app: Sphinx, doctree: nodes.document) -> None:
    """Leave out of the API what nobody reads: ``Bases: object``, and values that are long or objects' addresses."""
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if paragraph.astext() == "Bases: object":
            paragraph.parent.remove(paragraph)
    for signature in doctree.findall(addnodes.desc_signature):
        for part in list(signature.findall(addnodes.desc_annotation)):
            value = part.astext()
            if value.startswith(" = ") and (len(value) > LONGEST_VALUE or "<" in value):
                part.parent.remove(part)


def commands_as_code(app: Sphinx, what: str, name: str, module: object, options: object, lines: list[str]) -> None:
    """
    Show the indented commands of a docstring as code; ``--help`` prints the same text, without marks. As a paragraph they
    would be joined, and Sphinx would make dashes of ``--``.
    """
    command = re.compile(r" {4}(\w+=\S+ )*python ")
    for place in reversed(range(1, len(lines))):
        if command.match(lines[place]) and not lines[place - 1].strip() and not lines[place - 2].endswith("::"):
            lines[place:place] = ["::", ""]


def skip_aliases(app: Sphinx, what: str, name: str, member: object, skip: bool, options: object) -> bool | None:
    """Leave out the fields of named tuples, which are described as parameters already."""
    return True if (getattr(member, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", commands_as_code)
    app.connect("autodoc-skip-member", skip_aliases)
    app.connect("doctree-read", shorten_api)
