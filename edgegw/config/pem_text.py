"""PEM in a document itself, in place of the path of a file with it.

One line may stand before the first ``-----BEGIN``, which RFC 7468 §2 allows: it is what the PEM is called in
messages and metrics.  Nothing of the PEM is ever shown.
"""
from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from attrs import frozen

from edgegw.config.document_terms import FILE
from edgegw.config.faults import Report
from edgegw.config.nodes import Node, Scalar, ScalarType
from edgegw.config.server_certificates import MAX_BYTES
from edgegw.config.shapes import INVALID, Schema, Shape

__all__ = ["FILE_OR_PEM", "FileOrPEM", "is_pem", "name_of", "named_pem"]

_BEGIN: Final = "-----BEGIN "
_LONGEST_NAME: Final = 600


def is_pem(text: str) -> bool:
    """Whether a text is PEM and not the path of a file, which has no line ends in it."""
    return _BEGIN in text


def name_of(text: str) -> str:
    """Give what PEM is called: the line before it, or where there is none the beginning of its SHA-256."""
    name = text.partition(_BEGIN)[0].strip()
    return name or f"PEM {sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def named_pem(name: str, pem: bytes) -> str:
    """Put a name before PEM."""
    return f"{name}\n{pem.decode('ascii')}"


@frozen
class FileOrPEM(Shape):
    """The path of a PEM file, or PEM; read as the text that it is."""

    wanted: str = "the path of a PEM file, or PEM"

    def read(self, node: Node, report: Report) -> Any:
        if not isinstance(node, Scalar) or node.type is not ScalarType.TEXT or node.broken:
            return FILE.read(node, report)
        text = node.text
        if not is_pem(text):
            if "\n" in text:
                report.fault(node, "is neither the path of a file nor PEM", "give PEM with -----BEGIN and -----END")
                return INVALID
            return FILE.read(node, report)
        before = text.partition(_BEGIN)[0].strip()
        if len(before) > _LONGEST_NAME or not before.isprintable():
            report.fault(
                node,
                "has more before its first -----BEGIN than a name in one line",
                f"leave it out, or write a line of {_LONGEST_NAME} characters or fewer",
            )
            return INVALID
        if len(text) > MAX_BYTES:
            report.fault(node, f"has {len(text)} characters", f"give {MAX_BYTES} or fewer")
            return INVALID
        return text

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return {"anyOf": [FILE.schema(definitions), {"type": "string", "pattern": "-----BEGIN [A-Z0-9 ]+-----"}]}


FILE_OR_PEM: Final = FileOrPEM()
