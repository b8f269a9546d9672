"""A gateway that serves a directory of manifests, and what changes there do to it and to its clients."""
from __future__ import annotations

import io
import json
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet import reactor as global_reactor
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from edgegw import watching
from edgegw.configuration import Configuration, manifest_settings
from edgegw.deadlines import Deadlines
from edgegw.service import GatewayService
from edgegw.status_command import run_status
from tests.gateway import (
    CLIENT,
    SERVER,
    Authority,
    Issued,
    ScriptedUpstream,
    answer,
    client_context,
    get,
    in_thread,
    start_upstream,
    until,
)
from tests.http2_client import HTTP2Client, connect_http2
from tests.raw_client import Client, connect
from tests.test_observe_admin import fetch

reactor: Any = global_reactor
GET = b"GET / HTTP/1.1\r\nhost: %b\r\n\r\n"

GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: edgegw
  addresses: [{value: 127.0.0.1}]
  tls: {frontend: {default: {}, perPort: [
    {port: %(strict)d, tls: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}}}]}}
  listeners:
  - {name: http, port: %(http)d, protocol: HTTP}
  - {name: a, port: %(a)d, protocol: HTTPS, hostname: a.example, tls: {certificateRefs: [{name: a}]}}
  - name: strict
    port: %(strict)d
    protocol: HTTPS
    tls:
      certificateRefs: [{name: b}]
      options: {kgateway.dev/verify-subject-alt-names: "%(name)s", kgateway.dev/verify-certificate-hash: "%(hash)s"}
---
apiVersion: edgegw.io/v1alpha1
kind: Settings
metadata: {name: settings}
spec: {admin: {port: 0}}
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %(name)s}
spec:
  parentRefs: [{name: gw}]
  hostnames: [%(name)s.example]
  rules: [{backendRefs: [{name: svc, namespace: %(namespace)s, port: 80}]}]
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: svc, namespace: %(namespace)s}
spec: {ports: [{port: 80, targetPort: %(port)d}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: svc, namespace: %(namespace)s, labels: {kubernetes.io/service-name: svc}}
addressType: IPv4
ports: [{port: %(port)d}]
endpoints: [{addresses: [127.0.0.1]}]
"""
GRANT = """\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: grant, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service}]
"""


def secret(name: str, issued: Issued) -> str:
    """Write a Secret."""
    data = {"tls.crt": b64encode(issued.chain_pem).decode(), "tls.key": b64encode(issued.key_pem).decode()}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls",
                       "data": data})  # fmt: skip


def config_map(authority: Authority) -> str:
    """Write a ConfigMap with a CA."""
    content = {"metadata": {"name": "ca"}, "data": {"ca.crt": authority.pem.decode()}}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", **content})


class WatchedCase(TestCase):
    """A gateway in this process, with a directory that it follows."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.patch(watching, "INTERVAL", 0.01)
        self.directory = Path(mkdtemp(prefix="edgegw-"))
        self.one, self.two = (start_upstream(self, answer(name), name.decode()) for name in (b"one", b"two"))
        self.pki = Authority()
        names = ["a.example", "b.example"]
        self.server = self.pki.issue("server", dns=names, usages=SERVER)
        ports = dict(zip(("http", "a", "strict"), self.free_ports(3), strict=True))
        self.ports = ports
        self.other = Authority("other")
        self.own, self.others_own = (
            one.issue("client", dns=["client.example"], usages=CLIENT) for one in (self.pki, self.other)
        )
        self.pin("client.example")
        for name, namespace in (("a", "default"), ("b", "default"), ("c", "other")):
            self.write(f"route-{name}.yaml", ROUTE % {"name": name, "namespace": namespace})
        self.serve_by(self.one, "default")
        self.serve_by(self.two, "other")
        self.write("grant.yaml", GRANT)
        for name in ("a", "b"):
            self.write(f"secret-{name}.json", secret(name, self.server))
        self.write("ca.json", config_map(self.pki))
        self.logged: list[LogEvent] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        await self.start()

    def pin(self, name: str) -> None:
        """Write the Gateway; clients of one listener have a name, and are known by their certificates."""
        hashes = ",".join(
            one.certificate.fingerprint(SHA256()).hex() for one in (self.own, self.others_own)
        )  # fmt: skip
        self.write("gateway.yaml", GATEWAY % {**self.ports, "name": name, "hash": hashes})

    def free_ports(self, count: int) -> list[int]:
        """Give ports that nobody listens on."""
        held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        found = [one.getsockname()[1] for one in held]
        for one in held:
            one.close()
        return found

    async def start(self) -> None:
        """Serve the directory until the test has ended."""
        configuration = Configuration([str(self.directory)], manifest_settings())
        service = self.service = GatewayService(
            reactor, configuration.read, initial=configuration.read(), watched=configuration.watched, take_signals=False
        )
        service.startService()
        self.addCleanup(self.stop, service)
        await until(lambda: service.ready)

    async def stop(self, service: GatewayService) -> None:
        """Stop, and wait for the last deadline of what is gone."""
        await service.stopService()
        await until(lambda: not any(isinstance(getattr(call.func, "__self__", None), Deadlines)
                                    for call in reactor.getDelayedCalls()))  # fmt: skip

    def write(self, name: str, text: str) -> Path:
        """Write a file as an editor does: beside, and renamed over the old one."""
        path = self.directory / name
        beside = self.directory / f".{name}.new"
        beside.write_text(text, "utf-8")
        beside.rename(path)
        return path

    def serve_by(self, upstream: ScriptedUpstream, namespace: str) -> None:
        """Have the Service of a namespace stand for an upstream."""
        port = int(upstream.model.endpoints[0].port)
        self.write(f"service-{namespace}.yaml", SERVICE % {"namespace": namespace, "port": port})

    async def changed(self, change: Callable[[], object], result: str = "success") -> None:
        """Change something and wait until the gateway has taken notice."""
        reloads = self.service.metrics.reloads
        before = dict(reloads)
        change()
        await until(lambda: reloads[result] > before[result])
        self.assertEqual(sum(reloads.values()), sum(before.values()) + 1)

    async def ask(self, client: Client, host: str = "a.example") -> tuple[int, bytes]:
        """Ask on a connection that stays open."""
        client.send(GET % host.encode())
        response = await client.response()
        return response.status, response.body

    async def new(self, host: str = "a.example") -> tuple[int, bytes]:
        """Ask on a new connection."""
        return await self.ask(await self.client(), host)

    async def client(self) -> Client:
        """Connect without TLS."""
        return await connect(self, ("127.0.0.1", self.ports["http"]))

    async def certificate(self, listener: str, name: str = "a.example", own: Issued | None = None) -> int:
        """Give the serial number of what a listener shows; 0 where it refuses."""
        seen: list[bytes] = []

        def look() -> None:
            plain = socket.create_connection(("127.0.0.1", self.ports[listener]), 10)
            with plain, client_context(None, own).wrap_socket(plain, server_hostname=name) as tls:
                tls.sendall(get("/", name))
                while tls.recv(65_536):
                    pass
                seen.append(tls.getpeercert(True) or b"")

        try:
            await in_thread(look)
        except (ssl.SSLError, ConnectionError):
            return 0
        return x509.load_der_x509_certificate(seen[0]).serial_number

    async def status(self) -> dict[str, Any]:
        """Ask the admin site."""
        assert self.service.admin_port is not None
        received = await fetch(self.service.admin_port.getHost().port, "/gateway-api/status")
        self.assertEqual(received.status, 200)
        document: dict[str, Any] = json.loads(received.body)
        return document

    async def condition(self, kind: str, name: str, type_: str) -> str:
        """Give the reason of a route's condition."""
        for item in (await self.status())["items"]:
            if (item["kind"], item["metadata"]["name"]) == (kind, name):
                (found,) = [c for c in item["status"]["parents"][0]["conditions"] if c["type"] == type_]
                return str(found["reason"])
        raise AssertionError("there is no such object")


class ChangeTests(WatchedCase):
    """Changes take effect, and only where they are."""

    async def test_routes_and_endpoints(self) -> None:
        """A route, an EndpointSlice and a grant that change: on the connection that was there before, too."""
        client = await self.client()
        self.assertEqual(await self.ask(client, "c.example"), (200, b"two"))
        self.assertEqual(await self.ask(client), (200, b"one"))
        await self.changed(lambda: self.write("route-b.yaml", ROUTE % {"name": "d", "namespace": "default"}))
        self.assertEqual((await self.ask(client, "b.example"))[0], 404)
        self.assertEqual(await self.ask(client, "d.example"), (200, b"one"))
        await self.changed(lambda: self.serve_by(self.two, "default"))
        self.assertEqual(await self.ask(client), (200, b"two"))
        await self.changed((self.directory / "grant.yaml").unlink)
        self.assertEqual((await self.ask(client, "c.example"))[0], 500)
        self.assertEqual(await self.condition("HTTPRoute", "c", "ResolvedRefs"), "RefNotPermitted")
        self.assertEqual(await self.ask(client), (200, b"two"))
        await self.changed(lambda: self.write("grant.yaml", GRANT))
        self.assertEqual(await self.ask(client, "c.example"), (200, b"two"))
        await self.counted("http", client)

    async def test_http2(self) -> None:
        """A client of HTTP/2 is not told to go, and asks the new routes."""
        client = await connect_http2(self, ("127.0.0.1", self.ports["strict"]), self.pki,
                                     certificate=self.own, server_name="a.example")
        first = await client.get()
        self.assertEqual((first.status, bytes(first.body)), (200, b"one"))
        await self.changed(lambda: self.serve_by(self.two, "default"))
        second = await client.get()
        self.assertEqual((second.status, bytes(second.body)), (200, b"two"))
        self.assertEqual((client.goaways, client.lost), ([], None))
        await self.counted("strict", client)

    async def counted(self, listener: str, client: Any) -> None:
        """Check that a connection counts once, and no more when it is gone."""
        metrics = self.service.metrics
        counts = metrics.listener(f"default/gw/{listener}")
        self.assertEqual((counts.connections, metrics.generations_draining), (1, 0))
        client.transport.abortConnection()
        await until(lambda: not counts.connections)

    async def test_secret(self) -> None:
        """A new certificate is shown at once by the listener that has it, and by no other."""
        client = await self.client()
        await self.ask(client)
        old = self.server.certificate.serial_number
        self.assertEqual([await self.certificate("a")], [old])
        renewed = self.pki.issue("server", dns=["a.example"], usages=SERVER)
        await self.changed(lambda: self.write("secret-a.json", secret("a", renewed)))
        self.assertEqual(await self.certificate("a"), renewed.certificate.serial_number)
        self.assertEqual(await self.certificate("strict", own=self.own), old)
        self.assertEqual(await self.ask(client), (200, b"one"))

    async def test_connection_of_a_listener_that_changes(self) -> None:
        """Whoever came in by what holds no longer has to come in again; others stay."""
        kept, gone = await self.two_clients()
        await self.changed(lambda: self.write("ca.json", config_map(self.other)))
        await gone.closed()
        self.assertEqual(await self.certificate("strict", own=self.own), 0)
        self.assertNotEqual(await self.certificate("strict", own=self.others_own), 0)
        self.assertEqual((await kept.get()).status, 200)

    async def test_pins(self) -> None:
        """Names that are asked for are part of a listener: who does not have them any more is out."""
        kept, gone = await self.two_clients()
        await self.changed(lambda: self.pin("other.example"))
        await gone.closed()
        self.assertEqual(await self.certificate("strict", own=self.own), 0)
        self.assertEqual((await kept.get()).status, 200)

    async def two_clients(self) -> tuple[HTTP2Client, HTTP2Client]:
        """Connect to the listener that asks for no certificate, and to the one that does."""
        clients = []
        for name in ("a", "strict"):
            address = "127.0.0.1", self.ports[name]
            client = await connect_http2(self, address, self.pki, certificate=self.own, server_name="a.example")
            self.assertEqual((await client.get()).status, 200)
            clients.append(client)
        return clients[0], clients[1]


class BrokenTests(WatchedCase):
    """What cannot be used changes nothing, and is told everywhere."""

    async def told(self, *words: str) -> None:
        """Check that log, metrics and status say that something is wrong."""
        faults = (await self.status())["faults"]
        logged = [event["fault"] for event in self.logged if event.get("log_format") == "Reload failed: {fault}"]
        self.assertEqual(len(faults), len(words), faults)
        for fault, word in zip(faults, words, strict=True):
            self.assertIn(word, fault)
            self.assertIn(fault, logged)
        assert self.service.admin_port is not None
        metrics = (await fetch(self.service.admin_port.getHost().port, "/metrics")).body
        self.assertIn(b"edgegw_config_last_reload_successful 0.0", metrics)
        self.assertIn(b'edgegw_config_reloads_total{result="failure"}', metrics)

    async def healed(self) -> None:
        """Check that nobody says so any more."""
        self.assertEqual((await self.status())["faults"], [])
        self.assertTrue(self.service.metrics.last_reload_successful)

    async def test_file(self) -> None:
        """A broken file, which is mended; a removed one."""
        client = await self.client()
        await self.ask(client)
        good = ROUTE % {"name": "a", "namespace": "default"}
        await self.changed(lambda: self.write("route-a.yaml", good + "  x: ]\n"), "failure")
        self.assertEqual(await self.ask(client), (200, b"one"))
        await self.told(f"{self.directory}/route-a.yaml:8:6: ")
        # A second fault is told beside the first one.
        bad = good.replace("name: a", "name: 7") + "  y: 1\n"
        await self.changed(lambda: self.write("route-b.yaml", bad), "failure")
        await self.told("route-a.yaml:8:6: ", "route-b.yaml:3:", "route-b.yaml:8:3: ")
        await self.changed((self.directory / "route-b.yaml").unlink, "failure")
        await self.changed(lambda: self.write("route-a.yaml", good))
        await self.healed()
        self.assertEqual(await self.ask(client), (200, b"one"))
        self.assertEqual((await self.ask(client, "b.example"))[0], 404)

    async def test_part(self) -> None:
        """What is wrong with one Secret is a matter of its listener alone, and no reload fails for it."""
        await self.changed(lambda: self.write("secret-a.json", secret("a", self.server).replace('"tls.key"', '"key"')),
                           "failure")
        await self.told("secret-a.json:1:")
        self.assertNotEqual(await self.certificate("a"), 0)
        await self.changed((self.directory / "secret-a.json").unlink)
        self.assertEqual(await self.certificate("a"), 0)
        self.assertEqual(await self.new(), (200, b"one"))
        await self.healed()

    async def test_directory(self) -> None:
        """A directory that is not there for a while."""
        away = self.directory.with_name(self.directory.name + "-away")
        await self.changed(lambda: self.directory.rename(away), "failure")
        await self.told(f"{self.directory}:1:1: cannot be read: No such file or directory")
        self.assertEqual(await self.new(), (200, b"one"))
        await self.changed(lambda: away.rename(self.directory))
        await self.healed()

    async def test_unreadable(self) -> None:
        """A directory below that nobody may look into."""
        below = self.directory / "below"
        below.mkdir()
        scandir, closed = os.scandir, [True]

        def refuse(path: Any) -> Any:
            if closed and os.fspath(path) == str(below):
                raise PermissionError(13, "Permission denied", str(below))
            return scandir(path)

        await self.changed(lambda: self.patch(os, "scandir", refuse), "failure")
        await self.told(f"{below}:1:1: cannot be read: Permission denied")
        self.assertEqual(await self.new(), (200, b"one"))
        await self.changed(closed.clear)
        await self.healed()


class StatusTests(WatchedCase):
    """``edgegw status`` asks the gateway."""

    async def ask_status(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command; gives exit status, output and complaints."""
        assert self.service.admin_port is not None
        url = f"http://127.0.0.1:{self.service.admin_port.getHost().port}"
        result: tuple[int, str, str] = await in_thread(printed, run_status, ["--admin", url, *arguments])
        return result

    async def test_command(self) -> None:
        """What it shows is that of this moment, and the status tells of faults."""
        status, table, errors = await self.ask_status()
        self.assertEqual((status, errors), (0, ""))
        self.assertRegex(table, r"(?m)^Gateway default/gw +listener strict \(3 routes\) +Programmed +True +Programmed$")
        self.assertRegex(table, r"(?m)^HTTPRoute default/c +Gateway default/gw +ResolvedRefs +True +ResolvedRefs$")
        await self.changed((self.directory / "grant.yaml").unlink)
        _, text, _ = await self.ask_status("-o", "yaml")
        (route,) = [one for one in yaml.safe_load(text)["items"] if one["metadata"]["name"] == "c"]
        (condition,) = [
            one for one in route["status"]["parents"][0]["conditions"] if one["type"] == "ResolvedRefs"
        ]  # fmt: skip
        self.assertEqual((condition["status"], condition["reason"]), ("False", "RefNotPermitted"))
        self.assertRegex(condition["lastTransitionTime"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        await self.changed(lambda: self.write("route-a.yaml", "x: 1\n"), "failure")
        status, document, errors = await self.ask_status("-o", "json")
        self.assertEqual(status, 1)
        self.assertEqual(len(json.loads(document)["items"]), 4)
        self.assertTrue(errors.startswith(f"{self.directory}/route-a.yaml:1:1: "), errors)

    async def test_generations(self) -> None:
        """A changed specification has a new generation, which its conditions carry; the others keep theirs."""
        await self.changed(lambda: self.write("route-b.yaml", ROUTE % {"name": "b", "namespace": "other"}))
        seen = {
            item["metadata"]["name"]: (
                item["metadata"]["generation"],
                {one["observedGeneration"] for one in item["status"]["parents"][0]["conditions"]},
            )
            for item in (await self.status())["items"]
            if item["kind"] == "HTTPRoute"
        }
        self.assertEqual(seen, {"a": (1, {1}), "b": (2, {2}), "c": (1, {1})})

    async def test_native(self) -> None:
        """A gateway with a native file has no such page."""
        path = self.directory / "native.txt"
        path.write_text("admin: {port: 0}\nlisteners: [{name: x, address: 127.0.0.1, port: 0, protocol: HTTP}]\n")
        await self.stop(self.service)
        configuration = Configuration([str(path)])
        self.assertIsNone(configuration.watched)
        self.service = GatewayService(reactor, configuration.read, take_signals=False)
        self.service.startService()
        self.addCleanup(self.stop, self.service)
        status, output, errors = await self.ask_status()
        self.assertEqual((status, output), (1, ""))
        self.assertIn("a gateway with Gateway API manifests has this page", errors)


def printed(command: Callable[[list[str]], int], arguments: list[str]) -> tuple[int, str, str]:
    """Give the exit status of a command and what it prints."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        status = command(arguments)
    return status, output.getvalue(), errors.getvalue()


class MountTests(WatchedCase):
    """Files as Kubernetes mounts ConfigMaps."""

    async def test_turned_over(self) -> None:
        """What ``..data`` leads to is turned over, with a directory of it among the links."""
        mount = self.directory / "mount"
        mount.mkdir()

        def put(name: str, route: str) -> None:
            (mount / name / "sub").mkdir(parents=True)
            (mount / name / "sub" / "route.yaml").write_text(ROUTE % {"name": route, "namespace": "default"})
            (mount / "..new").symlink_to(name)
            (mount / "..new").rename(mount / "..data")

        def mounted() -> None:
            put("..one", "x")
            (mount / "sub").symlink_to("..data/sub")

        await self.changed(mounted)
        self.assertEqual(await self.new("x.example"), (200, b"one"))
        await self.changed(lambda: put("..two", "y"))
        self.assertEqual((await self.new("x.example"))[0], 404)
        self.assertEqual(await self.new("y.example"), (200, b"one"))

    async def test_reload_by_hand(self) -> None:
        """A reload that is asked for, as by SIGHUP, is the only one for a change that it has seen."""
        self.write("route-b.yaml", ROUTE % {"name": "z", "namespace": "default"})
        self.assertTrue(await self.service.reload())
        looks = [0]
        look = watching.look

        def counting(paths: Any) -> Any:
            looks[0] += 1
            return look(paths)

        self.patch(watching, "look", counting)
        await until(lambda: looks[0] > 4)
        self.assertEqual(self.service.metrics.reloads, {"success": 1, "failure": 0})
        self.assertEqual(await self.new("z.example"), (200, b"one"))

    async def test_between_reading_and_serving(self) -> None:
        """What changes after it was read and before it is followed is not missed."""
        await self.stop(self.service)
        configuration = Configuration([str(self.directory)], manifest_settings())
        loaded = configuration.read()
        self.write("route-b.yaml", ROUTE % {"name": "z", "namespace": "default"})
        service = GatewayService(
            reactor, configuration.read, initial=loaded, watched=configuration.watched, take_signals=False
        )
        service.startService()
        self.addCleanup(self.stop, service)
        await until(lambda: service.metrics.reloads["success"])
        self.assertEqual(await self.new("z.example"), (200, b"one"))
