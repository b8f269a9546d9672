"""A server endpoint whose connections have passed a listener's client validation before any protocol sees them."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, execute, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.http_client import HTTPClient
from edgegw.identity import ConnectionInfo
from edgegw.model import Gateway, Listener, RefuseWith, TLSSettings
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import Metrics
from edgegw.proxy.generation import Generation, GenerationError, Running
from edgegw.proxy.listeners import ListenerBuilder
from edgegw.proxy.site import Site
from edgegw.tls.listener import BuildProtocol
from edgegw.tls.port import ListeningPort
from edgegw.tls.stapling import Stapler
from edgegw.verdict import Reject

__all__ = ["EdgeListeningPort", "EdgeServerEndpoint", "EndpointError"]

#: Requests at a time about the listeners' own certificates.
_OCSP_REQUESTS: Final = 16


class EndpointError(ValueError):
    """An endpoint that cannot be; the text has a line for each reason, in the words of ``edgegw check``."""


@implementer(IStreamServerEndpoint)
class EdgeServerEndpoint:
    """A listener for any protocol of Twisted's.

    The factory's protocols are made when a client's handshake is done and every policy has accepted it; who does not
    come in is never seen by them.  Their transport provides ``ISSLTransport``, ``ITCPTransport`` and ``INegotiated``,
    and has an attribute ``info``, an :class:`~edgegw.identity.ConnectionInfo`:
    ``self.transport.info.identity.verified`` is the client's certificate if it was verified.

    Of a listener everything counts that is about connections: address, host name, ``tls``, ``policies`` and ``limits``.
    What is about HTTP does not.  ALPN offers what the listener and the factory, if it says
    (``IProtocolNegotiationFactory``), have in common; for one that does not say, HTTP/2 is left out of the default.

    :ivar metrics: counts connections, handshakes and policies' verdicts, under the listener's name.
    :ivar handshakes: the last handshakes, with why clients were refused.
    """

    def __init__(
        self,
        reactor: Any,
        listener: Listener,
        *more: Listener,
        metrics: Metrics | None = None,
        handshakes: HandshakeRecord | None = None,
        environments: Running | None = None,
    ) -> None:
        """
        :param more: listeners of the same port with other host names; which of them a client is for its SNI says, and
            ``self.transport.info.listener``.
        :param metrics: of the application, to be shared by several endpoints.
        :param environments: what the listeners' plugins use, to be started and stopped with the port.
        :raises EndpointError: a listener without TLS, or whose trust anchors cannot be read, or of another port.
        """
        self.metrics = Metrics() if metrics is None else metrics
        self.handshakes = HandshakeRecord() if handshakes is None else handshakes
        self._reactor = reactor
        self._environments = environments
        self._open = 0
        self._spent = False
        listeners = (listener, *more)
        problems = [problem for one in listeners if (problem := _problem(one, listener))]
        if problems:
            raise EndpointError("\n".join(problems))
        self.listeners = tuple(map(_for_any_protocol, listeners))

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Bind now, and accept.

        :returns: fires with the :class:`EdgeListeningPort`; fails with :class:`EndpointError` where OpenSSL does not
            take a setting, and with ``CannotListenError``.
        """
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> EdgeListeningPort:
        if self._spent:
            raise EndpointError("its port was closed, and its plugins with it; make another endpoint")
        stapler = client = None
        if any(_staples(one) for one in self.listeners):
            client = HTTPClient(self._reactor, None, _OCSP_REQUESTS)
            stapler = Stapler(self._reactor, client)
        try:
            generation = _Generation(self, factory, stapler)
        except GenerationError as error:
            raise EndpointError(str(error)) from error

        def stop() -> None:
            generation.stop()
            if stapler is not None:
                stapler.stop()
            if client is not None:
                client.close()

        def ended() -> None:
            stop()
            self._ended()

        (key,) = generation.port_keys
        try:
            port = EdgeListeningPort(self, generation, generation.listen(key), factory, ended)
        except BaseException:
            stop()
            raise
        self._open += 1
        generation.start()
        for listener in self.listeners:
            assert listener.tls is not None
            self.metrics.use_certificates(listener.name, listener.tls.certificates)
        factory.doStart()
        return port

    def _ended(self) -> None:
        self._open -= 1
        if not self._open and self._environments is not None:
            self._spent = True
            self._environments.stop()


class _Generation(Generation):
    """A gateway of one port whose protocols are a factory's."""

    def __init__(self, endpoint: EdgeServerEndpoint, factory: IProtocolFactory, stapler: Stapler | None) -> None:
        self._factory = factory
        listeners = tuple(_with_protocols_of(factory, one) for one in endpoint.listeners)
        # Two ports of one endpoint have the plugins in common: they are stopped with the last one.
        environments = None if endpoint._environments is None else _Shared(endpoint._environments)
        super().__init__(
            endpoint._reactor, Gateway(listeners, admin=None), endpoint.metrics, endpoint.handshakes, environments,
            stapler=stapler,
        )  # fmt: skip

    def _make_builder(self, *arguments: Any) -> ListenerBuilder:
        return _ListenersOfFactory(self._factory, *arguments)


class _ListenersOfFactory(ListenerBuilder):
    """Makes listeners on whose connections a factory's protocols run."""

    def __init__(self, factory: IProtocolFactory, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._factory = factory

    def protocol_builder(self, site: Site, by_name: Site | None) -> BuildProtocol:
        """See ``ListenerBuilder``."""

        def build_protocol(info: ConnectionInfo, refusal: Reject | None = None) -> Any:
            protocol = None if refusal is not None else self._factory.buildProtocol(_address_of(info))
            return _NotWanted() if protocol is None else protocol

        return build_protocol

    def builders_by_alpn(self, site: Site, by_name: Site | None) -> Mapping[bytes, BuildProtocol]:
        """See ``ListenerBuilder``: a factory's protocols speak whatever ALPN chose."""
        return {}


class _Shared:
    """Environments that somebody else stops."""

    def __init__(self, environments: Running) -> None:
        self.counters = environments.counters
        self.start = environments.start

    def stop(self) -> None:
        """Leave them as they are."""


class _NotWanted(TwistedProtocol):
    """Ends a connection that the factory has no protocol for."""

    def connectionMade(self) -> None:
        """Called by the transport."""
        assert self.transport is not None
        self.transport.loseConnection()


class _Doing(Protocol):
    """A factory that wants to know when it is used; every one of Twisted's."""

    def doStop(self) -> None: ...


@implementer(IListeningPort)
class EdgeListeningPort:
    """The open port of an endpoint.

    :ivar metrics: the endpoint's, as for ``handshakes``.
    """

    def __init__(
        self,
        endpoint: EdgeServerEndpoint,
        generation: Generation,
        port: ListeningPort,
        factory: _Doing,
        ended: Callable[[], None],
    ) -> None:
        """:param ended: called when the port is closed and its last connection gone."""
        self.metrics = endpoint.metrics
        self.handshakes = endpoint.handshakes
        self._generation = generation
        self._port = port
        self._factory = factory
        self._ended = ended
        self._stopping: Deferred[None] | None = None
        self._gone: Deferred[None] = Deferred()

    def __repr__(self) -> str:
        return f"<EdgeListeningPort {self._port.key}>"

    def startListening(self) -> None:
        """See ``IListeningPort``: it listens from the beginning, so that this is a ``CannotListenError``."""
        raise CannotListenError(self._port.key[0], self._port.key[1], OSError("it was opened already; listen() again"))

    def getHost(self) -> Any:
        """Give the address."""
        return self._port.getHost()

    @property
    def connections(self) -> int:
        """Open connections, those in their handshake included."""
        return self._generation.connections

    def stopListening(self) -> Deferred[None]:
        """Accept no more; connections that are open go on.  May be called again.

        :returns: fires when the port is closed.
        """
        if self._stopping is None:
            self._stopping = Deferred.fromCoroutine(self._stop())
        stopped: Deferred[None] = Deferred()

        def pass_on(result: None) -> None:
            stopped.callback(None)

        def fail(failure: Failure) -> None:
            stopped.errback(failure)

        self._stopping.addCallbacks(pass_on, fail)
        return stopped

    async def _stop(self) -> None:
        try:
            await maybeDeferred(self._port.stopListening)
        finally:
            self._generation.retire()
            self._generation.when_idle().addCallback(self._all_gone)
            self._factory.doStop()

    def _all_gone(self, _: object) -> None:
        self._ended()
        self._gone.callback(None)

    def when_idle(self) -> Deferred[None]:
        """Give a Deferred that fires when the port is closed and its last connection is gone."""
        idle: Deferred[None] = Deferred()

        def pass_on(_: object) -> None:
            idle.callback(None)

        self._gone.addCallback(pass_on)
        return idle

    def abort(self) -> None:
        """Cut every connection."""
        self._generation.abort()


def _problem(listener: Listener, first: Listener) -> str:
    """Say why a listener cannot be an endpoint; empty if it can."""
    if listener.tls is None:
        return f"the listener {listener.name} has no TLS; use tcp: for it, or give it tls"
    if (listener.address, listener.port) != (first.address, first.port):
        return f"the listener {listener.name} has another address or port than {first.name}"
    validation = listener.tls.client_validation
    if validation is not None and validation.refuses_everyone:
        return f"the listener {listener.name} has no trust anchor and would refuse every connection; correct the files"
    return ""


_DEFAULT_ALPN: Final = TLSSettings(()).alpn


def _for_any_protocol(listener: Listener) -> Listener:
    """Give a listener without what only HTTP could do: answer probes, and tell who is refused."""
    tls = listener.tls
    assert tls is not None
    if tls.client_validation is not None:
        tls = evolve(tls, client_validation=evolve(tls.client_validation, refuse_with=RefuseWith.CLOSE))
    return evolve(listener, tls=tls, health_check=None, header_injection=())


def _with_protocols_of(factory: IProtocolFactory, listener: Listener) -> Listener:
    """Give a listener that offers by ALPN what the factory's protocols speak, if that says."""
    tls = listener.tls
    assert tls is not None
    if not IProtocolNegotiationFactory.providedBy(factory):
        # HTTP/2 is offered only for who is known to speak it.
        return evolve(listener, tls=evolve(tls, alpn=("http/1.1",))) if tls.alpn == _DEFAULT_ALPN else listener
    spoken = {bytes(name) for name in factory.acceptableProtocols()}
    return evolve(listener, tls=evolve(tls, alpn=tuple(name for name in tls.alpn if name.encode() in spoken)))


def _staples(listener: Listener) -> bool:
    tls = listener.tls
    assert tls is not None
    return tls.ocsp_stapling or any(one.ocsp_response is not None for one in tls.certificates)


def _address_of(info: ConnectionInfo) -> IPv4Address | IPv6Address | UNIXAddress:
    if info.peer.startswith("unix:"):
        return UNIXAddress(None)
    kind = IPv6Address if ":" in info.peer else IPv4Address
    return kind("TCP", info.peer, info.peer_port)
