"""The status of a Gateway, when it is known what is attached to its listeners."""
from __future__ import annotations

from typing import Any

from edgegw.gateway_api.conditions import ObjectStatus
from edgegw.gateway_api.listener_state import GatewayState, ListenerState
from edgegw.gateway_api.native_listeners import not_programmed

__all__ = ["gateway_status", "withdraw"]


def withdraw(listener: ListenerState, problem: str) -> None:
    """Say that a listener is not served after all, for something that was found out only later.

    Its native listeners have to be taken out of the document by whoever finds it out.

    :param problem: begins with the key of the native listener that it is about.
    """
    listener.native.clear()
    if problem.startswith("port: "):
        listener.conditions.false("Accepted", "PortUnavailable", problem)
    not_programmed(listener, problem)


def gateway_status(state: GatewayState) -> ObjectStatus:
    """Finish the conditions of a Gateway and its listeners, and give its status.

    May be asked again when more was said in them.
    """
    listeners = [_listener_status(listener) for listener in state.listeners]
    _finish(state)
    status: dict[str, Any] = {
        "addresses": state.addresses,
        "conditions": state.conditions.as_json(),
        "listeners": listeners,
    }
    return ObjectStatus(state.gateway, status)


def _listener_status(listener: ListenerState) -> dict[str, Any]:
    conditions = listener.conditions
    conditions.true("Accepted", "Accepted")
    conditions.true("ResolvedRefs", "ResolvedRefs")
    if conditions.get("Conflicted") is None:
        conditions.replace("Conflicted", "False", "NoConflicts")
    if listener.native and not conditions.is_false("Programmed"):
        conditions.replace("Programmed", "True", "Programmed")
    else:
        accepted = conditions.get("Accepted")
        problem = accepted.message if accepted is not None and accepted.status == "False" else "it is not served"
        if not conditions.is_false("Programmed"):
            conditions.replace("Programmed", "False", "Invalid", problem)
    return {
        "name": listener.name,
        "attachedRoutes": listener.attached,
        "supportedKinds": [{"group": group, "kind": kind} for group, kind in listener.kinds],
        "conditions": conditions.as_json(),
    }


def _finish(state: GatewayState) -> None:
    conditions = state.conditions
    refused = [one.name for one in state.listeners if one.conditions.is_false("Accepted")]
    if refused and not conditions.is_false("Accepted"):
        some = len(refused) < len(state.listeners)
        conditions.replace(
            "Accepted", "True" if some else "False", "ListenersNotValid", f"not accepted: {', '.join(refused)}"
        )
    conditions.true("Accepted", "Accepted")
    unresolved = [one.name for one in state.listeners if one.conditions.is_false("ResolvedRefs")]
    if unresolved and not conditions.is_false("ResolvedRefs"):
        conditions.replace("ResolvedRefs", "False", "ListenersNotResolved", f"not resolved: {', '.join(unresolved)}")
    conditions.true("ResolvedRefs", "ResolvedRefs")
    if not any(one.native for one in state.listeners):
        accepted = conditions.get("Accepted")
        refused_for = accepted.message if accepted is not None and accepted.status == "False" else ""
        if not conditions.is_false("Programmed"):
            conditions.replace("Programmed", "False", "Invalid", refused_for or "none of its listeners is served")
    else:
        conditions.true("Programmed", "Programmed")
