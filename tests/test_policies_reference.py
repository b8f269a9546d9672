"""docs/policies.rst says what the policies that come with the gateway say of themselves, and its examples work."""
from __future__ import annotations

import json
import re
import sys
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from attrs import Factory, frozen
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError, load
from edgegw.config.reference import kind_as_rst, kind_as_text, option_references
from edgegw.config.reference_page import policies_page
from edgegw.demo.pki import make_pki
from edgegw.kinds.option import Duration, Size, option
from edgegw.registry import Found, Registry
from edgegw.testing import FakeEnvironment
from tests.gateway import Authority

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "policies.rst"
REGISTRY = Registry()


def built_in() -> list[Found]:
    """Give the policies that come with the gateway."""
    return [found for found in REGISTRY.all() if found.what == "policy" and found.built_in]


def examples(description: str) -> Iterator[str]:
    """Give the configuration of each ``Example::`` in a docstring."""
    for match in re.finditer(r"^Example::\n\n((?: +.*\n|\n)+)", description + "\n", re.MULTILINE):
        yield dedent(match[1])


class PageTests(SynchronousTestCase):
    """The page."""

    def test_up_to_date(self) -> None:
        """It is what ``python -m edgegw.plugins_command`` prints."""
        self.assertEqual(PAGE.read_text("utf-8"), policies_page(REGISTRY.all()))

    def test_complete(self) -> None:
        """Every policy has a section, and every option and code of it stands there with what it is for."""
        self.assertEqual(REGISTRY.problems, [])
        text = policies_page(REGISTRY.all())
        for found in built_in():
            title = f"``{found.kind.name}``"
            self.assertEqual(text.count(f"\n{title}\n{'-' * len(title)}\n"), 1, title)
            section = kind_as_rst(found)
            for one in option_references(found.kind.config_type):
                self.assertRegex(section, f"\n``{one.name}``( : .*)?\n    .")
                self.assertTrue(one.doc.endswith("."), f"{title}: {one.name}: {one.doc}")
            for code in found.kind.codes:
                self.assertIn(f"\n``{code}``\n", section)

    def test_lines(self) -> None:
        """Like every page it can be read as it is."""
        self.assertEqual([line for line in policies_page(REGISTRY.all()).splitlines() if len(line) > 120], [])

    def test_others(self) -> None:
        """Plugins that do not come with the gateway are not on it."""
        found = built_in()[0]
        self.assertEqual(
            policies_page([Found(found.kind, "policy", "elsewhere", "")]), policies_page([])
        )


class ExampleTests(SynchronousTestCase):
    """Examples in docstrings and on the page."""

    def setUp(self) -> None:
        """Make the files that the examples name."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "spire").mkdir(parents=True)
        (self.folder / "partner").mkdir()
        make_pki(self.folder)
        authority = Authority()
        now = datetime.now(UTC)
        crl = (
            x509.CertificateRevocationListBuilder().issuer_name(authority.name).last_update(now)
            .next_update(now + timedelta(1)).add_extension(x509.CRLNumber(1), False)
            .sign(authority.key, SHA256())  # type: ignore[arg-type]  # of a kind that signs
        )  # fmt: skip
        files: dict[str, bytes] = {
            "devices.csv": b"sha256,team,owner,status,expires\n" + b"0" * 64 + b",a,b,active,2099-01-01\n",
            "root.crl": crl.public_bytes(Encoding.PEM),
            "devices.crl": crl.public_bytes(Encoding.DER),
            "spire/bundle.pem": authority.pem,
            "partner/bundle.json": json.dumps({"keys": [{
                "use": "x509-svid", "kty": "EC",
                "x5c": [b64encode(authority.certificate.public_bytes(Encoding.DER)).decode()],
            }]}).encode(),
            "pinned.txt": b"0" * 64 + b"\n",
            "acme/policies.py": b"def may_enter(peer):\n    return None\n",
        }
        (self.folder / "acme").mkdir()
        self.patch(sys, "path", [str(self.folder), *sys.path])
        self.addCleanup(lambda: [sys.modules.pop(name, None) for name in ("acme", "acme.policies")])
        for name, data in files.items():
            (self.folder / name).write_bytes(data)

    def check(self, text: str) -> Any:
        """Read a configuration as the gateway would; its faults fail the test."""
        path = self.folder / "edgegw.yaml"
        path.write_text(text)
        try:
            return load(
                str(path), find_plugins=lambda directories: REGISTRY,
                make_environment=lambda kind, place: FakeEnvironment(directory=str(self.folder)),
            ).gateway
        except ConfigError as error:
            self.fail(f"{error}\n{text}")

    def test_every_policy_has_one(self) -> None:
        """Each docstring has an example, with the policy in it."""
        for found in built_in():
            (text,) = examples(found.kind.description)
            self.assertIn(found.kind.name, text)

    def test_examples(self) -> None:
        """Each can be put into a client validation as it stands, and has no faults."""
        for found in built_in():
            for text in examples(found.kind.description):
                gateway = self.check(
                    "listeners:\n  - name: https\n    port: 8443\n    tls:\n"
                    "      certificates: [{certificate: server-cert.pem, private_key: server-key.pem}]\n"
                    "      client_validation:\n        ca_certificates: [ca-cert.pem]\n" + indent(text, " " * 8)
                )
                policies = gateway.listeners[0].tls.client_validation.policies
                self.assertIn(found.kind.name, {use.kind.name for use in policies})

    def test_page(self) -> None:
        """The whole configuration at the top of the page can be used."""
        match = re.search(r"\.\. code-block:: yaml\n\n((?: {4}.*\n|\n)+)", PAGE.read_text("utf-8"))
        assert match is not None
        gateway = self.check(dedent(match[1]))
        self.assertEqual(len(gateway.listeners[0].tls.client_validation.policies), 3)


@frozen
class Inner:
    """Options in options."""

    word: str = option("A *word*.")


@frozen
class More(Inner):
    """The same and one more."""

    count: int = option("How many_ there are.", default=3, minimum=1)


@frozen
class Outer:
    """Options of all sorts."""

    first: Inner = option("The first.")
    second: tuple[More, ...] = option("More of them.", default=())
    lists: dict[str, tuple[str, ...]] = option("Lists of words.", default=Factory(dict))
    size: Size = option("Bytes.", default=2048, maximum=4096)
    seconds: Duration | None = option("Time.", default=None)
    factor: float = option("A number.", default=0.5, minimum=0, maximum=1)
    words: tuple[str, ...] = option("Words.", default=("a", "b"))


class RenderingTests(SynchronousTestCase):
    """How options are told."""

    def test_types_and_defaults(self) -> None:
        """Types are in words, defaults as a configuration writes them."""
        self.assertEqual({one.name: one.summary for one in option_references(Outer)}, {
            "first": "mapping; required",
            "second": "list of mappings; optional",
            "lists": "mapping of names to lists of texts; optional",
            "size": "size, 4KiB or less; default: 2KiB",
            "seconds": "duration; optional",
            "factor": "number from 0 to 1; default: 0.5",
            "words": "list of texts; default: [a, b]",
        })
        self.assertEqual(option_references(None), ())

    def test_shared_options(self) -> None:
        """Options that stand there already are referred to, and only what is new is shown."""
        second = option_references(Outer)[1]
        self.assertEqual((second.same_as, [one.name for one in second.options]), ("first", ["count"]))

    def test_markup(self) -> None:
        """What the plain text of an option has of reStructuredText's characters is none of its markup."""

        class Kind:
            """A kind without more than it must have."""

            name = "kind"
            config_type = Outer
            description = "Do something."
            version = ""

        found = Found(Kind(), "policy", "here", "")
        text = kind_as_rst(found)
        self.assertIn("A \\*word\\*.", text)
        self.assertIn("How many\\_ there are.", text)
        self.assertIn("Its options are those of first, and:", text)
        self.assertIn("A *word*.", kind_as_text(found, 80))
