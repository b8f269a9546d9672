"""``edgegw new-plugin`` writes plugins that work, with tests that pass."""
from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from edgegw.cli import main
from edgegw.config import load
from edgegw.environment import Environments
from edgegw.new_plugin import KINDS, CannotWrite, new_plugin
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.registry import INTERFACES, Registry
from edgegw.testing import SERVER, Authority
from tests.test_packaging import ROOT, new_folder


def run(folder: Path, *command: str) -> str:
    """Run a command of this interpreter in a folder, with the edgegw that is tested here; gives what it printed.

    :raises AssertionError: its status is not 0.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(done.stdout)
    return done.stdout


class WrittenTests(SynchronousTestCase):
    """What is written works as it is."""

    def works(self, kind: str, waits: bool = False) -> None:
        """Write a plugin, run its test as it is told, and have the gateway find it."""
        folder = new_folder(self) / "plugins"
        paths = new_plugin("first_try", kind, folder, waits)
        self.assertEqual(paths, [folder / "first_try.py", folder / "test_first_try.py"])
        self.assertIn("PASSED", run(folder, "-m", "twisted.trial", "test_first_try"))
        registry = Registry([str(folder)])
        self.assertEqual(registry.problems, [])
        found = registry.find(kind, "first_try")
        assert found is not None
        self.assertEqual(found.origin, str(paths[0]))

    def test_policy(self) -> None:
        """A policy passes its test and is found."""
        self.works("policy")

    def test_unittest(self) -> None:
        """Its test passes with Python's own runner as well."""
        folder = new_folder(self)
        new_plugin("first_try", directory=folder)
        self.assertIn("OK", run(folder, "-m", "unittest", "test_first_try"))

    def test_policy_that_waits(self) -> None:
        """So is one that asks a service."""
        self.works("policy", waits=True)

    def test_others(self) -> None:
        """And every other kind."""
        for kind in KINDS:
            if kind != "policy":
                self.works(kind)

    def test_every_kind(self) -> None:
        """There is none that the gateway has and that cannot be written."""
        self.assertEqual(set(KINDS), set(INTERFACES))

    def test_nobody_else_may_write(self) -> None:
        """The gateway loads no code that others may change: whatever the umask, they cannot."""
        folder = new_folder(self)
        before = os.umask(0)
        try:
            paths = new_plugin("first_try", directory=folder / "a" / "b")
        finally:
            os.umask(before)
        for path in (*paths, folder / "a" / "b", folder / "a"):
            self.assertFalse(path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH), path)


class ExampleTests(SynchronousTestCase):
    """What the docstring of a written plugin shows."""

    def setUp(self) -> None:
        """Write a configuration's certificates."""
        self.folder = new_folder(self)
        authority = Authority()
        authority.write(self.folder)
        shown = authority.issue("edge", dns=["edge.example"], usages=SERVER)
        shown.write(self.folder, "server")
        (self.folder / "tenants").mkdir()
        (self.folder / "bundle.pem").write_bytes(shown.chain_pem + shown.key_pem)

    def configuration(self, example: dict[str, Any]) -> dict[str, Any]:
        """Give a whole configuration with an example in the place that its keys are for."""
        listener: dict[str, Any] = {
            "name": "https", "port": 443, "protocol": "HTTPS",
            "tls": {"certificates": [{"certificate": "server.pem", "private_key": "server-key.pem"}]},
        }  # fmt: skip
        whole: dict[str, Any] = {
            "client_validation": {"default": {"ca_certificates": ["ca.pem"]}},
            "listeners": [listener],
            "upstreams": [{"name": "legacy", "endpoints": ["127.0.0.1:8443"]}],
        }
        for key, value in example.items():
            if key == "policies":
                whole["client_validation"]["default"][key] = value
            elif key in ("header_injection", "tls"):
                listener[key] = value
            else:
                whole[key] = value
        return whole

    def test_every_example(self) -> None:
        """It can be used as it stands."""
        for kind, waits in [*((kind, False) for kind in KINDS), ("policy", True)]:
            name = f"first_{kind}{'_waits' * waits}"
            source = new_plugin(name, kind, self.folder / "plugins", waits)[0].read_text()
            found = re.search(r"^    Example::\n\n((?:        .*\n|\n)+)", source, re.MULTILINE)
            assert found is not None, source
            config = self.folder / "edgegw.yaml"
            config.write_text(json.dumps(self.configuration(yaml.safe_load(dedent(found[1])))))
            environments = Environments(None, str(self.folder), PluginCounters())
            loaded = load(str(config), find_plugins=Registry, make_environment=environments.make)
            self.assertEqual([str(one) for one in loaded.warnings], [])


class RefusedTests(SynchronousTestCase):
    """What is not written."""

    def refused(self, wanted: str, name: str, kind: str = "policy", folder: Path | None = None, **more: bool) -> None:
        """See that nothing is written, and why."""
        folder = folder or new_folder(self)
        before = set(folder.iterdir())
        error = self.assertRaises(CannotWrite, new_plugin, name, kind, folder, **more)
        self.assertIn(wanted, str(error))
        self.assertEqual(set(folder.iterdir()), before)

    def test_names(self) -> None:
        """Names that a configuration, Python or the loader would not take are refused."""
        for name in ("", "Name", "na-me", "1st", "_name", "na.me", "../name", "any", "not"):
            self.refused("cannot be a plugin's name", name)
        self.refused("are not loaded", "test_name")
        self.refused("a word of Python's", "class")
        self.refused("take it for the module", "email")
        self.refused("take it for the module", "twisted")
        self.refused("is a policy spiffe already", "spiffe")

    def test_kinds(self) -> None:
        """There is no other kind."""
        self.refused("use one of policy", "name", "polcy")

    def test_existing_files(self) -> None:
        """Nothing is overwritten, be it the plugin, its test, or a link that leads nowhere."""
        folder = new_folder(self)
        (folder / "test_one.py").write_text("mine")
        (folder / "two.py").symlink_to("nowhere")
        self.refused("is there already", "one", folder=folder)
        self.refused("is there already", "two", folder=folder)
        self.assertEqual((folder / "test_one.py").read_text(), "mine")

    def test_no_folder(self) -> None:
        """A folder that cannot be is told."""
        folder = new_folder(self)
        (folder / "file").write_text("")
        error = self.assertRaises(CannotWrite, new_plugin, "name", "policy", folder / "file")
        self.assertIn("file", str(error))


class CommandTests(SynchronousTestCase):
    """``edgegw new-plugin``."""

    def command(self, *arguments: str) -> tuple[int, str, str]:
        """Run it; gives its status and what it printed on each side."""
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(["new-plugin", *arguments])
        return status, out.getvalue(), err.getvalue()

    def test_written(self) -> None:
        """It says what it wrote and how to try it; the line works in a shell."""
        folder = new_folder(self) / "with space"
        status, out, err = self.command("first_try", "--kind", "policy", "--waits", "--directory", str(folder))
        self.assertEqual((status, err), (0, ""))
        line = next(line for line in out.splitlines() if line.startswith("try it:"))
        done = subprocess.run(
            line.removeprefix("try it:"), shell=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_refused(self) -> None:
        """It says why not, and its status is 1."""
        status, out, err = self.command("Name", "--directory", str(new_folder(self)))
        self.assertEqual((status, out), (1, ""))
        self.assertIn("'Name' cannot be a plugin's name", err)

    def test_unknown_kind(self) -> None:
        """A kind that there is not is an argument that it does not understand."""
        self.assertEqual(self.assertRaises(SystemExit, self.command, "name", "--kind", "polcy").code, 2)
