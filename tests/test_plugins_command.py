"""``edgegw plugins``: what an operator is told of the plugins that are found, and of those that are broken."""
from __future__ import annotations

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError
from edgegw.plugins_command import plugin_directories, run_plugins
from edgegw.registry import INTERFACES, Registry

PLUGIN = '''\
"""A plugin of the tests' own."""
from enum import Enum

from attrs import frozen
from edgegw.api import Accept, Duration, Explanation, policy, option


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@frozen
class Part:
    name: str = option("Its name.")


@frozen
class Config:
    parts: tuple[Part, ...] = option("Parts, at least one.", min_items=1)
    rest: tuple[Part, ...] = option("More of them.", default=())
    colour: Colour = option("Its colour.", default=Colour.RED)
    wait: Duration = option("How long.", default=1.5, minimum=0, maximum=60)


@policy("coloured", Config, version="7.1", cache_seconds=300, without_certificate=True,
        codes={"too_red": Explanation("It is too red.", "Paint.", "Paint it again.")})
async def coloured(config, peer):
    """Look at the colour of a client.

    * It is seen from afar, and what is seen from afar is told in a long item of this list, which goes on.
    * It is cold.

    Example::

        policies:
          - coloured: {parts: [{name: a}]}
    """
    return Accept()


@policy("plain")
def plain(peer):
    """Look \\x1b[31m at nothing."""
    return Accept()
'''


@frozen
class Printed:
    """What the command printed, and its exit status."""

    status: int
    output: str
    errors: str


class PluginsCase(SynchronousTestCase):
    """A folder to be in, with a plugin."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "plugins").mkdir(parents=True)
        (self.folder / "plugins" / "coloured.py").write_text(PLUGIN)
        before = Path.cwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)

    def plugins(self, *arguments: str, columns: int = 100) -> Printed:
        """Run the command."""
        output, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(output), redirect_stderr(errors), patch.dict(os.environ, COLUMNS=str(columns)):
            try:
                status = run_plugins(arguments)
            except SystemExit as ended:
                status = int(ended.code or 0)
        return Printed(status, output.getvalue(), errors.getvalue())


class ListTests(PluginsCase):
    """All of them."""

    def test_list(self) -> None:
        """Each has a line with its name and what it does, and one with where it comes from."""
        printed = self.plugins()
        self.assertEqual((printed.status, printed.errors), (0, ""))
        self.assertTrue(printed.output.startswith("policy:\n"))
        self.assertIn("  coloured            Look at the colour of a client.\n", printed.output)
        self.assertIn(f"from {self.folder}/plugins/coloured.py 7.1; waits", " ".join(printed.output.split()))
        for name in Registry().names("policy"):
            self.assertIn(f"\n  {name} ", printed.output)

    def test_narrow(self) -> None:
        """On a narrow terminal nothing but a word that is longer is wider than it."""
        for columns in (30, 50, 80):
            printed = self.plugins(columns=columns)
            wide = [line for line in printed.output.splitlines() if len(line) > columns]
            self.assertEqual([line for line in wide if " " in line.strip().removeprefix("from ")], [])
        self.assertIn("\n  coloured\n    Look at the colour of a\n", self.plugins(columns=30).output)

    def test_kinds(self) -> None:
        """One sort alone may be asked for; an unknown one gets the nearest, and status 2."""
        for what in INTERFACES:
            printed = self.plugins("--kind", what)
            self.assertEqual(printed.status, 0)
            self.assertTrue(printed.output.startswith((f"{what}:\n", "There are no plugins.\n")), printed.output[:40])
        printed = self.plugins("--kind", "polcy")
        self.assertEqual((printed.status, printed.output), (2, ""))
        self.assertIn("did you mean policy?", printed.errors)

    def test_json(self) -> None:
        """As JSON everything is there."""
        kinds = json.loads(self.plugins("--json").output)
        (found,) = (kind for kind in kinds if kind["name"] == "coloured")
        told = [found[name] for name in ("kind", "version", "waits", "built_in")]
        self.assertEqual(told, ["policy", "7.1", True, False])
        self.assertEqual(found["codes"]["too_red"]["cause"], "Paint.")
        options = {option["name"]: option for option in found["options"]}
        self.assertEqual(options["parts"]["options"][0]["name"], "name")
        self.assertEqual(options["colour"]["default"], "red")
        self.assertEqual(
            {kind["name"] for kind in kinds if kind["built_in"] and kind["kind"] == "policy"},
            {one.kind.name for one in Registry().all() if one.what == "policy" and one.built_in},
        )

    def test_control_characters(self) -> None:
        """What a plugin says of itself is escaped."""
        printed = self.plugins()
        self.assertIn("Look \\x1b[31m at nothing.", printed.output)
        self.assertNotIn("\x1b", printed.output)


class OneTests(PluginsCase):
    """All about one."""

    def test_text(self) -> None:
        """Its description, how it is used, its options and codes."""
        printed = self.plugins("coloured", columns=80)
        self.assertEqual((printed.status, printed.errors), (0, ""))
        for part in (
            "coloured (policy) from", "/plugins/coloured.py,", "version 7.1\n", "Look at the colour of a client.\n",
            "* It is seen from afar, and what is seen from afar is told in a long item of\n  this list, which",
            "\n    policies:\n      - coloured: {parts: [{name: a}]}\n",
            "It waits for something", "judges clients without a certificate", "are kept for 5m.",
            "  parts: list of mappings, 1 or more; required\n      Parts, at least one.\n",
            "      name: text; required\n          Its name.\n",
            "  rest: list of mappings; optional\n      More of them.  Its options are those of parts.\n",
            "  colour: red or blue; default: red\n", "  wait: duration from 0s to 1m; default: 1s500ms\n",
            "Reason codes of its own:\n  too_red\n      It is too red.\n      Paint.\n      Paint it again.\n",
        ):
            self.assertIn(part, printed.output)
        self.assertIn("It takes no options.", self.plugins("plain").output)

    def test_json(self) -> None:
        """One is an object, not a list."""
        self.assertEqual(json.loads(self.plugins("--json", "coloured").output)["name"], "coloured")

    def test_unknown(self) -> None:
        """An unknown name gets the nearest, and status 2."""
        for arguments in (("colored",), ("--kind", "policy", "colored")):
            printed = self.plugins(*arguments)
            self.assertEqual((printed.status, printed.output), (2, ""))
            self.assertIn("did you mean coloured?", printed.errors)

    def test_named_in_python(self) -> None:
        """``module:object`` is told about, and said to be none if it is none; status 1."""
        printed = self.plugins("edgegw.policies.serial:SerialPolicy")
        self.assertEqual((printed.status, printed.output), (1, ""))
        self.assertIn("cannot be loaded: AttributeError", printed.errors)
        self.assertIn("is no", self.plugins("os:getcwd").errors)
        printed = self.plugins("edgegw.policies.crl:CRL")
        self.assertEqual(printed.status, 0)
        self.assertIn("crl (policy) from edgegw.policies.crl:CRL", printed.output)


class BrokenTests(PluginsCase):
    """Plugins that cannot be loaded."""

    def test_traceback(self) -> None:
        """Their whole traceback is on stderr, escaped, with status 1; the others are listed all the same."""
        (self.folder / "plugins" / "broken.py").write_text("def f():\n    raise ValueError('\\x1b[2J')\n\nf()\n")
        for arguments in ((), ("coloured",), ("--json",)):
            printed = self.plugins(*arguments)
            self.assertEqual(printed.status, 1)
            self.assertIn(f"{self.folder}/plugins/broken.py cannot be loaded:\nTraceback (most", printed.errors)
            self.assertIn("ValueError: \\x1b[2J", printed.errors)
            self.assertIn("coloured", printed.output)

    def test_unsafe(self) -> None:
        """A directory that others may write is refused, with how to mend it."""
        os.chmod(self.folder / "plugins", 0o777)
        printed = self.plugins()
        self.assertEqual(printed.status, 1)
        self.assertIn("chmod o-w", printed.errors)
        self.assertNotIn("coloured", printed.output)


class DirectoryTests(PluginsCase):
    """Where it looks."""

    def configure(self, text: str) -> str:
        """Write a configuration elsewhere."""
        (self.folder / "etc").mkdir(exist_ok=True)
        path = self.folder / "etc" / "edgegw.yaml"
        path.write_text(text)
        return str(path)

    def test_default(self) -> None:
        """Without a configuration it is ``plugins`` here, with one ``plugins`` beside that."""
        self.assertEqual(plugin_directories(None)[0], str(self.folder / "plugins"))
        path = self.configure("listeners: []\n")
        self.assertNotIn("coloured", self.plugins("--config", path).output)
        (self.folder / "etc" / "plugins").mkdir()
        self.assertEqual(plugin_directories(path)[0], str(self.folder / "etc" / "plugins"))

    def test_plugin_path(self) -> None:
        """A configuration's own directories are looked into, whatever else is wrong in it."""
        path = self.configure("plugin_path: [../plugins]\nunknown: 1\n")
        self.assertEqual(plugin_directories(path), [str(self.folder / "etc" / ".." / "plugins")])
        self.assertIn("coloured", self.plugins("--config", path).output)
        self.assertEqual(plugin_directories(self.configure("plugin_path: []\n")), [])

    def test_faults(self) -> None:
        """What is no directory, no list or no file at all is a fault; status 1."""
        for text, words in (
            ("plugin_path: [nowhere]\n", "there is no directory"),
            ("plugin_path: nowhere\n", "plugin_path: is text"),
            ("plugin_path: [1]\n", "plugin_path[0]: is a whole number"),
            ("plugin_path: ['${NOT_SET_ANYWHERE}']\n", "NOT_SET_ANYWHERE"),
            ("a: [\n", "not valid YAML"),
        ):
            path = self.configure(text)
            printed = self.plugins("--config", path)
            self.assertEqual((printed.status, printed.output), (1, ""))
            self.assertIn(words, printed.errors)
            self.assertIn(f"{path}:", printed.errors)
        self.assertRaises(ConfigError, plugin_directories, str(self.folder / "missing.yaml"))
