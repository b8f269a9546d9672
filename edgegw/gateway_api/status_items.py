"""What is shown of objects' statuses: as JSON, with the time of each condition's last change, and as a table."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from edgegw.gateway_api.conditions import ObjectStatus
from edgegw.gateway_api.objects import KeyOfObject

__all__ = ["StatusItems", "status_table"]

#: Where conditions stand in a status: an object, a listener of it, one of its parents or ancestors; by type.
_Changes = dict[tuple[KeyOfObject, str, str], tuple[str, str]]


class StatusItems:
    """The statuses as they were seen last.

    A condition's ``lastTransitionTime`` changes with its ``status`` only (``metav1.Condition``).

    :ivar items: ``{apiVersion, kind, metadata, spec, status}`` each, in the order of the objects.
    """

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self._changes: _Changes = {}

    def see(self, statuses: Iterable[ObjectStatus], now: datetime) -> None:
        """Take newer statuses.

        :param now: aware.
        """
        moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        changes: _Changes = {}
        self.items = [self._item(one, moment, changes) for one in statuses]
        self._changes = changes

    def _item(self, seen: ObjectStatus, moment: str, changes: _Changes) -> dict[str, Any]:
        key = seen.object.key

        def timed(value: Any, where: str) -> Any:
            if isinstance(value, Mapping):
                if "observedGeneration" in value and "reason" in value:
                    place = (key, where, str(value["type"]))
                    before = self._changes.get(place) or changes.get(place)
                    since = before[1] if before is not None and before[0] == value["status"] else moment
                    changes[place] = (value["status"], since)
                    return {**value, "lastTransitionTime": since}
                return {name: timed(inner, f"{where}.{name}") for name, inner in value.items()}
            if isinstance(value, (list, tuple)):
                return [timed(inner, where if where.endswith(".conditions") else f"{where}[{_label(inner, index)}]")
                        for index, inner in enumerate(value)]
            return value

        one = seen.object
        metadata: dict[str, Any] = {"name": one.name, "generation": one.generation}
        if one.namespace:
            metadata["namespace"] = one.namespace
        item = {"apiVersion": one.api_version, "kind": one.kind, "metadata": metadata}
        if one.spec:
            item["spec"] = one.spec
        return {**item, "status": timed(seen.status, "status")}


def _label(element: Any, index: int) -> str:
    """Tell an element of a list from the others, wherever it stands: listeners have names, parents are references."""
    if isinstance(element, Mapping):
        if "name" in element:
            return str(element["name"])
        for reference in ("parentRef", "ancestorRef"):
            if reference in element:
                return repr(sorted(element[reference].items()))
    return str(index)


def status_table(items: Iterable[Mapping[str, Any]]) -> str:
    """Give a line for each condition, and its message: what a person looks for first is what is not true."""
    rows = [("OBJECT", "OF", "CONDITION", "STATUS", "REASON", "MESSAGE")]
    for item in items:
        metadata, status = item["metadata"], item["status"]
        name = f"{item['kind']} {metadata['namespace'] + '/' if 'namespace' in metadata else ''}{metadata['name']}"
        rows.extend(_rows(name, "", status))
        for listener in status.get("listeners", ()):
            rows.extend(_rows(name, f"listener {listener['name']} ({listener['attachedRoutes']} routes)", listener))
        for key, reference in (("parents", "parentRef"), ("ancestors", "ancestorRef")):
            for entry in status.get(key, ()):
                rows.extend(_rows(name, _reference(entry[reference]), entry))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:5], widths, strict=True)), row[5]]).rstrip() + "\n"
        for row in rows
    )


def _rows(name: str, of: str, status: Mapping[str, Any]) -> list[tuple[str, str, str, str, str, str]]:
    return [
        (name, of, one["type"], one["status"], one["reason"], one["message"]) for one in status.get("conditions", ())
    ]


def _reference(reference: Mapping[str, Any]) -> str:
    namespace = f"{reference['namespace']}/" if reference.get("namespace") else ""
    section = f" {reference['sectionName']}" if reference.get("sectionName") else ""
    port = f" port {reference['port']}" if reference.get("port") else ""
    return f"{reference.get('kind', '')} {namespace}{reference['name']}{section}{port}"
