"""Kubernetes objects: what a manifest says, with the defaults that an API server fills in, and where it says it."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from attrs import field, frozen

__all__ = ["CORE", "DISCOVERY", "EDGEGW", "ENVOY_GATEWAY", "GATEWAY_API", "KeyOfObject", "Object", "Objects", "Source"]

#: API groups of the kinds that are known.
CORE: Final = ""
DISCOVERY: Final = "discovery.k8s.io"
GATEWAY_API: Final = "gateway.networking.k8s.io"
ENVOY_GATEWAY: Final = "gateway.envoyproxy.io"
EDGEGW: Final = "edgegw.io"

#: Group, kind, namespace (empty for kinds without) and name: no two objects have the same.
KeyOfObject = tuple[str, str, str, str]


class Source(Protocol):
    """Where an object was written."""

    @property
    def file(self) -> str:
        """The file's path as it was given, ``-`` for standard input; other sources say what they are."""

    def place(self, path: tuple[str | int, ...]) -> tuple[int, int, str]:
        """Give line and column (from 1) of a value, or of the nearest one above it, and its path as text.

        :param path: keys and indices from the object down, as ``("spec", "listeners", 0, "port")``.
        """


@frozen(eq=False)
class Object:
    """One object.

    :ivar api_version: as it was written, ``gateway.networking.k8s.io/v1beta1``; the content is that of the version
        that the newest CRD stores (``v1``), whichever was written.
    :ivar namespace: empty for kinds that have none; ``default`` where a manifest names none.
    :ivar content: the whole object as JSON (``dict``, ``list``, ``str``, ``int``, ``float``, ``bool``,
        ``None``), checked against its schema and with every default filled in.  Not to be changed.
    :ivar generation: ``metadata.generation``, or how often the specification was seen to change; from 1.
    :ivar created: ``metadata.creationTimestamp`` (RFC 3339), which ages objects; ``None`` in most files.
    :ivar order: rises in the order of the files, for objects that have no age.
    :ivar source: where it was written; ``None`` for objects that were made in memory.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    content: Mapping[str, Any]
    generation: int = 1
    created: str | None = None
    order: int = 0
    source: Source | None = None

    @property
    def group(self) -> str:
        """The API group; empty for the core."""
        group, slash, _ = self.api_version.partition("/")
        return group if slash else CORE

    @property
    def key(self) -> KeyOfObject:
        """What tells it from all others."""
        return self.group, self.kind, self.namespace, self.name

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its specification; empty for kinds that have none."""
        return self.content.get("spec") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        """``metadata.labels``."""
        return self.content.get("metadata", {}).get("labels") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        """``metadata.annotations``."""
        return self.content.get("metadata", {}).get("annotations") or {}

    @property
    def age(self) -> tuple[str, str, str]:
        """Sorts older objects first, and those of one age by namespace and name (Gateway API's conflict rules).

        Objects without a timestamp count as older than all that have one.
        """
        return self.created or "", self.namespace, self.name

    def __str__(self) -> str:
        """Give ``Kind namespace/name`` for messages."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def _by_key(objects: Iterable[Object]) -> dict[KeyOfObject, Object]:
    return {one.key: one for one in objects}


@frozen(eq=False)
class Objects:
    """A set of objects; of two with one key the later one counts."""

    _by_key: Mapping[KeyOfObject, Object] = field(converter=_by_key)

    def get(self, group: str, kind: str, namespace: str, name: str) -> Object | None:
        """Look one up."""
        return self._by_key.get((group, kind, namespace, name))

    def of_kind(self, group: str, kind: str) -> list[Object]:
        """Give all of a kind, the oldest first."""
        return sorted((one for one in self if one.group == group and one.kind == kind), key=lambda one: one.age)

    def __iter__(self) -> Iterator[Object]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)
