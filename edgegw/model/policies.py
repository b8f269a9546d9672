"""Policies in a configuration: which kinds with which options, how they are combined, and where they hold."""
from __future__ import annotations

from enum import Enum
from typing import Any, Final, Union

from attrs import frozen

__all__ = [
    "POLICY_TIMEOUT",
    "ClientRequirement",
    "OnMissing",
    "PolicyAll",
    "PolicyAny",
    "PolicyNot",
    "PolicyRule",
    "PolicyUse",
    "RefuseWith",
]


@frozen
class PolicyUse:
    """A policy with its options, in one place of a configuration.

    :ivar kind: provides :class:`edgegw.interfaces.IPolicyKind`.
    :ivar policy: what the kind has built of its options; provides :class:`edgegw.interfaces.IPolicy`.
    :ivar environment: what it was built with; provides :class:`edgegw.interfaces.IEnvironment`.
    """

    kind: Any
    policy: Any
    environment: Any = None


@frozen
class PolicyAll:
    """Policies that must all accept."""

    members: tuple[PolicyRule, ...]


@frozen
class PolicyAny:
    """Policies of which one must accept."""

    members: tuple[PolicyRule, ...]


@frozen
class PolicyNot:
    """A policy that must refuse; one that fails to decide is no refusal."""

    member: PolicyRule


PolicyRule = Union[PolicyUse, PolicyAll, PolicyAny, PolicyNot]


class OnMissing(Enum):
    """What becomes of a client without a certificate where policies are."""

    REFUSE = "refuse"
    ACCEPT = "accept"


#: Seconds that a policy which waits has for its answer, where nothing else is said.
POLICY_TIMEOUT: Final = 2.0


class RefuseWith(Enum):
    """What a client sees that is refused after the handshake."""

    CLOSE = "close"
    RESPONSE = "response"


class ClientRequirement(Enum):
    """What a route's rule demands of the client's certificate."""

    VERIFIED = "verified"
    ANY = "any"
    NONE = "none"
