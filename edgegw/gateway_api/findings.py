"""What is wrong with a route beside its attachment: references that lead nowhere, and rules that cannot be had."""
from __future__ import annotations

from attrs import define, field

from edgegw.gateway_api.conditions import Conditions
from edgegw.gateway_api.objects import KeyOfObject

__all__ = ["RouteFindings", "RuleError"]


class RuleError(ValueError):
    """A rule that cannot be had as it is.

    :ivar reason: ``UnsupportedValue`` or ``IncompatibleFilters``.
    """

    def __init__(self, message: str, reason: str = "UnsupportedValue") -> None:
        super().__init__(message)
        self.reason = reason


@define(eq=False)
class RouteFindings:
    """The findings of one route.

    :ivar references: reasons of ``ResolvedRefs`` being false, and messages.
    :ivar dropped: by the number of each rule that is not valid: reason and message.
    :ivar rules: how many there are.
    :ivar warnings: what no condition says.
    :ivar missing: what its references name that is not there.
    """

    rules: int
    references: list[tuple[str, str]] = field(factory=list)
    dropped: dict[int, tuple[str, str]] = field(factory=dict)
    warnings: list[str] = field(factory=list)
    missing: list[KeyOfObject] = field(factory=list)

    @property
    def rejected(self) -> bool:
        """Whether no rule is valid, so that the route cannot be accepted by anyone."""
        return bool(self.dropped) and len(self.dropped) == self.rules

    def reference(self, reason: str, message: str) -> None:
        """Note a reference that leads nowhere."""
        if (reason, message) not in self.references:
            self.references.append((reason, message))

    def drop(self, number: int, error: RuleError) -> None:
        """Note a rule that is not valid."""
        self.dropped.setdefault(number, (error.reason, str(error)))

    def warn(self, message: str) -> None:
        """Note what is odd."""
        if message not in self.warnings:
            self.warnings.append(message)

    def tell(self, conditions: Conditions) -> None:
        """Say it in the conditions of a parent, to which ``Accepted`` is added as far as it is false by them."""
        for reason, message in self.references:
            conditions.false("ResolvedRefs", reason, message)
        conditions.true("ResolvedRefs", "ResolvedRefs")
        if self.rejected:
            for number, (reason, message) in self.dropped.items():
                conditions.false("Accepted", reason, f"rules[{number}]: {message}")
        elif self.dropped:
            # Gateway API, RouteConditionPartiallyInvalid: the message begins with these words.
            said = "; ".join(f"Dropped Rule {number}: {message}" for number, (_, message) in self.dropped.items())
            conditions.true("PartiallyInvalid", "UnsupportedValue", said)
