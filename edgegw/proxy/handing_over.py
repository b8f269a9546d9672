"""Clients' idle connections, handed from one configuration to the one that replaces it.

A change of routes, upstreams or of somebody else's listener is nothing that a client has to do with.  A connection goes
on where its listener is in the new configuration just as it was: what the client was judged by is the same then, and
everything else is asked anew with each request.  What policies judge by may have changed without a word of the
configuration having changed: where there are any the listener is another one, as it is with other plugins.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from edgegw.proxy.connection import HTTPConnection
from edgegw.proxy.http2 import HTTP2Connection
from edgegw.tls.listener import TLSListener
from edgegw.tls.profile import PlainListener, PortProfile
from edgegw.tls.transport import TLSServer

__all__ = ["hand_over"]


def hand_over(before: PortProfile, after: PortProfile, find: Callable[[TLSServer], Any]) -> None:
    """Have the idle connections of a port go on with its new profile, as far as their listeners are the same.

    :param after: has the port already.
    :param find: gives the listener that would have a connection now.
    """
    if after.held is not before.held or after.secure is not before.secure:
        return
    same: dict[tuple[int, int], bool] = {}
    for transport in tuple(before.transports):
        protocol = transport.protocol
        # Those of routed connections, and tunnels, have more to do with the configuration that they began with.
        if type(protocol) not in (HTTPConnection, HTTP2Connection) or not protocol.is_idle:
            continue
        secure = isinstance(transport, TLSServer)
        old: Any = transport.judge if isinstance(transport, TLSServer) else before.first
        new: Any = find(transport) if isinstance(transport, TLSServer) else after.first
        kind = TLSListener if secure else PlainListener
        if old is new or not isinstance(old, kind) or not isinstance(new, kind):
            continue
        listeners = id(old), id(new)
        if listeners not in same:
            same[listeners] = old.model == new.model and new.site is not None
        if not same[listeners]:
            continue
        before.deadlines.forget(transport)
        before.transports.discard(transport)
        after.transports.add(transport)
        transport.owner = after
        if isinstance(transport, TLSServer):
            transport.judge = cast(TLSListener, new)
        protocol.move(new.site)
