"""The documents of a manifest file: YAML with ``---`` between them, or JSON."""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from edgegw.config.faults import ConfigError, Report
from edgegw.config.nodes import Node
from edgegw.config.reader import SharedByDocuments, read_text

__all__ = ["read_documents"]

#: A line that ends a document, with the line break before it.  YAML allows it nowhere inside of one (1.2 §9.1.2).
_BOUNDARY: Final = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
#: What may stand before ``---`` and means nothing here: ``%YAML 1.2``.
_DIRECTIVE: Final = re.compile(r"^%[^\n]*", re.MULTILINE)
#: In JSON: a backslash that stands for itself, or a character beyond U+FFFF written as two.
_SURROGATES: Final = re.compile(r"\\\\|\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)


def read_documents(text: str, file: str, report: Report) -> Iterator[Node]:
    """Give the documents of a text that have anything in them.

    ``${VAR}`` is left as it is.  What is no YAML is reported, and the documents behind it are read nonetheless.

    :param file: its path, for faults.
    """
    shared = SharedByDocuments()
    text = text.removeprefix("\ufeff")
    start = above = 0
    lead = ""
    while start <= len(text):
        boundary = _BOUNDARY.search(text, start)
        end = len(text) if boundary is None else boundary.start()
        part = lead + text[start:end]
        if not part.isspace() and part:
            own = Report(file)
            try:
                node = read_text(_plainer(part), file, None, own, above, shared)
                report.add(own.findings)
            except ConfigError as error:
                report.add(error.faults)
                node = None
            if node is not None:
                yield node
        if boundary is None:
            return
        above += text.count("\n", start, end)
        # What stands behind the sign in its line keeps its columns.
        start, lead = boundary.end(), "   "


def _plainer(part: str) -> str:
    """Write a document so that YAML's reader takes it where it would not: some JSON, and directives before ``---``."""
    begin = part.lstrip()[:1]
    if begin in ("{", "[") and "\\u" in part:
        return _SURROGATES.sub(_joined, part)
    if begin not in ("%", "#") or "%" not in part:
        return part
    head = _DIRECTIVE.sub("", part)
    # Only where nothing else is there: elsewhere the sign may be part of a value.
    rest = [line for line in head.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return part if rest else head


def _joined(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    return chr(0x10000 + (int(match[1], 16) - 0xD800) * 0x400 + int(match[2], 16) - 0xDC00)
