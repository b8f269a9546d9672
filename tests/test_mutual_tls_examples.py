"""The two ways of mutual TLS, passed through and ended here, with real servers behind and real clients before them."""
from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SkipTest, TestCase

from edgegw.config import ConfigError, load
from edgegw.model import Gateway
from tests.gateway import (
    CLIENT,
    SERVER,
    Authority,
    RunningGateway,
    client_context,
    closing,
    get,
    in_thread,
    run,
    start_gateway,
    start_upstream,
    talk,
)
from tests.tls_upstreams import start_nginx, start_s_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: The guide's two listeners; its first one with the protocol that passing through takes.
DOCUMENT = """\
admin: disabled
listeners:
  - name: https-mtls
    protocol: TLS
    port: 0
    address: 127.0.0.1
    hostname: secure.example.com
    tls:
      mode: Passthrough  # Backend handles mTLS
  - name: https-terminate
    protocol: HTTPS
    port: 0
    address: 127.0.0.1
    hostname: edge.example.com
    tls:
      mode: Terminate
      certificates: [{certificate: edge.pem, private_key: edge-key.pem}]
      client_validation: {ca_certificates: [clients.pem]}
  - name: tls-terminate
    protocol: TLS
    port: 0
    address: 127.0.0.1
    hostname: bytes.example.com
    tls:
      mode: Terminate
      certificates: [{certificate: edge.pem, private_key: edge-key.pem}]
      client_validation: {ca_certificates: [clients.pem]}
tls_routes:
  - {name: secure, listeners: [https-mtls], backends: [{upstream: secure}]}
  - {name: bytes, listeners: [tls-terminate], backends: [{upstream: plain}]}
routes:
  - {name: edge, rules: [{backends: [{upstream: plain}]}]}
upstreams:
  - {name: secure, endpoints: ["127.0.0.1:%d"]}
  - {name: plain, endpoints: ["127.0.0.1:%d"]}
"""
#: The guide's first example as it is printed.
AS_PRINTED = """\
listeners:
  - name: https-mtls
    protocol: HTTPS
    port: 443
    tls:
      mode: Passthrough  # Backend handles mTLS
"""
NAMES = {
    "https-mtls": "secure.example.com",
    "https-terminate": "edge.example.com",
    "tls-terminate": "bytes.example.com",
}


class ExampleCase(TestCase):
    """A gateway with a listener of each mode, of one port together."""

    def setUp(self) -> None:
        self.pki, self.clients = Authority("servers"), Authority("clients")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.secure = self.pki.issue("secure", dns=["secure.example.com"], usages=SERVER)
        edge = self.pki.issue("edge", dns=["edge.example.com", "bytes.example.com"], usages=SERVER)
        self.client = self.clients.issue("client", usages=CLIENT)
        for name, issued in {"secure": self.secure, "edge": edge, "client": self.client}.items():
            (self.folder / f"{name}.pem").write_bytes(issued.chain_pem)
            (self.folder / f"{name}-key.pem").write_bytes(issued.key_pem)
        for name, authority in {"servers": self.pki, "clients": self.clients}.items():
            (self.folder / f"{name}.pem").write_bytes(authority.pem)
        self.plain = start_upstream(self, closing(b"plain"), "plain")

    def path(self, name: str) -> str:
        """Give where a file is."""
        return str(self.folder / name)

    async def start(self, secure: int) -> RunningGateway:
        """Serve the document.

        :param secure: the port of the server that asks for certificates by itself.
        """
        path = self.folder / "edgegw.yaml"
        path.write_text(DOCUMENT % (secure, self.plain.port))
        return await start_gateway(self, load(str(path)).gateway)

    async def start_nginx(self) -> RunningGateway:
        """Serve it before nginx."""
        (port,), _ = await start_nginx(self, f"""
            server {{
                listen 127.0.0.1:{{0}} ssl;
                ssl_certificate {self.path("secure.pem")};
                ssl_certificate_key {self.path("secure-key.pem")};
                ssl_client_certificate {self.path("clients.pem")};
                ssl_verify_client on;
                ssl_protocols TLSv1.2 TLSv1.3;
                location / {{ return 200 "$ssl_client_verify $ssl_client_s_dn $ssl_server_name"; }}
            }}""")
        return await self.start(port)


class PassthroughTests(ExampleCase):
    """What passes through is judged by the server behind, and by nobody else."""

    async def test_nginx(self) -> None:
        """nginx sees the client's own certificate and the name that it asked for, and refuses who has none."""
        running = await self.start_nginx()
        address = running.address("https-mtls")
        good = await in_thread(
            talk, address, get("/", "secure.example.com"), client_context(self.pki, self.client), "secure.example.com"
        )
        self.assertIn(b"SUCCESS CN=client secure.example.com", good)
        # Without one nginx answers with 400, and that is nginx's own affair.
        bare = await in_thread(
            talk, address, get("/", "secure.example.com"), client_context(self.pki), "secure.example.com"
        )
        self.assertIn(b"No required SSL certificate was sent", bare)

    async def test_s_server(self) -> None:
        """So does OpenSSL's own server."""
        _, upstream = await start_s_server(
            self, self.secure, "-Verify", "3", "-verify_return_error", "-CAfile", self.path("clients.pem"), "-www"
        )
        running = await self.start(upstream.endpoints[0].port)
        address = running.address("https-mtls")
        good = await in_thread(
            talk, address, b"GET / HTTP/1.0\r\n\r\n", client_context(self.pki, self.client), "secure.example.com"
        )
        self.assertIn(b"CN=client", good.replace(b" = ", b"="))
        with self.assertRaises(OSError):
            await in_thread(
                talk, address, b"GET / HTTP/1.0\r\n\r\n", client_context(self.pki), "secure.example.com"
            )

    def test_as_printed(self) -> None:
        """With the protocol HTTPS it is a fault, which names the mend."""
        path = self.folder / "printed.yaml"
        path.write_text(AS_PRINTED)
        with self.assertRaises(ConfigError) as caught:
            load(str(path))
        text = str(caught.exception)
        self.assertIn("printed.yaml:6:13: listeners[0].tls.mode: Passthrough does not go with the protocol HTTPS", text)
        self.assertIn("use protocol: TLS", text)


class ClientTests(ExampleCase):
    """Real clients get through every mode with their certificate, and none that demands one without."""

    async def test_curl(self) -> None:
        """curl."""
        running = await self.start_nginx()
        for listener, name in NAMES.items():
            host, port = running.address(listener)
            command = [
                "curl", "-sS", "--max-time", "20", "--cacert", self.path("servers.pem"),
                "--resolve", f"{name}:{port}:{host}", f"https://{name}:{port}/",
            ]
            own = ["--cert", self.path("client.pem"), "--key", self.path("client-key.pem")]
            for version in ("--tlsv1.2", "--tlsv1.3"):
                done = await run(*command, *own, version, *(["--tls-max", "1.2"] if version == "--tlsv1.2" else []))
                self.assertEqual(done.exit, 0, done.text)
                self.assertIn("SUCCESS" if listener == "https-mtls" else "plain", done.text)
            done = await run(*command)
            if listener == "https-mtls":
                self.assertIn("No required SSL certificate was sent", done.text)
            else:
                self.assertIn(done.exit, (35, 55, 56), done.text)

    async def test_openssl(self) -> None:
        """``openssl s_client``."""
        running = await self.start_nginx()
        for listener, name in NAMES.items():
            host, port = running.address(listener)
            done = await run(
                "openssl", "s_client", "-connect", f"{host}:{port}", "-servername", name, "-quiet", "-no_ign_eof",
                "-verify_return_error", "-CAfile", self.path("servers.pem"), "-cert", self.path("client.pem"),
                "-key", self.path("client-key.pem"), "-ign_eof", stdin=get("/", name),
            )
            self.assertIn("SUCCESS" if listener == "https-mtls" else "plain", done.text)

    async def test_python(self) -> None:
        """Python's ``ssl``, with both versions of TLS."""
        running = await self.start_nginx()
        for listener, name in NAMES.items():
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = client_context(self.pki, self.client, version=version)
                got = await in_thread(talk, running.address(listener), get("/", name), context, name)
                self.assertIn(b"SUCCESS" if listener == "https-mtls" else b"plain", got)

    async def test_chromium(self) -> None:
        """Chromium, which sends GREASE, an encrypted ClientHello's place-holder and a post-quantum key share.

        It is given no certificate, so the listeners here ask for none, and nginx lets it in.
        """
        if CHROMIUM is None:
            raise SkipTest("Chromium is not installed")
        (far,), _ = await start_nginx(self, f"""
            server {{
                listen 127.0.0.1:{{0}} ssl;
                ssl_certificate {self.path("secure.pem")};
                ssl_certificate_key {self.path("secure-key.pem")};
                location / {{ default_type text/plain; return 200 "far $ssl_server_name"; }}
            }}""")
        running = await self.start(far)
        model = running.generation.gateway
        await running.stop()
        running = await start_gateway(self, _anonymous(model))
        # Not closing: Chromium opens connections beforehand.
        for listener, name in NAMES.items():
            port = running.address(listener)[1]
            done = await run(
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors",
                "--no-first-run", f"--user-data-dir={self.folder}/{listener}",
                f"--host-resolver-rules=MAP {name} 127.0.0.1",
                "--disable-background-networking", "--virtual-time-budget=2000", "--dump-dom",
                f"https://{name}:{port}/",
            )
            self.assertIn(f"far {name}" if listener == "https-mtls" else "plain", done.text)


def _anonymous(model: Gateway) -> Gateway:
    """Ask nobody for a certificate."""
    listeners: list[Any] = [
        one if one.tls is None else evolve(one, tls=evolve(one.tls, client_validation=None)) for one in model.listeners
    ]
    return evolve(model, listeners=tuple(listeners))
