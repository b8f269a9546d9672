"""Policies in the native document: where they stand, how they nest, what is wrong with them, and what runs."""
from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError, Loaded, load, schema
from edgegw.environment import Environments
from edgegw.model import (
    AmbiguousPaths,
    ClientRequirement,
    OnMissing,
    PolicyAll,
    PolicyAny,
    PolicyNot,
    PolicyUse,
    RefuseWith,
)
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.registry import Registry
from tests.config_documents import NOW, ConfigTestCase

HEAD = """\
listeners:
  - name: web
    port: 8443
    tls: {certificates: [{certificate: server.pem, private_key: server.key}]}
"""
PLUGIN = '''
from attrs import frozen
from edgegw.api import Accept, Reject, option, policy

@frozen
class Config:
    suffixes: tuple[str, ...] = option("Endings.", min_items=1)

@policy("dns_suffix", Config)
def dns_suffix(config, peer):
    """Let clients in whose DNS names end well."""
    return Accept()

@policy("anyone", without_certificate=True)
def anyone(peer):
    """Let everyone in."""
    return Accept()

@policy("unbuildable", Config)
class Unbuildable:
    """Cannot be built."""

    def __init__(self, config, env):
        if config.suffixes == ("none",):
            self.check = None
            return
        if config.suffixes == ("exit",):
            raise SystemExit(3)
        raise ValueError("the suffixes clash; give others") if config.suffixes == ("x",) else RuntimeError("bug")

    def check(self, peer):
        return Accept()
'''


EVERYWHERE = """\
client_validation:
  default: {ca_certificates: [ca.pem], policies: [anyone]}
  per_port:
    - {port: 8444, validation: {ca_certificates: [ca.pem], policies: [{dns_suffix: {suffixes: [.a]}}, anyone]}}
listeners:
  - {name: a, port: 8443, tls: {certificates: [{certificate: server.pem, private_key: server.key}]}}
  - {name: b, port: 8444, tls: {certificates: [{certificate: server.pem, private_key: server.key}]}}
  - name: c
    port: 8445
    policies: [anyone]
    health_check: {path: /healthz, sources: [10.0.0.0/8]}
    http: {ambiguous_paths: pass}
    tls:
      certificates: [{certificate: server.pem, private_key: server.key}]
      client_validation:
        ca_certificates: [ca.pem]
        mode: AllowInsecureFallback
        policies: [{not: anyone}, {any: [anyone, {all: [anyone]}]}]
        on_missing: accept
        refuse_with: response
        policy_timeout: 500ms
        recheck_established: true
        explain_to_client: true
upstreams: [{name: app, endpoints: ["127.0.0.1:80"]}]
routes:
  - name: r
    rules:
      - {backends: [{upstream: app}], policies: [anyone], policy_timeout: 1s, explain_to_client: true}
      - {backends: [{upstream: app}], matches: [{path: {value: /a}}], client: any}
      - {backends: [{upstream: app}], matches: [{path: {value: /b}}]}
      - {backends: [{upstream: app}], matches: [{path: {value: /c}}], client: none, policies: [anyone]}
handshake_record: 500
"""


class PolicyDocumentCase(ConfigTestCase):
    """Documents beside a folder with a plugin."""

    def setUp(self) -> None:
        super().setUp()
        (self.directory / "plugins").mkdir(mode=0o755)
        self.directory.chmod(0o755)
        self.write("plugins/mine.py", PLUGIN)

    def load(self, text: bytes | str, environ: Any = None, **options: Any) -> Loaded:
        """Load a document with plugins."""
        path = self.write("edgegw.yaml", text)
        environments = Environments(None, str(self.directory), PluginCounters())
        return load(
            str(path), environ or {}, now=NOW, find_plugins=Registry, make_environment=environments.make, **options
        )

    def shape(self, rule: Any) -> Any:
        """Give a rule as names."""
        if isinstance(rule, tuple):
            return [self.shape(one) for one in rule]
        if isinstance(rule, PolicyUse):
            return rule.kind.name
        if isinstance(rule, PolicyNot):
            return ("not", self.shape(rule.member))
        assert isinstance(rule, (PolicyAll, PolicyAny))
        return ("all" if isinstance(rule, PolicyAll) else "any", self.shape(rule.members))


class PlaceTests(PolicyDocumentCase):
    """Where policies stand."""

    def test_everywhere(self) -> None:
        """Default, port, listener's own validation, listener and rule; each is as it was written."""
        gateway = self.load(EVERYWHERE).gateway
        a, b, c = gateway.listeners
        validations = [one.tls.client_validation for one in (a, b, c) if one.tls is not None]
        self.assertEqual(
            [self.shape(one.policies) for one in validations if one is not None],
            [["anyone"], ["dns_suffix", "anyone"], [("not", "anyone"), ("any", ["anyone", ("all", ["anyone"])])]],
        )
        own = validations[2]
        assert own is not None
        self.assertEqual(
            (own.on_missing, own.refuse_with, own.policy_timeout, own.recheck_established, own.explain_to_client),
            (OnMissing.ACCEPT, RefuseWith.RESPONSE, 0.5, True, True),
        )
        self.assertEqual((self.shape(c.policies), c.health_check and c.health_check.path), (["anyone"], "/healthz"))
        self.assertEqual((a.http.ambiguous_paths, c.http.ambiguous_paths), (None, AmbiguousPaths.PASS))
        rules = gateway.routes[0].rules
        self.assertEqual(
            [(one.client, one.policies and self.shape(one.policies)) for one in rules],
            [
                (ClientRequirement.VERIFIED, ["anyone"]), (ClientRequirement.ANY, None),
                (ClientRequirement.NONE, None), (ClientRequirement.NONE, ["anyone"]),
            ],
        )
        self.assertEqual((rules[0].policy_timeout, rules[0].explain_to_client), (1.0, True))
        self.assertEqual(gateway.handshake_record, 500)


class FaultTests(PolicyDocumentCase):
    """What is wrong with them, where, and what would be right."""

    def faults(self, policies: str) -> list[str]:
        """Give the faults of a list of policies, each from its column on."""
        text = f"{HEAD}client_validation:\n  default:\n    ca_certificates: [ca.pem]\n    policies: {policies}\n"
        error: ConfigError = self.assertRaises(ConfigError, self.load, text)
        return [f"{one.column}: {one.path.removeprefix('client_validation.default.')}: {one.problem}; {one.remedy}"
                for one in error.faults]

    def test_names(self) -> None:
        """An unknown one, with what was meant; one of another sort; one that is no name."""
        self.assertEqual(
            self.faults("[dns_sufix]"), ["16: policies[0]: there is no policy dns_sufix; did you mean dns_suffix?"]
        )
        self.assertIn("did you mean any?", self.faults("[{anny: [anyone]}]")[0])
        self.assertIn("has 2 keys; give one: the name of a policy", self.faults("[{anyone: {}, not: anyone}]")[0])
        self.assertIn("is a list", self.faults("[[anyone]]")[0])
        self.assertIn("is a whole number", self.faults("[5]")[0])
        self.assertIn("cannot be loaded: ModuleNotFoundError", self.faults("[no_such:thing]")[0])

    def test_empty(self) -> None:
        """Lists with nothing in them would refuse everyone."""
        for policies in ("[]", "[{any: []}]", "[{all: []}]", "[{any: [anyone, {all: []}]}]"):
            self.assertIn("is an empty list, which would refuse everyone", self.faults(policies)[0])

    def test_options(self) -> None:
        """Options are judged like every other key, wherever a policy is nested."""
        faults = self.faults("[{any: [anyone, {not: {dns_suffix: {sufixes: [a], suffixes: [5]}}}]}]")
        self.assertEqual(
            faults,
            [
                "51: policies[0].any[1].not.dns_suffix.sufixes: is no known key; did you mean suffixes?",
                '76: policies[0].any[1].not.dns_suffix.suffixes[0]: is a whole number; write text in quotes: "5"',
            ],
        )
        self.assertIn("has no suffixes", self.faults("[dns_suffix]")[0])
        self.assertIn("takes no options; write the name alone", self.faults("[{anyone: {x: 1}}]")[0])

    def test_building(self) -> None:
        """What a plugin says of its options, and what goes wrong in it, is a fault with its place."""
        self.assertEqual(
            self.faults("[{unbuildable: {suffixes: [x]}}]"),
            ["17: policies[0].unbuildable: the suffixes clash; give others"],
        )
        self.assertIn("RuntimeError: bug", self.faults("[{unbuildable: {suffixes: [y]}}]")[0])
        self.assertIn("SystemExit: 3", self.faults("[{unbuildable: {suffixes: [exit]}}]")[0])
        self.assertIn("which has no check()", self.faults("[{unbuildable: {suffixes: [none]}}]")[0])

    def test_broken_plugins(self) -> None:
        """A plugin that cannot be loaded is named, with its traceback, to whoever may have meant it."""
        self.write("plugins/broken.py", "import edgegw.api\nnot_there\n")
        warning, fault = self.faults("[from_broken]")
        path = self.directory / "plugins" / "broken.py"
        self.assertIn(
            f"could not be loaded: {path}:2 in <module> > NameError: name 'not_there' is not defined", warning
        )
        unless = f"unless it is in what could not be loaded: {path}"
        self.assertIn(f"there is no policy from_broken, {unless}; correct that, or name another policy", fault)
        self.assertIn(f"there is no policy anyones, {unless}; did you mean anyone?", self.faults("[anyones]")[1])
        loaded = self.load(f"{HEAD}client_validation: {{default: {{ca_certificates: [ca.pem], policies: [anyone]}}}}\n")
        self.assertIn("broken.py", str(loaded.warnings[0]))
        without = self.load(HEAD)
        self.assertEqual(without.warnings, ())

    def test_changed_plugins(self) -> None:
        """A reload tells that a plugin's file is another one than what runs; a start has nothing to tell."""
        document = f"{HEAD}client_validation: {{default: {{ca_certificates: [ca.pem], policies: [anyone]}}}}\n"
        self.assertEqual([self.load(document).warnings for _ in range(2)], [(), ()])
        path = self.directory / "plugins" / "mine.py"
        path.write_text("def f(:\n")
        (warning,) = self.load(document).warnings
        self.assertTrue(str(warning).endswith(
            f"1:1: warning: {path} has changed since it was loaded, and what was loaded then stays in use; "
            "restart the gateway to use it as it is now"
        ), warning)
        self.assertEqual(self.load(HEAD).warnings, ())

    def test_contradictions(self) -> None:
        """Settings that would have no effect are faults."""
        for validation, expected in {
            "on_missing: accept": "is about policies, and there are none here",
            "policies: [anyone], on_missing: accept": "has no effect where a certificate is required",
            "policies: [anyone], envoy_compatible: true": "lets everyone in, which AllowValidOnly does not",
        }.items():
            error = self.refusal(
                f"{HEAD}client_validation: {{default: {{ca_certificates: [ca.pem], {validation}}}}}\n"
            )
            self.assertIn(expected, str(error))

    def test_listeners_without_validation(self) -> None:
        """Policies on a listener that asks for no certificate would judge nothing."""
        text = HEAD.replace("port: 8443", "port: 8443\n    policies: [{dns_suffix: {suffixes: [a]}}]")
        self.assertIn("no certificate is asked for here", str(self.refusal(text)))
        self.assertEqual(self.load(HEAD.replace("port: 8443", "port: 8443\n    policies: [anyone]")).warnings, ())
        plain = HEAD.replace("    tls:", "    policies: [anyone]\n    protocol: HTTP\n    x-tls:")
        self.assertIn("needs TLS", str(self.refusal(plain)))

    def test_plugin_path(self) -> None:
        """A directory that is named must be there; one that others may write is refused."""
        self.assertIn("there is no directory", str(self.refusal(f"plugin_path: [nowhere]\n{HEAD}")))
        self.load(f"plugin_path: []\n{HEAD}")
        default = "client_validation: {default: {ca_certificates: [ca.pem], policies: [anyone]}}\n"
        self.assertIn("there is no policy anyone", str(self.refusal(f"plugin_path: []\n{HEAD}{default}")))
        (self.directory / "plugins").chmod(0o777)
        self.assertIn("may be written by everyone", str(self.refusal(f"{HEAD}{default}")))


class SchemaTests(SynchronousTestCase):
    """Policies in the JSON Schema."""

    def test_kinds(self) -> None:
        """It explains the plugins that it is given, nests, and leaves others allowed."""
        from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # has no annotations

        document = schema(found for found in Registry().all() if found.built_in)
        Draft202012Validator.check_schema(document)
        validator = Draft202012Validator(document)

        def valid(policies: Any) -> bool:
            listener = {
                "name": "a", "port": 1,
                "tls": {"certificates": [{"certificate": "c", "private_key": "k"}]},
            }
            validation = {"default": {"ca_certificates": ["c"], "policies": policies}}
            good: bool = validator.is_valid({"listeners": [listener], "client_validation": validation})
            return good

        self.assertTrue(valid([{"subject_alt_names": {"dns": [{"exact": "a.example"}]}}]))
        self.assertTrue(valid(["theirs", {"theirs": {"a": 1}}]))
        self.assertTrue(valid([{"any": ["a", {"not": {"all": ["b"]}}]}, "my.module:thing"]))
        self.assertFalse(valid([{"subject_alt_names": {"dnss": []}}]))
        self.assertFalse(valid([{"any": []}]))
        self.assertFalse(valid([]))

