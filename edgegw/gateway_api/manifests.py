"""Kubernetes manifests → :class:`~edgegw.gateway_api.objects.Objects`, judged as an API server would judge them.

Files have YAML or JSON in them, as ``kubectl apply`` reads them: several documents, ``kind: List``, older versions of
the API.  What an API server would refuse is a fault; what it would fill in is filled in.  A Secret's ``data`` is in
base64 as an API server gives it, ``stringData`` folded in.  ``status`` is left out: it is this program that says it.
"""
from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from attrs import define, field, frozen

from edgegw.config.faults import ConfigError, Fault, Place, Report, shown
from edgegw.config.nodes import Mapping as MappingNode
from edgegw.config.nodes import Node, Scalar, ScalarType, kind, path_of
from edgegw.config.nodes import Sequence as SequenceNode
from edgegw.gateway_api.kinds import Kind, UnknownKind, kind_of
from edgegw.gateway_api.manifest_files import STANDARD_INPUT, Stream, manifest_files, manifest_text
from edgegw.gateway_api.objects import KeyOfObject, Object, Objects
from edgegw.gateway_api.schema import at, given
from edgegw.gateway_api.yaml_documents import read_documents

__all__ = ["MAX_OBJECTS", "MAX_TEXT", "ReadObjects", "read_objects", "read_objects_text"]

#: Objects in all files together, and characters.
MAX_OBJECTS: Final = 100_000
MAX_TEXT: Final = 256 * 1024 * 1024
#: Where objects are that name no namespace.
DEFAULT_NAMESPACE: Final = "default"

#: Lists in lists; ``kubectl`` makes none.
_MAX_LISTS: Final = 4
#: What is said to an object without ``apiVersion`` or ``kind``, by its first field.
_WHOLE: Final = "give whole objects, with apiVersion: gateway.networking.k8s.io/v1, kind: Gateway and metadata, say"
_PARTS: Final = {
    "listeners": "put it under spec of a Gateway: apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, "
    "metadata: {name: …}, spec: {gatewayClassName: …, listeners: …}",
    "rules": "put it under spec of a route: apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, "
    "metadata: {name: …}, spec: {parentRefs: …, rules: …}",
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_MOST_READINGS: Final = 5
_NONE: Final[Mapping[str, Stream]] = MappingProxyType({})


@frozen(eq=False)
class ReadObjects:
    """What manifests have in them.

    :ivar warnings: what is odd, and what is not used, in the order of the files.
    :ivar files: what was read.
    """

    objects: Objects
    warnings: tuple[Fault, ...] = ()
    files: tuple[str, ...] = ()


def read_objects(
    paths: Sequence[str], streams: Mapping[str, Stream] = _NONE, tries: int = _MOST_READINGS
) -> ReadObjects:
    """Read manifests.

    Of two objects with one kind, namespace and name the later one counts, as with ``kubectl apply``.

    :param paths: of files and directories (see :func:`edgegw.gateway_api.manifest_files.manifest_files`).
    :param streams: what was read already of those among the paths that can be read once only.
    :param tries: how often everything is read anew while files are taken out of directories.
    :raises ConfigError: with every fault of all files.
    """
    files = manifest_files(paths)
    reading = _Reading()
    for file in files:
        try:
            text = manifest_text(file, streams)
        except ConfigError as error:
            if tries > 1 and _is_gone(file, paths):
                return read_objects(paths, streams, tries - 1)
            reading.findings += error.faults
            continue
        reading.read(text, file)
    return reading.result(tuple(files))


def _is_gone(file: str, paths: Sequence[str]) -> bool:
    """Whether a file has been taken out of a directory since the directory was looked at."""
    return file not in paths and not os.path.lexists(file)


def read_objects_text(text: str, file: str = STANDARD_INPUT) -> ReadObjects:
    """Read manifests from a text; see :func:`read_objects`.

    :param file: what messages call it.
    """
    reading = _Reading()
    reading.read(text, file)
    return reading.result((file,))


@frozen(eq=False)
class _NodeSource:
    """Where an object was written: see :class:`edgegw.gateway_api.objects.Source`."""

    file: str
    root: Node

    def place(self, path: tuple[str | int, ...]) -> tuple[int, int, str]:
        """See :meth:`edgegw.gateway_api.objects.Source.place`."""
        node = at(self.root, *path)
        return node.line, node.column, _within(self.root, node.path)


def _within(root: Node, path: str) -> str:
    """Give the path of a node from an object's own node down."""
    above = path_of(root.within)
    return path[len(above) :].lstrip(".") if above and path.startswith(above) else path


@frozen
class _PlaceInObject:
    """A place, called by the object and the path in it."""

    path: str
    line: int
    column: int


@define(eq=False)
class _ObjectFaults:
    """Reports what is found in one object by its name."""

    report: Report
    root: Node
    title: str
    failed: bool = False

    def fault(self, place: Place, problem: str, remedy: str = "") -> None:
        """See :class:`edgegw.gateway_api.schema.Faults`."""
        self.failed = True
        self.report.fault(self._named(place), problem, remedy)

    def warn(self, place: Place, problem: str, remedy: str = "") -> None:
        """See :class:`edgegw.gateway_api.schema.Faults`."""
        self.report.warn(self._named(place), problem, remedy)

    def _named(self, place: Place) -> _PlaceInObject:
        path = _within(self.root, place.path)
        return _PlaceInObject(f"{self.title}: {path}" if path else self.title, place.line, place.column)


@define(eq=False)
class _Reading:
    """Takes what is read from one file after another."""

    findings: list[Fault] = field(factory=list)
    _objects: dict[KeyOfObject, Object] = field(factory=dict)
    #: By kind: where the first one of it is that is not used, its report, and how many there are.
    _unused: dict[str, list[Any]] = field(factory=dict)
    _order: int = 0
    _text: int = 0

    def read(self, text: str, file: str) -> None:
        """Read all that is in a text."""
        self._text += len(text)
        if self._text > MAX_TEXT:
            raise ConfigError([Fault(file, 1, 1, "", f"the files have more than {MAX_TEXT} characters", "give less")])
        report = Report(file)
        for root in read_documents(text, file, report):
            for node in self._members(root, report, 0):
                self._order += 1
                if self._order > MAX_OBJECTS:
                    report.fault(node, f"there are more than {MAX_OBJECTS} objects", "give fewer")
                    raise ConfigError([*self.findings, *report.findings])
                self._object(node, file, report)
        self.findings += report.findings

    def result(self, files: tuple[str, ...]) -> ReadObjects:
        """Give what was read.

        :raises ConfigError: there was a fault.
        """
        for name, (file, place, count) in self._unused.items():
            many = f"; there are {count} of it" if count > 1 else ""
            report = Report(file)
            report.warn(place, f"{name} is not used{many}")
            self.findings += report.findings
        order = {file: index for index, file in enumerate(files)}
        findings = sorted(self.findings, key=lambda found: (order.get(found.file, 0), found.line, found.column))
        if any(found.severity.value == "fault" for found in findings):
            raise ConfigError(findings)
        return ReadObjects(Objects(self._objects.values()), tuple(findings), files)

    def _members(self, node: Node, report: Report, depth: int) -> Iterator[MappingNode]:
        """Give the objects of a document: itself, or those of a list."""
        if not isinstance(node, MappingNode):
            if not (isinstance(node, Scalar) and node.broken):
                report.fault(node, f"is {kind(node)} and no object", "give apiVersion, kind and metadata")
            return
        name, items = _text_at(node, "kind"), node.values.get("items")
        if name == "List" and not given(node, "items"):
            return
        if name is None or not name.endswith("List") or not isinstance(items, SequenceNode):
            yield node
            return
        if depth >= _MAX_LISTS:
            report.fault(node, f"more than {_MAX_LISTS} lists stand in each other", "give the objects one by one")
            return
        for key in node.values:
            if key not in ("apiVersion", "kind", "metadata", "items"):
                report.fault(node.key(key), "is no known field of a list", "leave it out")
        for item in items.items:
            yield from self._members(_with_kind(item, node, name), report, depth + 1)

    def _object(self, node: MappingNode, file: str, report: Report) -> None:
        found = _kind_of(node, report)
        if found is None:
            return
        kind_, version = found
        if isinstance(kind_, str):
            entry = self._unused.setdefault(kind_, [file, node, 0])
            entry[2] += 1
            return
        faults = _ObjectFaults(report, node, _title(kind_.name, node, kind_.namespaced))
        content = kind_.versions[version].read(node, faults)
        if faults.failed:
            return
        if not kind_.namespaced and content["metadata"].pop("namespace", None) is not None:
            place = _mapping_at(node, "metadata").key("namespace")
            faults.warn(place, f"has no effect: a {kind_.name} lies in no namespace", "leave it out")
        complete = kind_.complete.get(version)
        if complete is not None:
            complete(content)
        self._add(_object_of(kind_, content, node, file, self._order), faults)

    def _add(self, made: Object, faults: _ObjectFaults) -> None:
        before = self._objects.pop(made.key, None)
        if before is not None:
            source = before.source
            line = source.place(())[0] if source is not None else 1
            where = f"{source.file}:{line}" if source is not None else "another place"
            faults.warn(faults.root, f"is there already in {where}; this later one counts")
        self._objects[made.key] = made


def _mapping_at(node: MappingNode, key: str) -> MappingNode:
    """Give a mapping's member that is a mapping, or itself."""
    found = node.values.get(key)
    return found if isinstance(found, MappingNode) else node


def _with_kind(item: Node, around: MappingNode, name: str) -> Node:
    """Give an element of a list with the list's version and kind, where it has none as in an API server's answers."""
    if name == "List" or not isinstance(item, MappingNode) or given(item, "kind") or given(item, "apiVersion"):
        return item
    version = around.values.get("apiVersion")
    if version is None:
        return item
    kind_ = Scalar((item.within, "kind"), item.line, item.column, name.removesuffix("List"))
    return MappingNode(item.within, item.line, item.column, item.keys, {
        **item.values, "apiVersion": version, "kind": kind_,
    })


def _text_at(node: MappingNode, key: str) -> str | None:
    found = node.values.get(key)
    return found.text if isinstance(found, Scalar) and found.type is ScalarType.TEXT and not found.broken else None


def _kind_of(node: MappingNode, report: Report) -> tuple[Kind | str, str] | None:
    """Find an object's kind, or give the name of one that is not used; ``None`` after a fault."""
    api_version, name = _text_at(node, "apiVersion"), _text_at(node, "kind")
    if api_version is None or name is None:
        missing = [key for key, value in (("apiVersion", api_version), ("kind", name)) if value is None]
        wrong = [key for key in missing if key in node.values]
        if wrong:
            report.fault(node.values[wrong[0]], "is no text", f"write {wrong[0]} as Kubernetes has it")
        else:
            problem = f"is no object: it has no {' and no '.join(missing)}"
            report.fault(node, problem, _PARTS.get(next(iter(node.values), ""), _WHOLE))
        return None
    try:
        return kind_of(api_version, name)
    except UnknownKind as unknown:
        if unknown.problem:
            report.fault(node.values["apiVersion"], unknown.problem, unknown.remedy)
            return None
    return (name if _NAME.fullmatch(name) else shown(name)), ""


def _title(name: str, node: MappingNode, namespaced: bool) -> str:
    """Name an object for messages: ``Gateway default/mtls``."""
    metadata = _mapping_at(node, "metadata")
    called = _text_at(metadata, "name") if metadata is not node else None
    namespace = (_text_at(metadata, "namespace") if metadata is not node else None) or DEFAULT_NAMESPACE
    if called is None or not _NAME.fullmatch(called) or not _NAME.fullmatch(namespace):
        return name
    return f"{name} {namespace}/{called}" if namespaced else f"{name} {called}"


def _object_of(kind_: Kind, content: dict[str, Any], node: Node, file: str, order: int) -> Object:
    metadata = content["metadata"]
    if kind_.namespaced:
        metadata.setdefault("namespace", DEFAULT_NAMESPACE)
    return Object(
        content["apiVersion"],
        kind_.name,
        metadata.get("namespace", ""),
        metadata["name"],
        content,
        max(1, metadata.get("generation", 1)),
        _utc(metadata.get("creationTimestamp")),
        order,
        _NodeSource(file, node),
    )


def _utc(time: str | None) -> str | None:
    """Give a time so that times compare as texts do (RFC 3339 in UTC)."""
    if time is None:
        return None
    try:
        return datetime.fromisoformat(time.upper()).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return time
