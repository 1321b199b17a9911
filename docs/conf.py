"""Sphinx configuration of the manual."""

import sb3_quantum

project = "sb3-quantum"
author = "the sb3-quantum authors"
release = sb3_quantum.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"sb3-quantum {release}"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "description"
autodoc_member_order = "bysource"
