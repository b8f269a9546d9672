"""Plugins are found where they are, and what cannot be loaded is known by file and traceback."""
from __future__ import annotations

import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import edgegw.plugins
import edgegw.registry as registry_module
from edgegw.registry import Registry

POLICY = '''
from edgegw.api import Accept, policy

@policy("{name}")
def {name}(peer):
    """Let everyone in."""
    return Accept()
'''


class RegistryCase(SynchronousTestCase):
    """A folder for plugins."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.addCleanup(setattr, sys, "dont_write_bytecode", sys.dont_write_bytecode)
        sys.dont_write_bytecode = True

    def write(self, name: str, text: str, folder: Path | None = None) -> Path:
        """Write a file into the folder."""
        path = (folder or self.folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    def scan(self) -> Registry:
        """Look for plugins, in the folder among others."""
        return Registry((str(self.folder),))

    def problems(self) -> list[str]:
        """Give what could not be loaded."""
        return [str(problem) for problem in self.scan().problems]


class FindTests(RegistryCase):
    """Where plugins come from."""

    def test_built_in(self) -> None:
        """The policies that come with the gateway are there, and nothing about them is at fault."""
        registry = Registry()
        self.assertEqual(registry.problems, [])
        names = registry.names("policy")
        for name in ("subject_alt_names", "certificate_hash", "spiffe", "rfc5280", "validity", "serial"):
            self.assertIn(name, names)
        self.assertTrue(all(found.built_in and found.version for found in registry.all()))

    def test_a_directory(self) -> None:
        """Files of a directory are plugins, but for tests and those that begin with an underscore."""
        self.write("mine.py", POLICY.format(name="mine"))
        self.write("test_mine.py", "raise RuntimeError")
        self.write("_parts.py", "raise RuntimeError")
        self.write("mine.txt", "")
        registry = self.scan()
        found = registry.find("policy", "mine")
        assert found is not None
        self.assertEqual((found.origin, registry.problems), (str(self.folder / "mine.py"), []))
        again = self.scan().find("policy", "mine")
        self.assertIs(again and again.kind, found.kind)

    def test_compiled_files_that_others_may_write(self) -> None:
        """Where others may write what Python has compiled of the files, nothing of the directory is run."""
        self.write("mine.py", POLICY.format(name="compiled"))
        (self.folder / "__pycache__").mkdir()
        (self.folder / "__pycache__").chmod(0o777)
        registry = self.scan()
        self.assertIsNone(registry.find("policy", "compiled"))
        self.assertIn("__pycache__ may be written by everyone", str(registry.problems[0]))

    def test_odd_objects(self) -> None:
        """What else is in a module, however odd, keeps no plugin from being found, or is told of; never more."""
        self.write("odd.py", "from unittest.mock import MagicMock, call, sentinel\nanything = MagicMock()\n"
                   + POLICY.format(name="beside_odd"))
        self.write("worse.py", """
            class Worse:
                def __hash__(self):
                    raise SystemExit
            worse = Worse()
        """)
        registry = self.scan()
        self.assertIsNotNone(registry.find("policy", "beside_odd"))
        self.assertEqual([problem.origin for problem in registry.problems], [str(self.folder / "worse.py")])

    def test_a_plugin_package_on_the_path(self) -> None:
        """``edgegw/plugins`` in any directory of sys.path is one, as Twisted has it."""
        self.write("edgegw/plugins/packaged.py", POLICY.format(name="packaged"))
        self.patch(edgegw.plugins, "__path__", [*edgegw.plugins.__path__, str(self.folder / "edgegw" / "plugins")])
        self.addCleanup(sys.modules.pop, "edgegw.plugins.packaged", None)
        found = Registry().find("policy", "packaged")
        assert found is not None
        self.assertTrue(found.origin.endswith("edgegw/plugins/packaged.py"))

    def test_shared_code(self) -> None:
        """Files of ``edgegw/plugins`` find a module beside them; those of a directory do not, and that is told."""
        ways = {
            "absolute": "from edgegw.plugins._shared_here import VALUE", "relative": "from ._shared_here import VALUE",
            "beside": "from _shared_here import VALUE",
        }
        packaged = self.folder / "edgegw" / "plugins"
        self.patch(edgegw.plugins, "__path__", [*edgegw.plugins.__path__, str(packaged)])
        for folder in (packaged, self.folder):
            self.write("_shared_here.py", "VALUE = 3\n", folder)
        for name, line in ways.items():
            self.addCleanup(sys.modules.pop, f"edgegw.plugins.{name}", None)
            for folder in (packaged, self.folder):
                self.write(f"{name}.py", line + POLICY.format(name=f"{name}_of_{folder.name}"), folder)
        self.addCleanup(sys.modules.pop, "edgegw.plugins._shared_here", None)
        registry = self.scan()
        found = [name for name in registry.names("policy") if "_of_" in name]
        self.assertEqual(found, sorted([
            "absolute_of_plugins", "relative_of_plugins", f"absolute_of_{self.folder.name}",
        ]))  # fmt: skip
        self.assertEqual({Path(one.origin).stem for one in registry.problems}, {"relative", "beside"})

    def test_entry_points(self) -> None:
        """Installed distributions name theirs as entry points, a module or a kind."""
        self.write("entered.py", POLICY.format(name="entered"))
        self.patch(sys, "path", [str(self.folder), *sys.path])
        self.addCleanup(sys.modules.pop, "entered", None)
        entries = [
            EntryPoint("whole", "entered", "edgegw.plugins"), EntryPoint("one", "entered:entered", "edgegw.plugins"),
            EntryPoint("gone", "entered:missing", "edgegw.plugins"),
        ]
        self.patch(registry_module.importlib.metadata, "entry_points", lambda group: entries)
        registry = Registry()
        self.assertIsNotNone(registry.find("policy", "entered"))
        self.assertEqual([problem.origin for problem in registry.problems], ["entry point gone = entered:missing"])

    def test_by_module_and_name(self) -> None:
        """A configuration may name ``module:object``; what is wrong with that is told."""
        self.write("named_here.py", POLICY.format(name="inside") + "\nnothing = 3\n")
        self.write("broken_here.py", "import no_such_module\n")
        self.patch(sys, "path", [str(self.folder), *sys.path])
        for name in ("named_here", "broken_here"):
            self.addCleanup(sys.modules.pop, name, None)
        registry = Registry()
        found = registry.find("policy", "named_here:inside")
        assert found is not None
        self.assertEqual(found.kind.name, "inside")
        for name, text in {
            "named_here:nothing": "is no policy",
            "named_here:missing": "AttributeError",
            "broken_here:x": "broken_here.py:1 in <module> > ModuleNotFoundError: No module named 'no_such_module'",
            "no_such_module:x": "ModuleNotFoundError",
        }.items():
            error = self.assertRaises(ValueError, registry.find, "policy", name)
            self.assertIn(text, str(error))


class ChangeTests(RegistryCase):
    """Files that are other ones by now than those whose code is in use."""

    def test_a_file(self) -> None:
        """Whatever has become of a file that is in use it is told, until the file is what it was; the code stays."""
        path = self.write("mine.py", POLICY.format(name="mine"))
        self.write("other.py", POLICY.format(name="other"))
        kind = self.scan().find("policy", "mine")
        self.assertEqual(self.scan().changed, [])
        as_loaded = path.read_text()
        for text in (as_loaded + "# more\n", "def f(:\n", "raise RuntimeError\n", ""):
            path.write_text(text)
            for _ in range(2):
                registry = self.scan()
                self.assertEqual((registry.changed, registry.problems), ([str(path)], []))
            self.assertEqual(registry.find("policy", "mine"), kind)
        path.write_text(as_loaded)
        os.utime(path, (0, 0))
        self.assertEqual(self.scan().changed, [])

    def test_files_that_are_not_in_use(self) -> None:
        """One that has failed is loaded as it is now, and one that is gone is no plugin any more."""
        path = self.write("later.py", "raise RuntimeError\n")
        self.scan()
        path.write_text(POLICY.format(name="later"))
        registry = self.scan()
        self.assertEqual((registry.changed, registry.problems), ([], []))
        path.unlink()
        registry = self.scan()
        self.assertEqual((registry.changed, registry.find("policy", "later")), ([], None))

    def test_wherever_it_comes_from(self) -> None:
        """Installed plugins, those of ``edgegw/plugins``, and what a configuration names by its module."""
        self.patch(edgegw.plugins, "__path__", [*edgegw.plugins.__path__, str(self.folder / "edgegw" / "plugins")])
        self.patch(sys, "path", [str(self.folder), *sys.path])
        self.patch(registry_module.importlib.metadata, "entry_points",
                   lambda group: [EntryPoint("one", "installed:installed", "edgegw.plugins")])
        paths = []
        for name in ("edgegw/plugins/packaged", "installed", "named"):
            self.addCleanup(sys.modules.pop, name.replace("/", "."), None)
            paths.append(self.write(f"{name}.py", POLICY.format(name=name.rpartition("/")[2])))

        def changed() -> list[str]:
            registry = Registry()
            self.assertIsNotNone(registry.find("policy", "named:named"))
            return registry.changed

        self.assertEqual(changed(), [])
        for path in paths:
            path.write_text(path.read_text() + "# more\n")
        self.assertEqual(changed(), [str(path) for path in paths])


class ProblemTests(RegistryCase):
    """What cannot be loaded."""

    def test_import_errors(self) -> None:
        """Each is told with the file, the way to it and the line; the others load."""
        self.write("good.py", POLICY.format(name="good"))
        self.write("wrong.py", "def f():\n    raise KeyError('x')\nf()\n")
        self.write("syntax.py", "def f(:\n")
        self.write("leaves.py", "raise SystemExit(2)\n")
        registry = self.scan()
        self.assertIsNotNone(registry.find("policy", "good"))
        texts = {Path(problem.origin).name: problem for problem in registry.problems}
        self.assertEqual(set(texts), {"wrong.py", "syntax.py", "leaves.py"})
        self.assertIn(f"{self.folder}/wrong.py:3 in <module> > {self.folder}/wrong.py:2 in f > KeyError: 'x'",
                      str(texts["wrong.py"]))
        self.assertEqual(str(texts["syntax.py"]), f"{self.folder}/syntax.py:1 > SyntaxError: invalid syntax")
        self.assertIn("Traceback (most recent call last)", texts["wrong.py"].trace)

    def test_mended(self) -> None:
        """A file that failed is tried again, so that a reload finds it mended."""
        path = self.write("later.py", "raise RuntimeError\n")
        self.assertEqual(len(self.problems()), 1)
        path.write_text(POLICY.format(name="later"))
        self.assertEqual(self.problems(), [])

    def test_decorated_wrongly(self) -> None:
        """What the decorator finds wrong is told with the file."""
        header = "from edgegw.api import *\nfrom attrs import frozen\n@frozen\nclass C:\n    a: object = option('A.')\n"
        for text, expected in {
            "@policy('x')\ndef x(config, peer):\n    'Doc.'\n": "x must take (peer)",
            "@policy('x')\ndef x(peer): pass\n": "has no docstring",
            "@policy\ndef x(peer):\n    'Doc.'\n": "takes the plugin's name first",
            "@policy('Not A Name')\ndef x(peer):\n    'Doc.'\n": "cannot be a plugin's name",
            "@policy('any')\ndef x(peer):\n    'Doc.'\n": "cannot be a plugin's name",
            "@policy('x', int)\ndef x(config, peer):\n    'Doc.'\n": "must be an attrs class",
            "@policy('x', codes={'Bad code': ''})\ndef x(peer):\n    'Doc.'\n": "cannot be a reason code",
            "@policy('x', C)\ndef x(config, peer):\n    'Doc.'\n": "C.a has the type",
            "@policy('x')\nclass x:\n    'Doc.'\n    def __init__(self, env): pass\n": "has no method check",
        }.items():
            with self.subTest(text=text):
                path = self.write("plugin.py", header + text)
                problems = self.problems()
                self.assertEqual(len(problems), 1, problems)
                self.assertIn(expected, problems[0])
                path.unlink()
                for name in [name for name in sys.modules if name.endswith("_plugin") and "edgegw_plugin_" in name]:
                    del sys.modules[name]

    def test_two_of_one_name(self) -> None:
        """The second of two kinds of one name is a problem that names both."""
        self.write("a.py", POLICY.format(name="same"))
        self.write("b.py", POLICY.format(name="same"))
        problems = self.problems()
        self.assertEqual(len(problems), 1)
        self.assertIn("a.py", problems[0])
        self.assertIn("b.py", problems[0])
        self.write("c.py", POLICY.format(name="spiffe"))
        self.assertTrue(any("edgegw.policies.spiffe" in problem for problem in self.problems()))

    def test_other_versions(self) -> None:
        """A kind for another version of the interfaces is refused."""
        self.write("future.py", POLICY.format(name="future") + "\nimport attrs\nfuture = attrs.evolve(future, api=2)\n")
        self.assertIn("version 2", self.problems()[0])

    def test_who_may_write(self) -> None:
        """A directory or file that others may write is not read, whatever is in it."""
        path = self.write("mine.py", POLICY.format(name="mine"))
        path.chmod(0o666)
        self.assertIn("mine.py may be written by everyone", self.problems()[0])
        path.chmod(0o644)
        self.folder.chmod(0o777)
        registry = self.scan()
        self.assertIn("may be written by everyone", str(registry.problems[0]))
        self.assertIsNone(registry.find("policy", "mine"))
        self.folder.chmod(0o755)
        link = self.folder.parent / "elsewhere"
        link.mkdir()
        other = self.write("linked.py", POLICY.format(name="linked"), link)
        other.chmod(0o666)
        (self.folder / "linked.py").symlink_to(other)
        self.assertIn("may be written by everyone", self.problems()[0])

    def test_a_directory_above(self) -> None:
        """Who may rename the directory may put another in its place."""
        self.folder.parent.chmod(0o777)
        self.addCleanup(self.folder.parent.chmod, 0o755)
        inner: Any = self.folder
        self.write("mine.py", POLICY.format(name="mine"), inner)
        self.assertIn("may be written by everyone", self.problems()[0])

    def test_another_owner(self) -> None:
        """Code that belongs to another user than root and this process's is not run."""
        if os.geteuid() != 0:
            self.skipTest("only root can give files away")
        path = self.write("mine.py", POLICY.format(name="mine"))
        os.chown(path, 12345, -1)
        self.assertIn("belongs to another user", self.problems()[0])
