"""docs/gateway-api.rst: its commands do what it says, its manifests are right, and its tables leave nothing out."""
from __future__ import annotations

import re
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import Loaded
from edgegw.configuration import Configuration, manifest_settings
from edgegw.demo.pki import make_pki
from edgegw.gateway_api import kinds, tls_options
from edgegw.gateway_api.compiled import CONTROLLER_NAME
from edgegw.gateway_api.make_objects import config_map, tls_secret
from edgegw.gateway_api.services import ENDPOINTS_ANNOTATION
from edgegw.gateway_api.settings import SETTINGS_KEYS
from tests import test_tutorial
from tests.test_packaging import ROOT, new_folder
from tests.test_tutorial import Command, File, steps

PAGE = ROOT / "docs" / "gateway-api.rst"

_BLOCK = re.compile(r"^\.\. code-block:: yaml\n(?: +:caption: .*\n)?\n((?:    .*\n|\n)+)", re.MULTILINE)


class PageTests(test_tutorial.TutorialTests):
    """The page, from its first command to the last."""

    page = PAGE
    ports_of_page = ("8443", "8444", "8000", "9901")
    least = 15


class ReadingTests(SynchronousTestCase):
    """What else the page says."""

    def setUp(self) -> None:
        self.text = PAGE.read_text()

    def test_nothing_is_passed_over(self) -> None:
        """Whatever looks like a step is one."""
        found = list(steps(self.text))
        self.assertEqual(self.text.count("    $ "), sum(isinstance(step, Command) for step in found))
        self.assertEqual(self.text.count(":caption:"), sum(isinstance(step, File) for step in found))

    def test_kinds(self) -> None:
        """The table has every kind that is read, with its versions, and no other."""
        rows = re.findall(r"^   \* - ``([A-Z]\w+)``\n     - ``([\w./]+)``(.*)$", self.text, re.MULTILINE)
        shown = {}
        for name, newest, older in rows:
            group, _, version = newest.rpartition("/")
            shown[group, name] = [version, *re.findall(r"v\w+", older)]
        known = {key: list(kind.versions) for key, kind in kinds._KINDS.items()}
        self.assertEqual(shown, known)

    def test_options(self) -> None:
        """Every option of listeners is named, and no other."""
        shown = set(re.findall(r"``((?:kgateway\.dev|edgegw\.io)/[\w-]+)``", self.text))
        shared = {f"kgateway.dev/{word}" for word in tls_options._Reading("HTTPS")._shared}
        own = {f"edgegw.io/{word}" for word in tls_options._OWN}
        self.assertEqual(shown - {CONTROLLER_NAME, ENDPOINTS_ANNOTATION, "edgegw.io/v1alpha1"}, shared | own)

    def test_settings(self) -> None:
        """Each key of the settings is named."""
        section = self.text.partition("\nSettings\n=")[2].partition("\nStatus\n")[0]
        named = re.findall(r"``(\w+)``", section.partition("``spec``")[2].partition("::")[0])
        self.assertEqual(set(named), set(SETTINGS_KEYS))

    def test_reasons(self) -> None:
        """The table of conditions has every reason that something is false for, and none that is never given."""
        table = self.text.partition("with its reasons:\n")[2].partition("\nA mistake in")[0]
        source = "".join(path.read_text() for path in sorted((ROOT / "edgegw" / "gateway_api").glob("*.py")))
        shown = set(re.findall(r"\b[A-Z]\w+[a-z][A-Z]\w+\b", table)) - {"GatewayClass", "BackendTLSPolicy"}
        self.assertEqual({word for word in shown if f'"{word}"' not in source}, set())
        given = set(re.findall(r'(?:false|replace)\(\s*"\w+", (?:"False", )?"(\w+)"', source))
        given |= set(re.findall(r'(?:reference|_not_found)\(\s*"(\w+)"', source))
        given -= {"True", "False", "Unknown", "NoConflicts"}
        self.assertEqual({word for word in given if not re.search(rf"\b{word}\b", table)}, set())


class ManifestTests(SynchronousTestCase):
    """The manifests on the page."""

    def setUp(self) -> None:
        blocks = _BLOCK.findall(PAGE.read_text())
        self.documents = [dedent(body) for body in blocks]
        self.folder = new_folder(self)
        pki = self.folder / "pki"
        pki.mkdir()
        make_pki(pki)
        pair = (pki / "server-cert.pem").read_bytes(), (pki / "server-key.pem").read_bytes()
        authority = {"ca.crt": (pki / "ca-cert.pem").read_bytes()}
        self.around = "---\n".join([
            tls_secret("https-cert", *pair, "kgateway-system"), config_map("ca-cert", authority, "kgateway-system"),
            tls_secret("https-cert", *pair), config_map("partners-ca", authority),
        ])

    def load(self, *documents: str) -> Loaded:
        """Read manifests as the gateway does."""
        file = self.folder / "all.yaml"
        file.write_text("---\n".join([self.around, *documents]))
        settings = manifest_settings(["httpbin.httpbin=127.0.0.1:8000"])
        loaded = Configuration([str(file)], settings).read()
        assert loaded.environments is not None
        loaded.environments.stop()
        return loaded

    def test_they_are_served(self) -> None:
        """Each is right, and all that it asks for is had."""
        guide = [one for one in self.documents if "mtls" in one]
        rest = [one for one in self.documents if one not in guide]
        self.assertEqual((len(guide), len(rest)), (2, 3))
        for documents, count in ((guide, 2), (rest, 1)):
            loaded = self.load(*documents)
            self.assertEqual(list(loaded.warnings), [])
            self.assertEqual(len(loaded.gateway.listeners), count)

    def test_their_faults_are_found(self) -> None:
        """The test above would see a mistake in an option."""
        (partners,) = (one for one in self.documents if "strict-sni" in one)
        loaded = self.load(partners.replace("subject_alt_names", "subject_alt_name"))
        self.assertEqual(loaded.gateway.listeners, ())
        assert loaded.statuses is not None
        self.assertIn("tls.client_validation.policies[0]", str([one.status for one in loaded.statuses]))
