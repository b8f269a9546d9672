"""Manifests on the command line: ``check``, ``status``, ``convert``, ``explain`` and ``twistd edgegw``."""
from __future__ import annotations

import json
import os
import sys
from base64 import b64encode
from codecs import BOM_UTF8
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor as global_reactor
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from edgegw.config import load
from edgegw.config.faults import Report
from edgegw.config.nodes import Mapping, Node, Scalar, ScalarType, Sequence
from edgegw.config.reader import read_text
from edgegw.configuration import Configuration, manifest_settings
from edgegw.convert_command import native_text
from edgegw.gateway_api.native_nodes import node_of
from edgegw.tap import Options
from tests.config_documents import LISTENERS
from tests.gateway import CLIENT, SERVER, Authority, get, in_thread, start_gateway, start_upstream, talk
from tests.gateway import answer as said
from tests.test_gateway_api_commands import CommandTestCase

reactor: Any = global_reactor

GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: edgegw
  addresses: [{value: 127.0.0.1}]
  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}}}}
  listeners:
  - {name: http, port: 18080, protocol: HTTP}
  - {name: https, port: 18443, protocol: HTTPS, tls: {certificateRefs: [{name: web}]}}
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: gw}]
  hostnames: [a.example]
  rules: [{backendRefs: [{name: svc, port: 80}]}]
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: svc}
spec: {ports: [{port: 80}]}
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
"""
PKI = Authority()
WEB = PKI.issue("web", dns=["a.example"], usages=SERVER)
SECRET = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: web}}
type: kubernetes.io/tls
data: {{tls.crt: {b64encode(WEB.chain_pem).decode()}, tls.key: {b64encode(WEB.key_pem).decode()}}}
"""
CA = json.dumps(
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": PKI.pem.decode()}}
)
WHOLE = {"gateway.yaml": GATEWAY, "route.yaml": ROUTE, "service.yaml": SERVICE, "secret.yaml": SECRET, "ca.json": CA}


class ManifestCommandCase(CommandTestCase):
    """Runs commands in a directory of manifests that have no fault."""

    def setUp(self) -> None:
        super().setUp()
        self.directory /= "manifests"
        self.directory.mkdir()
        for name, text in WHOLE.items():
            self.write(name, text)

    def write(self, name: str, text: str | bytes) -> str:
        """Write a file; gives its path."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def standard_input(self, text: str | bytes) -> None:
        """Have something come from there."""
        data = text if isinstance(text, bytes) else text.encode()
        self.patch(sys, "stdin", SimpleNamespace(buffer=BytesIO(data)))

    def check(self, *arguments: str) -> tuple[int, str, str]:
        """Check the directory, or what is named."""
        return self.run_edgegw("check", *(arguments or [str(self.directory)]))


class CheckTests(ManifestCommandCase):
    """``edgegw check``."""

    def test_good(self) -> None:
        """It says what would be served, and nothing else."""
        status, output, errors = self.check(str(self.directory), "--strict", "--resolve", "svc.default=127.0.0.1:7")
        self.assertEqual((status, errors), (0, ""))
        for words in ("default/gw/http: HTTP on 127.0.0.1:18080", "default/gw/https: HTTPS on 127.0.0.1:18443",
                      "default/r: a.example on", "127.0.0.1:7"):
            self.assertIn(words, output)
        self.assertNotIn("warning", output)

    def test_names_of_services(self) -> None:
        """Where a Service is that nobody says anything of, is said by the cluster's DNS."""
        self.assertIn("svc.default.svc.cluster.local:80", self.check()[1])
        self.assertIn("svc.default.svc.x.y:80", self.check(str(self.directory), "--cluster-domain", "x.y")[1])

    def test_addresses(self) -> None:
        """A pool has an address for each Gateway without one."""
        self.write("gateway.yaml", GATEWAY.replace("  addresses: [{value: 127.0.0.1}]\n", ""))
        self.assertIn("127.0.9.1:18080", self.check(str(self.directory), "--address-pool", "127.0.9.0/30")[1])

    def test_every_fault(self) -> None:
        """All faults of all files are told at once, each with its place, what is wrong and what would be right."""
        bad = GATEWAY.replace("port: 18080", "port: 0").replace("{name: web}", "{nme: web}")
        gateway = self.write("gateway.yaml", bad)
        route = self.write("route.yaml", ROUTE + "  hostname: x\n")
        broken = self.write("x.json", '{"apiVersion": "v1", "kind": "Secret",\n "metadata" {"name": "x"}}')
        status, output, errors = self.check()
        self.assertEqual((status, output), (1, ""))
        places = [line.split(": ")[0] for line in errors.splitlines()]
        self.assertEqual(
            places, [f"{gateway}:9:24", f"{gateway}:10:73", f"{gateway}:10:74", f"{route}:8:3", f"{broken}:2:13"]
        )
        self.assertIn("Gateway default/gw: spec.listeners[0].port: is 0; write a whole number from 1 to 65535", errors)
        self.assertIn("HTTPRoute default/r: spec.hostname: is no known field; did you mean hostnames?", errors)

    def test_warnings(self) -> None:
        """What is not used, and what conditions would say, stands where it was written; ``--strict`` minds."""
        deployment = self.write("deployment.yaml", SERVICE + "---\n" + DEPLOYMENT)
        os.remove(self.directory / "secret.yaml")
        self.write("route.yaml", ROUTE.replace("port: 80", "port: 81"))
        status, output, errors = self.check()
        self.assertEqual((status, errors), (0, ""))
        warnings = [line for line in output.splitlines() if ": warning: " in line]
        self.assertEqual(
            warnings,
            [
                f"{deployment}:6:1: warning: Deployment is not used",
                (f"{self.directory}/gateway.yaml:10:5: warning: Gateway default/gw: spec.listeners[1]: ResolvedRefs is "
                 "False (InvalidCertificateRef): there is no Secret default/web"),
                (f"{self.directory}/route.yaml:7:26: warning: HTTPRoute default/r: ResolvedRefs is False "
                 "(BackendNotFound): rules[0].backendRefs[0]: the Service default/svc has no port 81"),
                (f"{self.directory}/service.yaml:1:1: warning: Service default/svc: is there already in "
                 f"{deployment}:1; this later one counts"),
            ],
        )
        status, output, errors = self.check(str(self.directory), "--strict")
        self.assertEqual((status, output), (1, ""))
        self.assertEqual(errors.splitlines(), warnings)

    def test_standard_input(self) -> None:
        """``kubectl … | edgegw check -``, alone and with files."""
        items = [next(yaml.safe_load_all(text)) for text in WHOLE.values()]
        self.standard_input(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1))
        status, output, errors = self.check("-", "--strict")
        self.assertEqual((status, errors), (0, ""))
        self.assertIn("default/gw/https", output)
        self.standard_input(ROUTE + "  x: 1\n")
        status, _, errors = self.check("-", self.path("gateway.yaml"))
        self.assertEqual((status, errors.split(": ")[0]), (1, "-:8:3"))
        self.standard_input(b"\xff")
        self.assertIn("-:1:1: the byte 0xff is not UTF-8", self.check("-")[2])

    def test_no_standard_input(self) -> None:
        """A process may have none, or one that cannot be read."""
        self.patch(sys, "stdin", None)
        self.assertEqual(self.check("-")[0], 0)
        with open(os.devnull, "wb") as unreadable:
            self.patch(sys, "stdin", SimpleNamespace(buffer=unreadable))
            self.assertIn("-:1:1: cannot be read: ", self.check("-")[2])

    def test_pipe(self) -> None:
        """``edgegw check <(kubectl …)``, and the same with a native file."""
        for text, words in (("---\n".join([GATEWAY, SECRET, CA]), "default/gw/https"), (
            "listeners:\n- {name: web, port: 1, protocol: HTTP}\n", "web: HTTP on"
        )):
            reading, writing = os.pipe()
            os.write(writing, text.encode())
            os.close(writing)
            try:
                status, output, errors = self.check(f"/dev/fd/{reading}")
            finally:
                os.close(reading)
            self.assertEqual((status, errors), (0, ""))
            self.assertIn(words, output)

    def test_wrong_arguments(self) -> None:
        """What is given for manifests and cannot be understood is told, and the status is 2."""
        for arguments, words in (
            (("--resolve", "svc=127.0.0.1:1"), "is not NAME.NAMESPACE=HOST:PORT"),
            (("--resolve", "svc.a.b=127.0.0.1:1"), "is not NAME.NAMESPACE=HOST:PORT"),
            (("--resolve", "svc.default=127.0.0.1:99999"), "has the port 99999; write a port from 1 to 65535"),
            (("--resolve", "svc.default=a:1,"), "'' is not a host and a port"),
            (("--cluster-domain", "a b"), "is not a host name"),
            (("--address-pool", "127.0.0.1/8"), "write a network such as 127.0.1.0/24"),
        ):
            status, output, errors = self.check(str(self.directory), *arguments)
            self.assertEqual((status, output), (2, ""))
            self.assertIn(f"{arguments[0]}: ", errors)
            self.assertIn(words, errors)


class HostileTests(ManifestCommandCase):
    """Files as nobody writes them on purpose."""

    def refused(self, name: str, content: str | bytes, place: str, words: str) -> None:
        """Check that a file is refused with one line for it."""
        path = self.write(name, content)
        status, output, errors = self.check(path, self.path("gateway.yaml"))
        self.assertEqual((status, output), (1, ""))
        (line,) = [line for line in errors.splitlines() if ": warning: " not in line]
        self.assertTrue(line.startswith(f"{path}:{place}: "), line)
        self.assertIn(words, line)

    def test_odd_contents(self) -> None:
        """Other encodings, binary files, nesting without end, aliases that multiply."""
        aliases = "".join(
            f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
        )  # fmt: skip
        for name, content, place, words in (
            ("utf16.yaml", GATEWAY.encode("utf-16"), "1:1", "is not UTF-8"),
            ("latin1.yaml", DEPLOYMENT.encode() + b"# caf\xe9\n", "4:6", "is not UTF-8"),
            ("binary.yaml", b"\x7fELF\x00\x01", "1:1", "may not stand in YAML"),
            ("deep.yaml", "apiVersion: v1\nkind: ConfigMap\nx: " + "[" * 50_000, "3:1003", "levels of nesting"),
            ("tab.yaml", "apiVersion: v1\n\tkind: ConfigMap\n", "2:1", "not valid YAML"),
            ("scalar.yaml", "just text\n", "1:1", "is text and no object"),
            ("list.yaml", "- apiVersion: v1\n", "1:1", "is a list and no object"),
            ("twice.yaml", DEPLOYMENT + "kind: Deployment\n", "4:1", "is given twice, first in line 2"),
        ):
            self.refused(name, content, place, words)
        bomb = self.write("bomb.yaml", DEPLOYMENT + "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + aliases)
        status, _, errors = self.check(bomb, self.path("gateway.yaml"))
        self.assertEqual(status, 1)
        self.assertIn("aliases repeat more than 100000 values", errors)

    def test_other_line_ends_and_marks(self) -> None:
        """Windows' line ends, and the mark that its editors put before a text."""
        for name, content in (
            ("gateway.yaml", GATEWAY.replace("\n", "\r\n").encode()),
            ("route.yaml", BOM_UTF8 + ROUTE.encode()),
            ("service.yaml", BOM_UTF8 + ("---\n" + SERVICE).replace("\n", "\r\n").encode()),
        ):
            self.write(name, content)
        self.assertEqual(self.check(str(self.directory), "--strict")[::2], (0, ""))
        for path in (self.path("gateway.yaml"), self.path("route.yaml")):
            self.assertEqual(self.check(path)[0], 0)
        self.write("route.yaml", BOM_UTF8 + (ROUTE + "  x: 1\n").replace("\n", "\r\n").encode())
        self.assertIn("route.yaml:8:3: ", self.check()[2])

    def test_what_is_no_file(self) -> None:
        """A pipe nobody writes to, links in circles and to nowhere, directories in directories."""
        (self.directory / "loop").symlink_to(".")
        (self.directory / "other").symlink_to("..")
        (self.directory / "more" / "more").mkdir(parents=True)
        (self.directory / "more" / "more" / "back").symlink_to(self.directory)
        (self.directory / "directory.yaml").mkdir()
        status, output, errors = self.check(str(self.directory), "--strict")
        self.assertEqual((status, errors), (0, ""))
        os.mkfifo(self.directory / "fifo.yaml")
        (self.directory / "self.yaml").symlink_to("self.yaml")
        (self.directory / "nowhere.yaml").symlink_to("nowhere")
        status, output, errors = self.check()
        self.assertEqual((status, output), (1, ""))
        self.assertEqual(
            [line.partition(":1:1: cannot be read: ")[::2] for line in errors.splitlines()],
            [
                (str(self.directory / "fifo.yaml"), "it is no regular file; give a readable file"),
                (str(self.directory / "nowhere.yaml"), "No such file or directory; give a readable file"),
                (str(self.directory / "self.yaml"), "Too many levels of symbolic links; give a readable file"),
            ],
        )

    def test_names_of_files(self) -> None:
        """Names that are no UTF-8, or have line breaks in them, are told without harm."""
        for name, shown in ((b"\xff", "\\udcff"), (b"a\nb", "a\\nb"), ("ü".encode(), "ü")):
            path = os.fsencode(self.directory) + b"/" + name + b".yaml"
            with open(path, "wb") as file:
                file.write(DEPLOYMENT.encode())
            status, output, errors = self.check()
            self.assertEqual((status, errors), (0, ""))
            (line,) = [line for line in output.splitlines() if "Deployment" in line]
            self.assertEqual(line, f"{self.directory}/{shown}.yaml:1:1: warning: Deployment is not used")
            output.encode()
            os.remove(path)

    def test_linked_directories(self) -> None:
        """A directory that is a link is gone into, as where Kubernetes mounts a ConfigMap."""
        (self.directory / "..data").mkdir()
        (self.directory / "route.yaml").rename(self.directory / "..data" / "r.yaml")
        self.assertNotIn("a.example", self.check()[1].partition("routes:")[2])
        (self.directory / "sub").symlink_to("..data")
        self.assertIn("default/r: a.example", self.check()[1])


class KindOfFileTests(ManifestCommandCase):
    """What is taken for manifests, and what for a native file."""

    def test_told_apart(self) -> None:
        """By what a single file has in it."""
        for text, manifests in (
            (GATEWAY, True),
            ("# comment\n---\n" + GATEWAY, True),
            ("kind: Gateway\nmetadata: {}\n", True),
            (CA, True),
            ('\n{\n  "kind": "List", "items": [],\n  "apiVersion": "v1"\n}', True),
            ("--- {apiVersion: v1}", True),
            ("'apiVersion': v1", True),
            (LISTENERS, False),
            ("", False),
            ('{"listeners": []}', False),
            # A response that a route gives, with an object in it.
            (LISTENERS + "routes: [{name: x, rules: [{response: {body: '{\"apiVersion\": \"v1\"}'}}]}]\n", False),
            ("routes:\n- rules:\n  - response:\n      body: |\n        apiVersion: v1\n        kind: x\n", False),
        ):
            found = Configuration([self.write("x.yaml", text)]).manifests is not None
            self.assertEqual((text, found), (text, manifests))
        self.assertIsNone(Configuration([str(self.directory / "nothing")]).manifests)
        self.assertIsNotNone(Configuration([self.path("ca.json"), self.path("nothing")]).manifests)

    def test_native_where_manifests_are_wanted(self) -> None:
        """It is said that there are none."""
        path = self.write("native.yaml", "listeners: [{name: web, port: 1, protocol: HTTP}]\n")
        for command, words in ((("status", "-c", path), "a native configuration has no status"),
                               (("convert", path), "it is native already")):
            status, output, errors = self.run_edgegw(*command)
            self.assertEqual((status, output), (1, ""))
            self.assertIn(words, errors)
        self.assertIn("native.yaml:1:1: is no object: it has no apiVersion and no kind; put it under spec of a Gateway",
                      self.check()[2])

    def test_relative_paths(self) -> None:
        """What is named in manifests is looked for in their directory, wherever the process is meanwhile."""
        self.standard_input("")
        self.assertEqual(Configuration(["-"]).directory, os.getcwd())
        self.assertEqual(Configuration([str(self.directory)]).directory, str(self.directory))
        self.assertEqual(Configuration([self.path("ca.json")]).directory, str(self.directory))
        self.assertIsNone(Configuration(["-"]).watched)
        watched = Configuration(["-", self.path("ca.json")]).watched
        assert watched is not None
        self.assertEqual(watched.paths, (self.path("ca.json"),))


class StatusTests(ManifestCommandCase, TestCase):
    """``edgegw status``."""

    def test_offline(self) -> None:
        """Table, YAML and JSON say the same."""
        status, table, errors = self.run_edgegw("status", "-c", str(self.directory))
        self.assertEqual((status, errors), (0, ""))
        self.assertRegex(table, r"(?m)^HTTPRoute default/r +Gateway default/gw +ResolvedRefs +True +ResolvedRefs$")
        _, text, _ = self.run_edgegw("status", "-c", str(self.directory), "-o", "yaml")
        _, document, _ = self.run_edgegw("status", "-c", str(self.directory), "-o", "json")
        from_yaml, from_json = yaml.safe_load(text), json.loads(document)
        self.assertEqual([item["kind"] for item in from_json["items"]], ["Gateway", "HTTPRoute"])
        self.assertEqual(from_json["kind"], "List")
        listeners = from_json["items"][0]["status"]["listeners"]
        self.assertEqual([one["attachedRoutes"] for one in listeners], [1, 1])
        for found in (from_yaml, from_json):
            for item in found["items"]:
                del item["status"]
        self.assertEqual(from_yaml, from_json)

    def test_faults(self) -> None:
        """What an API server would not take has no status."""
        self.write("route.yaml", ROUTE + "  x: 1\n")
        status, output, errors = self.run_edgegw("status", "-c", str(self.directory))
        self.assertEqual((status, output), (1, ""))
        self.assertIn("route.yaml:8:3: ", errors)

    def test_unreachable(self) -> None:
        """Whoever does not answer, or is not there."""
        for url, words in (
            ("ftp://127.0.0.1", "is no http URL"), ("127.0.0.1:9901", "is no http URL"),
            ("http://[::1", "Invalid IPv6 URL"), ("http://127.0.0.1:x", "nonnumeric port"),
            ("http://127.0.0.1:1", "Connection refused; name the files with --config"),
        ):
            status, output, errors = self.run_edgegw("status", "--admin", url)
            self.assertEqual((status, output), (1, ""))
            self.assertIn(words, errors)

    async def test_somebody_else(self) -> None:
        """Whoever answers with something else is no gateway."""
        for body, words in (
            (b"{", "Expecting"), (b"[]", "no gateway"), (b'{"items": 7, "faults": []}', "no gateway"),
            (b'{"items": [{}], "faults": []}', "no gateway of this version"), (None, "has not"),
        ):
            root = Resource()
            below = Resource()
            root.putChild(b"gateway-api", below)
            if body is not None:
                below.putChild(b"status", Data(body, "application/json"))
            port = reactor.listenTCP(0, Site(root), interface="127.0.0.1")
            url = f"http://127.0.0.1:{port.getHost().port}/"
            status, output, errors = await in_thread(self.run_edgegw, "status", "--admin", url)
            await port.stopListening()
            self.assertEqual((status, output), (1, ""))
            self.assertIn(words, errors)


class ConvertTests(ManifestCommandCase, TestCase):
    """``edgegw convert --to native``."""

    def test_same(self) -> None:
        """What is printed is the same gateway."""
        self.write("deployment.yaml", DEPLOYMENT)
        status, text, errors = self.run_edgegw("convert", str(self.directory), "--to", "native")
        self.assertEqual(status, 0)
        self.assertIn("Deployment is not used", errors)
        path = self.directory.parent / "native.yaml"
        path.write_text(text)
        native = load(str(path)).gateway
        direct = Configuration([str(self.directory)], manifest_settings()).read().gateway
        self.assertEqual(native.upstreams, direct.upstreams)
        self.assertEqual(native.routes, direct.routes)
        self.assertEqual([one.name for one in native.listeners], [one.name for one in direct.listeners])
        self.assertEqual(native.listeners[0], direct.listeners[0])
        for one, other in zip(native.listeners[1:], direct.listeners[1:], strict=True):
            assert one.tls is not None and other.tls is not None
            self.assertEqual(one.tls.client_validation, other.tls.client_validation)
            self.assertEqual(one.tls.certificates[0].chain, other.tls.certificates[0].chain)

    def test_faults(self) -> None:
        """Nothing is printed of what cannot be used."""
        self.write("route.yaml", ROUTE + "  x: 1\n")
        status, output, errors = self.run_edgegw("convert", str(self.directory))
        self.assertEqual((status, output), (1, ""))
        self.assertIn("route.yaml:8:3: ", errors)

    async def test_served(self) -> None:
        """It runs: a request goes where the route says."""
        upstream = start_upstream(self, said(b"hello"))
        endpoint = upstream.model.endpoints[0]
        settings_ = ("--resolve", f"svc.default={endpoint.host}:{endpoint.port}")
        text = self.run_edgegw("convert", str(self.directory), *settings_)[1]
        path = self.directory.parent / "native.yaml"
        path.write_text(text.replace("port: 18080", "port: 0").replace("port: 18443", "port: 0"))
        running = await start_gateway(self, load(str(path)).gateway)
        address = running.address("default/gw/http")
        self.assertIn(b"hello", await in_thread(talk, address, get()))
        self.assertIn(b" 404 ", await in_thread(talk, address, get(host="b.example")))


ODD = ("0o17", "1e3", "no", "y", "12:30", "~", "null", ".inf", "${A}", "$${A}", "a: b", "- a", "# x", " x", "=", "a\nb",
       " a\nb", "\n", "\na", "a\n\n", "+.inf", "2020-01-01", "a\r\nb", "\u2028", "\x85", "\t", "<<", "")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


class NativeTextTests(SynchronousTestCase):
    """How a native document is written."""

    def assert_same(self, document: dict[str, Any]) -> None:
        """Check that a document is read as what it was."""
        report = Report("x")
        node = read_text(native_text(document), "x", {}, report)
        assert node is not None
        self.assertEqual(report.findings, ())
        self.assertEqual(_plain(node), _plain(node_of(document)))

    def test_odd_texts(self) -> None:
        """No variable, number or flag comes of a text, and numbers and flags stay what they are."""
        self.assert_same({"list": [*ODD, 7, -1, 1.5, 1e30, True], "keys": {text: {"in": [text]} for text in ODD}})

    @settings(max_examples=60, deadline=None)
    @given(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=3), min_size=1, max_size=4))
    def test_any_text(self, document: dict[str, Any]) -> None:
        """Whatever texts are in it."""
        self.assert_same(document)


def _plain(node: Node) -> Any:
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.values.items()}
    if isinstance(node, Sequence):
        return [_plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    return ScalarType(node.type), node.text


class ExplainTests(ManifestCommandCase):
    """``edgegw explain`` with manifests."""

    def explain(self, *arguments: str, config: str | None = None) -> tuple[int, str, str]:
        """Explain the directory."""
        return self.run_edgegw("explain", "-c", str(self.directory) if config is None else config, *arguments)

    def test_client(self) -> None:
        """A client that comes in, and one that does not."""
        client = self.write("../client.pem", PKI.issue("client", usages=CLIENT).chain_pem)
        stranger = self.write("../stranger.pem", Authority("x").issue("client", usages=CLIENT).chain_pem)
        status, output, errors = self.explain("--cert", client, "--path", "/", "--host", "a.example")
        self.assertEqual((status, errors), (0, ""), output)
        self.assertIn("default/gw/https", output)
        self.assertEqual(self.explain("--cert", stranger)[0], 3)
        self.assertEqual(self.explain()[0], 3)

    def test_listeners(self) -> None:
        """A listener is named by as much of its name as tells it from the others."""
        more = "  - {name: more, port: 18444, protocol: HTTPS, tls: {certificateRefs: [{name: web}]}}\n"
        self.write("gateway.yaml", GATEWAY + more)
        status, _, errors = self.explain()
        self.assertEqual(status, 2)
        self.assertIn("choose a listener with --listener: default/gw/https, default/gw/more", errors)
        for name in ("default/gw/more", "gw/more", "more"):
            status, output, _ = self.explain("--listener", name)
            self.assertEqual(status, 3)
            self.assertIn("default/gw/more", output)
        self.assertIn("there is no listener mor: use one of default/gw/https", self.explain("-l", "mor")[2])
        self.assertIn("has no TLS", self.explain("-l", "http")[2])

    def test_options(self) -> None:
        """What is said of manifests is heard, and standard input is for one thing only."""
        self.assertEqual(self.explain("--resolve", "x")[0], 2)
        self.assertIn("not both", self.explain("--cert", "-", config="-")[2])
        self.write("route.yaml", ROUTE + "  x: 1\n")
        status, _, errors = self.explain()
        self.assertEqual(status, 1)
        self.assertIn("route.yaml:8:3: ", errors)


class TwistdTests(ManifestCommandCase):
    """``twistd edgegw``."""

    def parse(self, *arguments: str) -> Options:
        """Read its options."""
        options = Options()
        options.parseOptions(list(arguments))
        self.addCleanup(lambda: options.loaded.environments and options.loaded.environments.stop())
        return options

    def test_options(self) -> None:
        """The same as those of ``edgegw run``."""
        self.write("gateway.yaml", GATEWAY.replace("  addresses: [{value: 127.0.0.1}]\n", ""))
        options = self.parse(
            "-c", self.path("gateway.yaml"), "--config", self.path("secret.yaml"), "--config", self.path("route.yaml"),
            "--config", self.path("service.yaml"), "--config", self.path("ca.json"),
            "--resolve", "svc.default=127.0.0.1:7", "--resolve", "svc.default=127.0.0.1:8",
            "--address-pool", "127.0.9.0/30", "--cluster-domain", "x.y",
        )
        gateway = options.loaded.gateway
        self.assertEqual({one.address for one in gateway.listeners}, {"127.0.9.1"})
        self.assertEqual([str(one) for one in gateway.upstreams[0].endpoints], ["127.0.0.1:7", "127.0.0.1:8"])
        self.assertEqual(options.loaded.warnings, ())

    def test_wrong(self) -> None:
        """Options that cannot be understood are told as twistd tells such things."""
        for arguments in (("--resolve", "x"), ("--address-pool", "x"), ("--cluster-domain", "-")):
            self.assertRaises(UsageError, self.parse, "--config", str(self.directory), *arguments)
        self.write("route.yaml", ROUTE + "  x: 1\n")
        sink = SimpleNamespace(write=lambda text: None, flush=lambda: None)
        self.patch(sys, "stderr", sink)
        error = self.assertRaises(SystemExit, self.parse, "--config", str(self.directory))
        self.assertEqual(error.code, 1)


class RelativeTests(ManifestCommandCase):
    """Paths as they are given."""

    def test_shown_as_given(self) -> None:
        """Messages name files as they were named."""
        self.write("route.yaml", ROUTE + "  x: 1\n")
        before = Path.cwd()
        os.chdir(self.directory.parent)
        self.addCleanup(os.chdir, before)
        self.assertTrue(self.check("manifests")[2].startswith("manifests/route.yaml:8:3: "))
