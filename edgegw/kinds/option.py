"""The options of a plugin: fields of an attrs class, and types beyond Python's own.

A field's type says what a configuration may give: ``str``, ``int``, ``float``, ``bool``, an ``Enum`` or
``Literal``, another attrs class, ``tuple[T, ...]``, ``Mapping[str, T]``, ``T | None``, and the types
here.  ``edgegw.config.options`` makes the rules of it, the JSON Schema and the faults.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NewType

import attrs

__all__ = ["Duration", "FilePath", "Size", "option"]

#: Seconds; a configuration writes ``500ms``, ``30s`` or ``1h30m``.
Duration = NewType("Duration", float)
#: Bytes; a configuration writes a number, or ``64KiB``, ``1MiB``.
Size = NewType("Size", int)
#: A file's path; one that is relative begins at the configuration's directory, the value is absolute.
FilePath = NewType("FilePath", str)


def option(
    doc: str,
    *,
    default: Any = attrs.NOTHING,
    convert: Callable[[Any], Any] | None = None,
    check: Callable[[Any], None] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    min_items: int = 0,
) -> Any:
    """Make a field of an options class.

    :param doc: what it is for, a sentence or two; shown in documentation, editors and ``edgegw plugins``.
    :param default: without one the option must be given.
    :param convert: makes the value of what was read; a ``ValueError`` is a fault at the option.
    :param check: raises ``ValueError`` for a value that is not usable, with what is wrong and what would be right.
    :param minimum: for numbers, durations and sizes; inclusive, as is ``maximum``.
    :param min_items: for lists.
    """
    return attrs.field(
        default=default,
        converter=convert,
        validator=None if check is None else _Check(check),
        metadata={"doc": doc, "minimum": minimum, "maximum": maximum, "min_items": min_items},
    )


class _Check:
    def __init__(self, check: Callable[[Any], None]) -> None:
        self._check = check

    def __call__(self, instance: object, attribute: object, value: object) -> None:
        self._check(value)
