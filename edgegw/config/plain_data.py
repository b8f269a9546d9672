"""Documents as plain data, as JSON has them, to and from :mod:`edgegw.config.nodes`: for those that programs make."""
from __future__ import annotations

from typing import Any, Final

from edgegw.config.nodes import Mapping, Node, Scalar, ScalarType, Sequence, Within

__all__ = ["nodes_of", "plain_value"]

_PREFIXES: Final = {"0o": 8, "0x": 16}


def nodes_of(value: Any, within: Within = "") -> Node:
    """Make nodes of ``dict``, ``list``, ``str``, ``int``, ``float``, ``bool`` and ``None``.

    All of them stand in line 1, column 1: only their paths tell them apart.  Nothing in a text is a variable.

    :param within: the path of the whole.
    :raises TypeError: there is something else in it.
    """
    match value:
        case dict():
            values = {key: nodes_of(item, (within, key)) for key, item in value.items()}
            return Mapping(within, 1, 1, dict.fromkeys(values, (1, 1)), values)
        case list() | tuple():
            return Sequence(within, 1, 1, tuple(nodes_of(item, (within, n)) for n, item in enumerate(value)))
        case str():
            return Scalar(within, 1, 1, value)
        case None:
            return Scalar(within, 1, 1, "", ScalarType.NULL)
        case bool():
            return Scalar(within, 1, 1, "true" if value else "false", ScalarType.BOOLEAN)
        case int():
            return Scalar(within, 1, 1, str(value), ScalarType.INTEGER)
        case float():
            return Scalar(within, 1, 1, repr(value), ScalarType.NUMBER)
    raise TypeError(f"a {type(value).__name__} is in no document")


def plain_value(node: Node) -> Any:
    """Give what a node without faults stands for: :func:`nodes_of` backwards."""
    if isinstance(node, Mapping):
        return {key: plain_value(value) for key, value in node.values.items()}
    if isinstance(node, Sequence):
        return [plain_value(item) for item in node.items]
    match node.type:
        case ScalarType.NULL:
            return None
        case ScalarType.BOOLEAN:
            return node.text.lower() == "true"
        case ScalarType.INTEGER:
            return int(node.text, _PREFIXES.get(node.text[:2], 10))
        case ScalarType.NUMBER:
            return float(node.text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return node.text
