"""What is not as it was meant, said of the lines where it was written: statuses as findings.

A cluster shows it in the objects' conditions only; who checks files wants to have it there.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from edgegw.config.faults import Fault, Severity
from edgegw.gateway_api.conditions import ObjectStatus
from edgegw.gateway_api.objects import Object

__all__ = ["status_warnings"]

#: Conditions of which a sound object has another status than ``True``.
_BAD_IF_TRUE: Final = frozenset({"Conflicted", "PartiallyInvalid", "OverlappingTLSConfig"})
#: Reasons of a Gateway's conditions that only sum up what its listeners say.
_SUMS: Final = frozenset({"ListenersNotResolved", "ListenersNotValid"})
#: What messages of routes begin with: where in the specification the fault is.
_PLACE: Final = re.compile(r"((?:[A-Za-z]+(?:\[\d+\])?\.)*[A-Za-z]+(?:\[\d+\])?): ")
_DROPPED: Final = re.compile(r"Dropped Rule (\d+): ")

_Path = tuple[str | int, ...]


def status_warnings(statuses: Iterable[ObjectStatus]) -> list[Fault]:
    """Give a warning for each condition that a sound object would not have, each text once for an object."""
    found: list[Fault] = []
    for status in statuses:
        said: dict[str, None] = {}
        for path, condition in _bad(status):
            message, reason = str(condition["message"]), str(condition["reason"])
            # What follows from something else says it again.
            if any(one in message for one in said) or (reason in _SUMS and said):
                continue
            said[message] = None
            found.append(_warning(status, path, f"{condition['type']} is {condition['status']} ({reason}): {message}"))
    return found


def _bad(status: ObjectStatus) -> Iterator[tuple[_Path, Mapping[str, Any]]]:
    """Give the bad conditions of an object with the part of it that they are about; sums come last."""
    json = status.status
    for index, listener in enumerate(json.get("listeners", ())):
        yield from ((("spec", "listeners", index), one) for one in _bad_of(listener))
    references = status.object.spec.get("parentRefs") or ()
    for parent in json.get("parents", ()):
        index = next((n for n, one in enumerate(references) if _same(one, parent["parentRef"])), 0)
        for one in _bad_of(parent):
            about_parent = one["type"] == "Accepted" and _place(str(one["message"]), status.object) is None
            yield ("spec", "parentRefs", index) if about_parent else ("spec",), one
    for ancestor in json.get("ancestors", ()):
        yield from ((("spec",), one) for one in _bad_of(ancestor))
    yield from ((("metadata", "name"), one) for one in _bad_of(json))


def _bad_of(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for condition in status.get("conditions", ()):
        if condition["status"] == ("True" if condition["type"] in _BAD_IF_TRUE else "False"):
            yield condition


def _same(written: Mapping[str, Any], shown: Mapping[str, Any]) -> bool:
    return all(written.get(key) == shown.get(key) for key in ("name", "sectionName", "port"))


def _place(message: str, one: Object) -> _Path | None:
    """Find where in an object's specification a message says that the fault is."""
    dropped = _DROPPED.match(message)
    if dropped is not None:
        return "rules", int(dropped[1])
    match = _PLACE.match(message)
    if match is None:
        return None
    steps = re.findall(r"[A-Za-z]+|\d+", match[1])
    return tuple(int(step) if step.isdecimal() else step for step in steps) if steps[0] in one.spec else None


def _warning(status: ObjectStatus, path: _Path, text: str) -> Fault:
    one = status.object
    message = text.partition("): ")[2]
    within = _place(message, one)
    if within is not None:
        path = ("spec", *within)
    file, (line, column, where) = "", (1, 1, "")
    if one.source is not None:
        file, (line, column, where) = one.source.file, one.source.place(path)
    # The message says it itself, or there is nothing to say.
    where = "" if within is not None or path in (("metadata", "name"), ("spec",)) else where
    return Fault(file, line, column, f"{one}: {where}" if where else str(one), text, severity=Severity.WARNING)
