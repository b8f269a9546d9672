"""How exchanges end that somebody does not want to end: nothing is kept for good, and nobody gets another's answer."""
from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from edgegw.model import HTTPSettings
from edgegw.upstream import connection as upstream_connection
from tests.gateway import answer, gateway, get, http_listener, in_thread, start_gateway, start_upstream, until

reactor: Any = global_reactor

POST = b"POST / HTTP/1.1\r\nhost: a.example\r\n"


def connect(address: Any, receives: int = 65_536) -> socket.socket:
    """Give a client's socket with this much room for what comes."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    made.settimeout(10)
    made.connect(address)
    return made


def read_to_the_end(client: socket.socket) -> bytes:
    """Give everything until the connection's end, however it ends."""
    received = b""
    try:
        while data := client.recv(65_536):
            received += data
    except OSError:
        pass
    return received


def upload(client: socket.socket, size: int) -> Deferred[None]:
    """Send a request with a body; that the connection ends meanwhile is no matter."""

    def send() -> None:
        try:
            client.sendall(POST + b"content-length: %d\r\n\r\n" % size + b"z" * size)
        except OSError:
            pass

    return in_thread(send)


class EndingTests(TestCase):
    """Every exchange comes to an end."""

    async def test_client_takes_nothing_after_its_body(self) -> None:
        """A client that ends its body while it takes nothing of a response that came early is given up."""
        upstream = start_upstream(self, idle_timeout=1.0, response_timeout=1.0)
        begun: list[bytes] = []

        def on_data(talk: Any, data: bytes) -> None:
            if not begun:
                begun.append(data)
                talk.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n" + b"x" * 50_000_000)

        upstream.on_data = on_data
        http = HTTPSettings(write_timeout=1.0, body_idle_timeout=5.0)
        running = await start_gateway(self, gateway([http_listener(http=http)], upstream))
        client = connect(running.address(), 4096)
        self.addCleanup(client.close)
        client.sendall(POST + b"content-length: 5\r\n\r\nhe")
        (profile,) = running.generation._profiles.values()
        # Until the response has filled everything on its way, and the upstream is not read any more.
        await until(lambda: any(one.producerPaused for one in profile.transports))
        client.sendall(b"llo")
        await until(lambda: running.generation.connections == 0)

    async def test_upload_goes_on_after_the_response_has_begun(self) -> None:
        """An upload may last longer than idle_timeout although the upstream began its response at once."""
        upstream = start_upstream(self, idle_timeout=0.5, response_timeout=0.5)
        received = bytearray()

        def on_data(talk: Any, data: bytes) -> None:
            if not received:
                talk.transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
            received.extend(data)
            if received.endswith(b"END"):
                talk.transport.write(b"3\r\nyes\r\n0\r\n\r\n")

        upstream.on_data = on_data
        running = await start_gateway(self, gateway([http_listener()], upstream))
        client = connect(running.address())
        client.sendall(POST + b"content-length: 33\r\n\r\n")
        for _ in range(6):
            await deferLater(reactor, 0.3)
            client.sendall(b"12345")
        client.sendall(b"END")
        self.assertIn(b"yes", await in_thread(read_to_the_end, client))
        client.close()

    async def test_large_pipelined_head(self) -> None:
        """A pipelined head that is longer than what is held of pipelined requests is read to its end."""
        waiting: list[Any] = []
        upstream = start_upstream(self, lambda request: waiting.append(request) if not waiting else answer(b"second"))
        running = await start_gateway(
            self, gateway([http_listener(http=HTTPSettings(max_head_bytes=400_000))], upstream)
        )
        client = connect(running.address())
        lines = b"".join(b"x-%d: %b\r\n" % (number, b"y" * 4000) for number in range(50))
        sent = in_thread(client.sendall, get("/first")[:-2].replace(b"connection: close\r\n", b"") + b"\r\n"
                         + get("/second")[:-2] + lines + b"\r\n")
        await until(lambda: waiting and running.counts().bytes_received > 65_536)
        waiting[0].talk.transport.write(answer(b"first"))
        await sent
        received = await in_thread(read_to_the_end, client)
        client.close()
        self.assertIn(b"second", received)
        self.assertNotIn(b" 408 ", received)


class UpstreamEndingTests(TestCase):
    """What an upstream leaves behind on its connection is nobody else's."""

    async def leave_behind(self, head: bytes) -> None:
        """An upstream answers the first request with this head, and later sends what would be a response."""
        upstream = start_upstream(self)
        first: list[Any] = []

        def on_data(talk: Any, data: bytes) -> None:
            if not first:
                first.append(talk)
                talk.transport.write(head)
            elif talk is first[0]:
                talk.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL")
            else:
                talk.transport.write(answer(b"good"))

        upstream.on_data = on_data
        running = await start_gateway(self, gateway([http_listener()], upstream))
        for path, expected in (("/one", b" 204 "), ("/two", b"good")):
            client = connect(running.address())
            client.sendall(get(path))
            self.assertIn(expected, await in_thread(read_to_the_end, client))
            client.close()

    async def test_no_content_with_a_length(self) -> None:
        """After a 204 that announces bytes the connection is not used again."""
        await self.leave_behind(b"HTTP/1.1 204 No Content\r\ncontent-length: 42\r\n\r\n")

    async def test_no_content_in_chunks(self) -> None:
        """Nor after one that announces chunks."""
        await self.leave_behind(b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n")

    async def early_answer(self, headers: bytes) -> None:
        """An upstream answers an upload of which it reads nothing, and keeps the connection open."""
        self.patch(upstream_connection, "CLOSE_SECONDS", 0.5)
        upstream = start_upstream(self)
        begun: list[Any] = []

        def on_data(talk: Any, data: bytes) -> None:
            if not begun:
                begun.append(talk)
                talk.transport.pauseProducing()

        upstream.on_data = on_data
        upstream.listening.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        running = await start_gateway(self, gateway([http_listener()], upstream))
        (metrics,) = running.metrics.upstreams.values()
        client = connect(running.address())
        sent = upload(client, 3_000_000)
        await until(lambda: begun and running.counts().bytes_received > 65_536)
        begun[0].transport.write(answer(b"early", headers=headers))
        await until(lambda: running.counts().bytes_sent > 0)
        self.assertEqual(metrics.idle, 0)
        await until(lambda: metrics.connections == 0)
        client.close()
        await sent

    async def test_unread_upload(self) -> None:
        """The connection is not given to another request, which would wait behind the upload."""
        await self.early_answer(b"")

    async def test_unread_upload_and_close(self) -> None:
        """Nor is it kept because the upstream said that it would close it, and does not."""
        await self.early_answer(b"connection: close\r\n")
