"""How Sphinx builds the documentation: ``make docs``."""
from __future__ import annotations

import sys
from pathlib import Path

import edgegw

# Extensions of our own are beside this file.
sys.path.insert(0, str(Path(__file__).parent))

project = "edgegw"
author = "The edgegw authors"
version = release = edgegw.__version__

extensions = ["sphinx.ext.autodoc", "interface_docs"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "A pluggable mTLS edge gateway on Twisted"}
nitpicky = True
# Types of other projects and of the standard library stand in signatures, and are documented elsewhere; what is ours is
# to be found here, unless a name stands without its module, as it is written in an interface.
# What is promised to nobody, such as the model, is not.
nitpick_ignore_regex = [
    ("py:class", r"(?!edgegw\.).*"),
    ("py:class", r"edgegw\.(model|observe\.(metrics|handshakes)|proxy\.generation|testing\.client)\..*"),
    ("py:class", r"edgegw\.kinds\.\w+\.\w+Kind"),
]

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
