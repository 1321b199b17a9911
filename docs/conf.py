"""Sphinx configuration of the manual."""

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
html_title = f"sb3-quantum {release}"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "description"
autodoc_member_order = "bysource"
