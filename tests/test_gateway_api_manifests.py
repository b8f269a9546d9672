"""Kubernetes manifests as files: documents, lists, kinds, places, and what is said of what is wrong."""
from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest import SkipTest

from hypothesis import given, settings
from hypothesis import strategies as st

from edgegw.config import ConfigError
from edgegw.gateway_api import manifests
from edgegw.gateway_api.manifest_files import Stream, manifest_files, manifest_text
from edgegw.gateway_api.manifests import read_objects, read_objects_text
from edgegw.gateway_api.objects import CORE, GATEWAY_API
from tests.manifests import GATEWAY, ROUTE, ManifestTestCase, gateway, route

HTTP = "name: http, port: 80, protocol: HTTP"
CONFORMANCE = Path(__file__).resolve().parents[2] / "shared" / "conformance" / "manifests"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


class Documents(ManifestTestCase):
    """How objects stand in files."""

    def test_several(self) -> None:
        """Documents, comments, directives and empty documents between them."""
        text = f"%YAML 1.2\n---\n# nothing\n---\n{gateway(HTTP)}--- # more\n{route()}...\n---\n"
        self.assertEqual(
            [str(one) for one in read_objects_text(text).objects], ["Gateway default/gw", "HTTPRoute default/r"]
        )

    def test_windows_lines(self) -> None:
        """Lines may end with carriage returns."""
        text = (gateway(HTTP) + "---\n" + route()).replace("\n", "\r\n")
        self.assertEqual(len(read_objects_text(text).objects), 2)

    def test_sign_in_text(self) -> None:
        """Three dashes inside of a text do not end a document where they are not at the line's beginning."""
        content = self.content(CONFIG_MAP + "data:\n  a: |\n    x\n    ---\n    y\n  b: --- z\n")
        self.assertEqual(content["data"], {"a": "x\n---\ny\n", "b": "--- z"})

    def test_json(self) -> None:
        """JSON with tabs and characters beyond U+FFFF, as jq writes it."""
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "😀\\ud83d/"}}
        text = json.dumps(document, indent="\t").replace("/", "\\/")
        self.assertEqual(self.content(text)["data"], {"x": "😀\\ud83d/"})

    def test_lists(self) -> None:
        """Lists, lists in lists, and lists as an API server answers, whose elements name no kind."""
        member = json.dumps({"metadata": {"name": "b"}, "data": {"x": "y"}})
        whole = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
        inner = f'{{"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {{}}, "items": [{member}]}}'
        text = f'{{"apiVersion": "v1", "kind": "List", "items": [{whole}, {inner}]}}'
        found = read_objects_text(text + "\n---\napiVersion: v1\nkind: List\nitems:\n")
        self.assertEqual([str(one) for one in found.objects], ["ConfigMap default/c", "ConfigMap default/b"])
        self.assertEqual(found.warnings, ())

    def test_fault_in_a_list(self) -> None:
        """A fault in a list has the path within its object, and its own place."""
        text = "kind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n  dat: {}\n"
        (fault,) = self.faults(text)
        self.assertEqual((fault.line, fault.column, fault.path), (6, 3, "ConfigMap default/a: dat"))
        self.assertEqual(fault.remedy, "did you mean data?")

    def test_lists_without_end(self) -> None:
        """Lists do not stand in each other without end."""
        text = CONFIG_MAP
        for _ in range(9):
            text = "apiVersion: v1\nkind: List\nitems:\n- " + text.replace("\n", "\n  ").strip() + "\n"
        self.assert_faults(text, ("", "lists stand in each other"))

    def test_variables(self) -> None:
        """What looks like a variable stays as it is, in plain YAML and in what libyaml reads."""
        self.assertEqual(self.content(CONFIG_MAP + "data: {a: '${HOME}'}\n")["data"], {"a": "${HOME}"})
        self.assertEqual(self.content(CONFIG_MAP + "data: {a: \"${HOME}\\n\"}\n")["data"]["a"], "${HOME}\n")

    def test_faults_of_all_documents(self) -> None:
        """YAML that is none, fragments, and faults after them are all told, each with its line in the file."""
        text = f"a: [\n---\n- x\n---\n{gateway('name: http, port: 0, protocol: HTTP')}---\nb: 'x\n---\n{ROUTE}  x: 1\n"
        found = self.faults(text)
        self.assertEqual([fault.line for fault in found], [2, 3, 11, 14, 19])

    def test_aliases(self) -> None:
        """Aliases are read, and what they repeat in all documents together is bounded."""
        content = self.content(CONFIG_MAP + "data: {a: &x text, b: *x}\n")
        self.assertEqual(content["data"], {"a": "text", "b": "text"})
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 5)]
        found = self.faults(*["\n".join(lines) + "\n"] * 40)
        self.assertEqual(sum("aliases repeat more than" in fault.problem for fault in found), 1)


class Kinds(ManifestTestCase):
    """Which objects are read."""

    def test_fragment(self) -> None:
        """What is no object is told so, and where it belongs."""
        self.assert_faults(
            "listeners:\n- name: https-mtls\n",
            ("", "has no apiVersion and no kind; put it under spec of a Gateway: apiVersion: gateway.networking"),
        )
        self.assert_faults("rules: []\n", ("", "spec of a route"))
        self.assert_faults("kind: Gateway\n", ("", "has no apiVersion; give whole objects"))
        self.assert_faults("- a\n", ("", "is a list and no object"))
        self.assert_faults("apiVersion: 1\nkind: Service\n", ("apiVersion", "is no text"))

    def test_not_used(self) -> None:
        """Other kinds are told once each, with how many there are."""
        pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        deployment = "apiVersion: apps/v1\nkind: Deployment\nanything: goes\n"
        found = self.read(pod, deployment, deployment)
        self.assertEqual(len(found.objects), 0)
        self.assertEqual(
            [str(warning) for warning in found.warnings],
            [
                "m.yaml:1:1: warning: Pod is not used",
                "m.yaml:5:1: warning: Deployment is not used; there are 2 of it",
            ],
        )
        # Another kind of the same name.
        self.assertEqual(len(self.read("apiVersion: networking.istio.io/v1\nkind: Gateway\n").warnings), 1)

    def test_wrong_version_or_group(self) -> None:
        """A mistake in apiVersion or kind is a fault and not an object that is not used."""
        for api_version, kind, remedy in (
            ("v1", "Gateway", "write gateway.networking.k8s.io/v1"),
            ("networking.k8s.io/v1", "HTTPRoute", "write gateway.networking.k8s.io/v1"),
            ("gateway.networking.k8s.io/v2", "HTTPRoute", "write gateway.networking.k8s.io/v1"),
            ("gateway.networking.k8s.io/v1", "HttpRoute", "did you mean HTTPRoute?"),
            ("gateway.networking.k8s.io/v1", "Gateways", "did you mean Gateway?"),
            ("gateway.networking.k8s.io/v1", "Secret", "write v1"),
            ("gateway.network.k8s.io/v1", "Gateway", "write gateway.networking.k8s.io/v1"),
            ("v1", "EndpointSlice", "write discovery.k8s.io/v1"),
            ("v1", "secret", "did you mean Secret?"),
        ):
            self.assert_faults(f"apiVersion: {api_version}\nkind: {kind}\n", ("apiVersion", remedy))

    def test_older_versions(self) -> None:
        """Older versions are read as v1; what was written stands in api_version."""
        for version in ("v1alpha2", "v1beta1", "v1"):
            one = self.one(gateway(HTTP).replace("/v1", f"/{version}"))
            self.assertEqual((one.api_version, one.group), (f"{GATEWAY_API}/{version}", GATEWAY_API))
            self.assertEqual(one.spec["listeners"][0]["allowedRoutes"], {"namespaces": {"from": "Same"}})
        backends = "backendRefs: [{name: a, port: 1}]"
        self.one(route(backends, kind="TLSRoute", version="v1alpha2"))
        self.assert_faults(route(backends, kind="TLSRoute", version="v1alpha3"), ("spec", "has no hostnames"))
        self.one(route(backends, kind="TCPRoute", version="v1alpha2"))

    def test_first_backend_tls_policy(self) -> None:
        """A BackendTLSPolicy of v1alpha2 gets the content of v1."""
        one = self.one(
            "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: BackendTLSPolicy\nmetadata: {name: p}\nspec:\n"
            '  targetRef: {group: "", kind: Service, name: s, namespace: default}\n'
            '  tls: {caCertRefs: [{group: "", kind: ConfigMap, name: ca}], hostname: example.com}\n'
        )
        self.assertEqual(one.spec, {
            "targetRefs": [{"group": "", "kind": "Service", "name": "s"}],
            "validation": {
                "hostname": "example.com", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]
            },
        })

    def test_twice(self) -> None:
        """The later one of two counts."""
        found = self.read(CONFIG_MAP + "data: {a: x}\n", CONFIG_MAP + "data: {a: y}\n")
        (one,) = found.objects
        self.assertEqual(one.content["data"], {"a": "y"})
        self.assertEqual(
            [str(warning) for warning in found.warnings],
            [
                "m.yaml:6:1: warning: ConfigMap default/a: is there already in m.yaml:1; this later one counts"
            ],
        )


class Metadata(ManifestTestCase):
    """What every object has."""

    def test_all(self) -> None:
        """What an API server writes is read, and status is left out."""
        one = self.one(
            ROUTE.replace("{name: r}", json.dumps({
                "name": "r", "namespace": "infra", "uid": "x", "resourceVersion": "12", "generation": 7,
                "creationTimestamp": "2026-01-31T13:00:00+01:00", "labels": {"a.b/c": ""}, "annotations": {"X": "y z"},
                "ownerReferences": [{}], "finalizers": ["x"], "managedFields": [{"f:x": {}}], "selfLink": "/x",
            })) + "  rules: []\nstatus: {parents: [{}]}\n".replace("  rules: []\n", "  hostnames: []\n")
        )
        self.assertEqual((one.namespace, one.generation, one.created), ("infra", 7, "2026-01-31T12:00:00Z"))
        self.assertEqual((one.labels, one.annotations), ({"a.b/c": ""}, {"X": "y z"}))
        self.assertNotIn("status", one.content)
        self.assertEqual(set(one.content["metadata"]), {
            "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "labels", "annotations",
        })

    def test_defaults(self) -> None:
        """Generation 1, no age, and the namespace default."""
        other = CONFIG_MAP.replace("name: a", "name: b, creationTimestamp: null")
        one, two = self.read(CONFIG_MAP + "data:\n", other).objects
        self.assertEqual((one.generation, one.created, one.namespace), (1, None, "default"))
        self.assertEqual(one.content["metadata"], {"name": "a", "namespace": "default"})
        self.assertLess(one.order, two.order)
        self.assertEqual(two.created, None)

    def test_names(self) -> None:
        """Names are as long as the kind allows, and quoted where YAML would take them for numbers."""
        self.one(ROUTE.replace("name: r", f"name: {'a.' * 126}a") + "  {}\n")
        for kind, name, words in (
            ("ConfigMap", "A", "is not right here"),
            ("ConfigMap", "a" * 254, "254 characters"),
            ("ConfigMap", "-a", "is not right here"),
            ("ConfigMap", "12", 'quote it: "12"'),
            ("ConfigMap", "'a\n\nb'", "is not right here"),
            ("ConfigMap", "''", "is empty"),
            ("Namespace", "a.b", "a-z, 0-9 and -"),
            ("Namespace", "a" * 64, "63 or fewer"),
            ("Service", "a.b", "a-z, 0-9 and -"),
        ):
            text = f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
            text += "spec: {clusterIP: None}\n" if kind == "Service" else ""
            self.assert_faults(text, ("metadata.name", words))
        self.assert_faults("apiVersion: v1\nkind: ConfigMap\n", ("", "has no metadata"))
        self.assert_faults("apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-}\n", ("", "has no name"))

    def test_labels(self) -> None:
        """Labels and annotations have forms of their own."""
        self.assert_faults(
            CONFIG_MAP.replace("name: a", "name: a, labels: {-a: x, b: y z, c: 1}, annotations: {d/e/f: x, g: true}"),
            ("labels.-a", "a key such as"),
            ("labels.b", "a label's value"),
            ("labels.c", 'quote it: "1"'),
            ('annotations["d/e/f"]', "a key such as"),
            ("annotations.g", "quote it"),
        )

    def test_no_namespace(self) -> None:
        """Objects that lie in no namespace lose it, as with an API server."""
        found = self.read("apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n")
        self.assertEqual([str(one) for one in found.objects], ["Namespace a"])
        self.assertIn("lies in no namespace", str(found.warnings[0]))


class Places(ManifestTestCase):
    """Where values stand."""

    def test_places(self) -> None:
        """Each value has its line and column, a missing one those of what is above it."""
        text = "---\n" + gateway(HTTP)
        (one,) = read_objects_text(text, "x.yaml").objects
        source = one.source
        assert source is not None
        self.assertEqual(source.file, "x.yaml")
        for path, place in (
            ((), (2, 1, "")),
            (("spec", "listeners", 0, "port"), (8, 24, "spec.listeners[0].port")),
            (("spec", "listeners", 0, "tls", "mode"), (8, 5, "spec.listeners[0]")),
            (("spec", "listeners", 3, "port"), (8, 3, "spec.listeners")),
            (("nothing",), (2, 1, "")),
        ):
            self.assertEqual(source.place(path), place)

    def test_in_a_list(self) -> None:
        """Paths begin at the object."""
        (one,) = read_objects_text("kind: List\nitems:\n- " + gateway(HTTP).replace("\n", "\n  ")).objects
        assert one.source is not None
        self.assertEqual(one.source.place(("spec", "gatewayClassName")), (7, 23, "spec.gatewayClassName"))


class Files(ManifestTestCase):
    """Where manifests are read from."""

    def setUp(self) -> None:
        self.directory = Path(mkdtemp())

    def write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def test_directory(self) -> None:
        """Directories are read with what is below them, editors' and hidden files left out."""
        for name in ("b.yaml", "a/c.yml", "a/d.json"):
            self.write(name, "")
        for name in (".x.yaml", ".git/e.yaml", "f.yaml~", "g.txt"):
            self.write(name, "not: [yaml")
        found = read_objects([str(self.directory)])
        self.assertEqual([Path(file).name for file in found.files], ["b.yaml", "c.yml", "d.json"])
        twice = [str(self.directory), str(self.directory / "b.yaml")]
        self.assertEqual(len(manifest_files(twice)), 3)

    def test_files_that_go_meanwhile(self) -> None:
        """What is taken out of a directory while it is read is not looked for; a file that was named must be there."""
        kept, gone = self.write("a.yaml", gateway("name: http, port: 80, protocol: HTTP")), self.write("b.yaml", ROUTE)

        def read(file: str, streams: Mapping[str, Stream]) -> str:
            Path(gone).unlink(missing_ok=True)
            return manifest_text(file, streams)

        self.patch(manifests, "manifest_text", read)
        found = read_objects([str(self.directory)])
        self.assertEqual(([one.kind for one in found.objects], found.files), (["Gateway"], (kept,)))
        self.assertRaises(ConfigError, read_objects, [str(self.directory), gone])

    def test_faults_of_all_files(self) -> None:
        """Every fault of every file is told, in the order of the files."""
        self.write("a.yaml", gateway("name: http, port: 0, protocol: HTTP"))
        self.write("b.yaml", ROUTE + "  x: 1\n")
        (self.directory / "c.yaml").write_bytes(b"\xff")
        error = self.assertRaises(ConfigError, read_objects, [str(self.directory), str(self.directory / "no.yaml")])
        self.assertEqual(
            [Path(fault.file).name for fault in error.faults], ["a.yaml", "b.yaml", "c.yaml", "no.yaml"]
        )
        self.assertEqual(
            str(error.faults[0]),
            f"{self.directory}/a.yaml:7:24: Gateway default/gw: spec.listeners[0].port: is 0; "
            "write a whole number from 1 to 65535",
        )

    def test_nothing(self) -> None:
        """An empty directory, and one that is not there, are faults."""
        error = self.assertRaises(ConfigError, read_objects, [str(self.directory)])
        self.assertIn("has no manifests in it", str(error))
        error = self.assertRaises(ConfigError, read_objects, [str(self.directory / "no")])
        self.assertIn("cannot be read: No such file", str(error))

    def test_standard_input(self) -> None:
        """A dash is standard input."""
        found = read_objects(["-"], {"-": Stream(gateway(HTTP).encode())})
        self.assertEqual((len(found.objects), found.files), (1, ("-",)))
        (one,) = found.objects
        assert one.source is not None
        self.assertEqual(one.source.file, "-")

    def test_bounds(self) -> None:
        """Objects and characters are bounded."""
        self.patch(manifests, "MAX_OBJECTS", 2)
        self.assert_faults("---\n".join([CONFIG_MAP] * 4), ("", "there are more than 2 objects"))
        self.patch(manifests, "MAX_TEXT", 10)
        self.assert_faults(CONFIG_MAP, ("", "more than 10 characters"))


class Conformance(ManifestTestCase):
    """What the conformance suite applies to clusters."""

    def test_all(self) -> None:
        """Every manifest of the suite is read without a fault."""
        if not CONFORMANCE.is_dir():
            raise SkipTest("the conformance suite's manifests are not here")
        replaced = {
            "{GATEWAY_CLASS_NAME}": "edgegw",
            "{GATEWAY_CONTROLLER_NAME}": "edgegw.io/gateway-controller",
            "PLACEHOLDER_USABLE_ADDRS": "127.0.0.1",
            "PLACEHOLDER_UNUSABLE_ADDRS": "192.0.2.1",
        }
        count = 0
        for path in sorted(CONFORMANCE.rglob("*.yaml")):
            text = re.sub("|".join(map(re.escape, replaced)), lambda match: replaced[match[0]], path.read_text())
            found = read_objects_text(text, str(path))
            count += len(found.objects)
            self.assertEqual([w for w in found.warnings if "Deployment is not used" not in str(w)], [])
        self.assertGreater(count, 250)


# --- whatever stands in a file -----------------------------------------------------------------

_SCALARS: Any = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 70000), st.floats(allow_nan=False), st.text(max_size=8),
    st.sampled_from(["HTTP", "HTTPS", "TLS", "Terminate", "Passthrough", "Selector", "*", "/a", "10s", "x.com", ""]),
)
_KEYS: Any = st.sampled_from([
    "name", "port", "protocol", "tls", "mode", "listeners", "rules", "matches", "path", "type", "value", "filters",
    "backendRefs", "parentRefs", "hostnames", "spec", "metadata", "data", "stringData", "ports", "kind", "items", "<<",
    "addresses", "endpoints", "from", "to", "group", "validation", "targetRefs", "cors", "requestRedirect",
    "addressType", "percent", "certificateRefs", "options", "binaryData", "clusterIP", "sectionName",
]) | st.text(max_size=5)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)
_DOCUMENTS: list[dict[str, Any]] = [
    {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "g"},
        "spec": {
            "gatewayClassName": "edgegw", "addresses": [{"value": "127.0.0.1"}],
            "listeners": [
                {"name": "a", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "s"}]}},
                {"name": "b", "port": 443, "protocol": "TLS", "hostname": "x.com", "tls": {"mode": "Passthrough"}},
            ],
            "tls": {"frontend": {"default": {}, "perPort": [{"port": 443, "tls": {}}]}},
        },
    },
    {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"},
        "spec": {
            "parentRefs": [{"name": "g"}, {"name": "h"}],
            "rules": [{
                "name": "x",
                "matches": [{"path": {"value": "/a"}, "headers": [{"name": "a", "value": "b"}]}],
                "filters": [
                    {
                        "type": "URLRewrite",
                        "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
                    },
                    {"type": "CORS", "cors": {"allowOrigins": ["*"]}},
                    {
                        "type": "RequestMirror",
                        "requestMirror": {"backendRef": {"name": "m", "port": 1}, "fraction": {"numerator": 1}},
                    },
                    {
                        "type": "RequestHeaderModifier",
                        "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}], "remove": ["c"]},
                    },
                ],
                "backendRefs": [{"name": "s", "port": 80, "filters": []}],
                "timeouts": {"request": "1s", "backendRequest": "1s"},
                "retry": {"codes": [500]},
                "sessionPersistence": {"cookieConfig": {}},
            }],
        },
    },
    {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "kubernetes.io/tls",
        "data": {"tls.crt": ""}, "stringData": {"tls.key": "x"},
    },
    {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b", "targetPort": "http"}]},
    },
    {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s"}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}],
    },
    {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy", "metadata": {"name": "p"},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "s"}],
            "validation": {
                "hostname": "x.com",
                "wellKnownCACertificates": "System",
                "subjectAltNames": [{"type": "URI", "uri": "a://b"}],
            },
        },
    },
    {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "Backend", "metadata": {"name": "b"},
        "spec": {"endpoints": [{"ip": {"address": "::1", "port": 1}}, {"unix": {"path": "/x"}}]},
    },
    {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": {"name": "r"},
        "spec": {"rules": [{"matches": [{"method": {"service": "a.B"}}], "backendRefs": [{"name": "s", "port": 1}]}]},
    },
    {
        "apiVersion": "gateway.networking.k8s.io/v1alpha2", "kind": "TLSRoute", "metadata": {"name": "r"},
        "spec": {"hostnames": ["a.com"], "rules": [{"backendRefs": [{"name": "s", "port": 1}]}]},
    },
    {
        "apiVersion": "v1", "kind": "List",
        "items": [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}],
    },
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Give the path of everything in a document."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in below for place in places(part, (*path, key)))]


class AnyDocument(ManifestTestCase):
    """Whatever stands in a file, objects or a list of faults come out."""

    def check(self, text: str) -> None:
        try:
            found = read_objects_text(text)
        except ConfigError as error:
            self.assertTrue(error.faults)
            self.assertTrue(str(error))
            return
        for one in found.objects:
            json.dumps(one.content)
            assert one.source is not None
            for path in places(one.content)[:50]:
                line, column, _ = one.source.place(path)
                self.assertGreater(line * column, 0)

    def test_documents_themselves(self) -> None:
        """The documents that are changed below are right."""
        for document in _DOCUMENTS:
            self.assertEqual(len(read_objects_text(json.dumps(document)).objects), 1)

    @settings(max_examples=120, deadline=None)
    @given(st.data())
    def test_changed(self, data: Any) -> None:
        """One part of an object is replaced by anything, or another field is put there."""
        document = json.loads(json.dumps(data.draw(st.sampled_from(_DOCUMENTS))))
        path = data.draw(st.sampled_from(places(document)[1:]))
        inside = document
        for step in path[:-1]:
            inside = inside[step]
        if isinstance(inside, dict) and data.draw(st.booleans()):
            inside[data.draw(_KEYS)] = data.draw(_VALUES)
        else:
            inside[path[-1]] = data.draw(_VALUES)
        self.check(json.dumps(document, ensure_ascii=data.draw(st.booleans())))

    @settings(max_examples=100, deadline=None)
    @given(st.text(alphabet=st.sampled_from("---\n\n  ::{}[],aZ0&*!|>'\"%#.\t\r\\u"), max_size=60))
    def test_any_text(self, text: str) -> None:
        """Text of YAML's own characters."""
        self.check(text)
        self.check(GATEWAY + "  listeners: " + text)

    def test_core(self) -> None:
        """Kinds of the core have no group."""
        self.assertEqual(self.one(CONFIG_MAP).group, CORE)
