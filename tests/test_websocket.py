"""WebSocket through a gateway, with a real library at both ends, and from a real browser."""
from __future__ import annotations

import shutil
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.threads import blockingCallFromThread
from twisted.trial.unittest import SkipTest, TestCase
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_websocket
from websockets.sync.server import ServerConnection, serve, unix_serve

from edgegw.model import (
    XFCC,
    BackendRef,
    ClientRequirement,
    Endpoint,
    EndpointKind,
    Filters,
    FixedResponse,
    HTTPVersion,
    Listener,
    PathMatch,
    PathMatchType,
    Route,
    RouteMatch,
    RouteRule,
    Upstream,
    UpstreamTLS,
)
from edgegw.proxy.http2 import HTTP2Connection
from edgegw.proxy.http2_connect import ConnectStream
from edgegw.proxy.upgraded_tunnel import UpgradedTunnel

from .gateway import (
    SERVER,
    Authority,
    RecordedRequest,
    RunningGateway,
    answer,
    client_context,
    files,
    gateway,
    http_listener,
    https_listener,
    in_thread,
    run,
    start_gateway,
    start_upstream,
    trust_anchor,
    until,
    validation,
)
from .tls_upstreams import start_command

reactor: Any = global_reactor

PAGE = b"""<!doctype html><title>waiting</title><body><pre id=log></pre><script>
var log = [], socket = new WebSocket(location.origin.replace("http", "ws") + "/socket", ["chat"]);
socket.binaryType = "arraybuffer";
function tell(text) { log.push(text); document.getElementById("log").textContent = log.join(" | "); }
socket.onopen = function () { tell("open " + socket.protocol); socket.send("hello"); };
socket.onmessage = function (event) {
    if (typeof event.data == "string") { tell("text " + event.data); socket.send(new Uint8Array(300000)); }
    else { tell("bytes " + event.data.byteLength); socket.close(4001, "enough"); }
};
socket.onerror = function () { tell("error"); };
socket.onclose = function (event) { tell("closed " + event.code + " " + event.reason + " " + event.wasClean);
    fetch("/heard", {method: "POST", body: log.join(" | ")}); };
</script><script src="/hold"></script></body>
"""


def echo(connection: ServerConnection) -> None:
    """Send back what comes."""
    for message in connection:
        connection.send(message)


class Served:
    """A WebSocket server in a thread.

    :ivar seen: the handshakes.
    """

    def __init__(self, case: TestCase, behave: Callable[[ServerConnection], None] = echo, **options: Any) -> None:
        self.seen: list[Any] = []

        def converse(connection: ServerConnection) -> None:
            self.seen.append(connection.request)
            try:
                behave(connection)
            except ConnectionClosed:
                pass

        make: Any = unix_serve if "path" in options else serve
        where = () if "path" in options else ("127.0.0.1", 0)
        self._server = make(converse, *where, max_size=None, subprotocols=["chat"], **options)
        self.port = 0 if "path" in options else self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        case.addCleanup(self._stop)

    def _stop(self) -> Any:
        def stop() -> None:
            self._server.shutdown()
            self._thread.join()

        return in_thread(stop)

    def upstream(self, **options: Any) -> Upstream:
        """Give it as an upstream."""
        return Upstream("sockets", (Endpoint("127.0.0.1", self.port),), **options)


def dial(running: RunningGateway, path: str = "/socket", **options: Any) -> ClientConnection:
    """Open a WebSocket; blocks."""
    host, port = running.address()
    scheme = "wss" if options.get("ssl") else "ws"
    address = f"{scheme}://{host}:{port}{path}"
    return connect_websocket(address, subprotocols=["chat"], max_size=None, proxy=None, **options)


class WebSocketTests(TestCase):
    """A library at both ends."""

    async def serve(self, upstream: Upstream) -> RunningGateway:
        return await start_gateway(self, gateway([http_listener()], upstream))

    async def test_conversation(self) -> None:
        """Text, bytes, compression, a subprotocol, pings, and the end with its code and reason."""
        served = Served(self)
        running = await self.serve(served.upstream())

        def talk() -> Any:
            with dial(running) as socket:
                socket.send("Grüße " * 10_000)
                text = socket.recv()
                socket.send(bytes(range(256)))
                data = socket.recv()
                pong = socket.ping().wait(10)
                socket.close(4002, "enough")
                return text, data, pong, socket.subprotocol, socket.close_code, socket.close_reason

        self.assertEqual(
            await in_thread(talk), ("Grüße " * 10_000, bytes(range(256)), True, "chat", 4002, "enough")
        )
        self.assertIn("permessage-deflate", served.seen[0].headers["Sec-WebSocket-Extensions"])
        await running.idle()
        counts = running.metrics.requests("plain", "all", "sockets")
        await until(lambda: not counts.in_progress)
        self.assertEqual(counts.responses[1], 1)

    async def test_large_and_slow(self) -> None:
        """Many messages, and a large one, both ways, to readers that take their time."""
        message = b"m" * 200_000

        def behave(connection: ServerConnection) -> None:
            threading.Event().wait(0.3)
            for _ in range(100):
                assert connection.recv() == message
            for _ in range(100):
                connection.send(message)
            connection.send(connection.recv())

        running = await self.serve(Served(self, behave, compression=None).upstream())

        def talk() -> Any:
            with dial(running, compression=None) as socket:
                for _ in range(100):
                    socket.send(message)
                threading.Event().wait(0.3)
                got = sum(socket.recv() == message for _ in range(100))
                socket.send(b"l" * 20_000_000)
                return got, len(socket.recv())

        self.assertEqual(await in_thread(talk), (100, 20_000_000))

    async def test_tls_at_both_ends(self) -> None:
        """The upstream is told who calls, over TLS; a client without a certificate gets no further than 403."""
        pki = Authority()
        server = pki.issue("localhost", dns=["localhost"], usages=SERVER)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files(self, server, "server"))
        served = Served(self, ssl=context)
        tls = UpstreamTLS(trust_anchors=(trust_anchor(pki),), hostname="localhost")
        listener = https_listener(
            [server], validation(pki, required=False), header_injection=(XFCC(),)
        )
        rule = RouteRule(backends=(BackendRef("sockets"),), client=ClientRequirement.VERIFIED)
        running = await start_gateway(
            self, gateway([listener], served.upstream(tls=tls), routes=[Route("all", rules=(rule,))])
        )
        known = client_context(pki, pki.issue("caller", uris=["spiffe://example.com/caller"]))

        def talk(settings: ssl.SSLContext) -> Any:
            with dial(running, ssl=settings, server_hostname="localhost") as socket:
                socket.send(b"x" * 1_000_000)
                return len(socket.recv())

        self.assertEqual(await in_thread(talk, known), 1_000_000)
        self.assertIn("URI=spiffe://example.com/caller", served.seen[0].headers["x-forwarded-client-cert"])
        failure = await self.assertFailure(in_thread(talk, client_context(pki)), InvalidStatus)
        self.assertEqual(failure.response.status_code, 403)
        self.assertEqual(len(served.seen), 1)

    async def test_unix(self) -> None:
        """An upstream on a Unix socket."""
        path = self.mktemp()[-80:].replace("/", "_")
        Served(self, path=path)
        upstream = Upstream("sockets", (Endpoint(path, 0, kind=EndpointKind.UNIX),))
        running = await self.serve(upstream)

        def talk() -> Any:
            with dial(running) as socket:
                socket.send("hello")
                return socket.recv()

        self.assertEqual(await in_thread(talk), "hello")

    async def test_reload_and_drain(self) -> None:
        """A conversation goes on over a reload, and is cut when draining is over."""
        running = await self.serve(Served(self).upstream())
        opened, reloaded = threading.Event(), threading.Event()

        def talk() -> Any:
            with dial(running) as socket:
                opened.set()
                reloaded.wait(20)
                socket.send("still here")
                answer = socket.recv()
                reloaded.clear()
                try:
                    socket.recv()
                except ConnectionClosed as closed:
                    return answer, closed.rcvd
                return answer, "a message"

        talking = in_thread(talk)
        await until(opened.is_set)
        before = running.generation
        running.reload(running.generation.gateway)
        reloaded.set()
        await until(lambda: not reloaded.is_set())
        before.abort()
        self.assertEqual(await talking, ("still here", None))


class HAProxyTests(TestCase):
    """HAProxy, which speaks extended CONNECT at both of its ends."""

    async def test_chain(self) -> None:
        """From HTTP/1.1 over HTTP/2 to HAProxy, from there over HTTP/2 back, and on over HTTP/1.1."""
        haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if haproxy is None:
            raise SkipTest("HAProxy is not installed")
        served = Served(self)
        path = self.mktemp()[-60:].replace("/", "_")
        middle = Upstream(
            "middle", (Endpoint(path, 0, kind=EndpointKind.UNIX),), http_version=HTTPVersion.HTTP_2
        )
        routes = [
            Route(name, listeners=(name,), rules=(RouteRule(backends=(BackendRef(upstream),)),))
            for name, upstream in (("first", "middle"), ("last", "sockets"))
        ]
        listeners = [http_listener(name="first"), http_listener(name="last", address="127.0.0.2")]
        running = await start_gateway(self, gateway(listeners, served.upstream(), middle, routes=routes))
        host, port = running.address("last")
        config = Path(self.mktemp())
        config.write_text(
            "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n timeout tunnel 30s\n"
            f"listen all\n bind unix@{path} proto h2\n server last {host}:{port} proto h2 ws h2\n"
        )
        command = start_command(self, haproxy, "-db", "-f", str(config))
        await until(lambda: Path(path).exists() or command.ended is not None)
        self.assertIsNone(command.ended, command.output)

        def talk() -> Any:
            with dial(running, compression=None) as socket:
                socket.send("Grüße")
                text = socket.recv()
                socket.send(b"l" * 5_000_000)
                size = len(socket.recv())
                socket.close(4002, "enough")
                return text, size, socket.subprotocol, socket.close_code

        self.assertEqual(await in_thread(talk), ("Grüße", 5_000_000, "chat", 4002), command.output)
        self.assertEqual(len(served.seen), 1)
        self.assertEqual(running.metrics.requests("last", "last", "sockets").responses[1], 1)
        await until(lambda: not running.metrics.requests("first", "first", "middle").in_progress)
        await until(lambda: not running.metrics.requests("last", "last", "sockets").in_progress)


class BrowserTests(TestCase):
    """Headless Chromium."""

    running: RunningGateway

    async def test_page(self) -> None:
        """A page that the gateway serves opens a WebSocket, and hears what it sends."""
        await self.browse(http_listener(), Served(self), "http")

    async def test_page_over_http2(self) -> None:
        """The same over HTTP/2, on the connection that the page came by."""
        carried: list[Any] = []

        def look() -> None:
            (profile,) = self.running.generation._profiles.values()
            protocols = [transport.protocol for transport in profile.transports]
            carried.extend(
                stream for one in protocols if isinstance(one, HTTP2Connection) for stream in one.streams.values()
                if isinstance(stream, ConnectStream)
            )
            carried.extend(one for one in protocols if isinstance(one, UpgradedTunnel))

        def behave(connection: ServerConnection) -> None:
            blockingCallFromThread(reactor, look)
            echo(connection)

        pki = Authority()
        listener = https_listener([pki.issue("localhost", dns=["localhost"], usages=SERVER)])
        await self.browse(listener, Served(self, behave), "https", "--ignore-certificate-errors")
        self.assertEqual([type(one) for one in carried], [ConnectStream])
        counts = self.running.metrics.requests(listener.name, "all", "sockets")
        self.assertEqual((counts.in_progress, counts.responses[1]), (0, 1))

    async def browse(self, listener: Listener, served: Served, scheme: str, *options: str) -> None:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if chromium is None:
            raise SkipTest("no Chromium is installed")
        page = FixedResponse(200, (("content-type", "text/html"),), PAGE)
        held: list[RecordedRequest] = []

        def script(request: RecordedRequest) -> bytes | None:
            # The page is not whole, and the browser does not end, before both have come.
            held.append(request)
            if len(held) < 2:
                return None
            held[0].talk.transport.write(answer())
            return answer()

        other = start_upstream(self, script, "other")
        rules = (
            RouteRule((RouteMatch(PathMatch(PathMatchType.EXACT, "/socket")),), (BackendRef("sockets"),)),
            *(
                RouteRule((RouteMatch(PathMatch(PathMatchType.EXACT, path)),), (BackendRef("other"),))
                for path in ("/hold", "/heard")
            ),
            RouteRule(filters=Filters(fixed_response=page)),
        )
        self.running = await start_gateway(
            self, gateway([listener], served.upstream(), other, routes=[Route("all", rules=rules)])
        )
        profile = self.mktemp()
        finished = await run(
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server", f"--user-data-dir={profile}",
            *options, "--dump-dom", f"{scheme}://127.0.0.1:{self.running.address(listener.name)[1]}/",
        )
        told = "open chat | text hello | bytes 300000 | closed 4001 enough true"
        self.assertIn(told, finished.stdout.decode(), finished.text)
        self.assertIn(told.encode(), [request.body for request in other.requests])
        self.assertIn("Mozilla", served.seen[0].headers["user-agent"])
