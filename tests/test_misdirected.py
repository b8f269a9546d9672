"""HTTP/2 clients that use one connection for several hosts, of which another listener has one (RFC 9110 §15.5.20)."""
from __future__ import annotations

import base64
import hashlib
import shutil

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from h2.errors import ErrorCodes
from twisted.trial.unittest import SkipTest, TestCase

from edgegw.model import XFCC
from tests.gateway import (
    BOTH,
    SERVER,
    Authority,
    RecordedRequest,
    answer,
    gateway,
    https_listener,
    run,
    start_gateway,
    start_upstream,
    until,
    validation,
)
from tests.http2_client import HTTP2Client, connect_http2
from tests.test_tls_policies import FALLBACK

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class MisdirectedTests(TestCase):
    """Two listeners on one port whose certificate is the same: one for whoever comes, one for clients with one too.

    Nothing in the certificate tells a client that it must not use a connection to the one for the other.
    """

    def setUp(self) -> None:
        self.pki = Authority()
        self.server = self.pki.issue("any", dns=["*.site.example"], usages=SERVER)
        self.own = self.pki.issue("client", uris=["spiffe://example/client"], usages=BOTH)
        self.held: list[RecordedRequest] = []
        self.upstream = start_upstream(self, self.script)

    def script(self, request: RecordedRequest) -> bytes | None:
        """Answer with what was asked for, but keep who asks for that waiting."""
        if request.line.startswith(b"GET /held"):
            self.held.append(request)
            return None
        return answer(b"%b %b" % (request.all(b"host")[0], request.body))

    async def start(self) -> None:
        """Serve both."""
        self.running = await start_gateway(self, gateway([
            https_listener([self.server], name="open", hostname="*.site.example"),
            https_listener([self.server], validation(self.pki), name="strict", hostname="strict.site.example",
                           header_injection=(XFCC(),)),
        ], self.upstream))  # fmt: skip

    async def connect(self, name: str, certificate: bool) -> HTTP2Client:
        """Connect for a name."""
        return await connect_http2(
            self, self.running.address("open"), self.pki, self.own if certificate else None, name
        )

    async def test_other_streams(self) -> None:
        """421 is one stream's: what is under way for the connection's own hosts goes on, and what comes after, too."""
        await self.start()
        client = await self.connect("a.site.example", False)
        waiting = client.ask("/held", host="a.site.example")
        await until(lambda: self.held)
        upload = client.ask("/", host="b.site.example", method="POST", end=False)
        client.send(upload, b"first ")
        strict = "strict.site.example"
        for fields in ([], [("content-length", "5")], [("expect", "100-continue")]):
            stream = client.ask("/", *fields, host=strict, method="PUT", end=False)
            found = await client.answer(stream)
            self.assertEqual((found.status, found.interim), (421, []))
            await until(lambda one=found: one.code is not None)
            self.assertEqual(found.code, ErrorCodes.NO_ERROR)
        for host in (strict, "STRICT.site.example", f"{strict}.", f"{strict}:8443"):
            self.assertEqual((await client.get(host=host)).status, 421, host)
        self.assertEqual((await client.get(host="elsewhere.example")).status, 404)
        found = await client.get("/", ("content-type", "application/grpc"), host=strict, method="POST", body=b"")
        self.assertEqual((found.all("grpc-status"), found.ended), (["2"], True))
        client.send(upload, b"second", end=True)
        self.assertEqual(bytes((await client.answer(upload)).body), b"b.site.example first second")
        self.held[0].talk.transport.write(answer(b"at last"))
        self.assertEqual(bytes((await client.answer(waiting)).body), b"at last")
        self.assertEqual((await client.get(host="c.site.example")).status, 200)
        self.assertEqual((client.goaways, client.lost), ([], None))
        self.assertNotIn([strict.encode()], [one.all(b"host") for one in self.upstream.requests])

    async def test_more_trusted_connection(self) -> None:
        """A certificate that was accepted for the one name does not speak for the other either."""
        await self.start()
        client = await self.connect("strict.site.example", True)
        self.assertEqual((await client.get(host="a.site.example")).status, 421)
        self.assertEqual((await client.get(host="strict.site.example")).status, 200)
        (request,) = self.upstream.requests
        self.assertIn(b"URI=spiffe://example/client", request.all(b"x-forwarded-client-cert")[0])

    async def test_browser(self) -> None:
        """A browser that coalesces hears 421, comes back on a connection of its own, and the page is whole."""
        if CHROMIUM is None:
            raise SkipTest("chromium is not installed")
        page = (
            b"<!doctype html><title>-</title><link rel=icon href='data:,'>"
            b"<img src=https://b.site.example/b.svg onload='document.title+=1'>"
            b"<img src=https://strict.site.example/s.svg onload='document.title+=2' onerror='document.title+=0'>"
        )
        image = b"<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>"

        def script(request: RecordedRequest) -> bytes:
            if request.line.startswith(b"GET /page "):
                return answer(page, headers=b"content-type: text/html\r\n")
            return answer(image, headers=b"content-type: image/svg+xml\r\n")

        self.upstream.script = script
        self.running = await start_gateway(self, gateway([
            https_listener([self.server], name="open", hostname="*.site.example"),
            # It has no certificate, and is asked for one.
            https_listener([self.server], validation(self.pki, mode=FALLBACK), name="strict",
                           hostname="strict.site.example"),
        ], self.upstream))  # fmt: skip
        _, port = self.running.address("open")
        key = self.server.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        pin = base64.b64encode(hashlib.sha256(key).digest()).decode("ascii")
        done = await run(
            "timeout", "-k", "1", "60", CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", f"--user-data-dir={self.mktemp()}",
            f"--ignore-certificate-errors-spki-list={pin}",
            f"--host-resolver-rules=MAP *.site.example 127.0.0.1:{port}, MAP * ~NOTFOUND",
            "--dump-dom", "https://a.site.example/page",
        )
        self.assertRegex(done.stdout, rb"<title>-(12|21)</title>", done.text)
        hosts = sorted(b"".join(one.all(b"host")) for one in self.upstream.requests)
        self.assertEqual(hosts, [b"a.site.example", b"b.site.example", b"strict.site.example"])
        # Only a request on another name's connection can be refused so.
        self.assertEqual(self.running.metrics.requests("open", "", "").responses[4], 1)
        accepted = {one["server_name"] for one in self.running.record.entries(100)[0] if one["result"] == "accepted"}
        self.assertEqual(accepted, {"a.site.example", "strict.site.example"})
