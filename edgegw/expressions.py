"""Regular expressions that meet what clients send: RE2's.

They take time in proportion to the text, whatever the expression is.
"""
from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]  # it has no types

from edgegw.certificate import printable

__all__ = ["ExpressionError", "compile_expression"]

#: What an expression may take, its program and what RE2 remembers while it matches.
_MAX_MEMORY: Final = 262_144
#: Characters of RE2's reason that are shown.
_MOST_SHOWN: Final = 200


class ExpressionError(ValueError):
    """What RE2 does not take; the text is its reason, in printable ASCII."""


@lru_cache(maxsize=1024)
def compile_expression(pattern: str, ignore_case: bool = False) -> Any:
    """Compile an RE2 expression; its ``fullmatch`` takes bytes of UTF-8.

    :raises ExpressionError: RE2 does not take it.
    """
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    options.never_capture = True
    options.case_sensitive = not ignore_case
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        (said,) = error.args
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise ExpressionError(printable(reason[:_MOST_SHOWN].encode("utf-8", "backslashreplace"))) from None
