"""``module:object``: something in Python that a configuration names."""
from __future__ import annotations

import importlib
import re
from typing import Any, Final

from edgegw.plugin_files import traceback_line

__all__ = ["check_reference", "load_reference"]

_REFERENCE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*")


def check_reference(text: str) -> None:
    """Make sure that a text can be a reference.

    :raises ValueError: it cannot.
    """
    if not _REFERENCE.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is no module:object; write shop.web:app, or shop.web:app.resource")


def load_reference(text: str) -> Any:
    """Import the module and give the object in it.

    :raises ValueError: there is none, or its module fails; with the way to the error in one line.
    """
    module, _, attributes = text.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ValueError(f"{text} cannot be loaded: {traceback_line(error)[0]}") from error
    return found
