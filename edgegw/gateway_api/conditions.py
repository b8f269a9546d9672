"""Conditions and statuses of objects, as an API server would show them (``metav1.Condition``)."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

from edgegw.gateway_api.objects import Object

__all__ = ["Condition", "Conditions", "ObjectStatus"]


@frozen
class Condition:
    """One aspect of an object's state.

    :ivar type: ``Accepted`` and the like.
    :ivar status: ``True``, ``False`` or ``Unknown``.
    :ivar reason: CamelCase, from the specification's list.
    :ivar message: for people: what is wrong, where, and what would be right; empty where nothing is.
    """

    type: str
    status: str
    reason: str
    message: str = ""


@define(eq=False)
class Conditions:
    """The conditions of one thing: one of each type, the first to be said false stands.

    :ivar generation: the object's, which each condition carries as ``observedGeneration``.
    """

    generation: int
    _by_type: dict[str, Condition] = field(factory=dict)

    def true(self, type_: str, reason: str, message: str = "") -> None:
        """Say that something holds, unless it was said already that it does not."""
        self._by_type.setdefault(type_, Condition(type_, "True", reason, message))

    def false(self, type_: str, reason: str, message: str) -> None:
        """Say that something does not hold; the first reason stands and further messages are put behind its own."""
        before = self._by_type.get(type_)
        if before is not None and before.status == "False":
            if message not in before.message:
                self._by_type[type_] = Condition(type_, "False", before.reason, f"{before.message}; {message}")
            return
        self._by_type[type_] = Condition(type_, "False", reason, message)

    def replace(self, type_: str, status: str, reason: str, message: str = "") -> None:
        """Say something whatever was said of it before: where one reason goes before another."""
        self._by_type[type_] = Condition(type_, status, reason, message)

    def remove(self, type_: str) -> None:
        """Take back what was said of something."""
        self._by_type.pop(type_, None)

    def get(self, type_: str) -> Condition | None:
        """Give what was said of something."""
        return self._by_type.get(type_)

    def is_true(self, type_: str) -> bool:
        """Whether something was said to hold."""
        found = self._by_type.get(type_)
        return found is not None and found.status == "True"

    def is_false(self, type_: str) -> bool:
        """Whether something was said not to hold."""
        found = self._by_type.get(type_)
        return found is not None and found.status == "False"

    def as_json(self) -> list[dict[str, Any]]:
        """Give them as JSON, without ``lastTransitionTime``, which only who saw them change can tell."""
        return [
            {
                "type": one.type,
                "status": one.status,
                "reason": one.reason,
                "message": one.message,
                "observedGeneration": self.generation,
            }
            for one in self._by_type.values()
        ]


@frozen(eq=False)
class ObjectStatus:
    """What an object's ``status`` says.

    :ivar status: as JSON.
    """

    object: Object
    status: Mapping[str, Any]
