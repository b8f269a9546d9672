"""What of an upstream's headers reaches a client."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from edgegw.headers.response import ResponseHeaders, http_date

DATE = "Date: Mon, 01 Jan 2024 00:00:00 GMT"


def receive(headers: ResponseHeaders, *lines: str, options: str = "") -> tuple[list[str], bool]:
    """Give the lines for the client, and whether they may be kept."""
    fields = [
        (line.partition(":")[0].lower().encode(), line.partition(":")[2].strip().encode(), line.encode() + b"\r\n")
        for line in lines
    ]
    block, same_again = headers.block(fields, frozenset(options.encode().split()))
    return block.decode().split("\r\n")[:-1], same_again


class ResponseHeadersTests(SynchronousTestCase):
    """The rules of one listener."""

    def test_passed_on(self) -> None:
        """Headers go on byte for byte, in their order, as often as they came."""
        lines = ["Set-Cookie: a=1", "X-A:  b ", "set-cookie: b=2", "Server: up", DATE]
        self.assertEqual(receive(ResponseHeaders((), None), *lines), (lines, True))

    def test_hop_by_hop(self) -> None:
        """Framing, headers of one hop and those that ``Connection`` names end here."""
        got, _ = receive(
            ResponseHeaders((), None), "Connection: x-hop", "X-Hop: 1", "Keep-Alive: 5", "Transfer-Encoding: chunked",
            "Content-Length: 5", "Upgrade: h2c", "Proxy-Connection: x", "Proxy-Authenticate: x", DATE, options="x-hop",
        )  # fmt: skip
        self.assertEqual(got, [DATE])

    def test_identity(self) -> None:
        """What tells upstreams who the client is tells no client anything."""
        got, _ = receive(
            ResponseHeaders((), None), "X-Forwarded-Client-Cert: x", "Client-Cert: x", "client-cert-chain: x", DATE
        )
        self.assertEqual(got, [DATE])

    def test_date(self) -> None:
        """A response without a date gets one, and its lines are not kept for the next."""
        got, same_again = receive(ResponseHeaders((), None), "x-a: 1")
        self.assertEqual(got[0], "x-a: 1")
        self.assertTrue(re.fullmatch(r"date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", got[1]), got)
        self.assertFalse(same_again)
        self.assertEqual(len(http_date()), 29)

    def test_vary(self) -> None:
        """A ``Vary`` that names what the client does not know of becomes ``*`` (RFC 9440)."""
        headers = ResponseHeaders([b"client-cert"], None)
        self.assertEqual(receive(headers, "Vary: Accept, Client-Cert", DATE)[0], ["vary: *", DATE])
        self.assertEqual(receive(headers, "Vary: Accept", DATE)[0], ["Vary: Accept", DATE])
        self.assertEqual(receive(ResponseHeaders((), None), "Vary: Client-Cert", DATE)[0], ["Vary: Client-Cert", DATE])

    def test_via(self) -> None:
        """A pseudonym is added to ``Via``."""
        self.assertEqual(receive(ResponseHeaders((), "edge"), "Via: 1.1 up", DATE)[0], [DATE, "via: 1.1 up, 1.1 edge"])
        self.assertEqual(receive(ResponseHeaders((), None), "Via: 1.1 up", DATE)[0], ["Via: 1.1 up", DATE])

    def test_trailers(self) -> None:
        """Trailers that could pass for headers of weight end here."""
        names = [
            "Set-Cookie",
            "Content-Length",
            "Transfer-Encoding",
            "Location",
            "X-Forwarded-Client-Cert",
            "Connection",
            "X-Checksum",
        ]
        fields = [(name.lower().encode(), b"x", name.encode() + b": x\r\n") for name in names]
        self.assertEqual([name for name, _, _ in ResponseHeaders.trailers(fields)], [b"x-checksum"])
