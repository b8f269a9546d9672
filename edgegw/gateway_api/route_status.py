"""The status of a route: what each of its parents says of it."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgegw.gateway_api.attachment import Attachment
from edgegw.gateway_api.compiled import CONTROLLER_NAME
from edgegw.gateway_api.conditions import Conditions, ObjectStatus
from edgegw.gateway_api.findings import RouteFindings
from edgegw.gateway_api.objects import GATEWAY_API, Object

__all__ = ["route_status"]


def route_status(route: Object, attachments: Iterable[Attachment], findings: RouteFindings) -> ObjectStatus:
    """Give a route's status; parents that are not ours are left to whose they are."""
    return ObjectStatus(route, {"parents": [_parent(route, one, findings) for one in attachments]})


def _parent(route: Object, attachment: Attachment, findings: RouteFindings) -> dict[str, Any]:
    conditions = Conditions(route.generation)
    if attachment.reason:
        conditions.false("Accepted", attachment.reason, attachment.message)
    findings.tell(conditions)
    if conditions.is_false("Accepted"):
        # Of accepted routes only (Gateway API, RouteConditionPartiallyInvalid).
        conditions.remove("PartiallyInvalid")
    else:
        # Accepted stands first in what people read.
        said = Conditions(route.generation)
        said.true("Accepted", "Accepted")
        for one in conditions.as_json():
            said.replace(one["type"], one["status"], one["reason"], one["message"])
        conditions = said
    written = attachment.parent_ref
    parent_ref = {
        "group": written.get("group", GATEWAY_API),
        "kind": written.get("kind", "Gateway"),
        "namespace": written.get("namespace") or route.namespace,
        "name": written["name"],
        **{key: written[key] for key in ("sectionName", "port") if written.get(key) is not None},
    }
    return {"parentRef": parent_ref, "controllerName": CONTROLLER_NAME, "conditions": conditions.as_json()}
