"""What holds for a port as a whole, before it is known which of its listeners a client is for."""
from __future__ import annotations

from enum import Enum

from attrs import frozen

__all__ = ["PortSettings", "UnmatchedName"]


class UnmatchedName(Enum):
    """What becomes of a TLS client whose name no listener of the port takes, and of one that names none."""

    CLOSE = "close"
    UNRECOGNIZED_NAME = "unrecognized_name"
    DEFAULT_CERTIFICATE = "default_certificate"


@frozen
class PortSettings:
    """Settings of addresses and ports.

    :ivar bindings: as :class:`~edgegw.model.Listener` has them; each is in one of a gateway's settings at most.
    :ivar unmatched_name: ``None`` closes where a listener of the port passes TLS through, and shows the first
        listener's default certificate elsewhere.
    """

    bindings: tuple[tuple[str | None, int], ...]
    unmatched_name: UnmatchedName | None = None
