"""docs/backends.rst says what the backends that come with the gateway say of themselves, and its examples work."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from edgegw.config.backends_page import backends_page
from edgegw.config.reference import kind_as_rst, option_references
from edgegw.registry import Found, Registry
from edgegw.testing import FakeEnvironment
from tests.config_documents import LISTENERS, ConfigTestCase
from tests.test_packaging import ROOT
from tests.test_policies_reference import examples
from tests.web_applications import Klein, wsgi

REGISTRY = Registry()


def built_in() -> list[Found]:
    """Give the backends that come with the gateway."""
    return [found for found in REGISTRY.all() if found.what == "backend" and found.built_in]


class PageTests(SynchronousTestCase):
    """The page."""

    def test_up_to_date(self) -> None:
        """It is what ``python -m edgegw.plugins_command backend`` prints."""
        self.assertEqual((ROOT / "docs" / "backends.rst").read_text("utf-8"), backends_page(REGISTRY.all()))

    def test_complete(self) -> None:
        """Every backend has a section, and every option stands there with what it is for."""
        self.assertEqual(REGISTRY.problems, [])
        self.assertEqual(
            {found.kind.name for found in built_in()}, {"redirect", "resource", "respond", "static_files", "wsgi"}
        )
        for found in built_in():
            section = kind_as_rst(found)
            self.assertIn(section.rstrip(), backends_page(REGISTRY.all()))
            for one in option_references(found.kind.config_type):
                self.assertRegex(section, f"\n``{one.name}``( : .*)?\n    .")
                self.assertTrue(one.doc.endswith("."), f"{one.name}: {one.doc}")

    def test_others(self) -> None:
        """Plugins that do not come with the gateway are not on it."""
        self.assertEqual(backends_page([Found(built_in()[0].kind, "backend", "elsewhere", "")]), backends_page([]))


class ExampleTests(ConfigTestCase):
    """Examples in docstrings and on the page."""

    def test_they_load(self) -> None:
        """Each works as it stands, with an application of its name and a directory."""
        site = Path(self.mktemp()).absolute()
        site.mkdir()
        shop: Any = type(sys)("shop")
        modules = {"shop": shop, "shop.web": type(sys)("shop.web"), "shop.wsgi": type(sys)("shop.wsgi")}
        modules["shop.web"].app = Klein()
        modules["shop.wsgi"].application = wsgi
        for name, module in modules.items():
            self.patch_module(name, module)
        introduction = backends_page([]).partition(".. code-block:: yaml\n\n")[2]
        texts = ["\n".join(line[4:] for line in introduction.splitlines() if line.startswith("    "))]
        texts += [text for found in built_in() for text in examples(found.kind.description)]
        self.assertEqual(len(texts), 6)
        for text in texts:
            document = yaml.safe_load(LISTENERS) | yaml.safe_load(text.replace("/srv/site", str(site)))
            loaded = self.load(
                yaml.safe_dump(document), find_plugins=Registry,
                make_environment=lambda kind, place: FakeEnvironment(str(self.directory)),
            )
            self.assertTrue(all(one.backend is not None for one in loaded.gateway.upstreams))

    def patch_module(self, name: str, module: Any) -> None:
        """Let a module be imported for as long as the test runs."""
        sys.modules[name] = module
        self.addCleanup(sys.modules.pop, name)
