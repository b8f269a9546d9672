"""Which references may cross namespaces (Gateway API ``ReferenceGrant``)."""
from __future__ import annotations

from edgegw.gateway_api.objects import GATEWAY_API, Object, Objects

__all__ = ["Grants"]


class Grants:
    """All grants of a set of objects."""

    def __init__(self, objects: Objects) -> None:
        self._by_namespace: dict[str, list[Object]] = {}
        for grant in objects.of_kind(GATEWAY_API, "ReferenceGrant"):
            self._by_namespace.setdefault(grant.namespace, []).append(grant)

    def allow(self, referrer: Object, group: str, kind: str, namespace: str, name: str) -> bool:
        """Whether an object may refer to another one, which need not exist.

        Within a namespace all may; otherwise a grant in the target's namespace has to name the referrer's group, kind
        and namespace, and the target's group and kind, and its name or none.
        """
        if referrer.namespace == namespace:
            return True
        return any(
            _has_from(grant, referrer) and _has_to(grant, group, kind, name)
            for grant in self._by_namespace.get(namespace, ())
        )


def _has_from(grant: Object, referrer: Object) -> bool:
    wanted = (referrer.group, referrer.kind, referrer.namespace)
    return any((entry["group"], entry["kind"], entry["namespace"]) == wanted for entry in grant.spec["from"])


def _has_to(grant: Object, group: str, kind: str, name: str) -> bool:
    return any(
        entry["group"] == group and entry["kind"] == kind and entry.get("name") in (None, name)
        for entry in grant.spec["to"]
    )
