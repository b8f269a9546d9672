"""What the documentation says of the configuration is so."""
from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import load, schema
from edgegw.demo.pki import make_pki

ROOT = Path(__file__).resolve().parent.parent


def keys(part: Any) -> Iterator[str]:
    """Find the name of every key that a schema knows."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "properties":
                yield from value
            yield from keys(value)
    elif isinstance(part, list):
        for value in part:
            yield from keys(value)


class ConfigurationTests(SynchronousTestCase):
    """docs/configuration.rst."""

    def test_every_key_is_explained(self) -> None:
        """A key that the schema knows stands in the documentation, and what stands there as a term is a key."""
        text = (ROOT / "docs" / "configuration.rst").read_text()
        known = set(keys(schema())) - {"$schema"}
        self.assertEqual({key for key in known if not re.search(rf"``{key}``|\b{key}:", text)}, set())
        terms = re.findall(r"^((?:``[^`]+``(?:, )?)+)$", text, re.MULTILINE)
        self.assertEqual({term for line in terms for term in re.findall(r"``([^`]+)``", line)} - known, set())


class ReadmeTests(SynchronousTestCase):
    """README.rst."""

    def test_its_configuration_works(self) -> None:
        """The configuration can be used as it stands."""
        text = (ROOT / "README.rst").read_text()
        found = re.search(r"\.\. code-block:: yaml\n\n((?: {4}.*\n|\n)+)", text)
        assert found is not None
        folder = Path(self.mktemp())
        folder.mkdir()
        make_pki(folder)
        config = folder / "edgegw.yaml"
        config.write_text(re.sub(r"^ {4}", "", found[1], flags=re.MULTILINE))
        loaded = load(str(config))
        self.assertEqual([listener.name for listener in loaded.gateway.listeners], ["https"])
        self.assertEqual(list(loaded.warnings), [])

    def test_its_links_lead_somewhere(self) -> None:
        """Every file that it names is there."""
        text = (ROOT / "README.rst").read_text()
        named = re.findall(r"<([\w./-]+)>`_", text)
        named += re.findall(r"``((?:conf|edgegw|tests|benchmarks)/[\w./-]+)``", text)
        self.assertEqual([name for name in named if not (ROOT / name).exists()], [])
