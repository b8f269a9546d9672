"""What the documentation shows a plugin's author is there, works, and is all there is."""
from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

import edgegw.api
import edgegw.testing
from edgegw.registry import Registry
from tests.test_new_plugin import run
from tests.test_packaging import ROOT, new_folder

_BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:    .*\n|\n)+)", re.MULTILINE)


def blocks(language: str) -> list[str]:
    """Give the code of docs/plugins.rst that is in a language."""
    text = (ROOT / "docs" / "plugins.rst").read_text()
    return [dedent(body).strip() + "\n" for found, body in _BLOCK.findall(text) if found == language]


def names_in(part: Any) -> set[str]:
    """Give every key of a document, however deep in it."""
    if isinstance(part, dict):
        return {str(key) for key in part} | {name for value in part.values() for name in names_in(value)}
    if isinstance(part, list):
        return {name for value in part for name in names_in(value)}
    return {part} if isinstance(part, str) else set()


class ReferenceTests(SynchronousTestCase):
    """docs/api.rst."""

    def test_every_name_is_there(self) -> None:
        """Whatever a plugin and its test may import is explained."""
        text = (ROOT / "docs" / "api.rst").read_text()
        documented = set(re.findall(r"^\.\. \w+:: edgegw\.(?:api|testing)\.(\w+)$", text, re.MULTILINE))
        for names in re.findall(r"^\.\. py:\w+:: ((?:\w+\s+)+):module: edgegw\.(?:api|testing)$", text, re.MULTILINE):
            documented.update(names.split())
        for module in (edgegw.api, edgegw.testing):
            self.assertEqual(set(module.__all__) - documented, set(), module.__name__)
            self.assertEqual([name for name in module.__all__ if not hasattr(module, name)], [])


class GuideTests(SynchronousTestCase):
    """docs/plugins.rst."""

    def plugins(self) -> Path:
        """Write each plugin of it into a file of its own, as a reader does."""
        folder = new_folder(self)
        for code in blocks("python"):
            named = re.search(r'^@\w+\("(\w+)"', code, re.MULTILINE)
            tested = re.search(r"^from (\w+) import Config", code, re.MULTILINE)
            if named is not None:
                (folder / f"{named[1]}.py").write_text(code)
            else:
                assert tested is not None, code
                (folder / f"test_{tested[1]}.py").write_text(code)
        return folder

    def test_plugins(self) -> None:
        """Every one of them is found, and there is one of each kind."""
        folder = self.plugins()
        registry = Registry([str(folder)])
        self.assertEqual(registry.problems, [])
        found = [one for one in registry.all() if one.origin.startswith(str(folder))]
        files = {path.stem for path in folder.glob("*.py") if not path.name.startswith("test_")}
        self.assertEqual({one.kind.name for one in found}, files)
        self.assertEqual(
            {one.what for one in found},
            {"policy", "header_injector", "certificate_source", "dynamic_certificate_source", "sni_router", "backend"},
        )

    def test_configurations(self) -> None:
        """What is shown as configuration is YAML, and names plugins that are shown."""
        registry = Registry([str(self.plugins())])
        known = {one.kind.name for one in registry.all()}
        for text in blocks("yaml"):
            self.assertTrue(names_in(yaml.safe_load(text)) & known, text)

    def test_its_test(self) -> None:
        """The test that it shows passes."""
        self.assertIn("PASSED", run(self.plugins(), "-m", "twisted.trial", "test_dns_suffix"))
