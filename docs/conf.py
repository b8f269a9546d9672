"""How Sphinx builds the documentation: ``make docs``."""
from __future__ import annotations

import edgegw

project = "edgegw"
author = "The edgegw authors"
version = release = edgegw.__version__

extensions: list[str] = []
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "A pluggable mTLS edge gateway on Twisted"}
nitpicky = True
