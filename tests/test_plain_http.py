"""HTTP without TLS on ports that speak TLS: whoever writes http:// for https:// is told so."""
from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.model import ConnectionLimits, Listener, TLSSettings
from edgegw.tcp import LINGER_BYTES
from edgegw.verdict import Reason
from edgegw.wire.plain_http import ANSWER, ends_like_http, looks_like_http
from tests.gateway import SERVER, Authority, https_listener, in_thread, run
from tests.tls_peers import BarePort, connect, start_port, visit

REQUESTS = (
    b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n",
    b"POST /a HTTP/1.1\r\nhost: a.example\r\ncontent-length: 3\r\n\r\nabc",
    b"PUT /a HTTP/1.0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\n\r\n",
    b"DELETE /a?b=c HTTP/1.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"PATCH /a HTTP/1.1\r\n\r\n",
    b"PROPFIND /dav HTTP/1.1\r\n\r\n",
    b"GET http://a.example/ HTTP/1.1\r\n\r\n",
    b"GET HTTPS://a.example/ HTTP/1.1\r\n\r\n",
    b"CONNECT a.example:443 HTTP/1.1\r\n\r\n",
    b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
OTHERS = (
    b"SSH-2.0-OpenSSH_9\r\n",
    b"EHLO mail.example\r\n",
    b"get / HTTP/1.1\r\n\r\n",
    b"GET\t/ HTTP/1.1\r\n\r\n",
    b"GET  / HTTP/1.1\r\n\r\n",
    b"GET httpx://a/ HTTP/1.1\r\n\r\n",
    b" GET / HTTP/1.1\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\n\r\n",
    b"AB / HTTP/1.1\r\n\r\n",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n",
    b"USER nobody\r\n",
    b"\x00\x01\x02\x03\x04\x05\x06\x07",
    b"\xff" * 40,
)


class BeginningTests(SynchronousTestCase):
    """How it is told."""

    def test_requests(self) -> None:
        """Request lines and HTTP/2's preface are known, as soon as they can be nothing else."""
        for data in REQUESTS:
            self.assertIs(looks_like_http(data), True, data)
            said = [looks_like_http(data[:cut]) for cut in range(len(data))]
            self.assertNotIn(False, said, data)
            known = said.index(True)
            self.assertTrue(all(said[known:]), data)
            self.assertLess(known, 29)

    def test_others(self) -> None:
        """What is another protocol's is not taken for HTTP, whole or in part."""
        for data in OTHERS:
            self.assertIs(looks_like_http(data), False, data)
            self.assertNotIn(True, [looks_like_http(data[:cut]) for cut in range(len(data))], data)

    @given(st.one_of(st.binary(max_size=60), st.text("AGET /h:p*", max_size=60).map(str.encode)))
    def test_anything(self, data: bytes) -> None:
        """What is known stays known, and after 28 bytes it is."""
        said = [looks_like_http(data[:cut]) for cut in range(len(data) + 1)]
        decided = [one for one in said if one is not None]
        self.assertLessEqual(len(set(decided)), 1)
        self.assertEqual(said, [None] * (len(said) - len(decided)) + decided)
        self.assertLessEqual(len(said) - len(decided), 29)

    def test_rests(self) -> None:
        """What follows the first five bytes tells, too."""
        for data in REQUESTS:
            self.assertTrue(ends_like_http(data[5:]), data)
            self.assertFalse(ends_like_http(data[5 : data.index(b"\n")]), data)
        for data in (b"", b"\n", b"SSH-2.0-x\r\n", b" HTTP/1.1", b" HTTP/3.0\r\n", b"\x00" * 100, b"x\n HTTP/1.1\n"):
            self.assertFalse(ends_like_http(data), data)


class ServedTests(TestCase):
    """What clients get, where the ClientHello is looked at first and where OpenSSL reads it."""

    def setUp(self) -> None:
        self.issued = Authority().issue("a.example", dns=["a.example"], usages=SERVER)

    def listener(self, looked_at: bool, seconds: float = 10.0) -> Listener:
        """Give a listener.

        :param looked_at: whether the ClientHello is looked at first.
        """
        limits = ConnectionLimits(handshake_timeout=seconds)
        return https_listener([self.issued], tls=TLSSettings((), fingerprints=looked_at), limits=limits)

    def ports(self, seconds: float = 10.0) -> tuple[BarePort, BarePort]:
        """Serve one listener of each sort."""
        ports = start_port(self, self.listener(True, seconds)), start_port(self, self.listener(False, seconds))
        self.assertEqual([port.profile.only is None for port in ports], [True, False])
        return ports

    async def answer(
        self, port: BarePort, *pieces: bytes, after: Callable[[socket.socket], None] | None = None
    ) -> bytes:
        """Send pieces, each on its own, and give what comes until the end, be it a reset.

        :param after: called when they are sent.
        """
        def talk() -> bytes:
            with connect(port.address) as plain:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for piece in pieces:
                    try:
                        plain.sendall(piece)
                    except OSError:
                        break
                if after is not None:
                    after(plain)
                got = b""
                try:
                    while data := plain.recv(4096):
                        got += data
                except ConnectionResetError:
                    pass
                return got

        return await in_thread(talk)  # type: ignore[no-any-return]  # what talk() gives

    async def test_requests(self) -> None:
        """Each gets a 400 that says what is wrong, and the connection ends; it is counted, and nothing was begun."""
        for port in self.ports():
            for number, data in enumerate(REQUESTS, 1):
                self.assertEqual((data, await self.answer(port, data)), (data, ANSWER))
                await port.idle()
                self.assertEqual(port.failures, {Reason.PLAIN_HTTP: number})
            self.assertEqual(port.talks, [])
            entry = port.record.entries(1)[0][0]
            self.assertEqual((entry["result"], entry["reason"]), ("failed", "plain_http"))
            self.assertTrue((await visit(port, server_name="a.example")).ok)

    async def test_others(self) -> None:
        """Everything else that is no TLS is closed without an answer.

        OpenSSL's port knows a request by the end of its line alone, so that odd beginnings are one, too.
        """
        looking, other = self.ports()
        for port, cases in ((looking, OTHERS), (other, [one for one in OTHERS if not ends_like_http(one[5:])])):
            for number, data in enumerate(cases, 1):
                self.assertEqual((data, await self.answer(port, data)), (data, b""))
                await port.idle()
                self.assertEqual((data, port.failures), (data, {Reason.NOT_TLS: number}))

    async def test_byte_by_byte(self) -> None:
        """So does a request that comes in pieces, however small."""
        looking, other = self.ports()
        # OpenSSL knows most methods by their first bytes, but not HTTP/2's preface.
        for port, cases in ((looking, (REQUESTS[0], REQUESTS[8], REQUESTS[-1])), (other, (*REQUESTS[:2], REQUESTS[8]))):
            for data in cases:
                pieces = [data[at : at + 1] for at in range(len(data))]
                self.assertEqual((data, await self.answer(port, *pieces)), (data, ANSWER))
                await port.idle()
            self.assertEqual(port.failures, {Reason.PLAIN_HTTP: 3})

    async def test_large_body(self) -> None:
        """The answer arrives although a body is on its way."""
        head = b"POST /a HTTP/1.1\r\nhost: a.example\r\ncontent-length: 200000\r\n\r\n"
        self.assertLess(200_000, LINGER_BYTES)
        for port in self.ports():
            self.assertEqual(await self.answer(port, head, bytes(200_000)), ANSWER)
            await port.idle()

    async def test_unfinished(self) -> None:
        """A client that says no more than a part of a method has the time of a handshake."""
        for port in self.ports(0.3):
            self.assertEqual(await self.answer(port, b"GET"), b"")
            await port.idle()
            self.assertEqual(port.failures, {Reason.HANDSHAKE_TIMEOUT: 1})

    async def test_leaves_at_once(self) -> None:
        """A client that does not wait for its answer leaves nothing behind."""
        def reset(plain: socket.socket) -> None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            plain.close()

        for port in self.ports():
            for data in (REQUESTS[0], b"GE", b""):
                try:
                    await self.answer(port, data, after=reset)
                except OSError:
                    pass
                await port.idle()

    async def test_curl(self) -> None:
        """curl shows the answer, and its status."""
        for port in self.ports():
            where = f"http://127.0.0.1:{port.address[1]}/"
            for options in ((), ("-X", "PATCH"), ("--http1.0",), ("-d", "x" * 5000)):
                done = await run("curl", "-sS", "-w", "%{http_code}", *options, where)
                self.assertEqual((done.exit, done.stdout[-3:]), (0, b"400"), options)
                self.assertIn(b"speaks TLS", done.stdout)
            self.assertEqual(port.failures, {Reason.PLAIN_HTTP: 4})
