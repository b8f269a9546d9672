"""Who a TLS transport belongs to, and who decides about it."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, Union

from OpenSSL import SSL
from twisted.internet.defer import Deferred

from edgegw.deadlines import Deadlines
from edgegw.tcp import Server, Why
from edgegw.tls.verification import Hearing
from edgegw.verdict import Reason, Reject
from edgegw.wire.client_hello import ClientHello

if TYPE_CHECKING:
    from edgegw.tls.transport import TLSServer

__all__ = ["Found", "Judge", "Router", "TLSOwner"]

#: What a name leads to: a context, a refusal (``None`` is ``unrecognized_name``), or later one of these.
Found = Union[SSL.Context, Reject, Deferred[Union[SSL.Context, Reject]], None]


class Judge(Protocol):
    """Decides, for one listener, about the connections whose names lead to it."""

    def may_begin(self, transport: TLSServer) -> Reason | None:
        """Called before OpenSSL sees a byte; a reason refuses the connection."""

    def begin(self, transport: TLSServer, context: SSL.Context) -> Hearing | None:
        """Called when OpenSSL is to begin: sets ``transport.tls``."""

    def judge(self, transport: TLSServer) -> Any:
        """Called when OpenSSL's handshake is done: the protocol to run, a ``Reject``, or a Deferred of these."""

    def gone(self) -> None:
        """Called when a connection has ended that :meth:`may_begin` let begin."""


class Router(Protocol):
    """Decides, for one port, where a ClientHello leads."""

    def route(self, hello: ClientHello, address: str) -> Any:
        """Called when the ClientHello is complete; gives what :meth:`follow` is to be called with, or a Deferred."""

    def follow(self, transport: TLSServer, way: Any) -> Why:
        """Called with what was decided: begins with TLS, refuses, or has another transport take the connection over."""


class TLSOwner(Protocol):
    """Who accepted a TLS connection.

    :ivar only: the context and judge for every connection, where the name makes no difference.
    :ivar router: asked in place of :meth:`lead`; ``None`` without one.
    :ivar plain: lets another listener have a connection that does not begin with TLS; ``None`` refuses it.
    :ivar fingerprints: whether those of every ClientHello are wanted; ``only`` is ``None`` then.
    """

    deadlines: Deadlines
    only: tuple[SSL.Context | None, Judge] | None
    router: Router | None
    plain: Callable[[TLSServer], Why] | None
    fingerprints: bool

    def take_turn(self, transport: TLSServer) -> bool:
        """Whether the handshake may take a step in this turn; otherwise it is called again in a later one."""

    def lead(self, transport: TLSServer) -> Why:
        """Called when the ClientHello is complete: begins with TLS, refuses, or has another transport take over."""

    def refused(self, transport: TLSServer, reason: str, detail: str) -> None:
        """The connection did not get to its protocol; called once."""

    def lost(self, transport: Server) -> None:
        """The connection is gone; called once."""
