"""The documents of a manifest file: YAML with ``---`` between them, or JSON."""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from edgegw.config.faults import ConfigError, Report
from edgegw.config.nodes import Node
from edgegw.config.plain_yaml import KnownLines
from edgegw.config.reader import read_text

__all__ = ["read_documents"]

#: A line that ends a document, with the line break before it.  YAML allows it nowhere inside of one (1.2 §9.1.2).
_BOUNDARY: Final = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
#: What may stand before ``---`` and means nothing here: ``%YAML 1.2``.
_DIRECTIVE: Final = re.compile(r"^%[^\n]*", re.MULTILINE)


def read_documents(text: str, file: str, report: Report) -> Iterator[Node]:
    """Give the documents of a text that have anything in them.

    ``${VAR}`` is left as it is.  What is no YAML is reported, and the documents behind it are read nonetheless.

    :param file: its path, for faults.
    """
    known: KnownLines = {}
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
                node = read_text(_without_directives(part), file, None, own, above, known)
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


def _without_directives(part: str) -> str:
    if not part.lstrip().startswith(("%", "#")) or "%" not in part:
        return part
    head = _DIRECTIVE.sub("", part)
    # Only where nothing else is there: elsewhere the sign may be part of a value.
    rest = [line for line in head.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return part if rest else head
