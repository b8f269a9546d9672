"""A port's SNI router, asked about one client."""
from __future__ import annotations

import inspect
from typing import Any, Final

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from edgegw.identity import CertificateStatus
from edgegw.model import SNIRouterUse, UnmatchedName
from edgegw.proxy.passthrough import PassthroughListener
from edgegw.sni import PassThrough, ToListener
from edgegw.tls.listener import TLSListener
from edgegw.tls.owner import Router
from edgegw.tls.profile import PortProfile
from edgegw.tls.rehearsal import ClientSide, Rehearsed
from edgegw.verdict import Accept, Reason, Reject
from edgegw.wire.client_hello import ClientHello

__all__ = ["Way", "ask_router", "way_of_name"]

_TLS_1_3: Final = 0x0304
_TLS_1_2: Final = 0x0303
#: unrecognized_name, internal_error (RFC 8446 §6).
_UNRECOGNIZED_NAME: Final = 112
_INTERNAL_ERROR: Final = 80


@frozen
class Way:
    """Where a client is sent, if no listener that ends TLS judges it; by a port's router, or by its name alone.

    :ivar kind: of the router; ``None`` if there is none.
    :ivar asked: whether it was; one that waits is not, unless others may be asked.
    :ivar listener: that it has chosen.
    :ivar upstream: that gets the connection as it is, or several.
    :ivar alert: that a refusal is told with.
    """

    kind: Any
    asked: bool = True
    listener: str | None = None
    upstream: str | None = None
    refusal: Reject | None = None
    alert: int | None = None

    @property
    def ends(self) -> bool:
        """Whether no listener judges the client."""
        return self.upstream is not None or self.refusal is not None

    def as_rehearsed(self) -> Rehearsed:
        """Give what came of a handshake that there was none of."""
        return Rehearsed(self.refusal or Accept(), CertificateStatus.NONE, None, (), (), (), self.alert)

    def __str__(self) -> str:
        if self.kind is None:
            if self.upstream is not None:
                return f"the listener {self.listener} passes the connection through to {self.upstream}"
            return "no listener takes the connection"
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
    if answer is None:
        return Way(use.kind)
    failed = answer.code in (Reason.ROUTER_ERROR, Reason.INTERNAL_ERROR)
    return Way(use.kind, refusal=answer, alert=_INTERNAL_ERROR if failed else _UNRECOGNIZED_NAME)


def way_of_name(profile: PortProfile, name: str | None) -> Way | TLSListener:
    """Give the listener that judges a client by the name that it asks for; or where the client is sent without that."""
    taker = profile.taker(name)
    if taker is None:
        refusal = Reject(Reason.UNRECOGNIZED_NAME, f"no listener takes {name or 'clients without SNI'}")
        told = profile.unmatched is not UnmatchedName.CLOSE
        return Way(None, refusal=refusal, alert=_UNRECOGNIZED_NAME if told else None)
    if isinstance(taker, PassthroughListener):
        target = taker.routes.find(name)
        if target is None:
            return Way(None, refusal=Reject(Reason.NO_ROUTE, f"for {name or 'clients without SNI'}"))
        if not any(backend.weight for backend in target.model.backends):
            return Way(None, refusal=Reject(Reason.NO_BACKEND, f"the route {target.model.name} has nowhere to send it"))
        upstreams = " or ".join(backend.upstream for backend in target.model.backends if backend.weight)
        return Way(None, listener=taker.model.name, upstream=upstreams)
    assert isinstance(taker, TLSListener)
    refused = taker.refuses(name)
    return taker if refused is None else Way(None, refusal=refused, alert=_UNRECOGNIZED_NAME)


def _waits(use: SNIRouterUse) -> bool:
    """Whether a router is a coroutine function; asking it would begin with whatever it does."""
    asked = (use.router.route, getattr(use.router, "function", None))
    return any(inspect.iscoroutinefunction(one) for one in asked)
