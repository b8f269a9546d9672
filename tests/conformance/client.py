"""The clients of the cases: one connection for each request, as the suite's own."""
from __future__ import annotations

import http.client
import json
import socket
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from io import BufferedRWPair
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from attrs import Factory, frozen
from cryptography import x509
from websockets.typing import Origin

from tests.conformance.cluster import Cluster

__all__ = ["Answer", "Refused", "ask", "host_of", "is_rejected", "tcp_echo", "websocket_echo"]

_SECONDS = 10.0


class Refused(Exception):
    """The connection ended without a response.

    :ivar certificate_requested: see :class:`Answer`.
    """

    def __init__(self, problem: str, certificate_requested: bool | None = None) -> None:
        super().__init__(problem)
        self.certificate_requested = certificate_requested


@frozen
class Answer:
    """A response.

    :ivar headers: names in lower case, values of one name joined with commas.
    :ivar certificate_requested: whether the server asked for one; ``None`` without TLS.
    """

    status: int
    headers: Mapping[str, str] = Factory(dict)
    body: bytes = b""
    certificate_requested: bool | None = None

    @property
    def echoed(self) -> dict[str, Any] | None:
        """What a backend says of the request; ``None`` if the gateway has answered."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        return found if isinstance(found, dict) and "pod" in found else None


def ask(address: str, request: Mapping[str, Any], cluster: Cluster, target: str | None = None) -> Answer:
    """Send a request and give what comes back.

    :param target: the path and query, if not those of the request.
    :raises Refused: the connection ended before a response was complete.
    """
    transport, what = request["transport"], request["request"]
    headers = [(name, str(value)) for name, value in (what.get("headers") or {}).items()]
    wanted = what.get("backend_sets_response_headers") or {}
    headers.append(("X-Echo-Set-Header", ",".join(f"{name}:{value}" for name, value in _pairs(wanted))))
    body = (what.get("body") or "").encode()
    connection = _Connection(request.get("tls"), cluster, ["h2"] if transport == "h2" else None)
    try:
        with connection:
            connection.open(address, request["port"])
            message = what["method"], target or what["path"], host_of(address, request), headers, body
            if transport in ("h2", "h2c"):
                return _over_http2(connection, "https" if transport == "h2" else "http", *message)
            return _over_http1(connection, *message)
    except (OSError, ValueError, http.client.HTTPException, h2.exceptions.H2Error) as error:
        raise Refused(repr(error), connection.requested) from error


def host_of(address: str, request: Mapping[str, Any]) -> str:
    """Give what the request says as its host."""
    port = request["port"]
    return str(request["request"].get("host") or (address if port in (80, 443) else f"{address}:{port}"))


def _pairs(headers: Any) -> list[tuple[str, str]]:
    if isinstance(headers, Mapping):
        return [(name, one) for name, value in headers.items() for one in _several(value)]
    return [(one["name"], one["value"]) for one in headers]


def _several(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


class _Connection:
    """A TCP or TLS connection.

    :ivar requested: whether the server asked for a certificate; ``None`` without TLS.
    """

    socket: socket.socket

    def __init__(self, tls: Mapping[str, Any] | None, cluster: Cluster, alpn: list[str] | None) -> None:
        self.requested: bool | None = None
        self._tls, self._cluster, self._alpn = tls, cluster, alpn

    def open(self, address: str, port: int) -> None:
        """Connect, and shake hands."""
        self.socket = socket.create_connection((address, port), _SECONDS)
        if self._tls is not None:
            self.socket = self._encrypted(self._tls, self._cluster, self._alpn)

    def _encrypted(self, tls: Mapping[str, Any], cluster: Cluster, alpn: list[str] | None) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # OpenSSL does not take "*.org", which the suite's certificates have.
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        trust = tls.get("trust")
        if trust is None:
            context.verify_mode = ssl.CERT_NONE
        else:
            standard = "tls.crt" if trust["kind"] == "Secret" else "ca.crt"
            context.load_verify_locations(cadata=cluster.text_of(trust, trust.get("key") or standard))
        if alpn is not None:
            context.set_alpn_protocols(alpn)
        client = tls.get("client_certificate")
        if client is not None:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write(cluster.text_of(client, "tls.key") + cluster.text_of(client, "tls.crt"))
                file.flush()
                context.load_cert_chain(file.name)
        self.requested = False

        def note(_: Any, direction: str, __: Any, ___: Any, message: Any, ____: bytes) -> None:
            if direction == "read" and getattr(message, "name", "") == "CERTIFICATE_REQUEST":
                self.requested = True

        context._msg_callback = note  # type: ignore[attr-defined]  # what Python's own tests watch handshakes with
        name = tls.get("server_name")
        encrypted = context.wrap_socket(self.socket, server_hostname=name)
        der = encrypted.getpeercert(True)
        assert der is not None
        if trust is not None and name is not None and not _is_named(x509.load_der_x509_certificate(der), name):
            encrypted.close()
            raise ssl.SSLError(f"the certificate is not for {name}")
        return encrypted

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "socket"):
            self.socket.close()


def _is_named(certificate: x509.Certificate, name: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    accepted = names.get_values_for_type(x509.DNSName)
    return name in accepted or "*." + name.partition(".")[2] in accepted


def _over_http1(
    connection: _Connection, method: str, path: str, host: str, headers: list[tuple[str, str]], body: bytes
) -> Answer:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    connection.socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    response = http.client.HTTPResponse(connection.socket, method=method)
    response.begin()
    found: dict[str, str] = {}
    for name, value in response.getheaders():
        found[name.lower()] = f"{found[name.lower()]},{value}" if name.lower() in found else value
    return Answer(response.status, found, response.read(), connection.requested)


def _over_http2(
    connection: _Connection, scheme: str, method: str, path: str, host: str, headers: list[tuple[str, str]], body: bytes
) -> Answer:
    if isinstance(connection.socket, ssl.SSLSocket) and connection.socket.selected_alpn_protocol() != "h2":
        raise Refused("h2 was not agreed upon")
    codec = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    codec.initiate_connection()
    pseudo = [(":method", method), (":path", path), (":scheme", scheme), (":authority", host)]
    ordinary = [(name.lower(), value) for name, value in headers]
    codec.send_headers(1, [*pseudo, *ordinary], end_stream=not body)
    if body:
        codec.send_data(1, body, end_stream=True)
    connection.socket.sendall(codec.data_to_send())
    found: dict[str, str] = {}
    content = b""
    while True:
        data = connection.socket.recv(65_536)
        if not data:
            raise Refused("the connection ended")
        for event in codec.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                for name, value in event.headers:
                    key, text = name.decode(), value.decode()
                    found[key] = f"{found[key]},{text}" if key in found else text
            elif isinstance(event, h2.events.DataReceived):
                content += event.data
                codec.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamEnded):
                return Answer(int(found.pop(":status")), found, content, connection.requested)
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                raise Refused(repr(event))
        connection.socket.sendall(codec.data_to_send())


def is_rejected(address: str, request: Mapping[str, Any]) -> str:
    """Say how a TLS connection ended that must end with FIN or RST before any answer; empty if it ended so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((address, request["port"]), _SECONDS) as plain:
            context.wrap_socket(plain, server_hostname=(request.get("tls") or {}).get("server_name")).close()
    except (ConnectionError, ssl.SSLEOFError):
        return ""
    except OSError as error:
        return f"it ended with {error!r}"
    return "the handshake was completed"


def tcp_echo(address: str, request: Mapping[str, Any], cluster: Cluster) -> dict[str, Any]:
    """Go through the echo server's own protocol, and give what it says of the connection.

    :raises Refused: it did not go as it must.
    """
    connection = _Connection(request.get("tls"), cluster, None)
    try:
        with connection:
            connection.open(address, request["port"])
            with connection.socket.makefile("rwb") as file:
                answers = [_answer(file, command) for command in (b"", b"PING\n", b"IS_TLS\n", b"TEST\n")]
        told: dict[str, Any] = json.loads(answers[3])
        if not answers[0].startswith(b"Gateway API Test TCP Server") or answers[1] != b"PONG\n":
            raise ValueError(f"the server says {answers}")
        if answers[2] != (b"true\n" if told["isTLS"] else b"false\n"):
            raise ValueError(f"IS_TLS and TEST differ: {answers}")
    except (OSError, ValueError) as error:
        raise Refused(repr(error), connection.requested) from error
    return told


def _answer(file: BufferedRWPair, command: bytes) -> bytes:
    file.write(command)
    file.flush()
    return file.readline()


def websocket_echo(
    address: str, request: Mapping[str, Any], messages: Sequence[str | bytes], cluster: Cluster, target: str
) -> str:
    """Say what is wrong with a WebSocket that must echo; empty if nothing is."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    tls = request.get("tls")
    connection = _Connection(tls, cluster, None)
    try:
        connection.open(address, request["port"])
        with connect(
            f"ws://{host_of(address, request)}{target}", sock=connection.socket, origin=Origin("ws://gateway/case"),
            additional_headers=request["request"].get("headers") or {}, proxy=None, open_timeout=_SECONDS,
        ) as client:  # fmt: skip
            for message in messages:
                client.send(message)
                answer = client.recv(_SECONDS)
                if answer != message:
                    return f"{message!r} was echoed as {answer!r}"
    except (OSError, WebSocketException) as error:
        return repr(error)
    return ""
