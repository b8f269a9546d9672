"""A native document that was made, not written: data → :mod:`edgegw.config.nodes`."""
from __future__ import annotations

from collections.abc import Mapping as MappingABC
from typing import Any

from edgegw.config.faults import Fault, Report, Severity
from edgegw.config.nodes import Mapping, Node, Scalar, ScalarType, Sequence, Within
from edgegw.config.shapes import Shape

__all__ = ["faults_of", "node_of", "said"]


def node_of(data: Any, within: Within = "") -> Node:
    """Make a node of JSON data.

    All of it stands in line 1, column 1: only its paths tell where something is.

    :raises TypeError: there is something in it that JSON does not have.
    """
    if isinstance(data, MappingABC):
        values = {key: node_of(value, (within, key)) for key, value in data.items()}
        return Mapping(within, 1, 1, dict.fromkeys(values, (1, 1)), values)
    if isinstance(data, (list, tuple)):
        return Sequence(within, 1, 1, tuple(node_of(item, (within, index)) for index, item in enumerate(data)))
    text, type_ = _scalar(data)
    return Scalar(within, 1, 1, text, type_)


def _scalar(data: Any) -> tuple[str, ScalarType]:
    if data is None:
        return "", ScalarType.NULL
    if isinstance(data, bool):
        return ("true" if data else "false"), ScalarType.BOOLEAN
    if isinstance(data, int):
        return str(data), ScalarType.INTEGER
    if isinstance(data, float):
        return repr(data), ScalarType.NUMBER
    if isinstance(data, str):
        return data, ScalarType.TEXT
    raise TypeError(f"{type(data).__name__} is nothing that a document has")


def faults_of(shape: Shape, data: Any) -> tuple[Fault, ...]:
    """Give what keeps the native language from taking a part of a document."""
    report = Report("")
    shape.read(node_of(data), report)
    return tuple(found for found in report.findings if found.severity is Severity.FAULT)


def said(fault: Fault) -> str:
    """Give a fault's text for the message of a condition."""
    path = f"{fault.path}: " if fault.path else ""
    remedy = f"; {fault.remedy}" if fault.remedy else ""
    return f"{path}{fault.problem}{remedy}"
