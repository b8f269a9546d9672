"""Bytes from a client's socket to an upstream's and back, without a transport on either.

As :class:`edgegw.proxy.tunnel.Tunnel`, for connections on which nobody speaks TLS here, neither with the client nor
with the upstream: a new one costs little more than its system calls.  The client's end is the tunnel, and stands for
the connection with whoever accepted it; the upstream's end is there while there is one.
"""
from __future__ import annotations

import socket
from math import inf
from time import monotonic
from typing import Any, Final

from edgegw.identity import ConnectionInfo, Identity
from edgegw.proxy.splice import COPY_SIZE, SocketEnd
from edgegw.proxy.tunnel_reach import ReachesUpstream
from edgegw.proxy.tunnel_settings import MAX_HELD, TunnelSettings
from edgegw.tcp import Addresses, Owner
from edgegw.upstream.dialling import SocketDialling
from edgegw.upstream.pool import EndpointPool, Opening

__all__ = ["SpliceTunnel"]

_NOBODY: Final = Identity()


class SpliceTunnel(SocketEnd, ReachesUpstream, Addresses):
    """The client's end.

    It has those attributes of :class:`edgegw.tcp.Server` that are looked at in the connections of a port.

    :param sock: the client's, non-blocking, of which nothing has been read and which the reactor may tell of already.
    :param client: its address, the first part as text.
    :param owner: is told of the end.
    :param server_name: the name that the client asked for.
    """

    connected = 1
    TLS = False
    handshake_id = ""
    #: No protocol runs on it.
    protocol = None
    deadline = inf
    watched_until = inf
    _far: _FarEnd | None = None
    _held = b""

    def __init__(
        self,
        sock: socket.socket,
        client: tuple[Any, ...],
        owner: Owner,
        settings: TunnelSettings,
        server_name: str | None,
    ) -> None:
        self.socket = sock
        self.fileno = sock.fileno
        self.reactor = settings.reactor
        self.client = client
        self.hostname = client[0]
        self.owner = owner
        self.server_name = server_name
        self.started = monotonic()
        self._settings = settings
        self.metrics = settings.metrics
        self.idle_timeout = settings.idle_timeout

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.hostname}>"

    @property
    def info(self) -> ConnectionInfo:
        """What may be known of the client: its address and the name that it asked for."""
        return ConnectionInfo("", _NOBODY, self.hostname, server_name=self.server_name, proxied=self.proxied)

    @property
    def transport(self) -> SpliceTunnel:
        """What tells the client's addresses."""
        return self

    # --- connecting ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Connect to the upstream; the reactor tells of the client's bytes already."""
        self.hold()
        if self.connected:
            self.reach_upstream()

    def dial(self, endpoint: EndpointPool) -> Opening | None:
        """See ``ReachesUpstream``."""
        dialling = SocketDialling(endpoint, self.reactor, self._opened, self.connect_failed)
        sock = dialling.begin()
        if sock is None:
            return dialling
        self._opened(endpoint, sock)
        return None

    def unreachable(self) -> None:
        """See ``ReachesUpstream``."""
        self._close(reset=False)

    def _opened(self, endpoint: EndpointPool, sock: socket.socket) -> None:
        self._dialling = None
        settings = self._settings
        # To be found by whatever ends the tunnel from now on.
        self._far = self.other = far = _FarEnd(sock, self, endpoint)
        settings.deadlines.watch(self, monotonic() + self.idle_timeout)
        self.reactor.addReader(far)
        held = endpoint.proxy_header_for(self) + self._held
        paused = len(self._held) >= MAX_HELD
        self._held = b""
        if held:
            self.send(held)
            if not self.connected or self.unsent:
                return  # the rest is done when there is room
        if self.ended:
            self.pass_end_on()
        elif paused:
            self.reactor.addReader(self)

    def hold(self) -> None:
        """Keep what the client says before the upstream can have it, up to a bound."""
        try:
            data = self.socket.recv(COPY_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._close(reset=True)
            return
        self.metrics.bytes_received += len(data)
        self._held += data
        if not data:
            self.ended = True
        if self.ended or len(self._held) >= MAX_HELD:
            self.reactor.removeReader(self)

    # --- copying ------------------------------------------------------------------------------

    def moved(self, size: int) -> None:
        """See ``SocketEnd``."""
        self.metrics.bytes_received += size
        self.deadline = monotonic() + self.idle_timeout

    def progressed(self) -> None:
        """See ``SocketEnd``."""
        self.deadline = monotonic() + self.idle_timeout

    # --- ends ---------------------------------------------------------------------------------

    def finish(self) -> None:
        """See ``SocketEnd``."""
        self._close(reset=False)

    def broken(self, end: SocketEnd) -> None:
        """See ``SocketEnd``."""
        # Who has sent an end has said everything: a reset would take from the other what it has not read yet.
        self._close(reset=not end.ended or end.unsent > 0)

    def abortConnection(self) -> None:
        """End it at once, and tell both ends that it was no end in order."""
        self._close(reset=True)

    def loseConnection(self) -> None:
        """End it; in order if nothing is left to be taken."""
        self.time_is_up()

    def time_is_up(self) -> None:
        """See ``ReachesUpstream``."""
        far = self._far
        self._close(reset=bool(self.unsent or self._held or (far is not None and far.unsent)))

    def deadline_passed(self) -> None:
        """See ``Deadlines``: nothing was sent nor taken for a while."""
        self.time_is_up()

    def _close(self, reset: bool) -> None:
        if not self.connected:
            return
        self.connected = 0
        self._settings.deadlines.forget(self)
        self.reach_no_more()
        self._held = b""
        far, self._far = self._far, None
        self.close_socket(reset)
        if far is not None:
            far.close_socket(reset)
            far.endpoint.closed()
        self.owner.lost(self)  # type: ignore[arg-type]  # it has what is looked at in a Server


class _FarEnd(SocketEnd):
    """The upstream's end."""

    def __init__(self, sock: socket.socket, tunnel: SpliceTunnel, endpoint: EndpointPool) -> None:
        self.socket = sock
        self.fileno = sock.fileno
        self.reactor = tunnel.reactor
        self.other: SpliceTunnel | None = tunnel
        self.endpoint = endpoint

    def moved(self, size: int) -> None:
        """See ``SocketEnd``."""
        tunnel = self.other
        assert tunnel is not None
        tunnel.metrics.bytes_sent += size
        tunnel.deadline = monotonic() + tunnel.idle_timeout

    def progressed(self) -> None:
        """See ``SocketEnd``."""
        tunnel = self.other
        assert tunnel is not None
        tunnel.progressed()

    def finish(self) -> None:
        """See ``SocketEnd``."""
        if self.other is not None:
            self.other.finish()

    def broken(self, end: SocketEnd) -> None:
        """See ``SocketEnd``."""
        if self.other is not None:
            self.other.broken(end)
