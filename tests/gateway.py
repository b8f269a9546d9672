"""What tests of a running gateway need: certificates, a gateway on free ports, an upstream that does
as it is told, and real clients beside the reactor.

::

    class SomeTests(TestCase):
        async def test_something(self) -> None:
            pki = Authority()
            upstream = start_upstream(self, answer(b"hello"))
            listener = https_listener([pki.issue("a.example", dns=["a.example"], usages=SERVER)])
            running = await start_gateway(self, gateway([listener], upstream))
            client = client_context(pki)
            got = await in_thread(talk, running.address(), get("/"), client, "a.example")

Everything that was started is torn down by the test case's clean-ups, so that trial finds no dirty reactor.
"""
from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import protocol
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from edgegw.model import (
    BackendRef,
    ClientValidation,
    ConnectionLimits,
    Endpoint,
    Gateway,
    Listener,
    Protocol,
    Route,
    RouteRule,
    ServerCertificate,
    TLSSettings,
    TrustAnchor,
    Upstream,
    ValidationMode,
)
from edgegw.names import canonical_name
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import ListenerMetrics, Metrics
from edgegw.proxy.generation import Generation
from edgegw.proxy.splice import SocketEnd
from edgegw.tcp import Client, Server
from edgegw.testing import ANY_USAGE, BOTH, CLIENT, CODE_SIGNING, NO_USAGE, SERVER, Authority, Issued
from edgegw.tls.port import ListeningPort
from edgegw.upstream.dialling import SocketDialling

__all__ = [
    "ANY_USAGE",
    "BOTH",
    "CLIENT",
    "CODE_SIGNING",
    "NO_USAGE",
    "SERVER",
    "Authority",
    "Finished",
    "Issued",
    "RecordedRequest",
    "RunningGateway",
    "ScriptedUpstream",
    "UpstreamTalk",
    "answer",
    "client_context",
    "closing",
    "files",
    "gateway",
    "get",
    "http_listener",
    "https_listener",
    "in_thread",
    "open_files",
    "run",
    "server_certificate",
    "start_gateway",
    "start_upstream",
    "talk",
    "trust_anchor",
    "until",
    "validation",
]

reactor: Any = global_reactor
Address = tuple[str, int]

# --- certificates ---------------------------------------------------------------------------


def trust_anchor(authority: Authority | Issued) -> TrustAnchor:
    """Give a certificate as the model has trust anchors."""
    certificate = authority.certificate
    name = certificate.subject.rfc4514_string()
    return TrustAnchor(name, certificate.public_bytes(Encoding.PEM), certificate.not_valid_after_utc)


def server_certificate(issued: Issued, name: str | None = None) -> ServerCertificate:
    """Give a certificate as the model has those that a listener shows.

    :param name: what tells it from others; made of its serial number if it is not given.
    """
    try:
        names = issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns_names = names.get_values_for_type(x509.DNSName)
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        dns_names, uris = [], []
    canonical = [one if one.startswith("*.") else canonical_name(one) for one in dns_names]
    key_type = "RSA" if isinstance(issued.key, rsa.RSAPrivateKey) else "EC"
    if isinstance(issued.key, ed25519.Ed25519PrivateKey):
        key_type = "Ed25519"
    return ServerCertificate(
        name or f"{issued.certificate.serial_number:x}",
        issued.chain_pem,
        issued.key_pem,
        tuple(one for one in canonical if one is not None),
        tuple(uris),
        key_type,
        issued.certificate.not_valid_after_utc,
    )


def files(case: TestCase, issued: Issued | Authority, name: str = "client") -> tuple[str, str]:
    """Write PEM files for a command; gives the paths of the certificate with its chain, and of its key."""
    directory = Path(case.mktemp())
    directory.mkdir()
    certificate, key = directory / f"{name}.pem", directory / f"{name}-key.pem"
    certificate.write_bytes(issued.chain_pem if isinstance(issued, Issued) else issued.pem)
    key.write_bytes(issued.key_pem)
    return str(certificate.absolute()), str(key.absolute())


# --- models ---------------------------------------------------------------------------------


def validation(
    *anchors: Authority | Issued, mode: ValidationMode = ValidationMode.ALLOW_VALID_ONLY, **options: Any
) -> ClientValidation:
    """Give a client validation with these trust anchors; ``options`` are the model's."""
    return ClientValidation(mode, tuple(trust_anchor(one) for one in anchors), **options)


def https_listener(
    certificates: Sequence[Issued],
    client_validation: ClientValidation | None = None,
    *,
    name: str = "edge",
    address: str | None = "127.0.0.1",
    hostname: str | None = None,
    limits: ConnectionLimits | None = None,
    tls: TLSSettings | None = None,
    **options: Any,
) -> Listener:
    """Give an HTTPS listener on a free port.

    Listeners of one gateway with one ``address`` share a port; other loopback addresses (127.0.0.2 …)
    give each a port of its own.

    :param tls: other settings; its certificates and client validation are replaced.
    :param options: further fields of the listener.
    """
    settings = evolve(
        tls or TLSSettings(()),
        certificates=tuple(server_certificate(one) for one in certificates),
        client_validation=client_validation,
    )
    return Listener(
        name, 0, Protocol.HTTPS, address, hostname, settings, limits=limits or ConnectionLimits(), **options
    )


def http_listener(*, name: str = "plain", address: str | None = "127.0.0.1", **options: Any) -> Listener:
    """Give a listener without TLS on a free port; ``options`` are further fields of it."""
    return Listener(name, 0, Protocol.HTTP, address, **options)


def gateway(
    listeners: Sequence[Listener],
    *upstreams: ScriptedUpstream | Upstream,
    routes: Sequence[Route] | None = None,
    **options: Any,
) -> Gateway:
    """Give a gateway; unless ``routes`` are given everything goes to the first upstream."""
    models = tuple(one.model if isinstance(one, ScriptedUpstream) else one for one in upstreams)
    if routes is None:
        routes = [Route("all", rules=(RouteRule(backends=(BackendRef(models[0].name),)),))] if models else []
    return Gateway(tuple(listeners), tuple(routes), models, admin=None, **options)


# --- the running gateway --------------------------------------------------------------------


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something that the reactor brings about and that calls nobody.

    :raises AssertionError: it did not happen in ``seconds``.
    """
    deadline = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > deadline:
            raise AssertionError("it never happened")
        await deferLater(reactor, 0.002, lambda: None)


class RunningGateway:
    """A gateway that serves.

    :ivar generation: the newest configuration.
    :ivar generations: all of them, the newest last.
    :ivar record: every handshake.
    :ivar ports: by ``(address, port)`` as configured.
    """

    def __init__(self, model: Gateway, metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self.record = HandshakeRecord()
        self.generation = Generation(reactor, model, self.metrics, self.record)
        self.generations = [self.generation]
        self.ports: dict[tuple[str | None, int], ListeningPort] = {}
        for key in self.generation.port_keys:
            self.ports[key] = self.generation.listen(key)
        self.generation.start()

    def address(self, name: str | None = None) -> Address:
        """Give where a listener is reached; without a name the first one."""
        listeners = self.generation.gateway.listeners
        listener = listeners[0] if name is None else next(one for one in listeners if one.name == name)
        port = self.ports[listener.address, listener.port]
        return listener.address or "127.0.0.1", port.getHost().port

    def counts(self, name: str | None = None) -> ListenerMetrics:
        """Give a listener's counters; without a name the first one's."""
        return self.metrics.listener(name or self.generation.gateway.listeners[0].name)

    def reload(self, model: Gateway) -> Generation:
        """Swap a new configuration in, and retire the one before; both have the same ports."""
        before = self.generation
        self.generation = Generation(reactor, model, self.metrics, self.record)
        self.generations.append(self.generation)
        for port in self.ports.values():
            self.generation.adopt(port)
        self.generation.start()
        before.retire()
        self.generation.replace(self.generations[:-1])
        return self.generation

    def in_progress(self) -> int:
        """Connections, and handshakes, that are counted as open."""
        return sum(one.connections + one.handshakes_in_progress for one in self.metrics.listeners.values())

    async def idle(self) -> None:
        """Wait until no client is connected.

        :raises AssertionError: one still is after some seconds.
        """
        await until(lambda: not any(one.connections for one in self.generations))

    async def stop(self) -> None:
        """Close every port, cut every connection and wait until all of it is gone; twice is as good as once."""
        ports, self.ports = self.ports, {}
        for port in ports.values():
            await port.stopListening()
        for generation in self.generations:
            generation.retire()
            generation.abort()
        for generation in self.generations:
            await generation.when_idle()
        await until(self._all_gone)
        for generation in self.generations:
            generation.stop()
        await deferLater(reactor, 0, lambda: None)

    def _all_gone(self) -> bool:
        kinds = (Client, Server, SocketEnd, SocketDialling)
        left = [one for one in (*reactor.getReaders(), *reactor.getWriters()) if isinstance(one, kinds)]
        return not left and not any(one.connections for one in self.metrics.upstreams.values())


async def start_gateway(case: TestCase, model: Gateway, metrics: Metrics | None = None) -> RunningGateway:
    """Serve a gateway until the test has ended."""
    running = RunningGateway(model, metrics)
    case.addCleanup(lambda: Deferred.fromCoroutine(running.stop()))
    return running


# --- upstreams ------------------------------------------------------------------------------


@frozen
class RecordedRequest:
    """What the gateway sent.

    :ivar head: the request line and the headers, with the empty line.
    :ivar body: the body, without chunked framing.
    :ivar raw: all of it as it came.
    :ivar talk: the connection it came on.
    """

    head: bytes
    body: bytes
    raw: bytes
    talk: UpstreamTalk

    @property
    def line(self) -> bytes:
        """The request line."""
        return self.head.partition(b"\r\n")[0]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names in lower case and values, in their order."""
        pairs = [line.partition(b":") for line in self.head.split(b"\r\n")[1:] if line]
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def all(self, name: bytes) -> list[bytes]:
        """Give the values of a header, by its lower-case name."""
        return [value for found, value in self.headers if found == name]


#: What an upstream does with a request: bytes to answer with, or a function that gives them, or ``None``
#: for no answer (the function may write to ``request.talk.transport`` later).
Script = bytes | Callable[[RecordedRequest], bytes | None]


class UpstreamTalk(protocol.Protocol):
    """One connection of the gateway's to an upstream.

    :ivar received: every byte, as it came.
    :ivar lost: fires when it has ended.
    :ivar reason: why it has ended; ``None`` while it has not.
    """

    transport: Any

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self.received = bytearray()
        self.lost: Deferred[None] = Deferred()
        self.reason: Failure | None = None
        self._unparsed = b""

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.upstream.talks.append(self)
        if self.upstream.on_connect is not None:
            self.upstream.on_connect(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.upstream.on_data is not None:
            self.upstream.on_data(self, data)
            return
        self._unparsed += data
        while True:
            request, rest = _take_request(self._unparsed, self)
            if request is None:
                return
            self._unparsed = rest
            self.upstream.requests.append(request)
            script = self.upstream.script
            reply = script(request) if callable(script) else script
            if reply:
                self.transport.write(reply)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.reason = reason
        self.lost.callback(None)


def _take_request(data: bytes, talk: UpstreamTalk) -> tuple[RecordedRequest | None, bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None, data
    head += end
    fields = RecordedRequest(head, b"", b"", talk)
    if fields.all(b"transfer-encoding"):
        body = b""
        while True:
            line, end, after = rest.partition(b"\r\n")
            if not end:
                return None, data
            size = int(line.partition(b";")[0], 16)
            if size == 0:
                trailers = after if after.startswith(b"\r\n") else after[after.find(b"\r\n\r\n") + 2 :]
                if not trailers.startswith(b"\r\n"):
                    return None, data
                rest = trailers[2:]
                break
            if len(after) < size + 2:
                return None, data
            body += after[:size]
            rest = after[size + 2 :]
    else:
        length = int((fields.all(b"content-length") or [b"0"])[0])
        if len(rest) < length:
            return None, data
        body, rest = rest[:length], rest[length:]
    return RecordedRequest(head, body, data[: len(data) - len(rest)], talk), rest


class ScriptedUpstream(protocol.Factory):
    """An HTTP/1.1 server on a free port that records what it gets and answers as it was told.

    :ivar script: see :data:`Script`; may be changed at any time.
    :ivar on_connect: called with each new connection.
    :ivar on_data: called with a connection and its bytes in place of parsing them.
    :ivar requests: complete requests, in their order.
    :ivar talks: connections, in their order.
    """

    noisy = False

    def __init__(self, script: Script, name: str = "upstream", **options: Any) -> None:
        self.script = script
        self.requests: list[RecordedRequest] = []
        self.talks: list[UpstreamTalk] = []
        self.on_connect: Callable[[UpstreamTalk], None] | None = None
        self.on_data: Callable[[UpstreamTalk, bytes], None] | None = None
        self.listening = self.listen()
        self.port: int = self.listening.getHost().port
        self.model = Upstream(name, (Endpoint("127.0.0.1", self.port),), **options)

    def listen(self) -> Any:
        """Open its port."""
        return reactor.listenTCP(0, self, interface="127.0.0.1")

    def buildProtocol(self, addr: object) -> UpstreamTalk:
        return UpstreamTalk(self)

    async def request(self, number: int = 1) -> RecordedRequest:
        """Wait for the request with this number, from 1."""
        await until(lambda: len(self.requests) >= number)
        return self.requests[number - 1]

    async def stop(self) -> None:
        """Close the port and every connection; twice is as good as once."""
        stopped = self.listening.stopListening()
        if stopped is not None:
            await stopped
        for one in self.talks:
            if one.reason is None:
                one.transport.abortConnection()
        await until(lambda: all(one.reason is not None for one in self.talks))


def start_upstream(case: TestCase, script: Script = b"", name: str = "upstream", **options: Any) -> ScriptedUpstream:
    """Start an upstream until the test has ended; ``options`` are fields of the model's ``Upstream``.

    :param script: see :data:`Script`; empty answers 200 with an empty body.
    """
    upstream = ScriptedUpstream(script or answer(), name, **options)
    case.addCleanup(lambda: Deferred.fromCoroutine(upstream.stop()))
    return upstream


def answer(body: bytes = b"", status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    """Give a whole response; ``headers`` are complete lines."""
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(body), headers, body)


# --- clients --------------------------------------------------------------------------------


def closing(body: bytes) -> Script:
    """Give a script that answers with 200, and closes."""

    def script(request: RecordedRequest) -> bytes:
        request.talk.transport.write(answer(body))
        request.talk.transport.loseConnection()
        return b""

    return script


def in_thread(function: Callable[..., Any], *args: Any, **options: Any) -> Deferred[Any]:
    """Run something that blocks while the reactor goes on."""
    return deferToThread(function, *args, **options)


@frozen
class Finished:
    """What a command did.

    :ivar exit: its exit status.
    """

    exit: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """What it printed, on both."""
        return (self.stdout + self.stderr).decode("utf-8", "replace")


async def run(*command: str, stdin: bytes = b"") -> Finished:
    """Run a command while the reactor goes on; ``stdin`` is all of its input."""
    out, err, status = await getProcessOutputAndValue(
        "/usr/bin/env", command, dict(os.environ), reactor=reactor, stdinBytes=stdin
    )
    return Finished(status, out, err)


def client_context(
    trust: Authority | None,
    certificate: Issued | None = None,
    *,
    version: ssl.TLSVersion | None = None,
    alpn: Sequence[str] = (),
) -> ssl.SSLContext:
    """Give a client's settings for the standard library's ``ssl``.

    :param trust: who may have issued the server's certificate; ``None`` takes any.
    :param version: the only version it speaks.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trust is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=trust.pem.decode())
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if certificate is not None:
        fd = os.memfd_create("client")
        try:
            os.write(fd, certificate.key_pem + certificate.chain_pem)
            context.load_cert_chain(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def get(path: str = "/", host: str = "a.example", *headers: str) -> bytes:
    """Give a request after which the connection is closed; ``headers`` are lines without their ends."""
    lines = [f"GET {path} HTTP/1.1", f"host: {host}", "connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def talk(
    address: Address | str,
    data: bytes,
    context: ssl.SSLContext | None = None,
    server_name: str | None = None,
    timeout: float = 20.0,
) -> bytes:
    """Connect, send, and give everything that comes until the other side closes; blocks.

    :param address: a path is a Unix socket's.
    :param context: speaks TLS with it.
    :raises OSError: as ``socket`` and ``ssl`` do.
    """
    if isinstance(address, str):
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(timeout)
        plain.connect(address)
    else:
        plain = socket.create_connection(address, timeout)
    with plain:
        if context is not None:
            with context.wrap_socket(plain, server_hostname=server_name) as secure:
                return _exchange(secure, data)
        return _exchange(plain, data)


def _exchange(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    received = []
    while got := connection.recv(65_536):
        received.append(got)
    return b"".join(received)


def open_files() -> int:
    """Count this process's open file descriptors."""
    return len(os.listdir("/proc/self/fd"))
