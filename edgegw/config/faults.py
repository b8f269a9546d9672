"""What is wrong with a configuration, where, and what would be right.

Every dialect reports in these words, so that ``edgegw check`` can list all faults at once and an
editor or a script finds file, line and column where it expects them.
"""
from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from attrs import frozen

__all__ = ["ConfigError", "Fault", "Place", "Report", "Severity", "shown"]

_LONGEST_SHOWN = 80


class Severity(Enum):
    """Whether a finding keeps a configuration from running."""

    FAULT = "fault"
    WARNING = "warning"


@frozen
class Fault:
    """One finding.

    :ivar file: the configuration's path as it was given.
    :ivar line: 1 is the first.
    :ivar column: 1 is the first; counted in characters.
    :ivar path: where in the document, as ``listeners[0].tls.min_version``; empty for the document
        as a whole.
    :ivar problem: what is wrong.
    :ivar remedy: what would be right; may be empty.
    """

    file: str
    line: int
    column: int
    path: str
    problem: str
    remedy: str = ""
    severity: Severity = Severity.FAULT

    def __str__(self) -> str:
        """Give ``file:line:column: path: what is wrong; what would be right`` on one line."""
        warning = "warning: " if self.severity is Severity.WARNING else ""
        path = f"{self.path}: " if self.path else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{_printable(self.file)}:{self.line}:{self.column}: {warning}{path}{self.problem}{remedy}"


class ConfigError(Exception):
    """A configuration that cannot be used.

    :ivar faults: every finding in the order of the document, warnings among them.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        """Give one line for each finding."""
        return "\n".join(map(str, self.faults))


class Place(Protocol):
    """Whatever has a position in the document."""

    @property
    def path(self) -> str:
        """See :attr:`Fault.path`."""

    @property
    def line(self) -> int:
        """See :attr:`Fault.line`."""

    @property
    def column(self) -> int:
        """See :attr:`Fault.column`."""


class Report:
    """Collects the findings of one file.

    :param file: the configuration's path, for the messages.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: dict[Fault, None] = {}

    def fault(self, place: Place, problem: str, remedy: str = "") -> None:
        """Note something that keeps the configuration from running."""
        self._add(place, problem, remedy, Severity.FAULT)

    def warn(self, place: Place, problem: str, remedy: str = "") -> None:
        """Note something that runs, though hardly as it was meant."""
        self._add(place, problem, remedy, Severity.WARNING)

    def _add(self, place: Place, problem: str, remedy: str, severity: Severity) -> None:
        # Settings shared by many listeners are read once for each of them; one finding is enough.
        found = Fault(
            self._file, place.line, place.column, place.path, _printable(problem), _printable(remedy), severity
        )
        self._found[found] = None

    def add(self, findings: Iterable[Fault]) -> None:
        """Note what another report has found."""
        self._found.update(dict.fromkeys(findings))

    @property
    def faults(self) -> int:
        """How many findings are more than warnings."""
        return sum(fault.severity is Severity.FAULT for fault in self._found)

    @property
    def failed(self) -> bool:
        """Whether any finding is more than a warning."""
        return any(fault.severity is Severity.FAULT for fault in self._found)

    @property
    def findings(self) -> tuple[Fault, ...]:
        """Everything found, in the order of the document."""
        return tuple(sorted(self._found, key=lambda fault: (fault.line, fault.column)))


def shown(value: str) -> str:
    """Quote a value for a message: control characters escaped, long ones cut."""
    text = value if len(value) <= _LONGEST_SHOWN else value[: _LONGEST_SHOWN - 1] + "…"
    return f'"{_printable(text)}"'


def _printable(text: str) -> str:
    """Escape what would break lines, reach into a terminal or not encode."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
