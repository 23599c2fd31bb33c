"""The site: ``make docs`` builds it into docs/_build."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generated import write_commands, write_protocol
from generated_http import write_http

HERE = Path(__file__).parent
project = "emoclip-clinical"
author = "The emoclip-clinical contributors"
release = version = metadata.version("emoclip-clinical")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"emoclip-clinical {release}"
html_copy_source = False
myst_heading_anchors = 3
autodoc_typehints = "none"  # numpydoc sections say the types
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
nitpicky = False


def setup(app: object) -> None:
    """Write the pages that follow from the code."""
    write_commands(HERE / "reference" / "commands.md")
    write_protocol(HERE / "reference" / "protocol.md")
    write_http(HERE / "reference" / "http.md")
