"""How YAML 1.2's core schema types a value that has no quotes (§10.3.2)."""
from __future__ import annotations

import re
from typing import Final

from edgegw.config.nodes import ScalarType

__all__ = ["CORE_SCHEMA", "UNTYPED", "core_type"]

#: Type, what the whole value must match, and what it can begin with; the first that matches holds.
CORE_SCHEMA: Final = (
    (ScalarType.INTEGER, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", tuple("-+0123456789")),
    (
        ScalarType.NUMBER,
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        tuple("-+.0123456789"),
    ),
    (ScalarType.BOOLEAN, r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    (ScalarType.NULL, r"~|null|Null|NULL|", ("~", "n", "N", "")),
)
_COMPILED: Final = tuple((type_, re.compile(pattern)) for type_, pattern, _ in CORE_SCHEMA)
_FIRST: Final = frozenset(first for *_, some in CORE_SCHEMA for first in some)
#: Characters of which one at its beginning makes a value text, whatever follows.
UNTYPED: Final = frozenset(map(chr, range(0x21, 0x7F))) - _FIRST


def core_type(text: str) -> ScalarType:
    """Give the type of a value without quotes."""
    if text[:1] in _FIRST:
        for type_, pattern in _COMPILED:
            if pattern.fullmatch(text):
                return type_
    return ScalarType.TEXT
