"""Manifests that are loaded: what the native language has to say of them, and whom it tells."""
from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest.mock import ANY

from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError, Loaded
from edgegw.config.faults import Fault, Severity
from edgegw.configuration import Configuration, manifest_settings
from edgegw.gateway_api import loading
from edgegw.gateway_api.compiled import Compiled, Surroundings
from edgegw.gateway_api.compiling import STANDING_IN, Refused, compile_objects
from edgegw.gateway_api.conditions import Conditions, ObjectStatus
from edgegw.gateway_api.manifest_settings import parse_endpoints
from edgegw.gateway_api.manifests import read_objects_text
from edgegw.gateway_api.objects import Object, Objects
from edgegw.gateway_api.settings import SETTINGS_KEYS
from edgegw.gateway_api.status_warnings import status_warnings
from tests.gateway_objects import standing
from tests.test_cli import EDGEGW, DaemonCase
from tests.test_gateway_api_command_line import CA, SECRET, SERVICE
from tests.test_observe_admin import fetch

HTTPS = "protocol: HTTPS, tls: {certificateRefs: [{name: web}]"
POLICIES = "options: {edgegw.io/policies:"
GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: edgegw
  addresses: [{value: 127.0.0.1}]
  listeners:
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: gw}]
  hostnames: [%s.example]
  rules: [{backendRefs: [{name: svc, port: 80}]}]
"""
SETTINGS = """\
apiVersion: edgegw.io/v1alpha1
kind: Settings
metadata: {name: %s}
spec: {%s}
"""


def gateway(*listeners: str) -> str:
    """Write a Gateway; each listener is the inside of a mapping."""
    return GATEWAY + "".join(f"  - {{{listener}}}\n" for listener in listeners)


class LoadedCase(SynchronousTestCase):
    """Loads documents as a gateway does."""

    def setUp(self) -> None:
        self.directory = Path(mkdtemp(prefix="edgegw-"))

    def load(self, *documents: str) -> Loaded:
        """Load a file that has these documents."""
        (self.directory / "m.yaml").write_text("\n---\n".join(documents))
        loaded = Configuration([str(self.directory)], manifest_settings()).read()
        if loaded.environments is not None:
            loaded.environments.stop()
        return loaded

    def refused(self, *documents: str) -> list[str]:
        """Give the lines of what is wrong, without the path of the file."""
        error = self.assertRaises(ConfigError, self.load, *documents)
        return [str(fault).replace(f"{self.directory}/", "") for fault in error.faults]

    def warnings(self, loaded: Loaded) -> list[str]:
        """Give the lines of what is odd, without the path of the file."""
        return [str(fault).replace(f"{self.directory}/", "") for fault in loaded.warnings]

    def served(self, loaded: Loaded) -> list[str]:
        """Give the names of the listeners."""
        return [one.name.rpartition("/")[2] for one in loaded.gateway.listeners]

    def status(self, loaded: Loaded, kind: str) -> Mapping[str, Any]:
        """Give the status of the one object of a kind."""
        found: list[Mapping[str, Any]] = [one.status for one in loaded.statuses or () if one.object.kind == kind]
        self.assertEqual(len(found), 1)
        return found[0]


class OwnerTests(LoadedCase):
    """What only the native language finds is told whoever wrote it, and harms nothing else."""

    def test_listeners(self) -> None:
        """Listeners with options that OpenSSL, a plugin or the admin site does not agree with."""
        loaded = self.load(
            gateway(
                f"name: good, port: 18443, {HTTPS}}}",
                f"name: group, port: 18444, {HTTPS}, options: {{kgateway.dev/ecdh-curves: 'X25519,FOO'}}}}",
                f"name: list, port: 18445, {HTTPS}, {POLICIES} '[{{crl: {{files: [no.pem]}}}}]'}}}}",
                f"name: plugin, port: 18446, {HTTPS}, {POLICIES} '[{{nope: {{}}}}, {{no: {{}}}}]'}}}}",
                "name: admin, port: 9901, protocol: HTTP",
                "name: plain, port: 18080, protocol: HTTP",
            ),
            SECRET, ROUTE % ("r", "r"), SERVICE,
        )  # fmt: skip
        self.assertEqual(self.served(loaded), ["good", "plain"])
        listeners = {one["name"]: one for one in self.status(loaded, "Gateway")["listeners"]}
        for name, problems in (
            ("group", ['tls.groups[1]: "FOO" OpenSSL']),
            ("list", ["no.pem cannot be read: No such file or directory"]),
            ("plugin", ["policies[0].nope: there is no policy nope; use one of", "; policies[1].no: there is no"]),
            ("admin", ["port: the port 9901 is the admin listener's; use another port here or there"]),
        ):
            self.assertEqual(standing(listeners[name]["conditions"])["Programmed"], ("False", "Invalid"))
            (said,) = [one["message"] for one in listeners[name]["conditions"] if one["type"] == "Programmed"]
            for problem in problems:
                self.assertIn(problem, said)
            self.assertNotIn("listeners[", said)
            (line,) = [line for line in self.warnings(loaded) if problems[0] in line]
            number = 8 + list(listeners).index(name)
            self.assertTrue(line.startswith(f"m.yaml:{number}:5: warning: Gateway default/gw: spec.listeners["), line)
        self.assertEqual(len(self.warnings(loaded)), 4)
        for name in ("good", "plain"):
            self.assertEqual(standing(listeners[name]["conditions"])["Programmed"], ("True", "Programmed"))
        (route,) = loaded.gateway.routes
        self.assertEqual(set(route.listeners), {"default/gw/good", "default/gw/plain"})

    def test_one_bad_part(self) -> None:
        """A Secret, a CA and a route that cannot be used: each takes down what refers to it."""
        other = SECRET.replace("name: web", "name: other").replace("tls.crt: LS0", "tls.crt: MS0")
        frontend = (
            "  tls: {frontend: {default: {}, perPort: [{port: 18445, tls: {validation: {caCertificateRefs: "
            '[{group: "", kind: ConfigMap, name: none}]}}}]}}\n'
        )
        loaded = self.load(
            gateway(
                f"name: good, port: 18443, {HTTPS}}}",
                "name: bad, port: 18444, protocol: HTTPS, tls: {certificateRefs: [{name: other}]}",
                f"name: ca, port: 18445, {HTTPS}}}",
            )
            + frontend,
            SECRET, other, CA, SERVICE, ROUTE % ("good", "good"),
            (ROUTE % ("bad", "bad")).replace("[{b", "[{matches: [{path: {type: RegularExpression, value: /(}}], b"),
        )  # fmt: skip
        self.assertEqual(self.served(loaded), ["good"])
        self.assertEqual([one.name for one in loaded.gateway.routes], ["default/good"])
        self.assertEqual(
            [line.partition(" (")[0] for line in self.warnings(loaded)],
            [
                "m.yaml:9:5: warning: Gateway default/gw: spec.listeners[1]: ResolvedRefs is False",
                "m.yaml:10:5: warning: Gateway default/gw: spec.listeners[2]: ResolvedRefs is False",
                "m.yaml:10:5: warning: Gateway default/gw: spec.listeners[2]: Programmed is False",
                "m.yaml:51:11: warning: HTTPRoute default/bad: Accepted is False",
            ],
        )

    def test_settings(self) -> None:
        """Faults of Settings are those of the object, at their places."""
        self.assertEqual(
            [line[12:] for line in self.refused(SETTINGS % ("s", "drain_timeout: 3x, admin: {port: -1}"))],
            [
                ' Settings s: spec.drain_timeout: "3x" is not a duration; write a duration such as 500ms, 30s or 1h30m',
                " Settings s: spec.admin.port: -1 is out of range; write a whole number from 0 to 65535",
            ],
        )
        self.assertEqual(
            self.refused(SETTINGS % ("s", "limits: {a: [1, {b: 2}]}"))[0].partition(": is")[0],
            "m.yaml:4:20: Settings s: spec.limits.a",
        )
        (unknown,) = self.refused(SETTINGS % ("s", "listeners: []"))
        self.assertIn("Settings s: spec.listeners: is no known field", unknown)


class SettingsTests(LoadedCase):
    """What holds for the process."""

    def test_used(self) -> None:
        """It is the native language's."""
        loaded = self.load(
            SETTINGS % ("s", "admin: {port: 7}, drain_timeout: 7s, http: {max_headers: 7}"),
            gateway("name: a, port: 18080, protocol: HTTP"),
        )
        model = loaded.gateway
        assert model.admin is not None
        self.assertEqual((model.admin.port, model.drain_timeout, model.listeners[0].http.max_headers), (7, 7.0, 7))
        self.assertIsNone(self.load(SETTINGS % ("s", "admin: disabled")).gateway.admin)

    def test_one_counts(self) -> None:
        """Of several the oldest counts, and the others are told of."""
        aged = SETTINGS.replace("name: %s", "name: %s, creationTimestamp: '%d-01-01T00:00:00Z'")
        ages = (("b", 5), ("a", 4), ("old", 3))
        loaded = self.load(*(aged % (name, 2000 + age, f"drain_timeout: {age}s") for name, age in ages))
        self.assertEqual(loaded.gateway.drain_timeout, 3.0)
        self.assertEqual(len(loaded.warnings), 2)
        for line in self.warnings(loaded):
            self.assertIn("is not used: Settings old counts, since there can be one only", line)

    def test_every_key(self) -> None:
        """All keys are the native language's, and may be left out."""
        self.assertEqual(self.load(SETTINGS % ("s", "")).gateway, self.load(CA).gateway)
        for key in SETTINGS_KEYS:
            (fault,) = self.refused(SETTINGS % ("s", f"{key}: [[7]]"))[:1]
            self.assertIn(f"Settings s: spec.{key}", fault)


class CompilingTests(LoadedCase):
    """Objects to a document and statuses, without what cannot be had."""

    def compiled(self, refused: Refused | None = None) -> Compiled:
        """Compile a Gateway with two listeners and two routes."""
        text = "---\n".join([
            gateway("name: a, port: 1, protocol: HTTP", "name: b, port: 2, protocol: HTTP"),
            ROUTE % ("r", "r"), ROUTE % ("s", "s"), SERVICE,
        ])  # fmt: skip
        return compile_objects(read_objects_text(text).objects, Surroundings(), refused)

    def test_owners(self) -> None:
        """Each part of the document is somebody's."""
        compiled = self.compiled()
        parts = {
            (key, one["name"]) for key in ("listeners", "routes", "upstreams") for one in compiled.document[key]
        }  # fmt: skip
        self.assertEqual(parts, set(compiled.owners))
        self.assertEqual(str(compiled.owners["listeners", "default/gw/a"]), "Gateway default/gw")
        self.assertEqual(str(compiled.owners["routes", "default/s"]), "HTTPRoute default/s")

    def test_refused(self) -> None:
        """A refused listener is not served, a refused route is not accepted, a refused upstream answers 500."""
        owners = self.compiled().owners
        parts = (("listeners", "default/gw/a"), ("routes", "default/r"), ("upstreams", "default/svc:80"))
        compiled = self.compiled({part: (owners[part], f"no {part[0]}") for part in parts})
        self.assertEqual([one["name"] for one in compiled.document["listeners"]], ["default/gw/b"])
        self.assertEqual(
            [(one["name"], one["listeners"]) for one in compiled.document["routes"]],
            [("default/r", ["default/gw/b"]), ("default/s", ["default/gw/b"])],
        )
        self.assertEqual(compiled.document["routes"][0]["rules"][0]["fixed_response"], {"status": 500})
        again = self.compiled(dict.fromkeys((parts[1], (STANDING_IN, "r")), (owners["routes", "default/r"], "no")))
        self.assertEqual([one["name"] for one in again.document["routes"]], ["default/s"])
        self.assertEqual(
            compiled.document["upstreams"], [{"name": "default/svc:80", "backend": {"respond": {"status": 500}}}]
        )
        of_gateway, rejected, accepted = [one.status for one in compiled.statuses]
        messages = {one["type"]: one["message"] for one in of_gateway["listeners"][0]["conditions"]}
        self.assertEqual(messages["Programmed"], "no listeners")
        self.assertEqual(standing(rejected["parents"][0]["conditions"])["Accepted"][0], "False")
        self.assertEqual(standing(accepted["parents"][0]["conditions"])["Accepted"], ("True", "Accepted"))
        self.assertEqual([(str(one), text) for one, text in compiled.warnings], [(ANY, "no upstreams")])
        self.assertEqual([one["attachedRoutes"] for one in of_gateway["listeners"]], [1, 1])

    def test_pure(self) -> None:
        """Compiling twice gives the same, and changes no object."""
        self.assertEqual(self.compiled().document, self.compiled().document)

    def test_nothing(self) -> None:
        """Without a Gateway nothing is served, which is no fault."""
        loaded = self.load(ROUTE % ("r", "r"))
        self.assertEqual((loaded.gateway.listeners, loaded.gateway.routes, loaded.statuses), ((), (), ANY))


class RoundTests(LoadedCase):
    """It is compiled anew until nothing is wrong, and not for ever."""

    def broken(self, number: int) -> Compiled:
        """Give something with a bad route of its own."""
        (owner,) = read_objects_text(ROUTE % ("r", "r")).objects
        name = f"bad-{number}"
        document = {"listeners": [], "routes": [{"name": name, "rules": [{"no": 1}]}]}
        return Compiled(document, (), {("routes", name): owner})

    def test_same_fault_again(self) -> None:
        """A part that is left out and is there nonetheless is a fault of the whole, told by its owner's place."""
        self.patch(loading, "compile_objects", lambda *_: self.broken(0))
        lines = self.refused(ROUTE % ("r", "r"))
        self.assertTrue(any(line.startswith("-:3:18: HTTPRoute default/r: ") for line in lines), lines)

    def test_ever_new_faults(self) -> None:
        """There is an end to it."""
        rounds: list[Refused] = []

        def compile_(objects: Objects, surroundings: Surroundings, refused: Refused) -> Compiled:
            rounds.append(dict(refused))
            return self.broken(len(rounds))

        self.patch(loading, "compile_objects", compile_)
        (line,) = self.refused(ROUTE % ("r", "r"))
        self.assertIn("the manifests cannot be compiled", line)
        self.assertEqual([len(one) for one in rounds], list(range(8)))

    def test_fault_of_nobody(self) -> None:
        """What is in no part is told as it is."""
        self.patch(loading, "compile_objects", lambda *_: Compiled({"listeners": [], "nothing": 1}, ()))
        (line,) = self.refused(ROUTE % ("r", "r"))
        self.assertIn("nothing: is no known key", line)


class WarningTests(SynchronousTestCase):
    """Conditions as findings."""

    def said(self, document: str, status: Mapping[str, Any]) -> list[str]:
        (one,) = read_objects_text(document, "m.yaml").objects
        found = status_warnings([ObjectStatus(one, status)])
        self.assertEqual({fault.severity for fault in found} or {Severity.WARNING}, {Severity.WARNING})
        return [str(fault) for fault in found]

    def conditions(self, *said: tuple[str, str, str, str]) -> list[dict[str, Any]]:
        conditions = Conditions(1)
        for one in said:
            conditions.replace(*one)
        return conditions.as_json()

    def test_once(self) -> None:
        """The same text is told once for an object, and sums not beside what they sum up."""
        said = (("ResolvedRefs", "False", "RefNotPermitted", "no"), ("Programmed", "False", "Invalid", "no"))
        bad = self.conditions(*said)
        good = self.conditions(("Conflicted", "False", "NoConflicts", ""), ("Accepted", "True", "Accepted", ""))
        whole = self.conditions(("ResolvedRefs", "False", "ListenersNotResolved", "a"), ("Accepted", "True", "A", ""))
        status = {"conditions": whole, "listeners": [{"conditions": bad}, {"conditions": good}, {"conditions": bad}]}
        document = gateway(*(f"name: {name}, port: {n}, protocol: HTTP" for n, name in enumerate("abc", 1)))
        self.assertEqual(
            self.said(document, status),
            ["m.yaml:8:5: warning: Gateway default/gw: spec.listeners[0]: ResolvedRefs is False (RefNotPermitted): no"],
        )

    def test_places(self) -> None:
        """The place in a message is the place of the finding."""
        document = ROUTE % ("r", "r")
        for message, place in (
            ("rules[0].backendRefs[0]: no", "7:26"), ("rules[0].backendRefs[0].port: no", "7:44"), ("no", "5:16"),
            ("else[0]: no", "5:16"), ("Dropped Rule 0: matches: no", "7:11"), ("rules[7]: no", "7:10"),
        ):
            status = {"parents": [{
                "parentRef": {"name": "gw"}, "conditions": self.conditions(("Accepted", "False", "X", message)),
            }]}  # fmt: skip
            (line,) = self.said(document, status)
            self.assertTrue(line.startswith(f"m.yaml:{place}: warning: HTTPRoute default/r: "), line)
            self.assertTrue(line.endswith(f"Accepted is False (X): {message}"))

    def test_bad_if_true(self) -> None:
        """Some conditions tell of something bad by being true."""
        (line,) = self.said(
            ROUTE % ("r", "r"),
            {"parents": [{"parentRef": {"name": "gw"}, "conditions": self.conditions(
                ("PartiallyInvalid", "True", "UnsupportedValue", "Dropped Rule 0: no")
            )}]},
        )  # fmt: skip
        self.assertIn("m.yaml:7:11: warning: HTTPRoute default/r: PartiallyInvalid is True", line)

    def test_without_a_file(self) -> None:
        """Objects that were written nowhere."""
        one = Object("gateway.networking.k8s.io/v1", "Gateway", "a", "b", {"spec": {}})
        status = {"conditions": self.conditions(("Accepted", "False", "X", "no"))}
        self.assertEqual(
            status_warnings([ObjectStatus(one, status)]),
            [Fault("", 1, 1, "Gateway a/b", "Accepted is False (X): no", severity=Severity.WARNING)],
        )


class EndpointTests(SynchronousTestCase):
    """``--resolve``."""

    def test_several(self) -> None:
        """Endpoints add up, given in one or several options."""
        self.assertEqual(
            parse_endpoints(["a.b=h:1", "a.b=[::1]:2,h:3", "c.b=h:4"]),
            {("b", "a"): ("h:1", "[::1]:2", "h:3"), ("b", "c"): ("h:4",)},
        )

    def test_wrong(self) -> None:
        """What cannot be meant is told."""
        for text in ("", "a", "a.b", "a=h:1", ".b=h:1", "a.=h:1", "a.b=", "a.b=h", "a.b=h:x", "A.b=h:1", "a.b.c=h:1"):
            self.assertRaises(ValueError, parse_endpoints, [text])


class ProcessTests(DaemonCase):
    """``edgegw run`` with manifests, as a process of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(mkdtemp(prefix="edgegw-"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.settings = SETTINGS % ("s", "admin: {port: 0}, logging: {format: json}")
        self.gateway = gateway(f"name: a, port: {self.port}, protocol: HTTP")

    def route(self, status: int) -> str:
        """Write a route that answers by itself."""
        filters = f"{{type: RequestRedirect, requestRedirect: {{statusCode: {status}}}}}"
        return (ROUTE % ("r", "r")).replace("backendRefs: [{name: svc, port: 80}]", f"filters: [{filters}]")

    def write(self, name: str, text: str) -> None:
        (self.directory / f".{name}").write_text(text)
        os.rename(self.directory / f".{name}", self.directory / name)

    async def ask(self) -> int:
        """Give the status of a response."""
        return (await fetch(self.port, "/", extra="")).status

    async def test_served(self) -> None:
        """What comes from standard input is read once; changes of files are taken over, and broken ones harm nobody."""
        self.write("b.yaml", self.route(301).replace("hostnames: [r.example]", "hostnames: [admin]"))
        daemon = self.spawn((*EDGEGW, "-c", "-", str(self.directory)), config=False)
        transport: Any = daemon.transport
        transport.write((self.settings + "---\n" + self.gateway).encode())
        transport.closeStdin()
        await daemon.says("Ready")
        admin = await daemon.port("Metrics and health")
        self.assertEqual(await self.ask(), 301)
        good = (self.directory / "b.yaml").read_text()
        self.write("b.yaml", good + "  x: 1\n")
        fault = await daemon.says("Reload failed: ")
        self.assertIn(f"{self.directory}/b.yaml:8:3: HTTPRoute default/r: spec.x: is no known field", fault["message"])
        self.assertEqual(await self.ask(), 301)
        self.assertEqual(len(json.loads((await fetch(admin, "/gateway-api/status")).body)["faults"]), 1)
        self.write("b.yaml", good.replace("301", "302"))
        # Whoever does not want to wait says so.
        daemon.signal(signal.SIGHUP)
        await daemon.says("Reloaded")
        self.assertEqual(await self.ask(), 302)
        self.assertEqual(json.loads((await fetch(admin, "/gateway-api/status")).body)["faults"], [])
        daemon.signal(signal.SIGTERM)
        self.assertEqual(await daemon.ended, 0)
        self.assertEqual(daemon.errors, b"")
