"""A port's SNI router, asked about one client."""
from __future__ import annotations

import inspect
from typing import Any, Final

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from edgegw.identity import CertificateStatus
from edgegw.model import SNIRouterUse
from edgegw.sni import PassThrough, ToListener
from edgegw.tls.owner import Router
from edgegw.tls.rehearsal import ClientSide, Rehearsed
from edgegw.verdict import Accept, Reason, Reject
from edgegw.wire.client_hello import ClientHello

__all__ = ["Way", "ask_router"]

_TLS_1_3: Final = 0x0304
_TLS_1_2: Final = 0x0303
#: unrecognized_name, internal_error (RFC 8446 §6).
_UNRECOGNIZED_NAME: Final = 112
_INTERNAL_ERROR: Final = 80


@frozen
class Way:
    """Where a router sends a client; by the listeners' host names if nothing else is said here.

    :ivar kind: of the router.
    :ivar asked: whether it was; one that waits is not, unless others may be asked.
    :ivar listener: that it has chosen.
    :ivar upstream: that gets the connection as it is.
    """

    kind: Any
    asked: bool = True
    listener: str | None = None
    upstream: str | None = None
    refusal: Reject | None = None

    @property
    def ends(self) -> bool:
        """Whether no listener judges the client."""
        return self.upstream is not None or self.refusal is not None

    def as_rehearsed(self) -> Rehearsed:
        """Give what came of a handshake that there was none of."""
        alert = None
        if self.refusal is not None:
            failed = self.refusal.code in (Reason.ROUTER_ERROR, Reason.INTERNAL_ERROR)
            alert = _INTERNAL_ERROR if failed else _UNRECOGNIZED_NAME
        return Rehearsed(self.refusal or Accept(), CertificateStatus.NONE, None, (), (), (), alert)

    def __str__(self) -> str:
        name = self.kind.name
        if not self.asked:
            return f"{name} is not asked: it may ask others over the network; --online does"
        if self.upstream is not None:
            return f"{name} passes the connection through to the upstream {self.upstream}"
        if self.refusal is not None:
            return f"{name} refuses the connection"
        if self.listener is not None:
            return f"{name} sends the client to the listener {self.listener}"
        return f"{name} leaves it to the listeners' host names"


async def ask_router(use: SNIRouterUse, router: Router, client: ClientSide, online: bool) -> Way:
    """Ask.

    :param router: as the port asks it.
    :param online: whether one that waits is asked.
    """
    if not online and _waits(use):
        return Way(use.kind, False)
    versions = {SSL.TLS1_2_VERSION: (_TLS_1_2,), SSL.TLS1_3_VERSION: (_TLS_1_3,)}
    hello = ClientHello(client.server_name, (), 0, versions.get(client.version or 0, (_TLS_1_3, _TLS_1_2)))
    answer: Any = router.route(hello, client.address)
    if isinstance(answer, Deferred):
        if not online and not answer.called:
            answer.cancel()
            return Way(use.kind, False)
        answer = await answer
    if isinstance(answer, ToListener):
        return Way(use.kind, listener=answer.listener)
    if isinstance(answer, PassThrough):
        return Way(use.kind, upstream=answer.upstream)
    return Way(use.kind, refusal=answer)


def _waits(use: SNIRouterUse) -> bool:
    """Whether a router is a coroutine function; asking it would begin with whatever it does."""
    asked = (use.router.route, getattr(use.router, "function", None))
    return any(inspect.iscoroutinefunction(one) for one in asked)
