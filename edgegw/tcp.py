"""TCP transports that write at once.

Twisted's transports queue what is written and send it in the next turn of the reactor, which
costs two ``epoll_ctl`` calls and a turn for each response.  These send when nothing is queued
before it and queue only what the socket does not take; everything else (producers, half-close,
aborting, addresses) is Twisted's.
"""
from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from errno import EAGAIN, EWOULDBLOCK
from math import inf
from time import monotonic, thread_time
from typing import Any, Final, Protocol

from twisted.internet import address, main, tcp, unix
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorFDSet
from twisted.python.failure import Failure

from edgegw.deadlines import Deadlines
from edgegw.proxied import ProxyFacts

__all__ = [
    "Addresses",
    "LINGER_BYTES",
    "LINGER_SECONDS",
    "UNIX_PEER",
    "Client",
    "Connector",
    "EagerWriter",
    "Owner",
    "Server",
    "UnixClient",
    "Why",
    "connect_tcp",
    "connect_unix",
    "hand_over",
]

#: Seconds of CPU that the work on what one read gave may take before the next ones take less.
LONGEST_TURN: Final = 0.004

#: Why the reactor is to disconnect a transport; ``None`` goes on.
Why = ConnectionLost | ConnectionDone | None


class Owner(Protocol):
    """Who accepted a connection and keeps count of it."""

    deadlines: Deadlines

    def lost(self, transport: Server) -> None:
        """The connection is gone; called once."""


class EagerWriter:
    """Mixed in before a Twisted TCP transport: :meth:`write` tries the socket first."""

    #: Bytes queued beyond which a producer is paused.
    bufferSize = 65_536
    #: What the next read takes at most; it follows what comes, between these two.
    read_size = 16_384
    LARGEST_READ = 262_144

    connected: int
    disconnecting: int
    socket: Any
    dataBuffer: bytes
    offset: int
    _tempDataLen: int
    _tempDataBuffer: list[bytes]
    _writeDisconnected: bool

    def write(self, data: bytes) -> None:
        """Send data, or queue what cannot be sent now; nothing happens on a lost connection."""
        if not self.connected or self._writeDisconnected or not data:
            return
        if self._tempDataLen or self.dataBuffer:
            self._tempDataBuffer.append(data)
            self._tempDataLen += len(data)
            self._maybePauseProducer()  # type: ignore[attr-defined]  # FileDescriptor's
            return
        sent = self.writeSomeData(data)
        if sent == len(data):
            return
        # A broken connection is left for the reactor to find, so that connectionLost() never comes
        # from inside write().
        self.dataBuffer = data
        self.offset = sent if isinstance(sent, int) else 0
        self.startWriting()  # type: ignore[attr-defined]  # FileDescriptor's
        self._maybePauseProducer()  # type: ignore[attr-defined]  # FileDescriptor's

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send several pieces as one."""
        self.write(b"".join(iovec))

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """Send what the socket takes now; the number of bytes, or why the connection is lost."""
        if not data:
            return 0
        try:
            return self.socket.send(data)  # type: ignore[no-any-return]  # socket is Any here
        except OSError as error:
            if error.errno in (EAGAIN, EWOULDBLOCK):
                return 0
            return main.CONNECTION_LOST

    def unregisterProducer(self) -> None:
        """Forget the producer, and that it was paused: the next one begins anew."""
        super().unregisterProducer()  # type: ignore[misc]  # FileDescriptor's
        self.producerPaused = False

    @property
    def unsent(self) -> int:
        """Bytes written that the socket has not taken yet."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    def read_less(self) -> None:
        """Read no more at a time from now on than at first: what comes makes more work than its length tells."""
        self.read_size = self.LARGEST_READ = EagerWriter.read_size

    def doRead(self) -> Why:
        """Read once and give it to the protocol."""
        size = self.read_size
        try:
            data = self.socket.recv(size)
        except OSError as error:
            if error.errno in (EAGAIN, EWOULDBLOCK):
                return None
            return main.CONNECTION_LOST
        got = len(data)
        if got == size:
            self.read_size = min(4 * size, self.LARGEST_READ)
        elif not got:
            return main.CONNECTION_DONE
        elif size > 16_384 and got < size >> 3:
            self.read_size = size >> 2
        if size == EagerWriter.read_size:
            self.protocol.dataReceived(data)  # type: ignore[attr-defined]  # Connection's
            return None
        begun = thread_time()
        self.protocol.dataReceived(data)  # type: ignore[attr-defined]  # Connection's
        if thread_time() - begun > LONGEST_TURN:
            # Others are to have their turns.
            self.read_less()
        return None


#: Stands for the address of whoever connects to a Unix socket.
UNIX_PEER: Final = "unix:"
#: How long and how much is read from a peer that is no longer listened to.
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 262_144

_FINISHED: Final = Failure(ConnectionDone())
#: ``SO_LINGER`` for which close() resets the connection.
_RESET: Final = struct.pack("ii", 1, 0)


class Addresses:
    """Tells both ends of an accepted connection.

    :ivar client: the peer's address, as the system gives it but for its first part, which may be :data:`UNIX_PEER`.
    :ivar proxied: what a proxy in front said, which told ``client`` then.
    """

    socket: Any
    client: tuple[Any, ...]
    proxied: ProxyFacts | None = None

    def getHost(self) -> Any:
        """Give the gateway's end: ``IPv4Address``, ``IPv6Address`` or ``UNIXAddress``.

        It is an IPv4 address on a connection over IPv4, whatever the port listens on; and what the client has connected
        to where a proxy in front has told that.
        """
        proxied = self.proxied
        if proxied is not None and proxied.destination is not None:
            host, port = proxied.destination
            kind = address.IPv6Address if ":" in host else address.IPv4Address
            return kind("TCP", host, port)
        own = self.socket.getsockname()
        if not isinstance(own, tuple):
            return address.UNIXAddress(own)
        if len(self.client) == 4:
            return address.IPv6Address("TCP", *own[:4])
        return address.IPv4Address("TCP", own[0].removeprefix("::ffff:"), own[1])

    def getPeer(self) -> Any:
        """Give the peer's end, of the same kind; a peer of a Unix socket has no name."""
        client = self.client
        if client[0] == UNIX_PEER:
            return address.UNIXAddress(None)
        if len(client) == 4:
            return address.IPv6Address("TCP", *client)
        return address.IPv4Address("TCP", *client)


class Server(EagerWriter, Addresses, tcp.Server):
    """An accepted connection that can close without losing its last words.

    Closing a socket with unread input resets the connection, and the peer's kernel then throws away
    what it had not read yet: an error answer, a TLS alert.  After :meth:`lose_connection_lingering` the
    sending half is closed and the peer's bytes are thrown away, for a moment and up to a limit.

    :ivar started: when it was accepted, by :func:`time.monotonic`.
    :ivar deadline: when :meth:`deadline_passed` is called; see :class:`edgegw.deadlines.Deadlines`.
    :ivar handshake_id: by which the handshake record knows it, once it is open; empty without TLS.
    :ivar server_name: the name that the client asked for (SNI) in canonical form, once it is known.
    :ivar proxied: what a proxy in front said, which made the addresses those that it told; ``None`` without one.
    """

    protocol: Any
    server_name: str | None = None
    proxied: ProxyFacts | None = None
    client: Any
    reactor: Any
    handshake_id = ""
    deadline = inf
    watched_until = inf
    TLS = False
    lingering = False
    _linger_wanted = False
    _drained = 0

    def __init__(
        self, sock: socket.socket, client: tuple[Any, ...], owner: Owner, reactor: Any
    ) -> None:
        # What Twisted's constructors do, without formatting strings that nobody reads.
        self.reactor = reactor
        self._tempDataBuffer: list[bytes] = []
        self._tempDataLen = 0
        self.socket = sock
        self.fileno = sock.fileno
        self.protocol = None
        self.client = client
        self.owner = owner
        self.hostname = client[0]
        self.connected = 1
        self.started = monotonic()
        self.startReading()

    def logPrefix(self) -> str:
        """Name the transport in Twisted's log."""
        return "edgegw"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.hostname}>"

    def doRead(self) -> Why:  # type: ignore[override]  # Twisted swaps it when a connection is aborted
        """Read once and give it to the protocol, or throw it away."""
        if self.lingering:
            return self._linger()
        return super().doRead()

    def finish(self) -> None:
        """Close as ``loseConnection`` does, but without a turn of the reactor where everything is sent.

        ``connectionLost()`` may be called before this returns.
        """
        if self.connected and not self.disconnecting and not self.unsent and self.producer is None:
            self.disconnecting = 1
            if self._postLoseConnection() is not None:
                self.connectionLost(_FINISHED)
        else:
            self.loseConnection()

    def lose_connection_lingering(self) -> None:
        """Close as ``loseConnection`` does, but read on for a moment.

        For a last answer to a peer that may still be sending; as with :meth:`finish`.
        """
        self._linger_wanted = True
        self.finish()

    def _postLoseConnection(self) -> Why:
        return self._begin_linger() if self._linger_wanted else main.CONNECTION_DONE

    def _begin_linger(self) -> Why:
        self.lingering = True
        self._writeDisconnected = True
        self.stopWriting()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return main.CONNECTION_LOST
        self.owner.deadlines.watch(self, monotonic() + LINGER_SECONDS)
        self.startReading()
        return self._linger()

    def _linger(self) -> Why:
        try:
            data = self.socket.recv(65_536)
        except OSError as error:
            return None if error.errno in (EAGAIN, EWOULDBLOCK) else main.CONNECTION_LOST
        self._drained += len(data)
        if not data or self._drained > LINGER_BYTES:
            return main.CONNECTION_LOST
        return None

    def deadline_passed(self) -> None:
        """Give up a peer that never closes; see ``Deadlines``."""
        if self.connected:
            self.abortConnection()

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer has closed its half."""
        if self.lingering or self.protocol is None:
            self.connectionLost(reason)
        else:
            super().readConnectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """Free everything, tell the protocol and the owner; what Twisted's does, in one place."""
        if self.disconnected:
            return
        self.disconnected = 1
        self.connected = 0
        self.owner.deadlines.forget(self)
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        forget = getattr(self.reactor, "forget", None)
        if forget is not None:
            forget(self)  # EdgeReactor's shorter way to the same end
        else:
            self.stopReading()
            self.stopWriting()
        if self._aborting:
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:
                pass  # it is gone already
        self.socket.close()
        del self.socket, self.fileno
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(reason)
        self.owner.lost(self)


def hand_over(reactor: Any, before: Any, after: Any) -> None:
    """Have what is read on a socket told to another than before; nothing of either is written.

    :param before: a transport, whether it reads or not.
    """
    shorter = getattr(reactor, "hand_over", None)
    if shorter is None or not shorter(before, after):
        before.stopReading()
        reactor.addReader(after)


class Client(EagerWriter, tcp.Client):  # type: ignore[misc]  # reading and writing replaced on purpose
    """A connection to an upstream."""


class Connector(tcp.Connector):
    """Makes :class:`Client` transports; otherwise as Twisted's ``connectTCP`` does."""

    def _makeTransport(self) -> Client:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


def connect_tcp(
    reactor: IReactorFDSet, host: str, port: int, factory: Any, timeout: float
) -> Connector:
    """Connect as ``reactor.connectTCP`` does, with a :class:`Client` transport.

    :param timeout: seconds.
    """
    connector = Connector(host, port, factory, timeout, None, reactor)
    connector.connect()
    return connector


class UnixClient(EagerWriter, unix.Client):  # type: ignore[misc]  # as Client
    """A connection to an upstream's Unix socket."""


class _UnixConnector(unix.Connector):
    failing = False

    def stopConnecting(self) -> None:
        """Called by whoever does not want it any more; what has failed already will say so by itself."""
        if not self.failing:
            super().stopConnecting()

    def _makeTransport(self) -> UnixClient:  # type: ignore[override]  # Twisted's own does not fit either
        return UnixClient(self.address, self, self.reactor, self.checkPID)


def connect_unix(reactor: IReactorFDSet, path: str, factory: Any, timeout: float) -> Any:
    """Connect as ``reactor.connectUNIX`` does, with an :class:`UnixClient` transport.

    :param timeout: seconds.
    """
    connector = _UnixConnector(path, factory, timeout, reactor, 0)
    try:
        connector.connect()
    except OSError:
        # No descriptor is left.  Not from within this call, for which whoever calls is not ready; so Twisted for TCP.
        connector.failing = True
        reactor.callLater(0, connector.connectionFailed, Failure())  # type: ignore[attr-defined]  # it is one of time, too
    return connector
