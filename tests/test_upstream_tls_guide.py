"""docs/upstream_tls.rst can be followed, and its configurations load."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import load

from .test_guide import free_ports

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"^( *)\.\. code-block:: (yaml|bash)\n\n((?:\1    .*\n|\n)+)", re.MULTILINE)


def blocks() -> list[tuple[str, str]]:
    """Give the language and the text of each block."""
    found = _BLOCK.findall((ROOT / "docs" / "upstream_tls.rst").read_text())
    return [(language, re.sub(rf"^{indent}    ", "", text, flags=re.MULTILINE)) for indent, language, text in found]


class GuideTests(SynchronousTestCase):
    """What the page says is so."""

    def test_it_can_be_followed(self) -> None:
        """From the first openssl command to curl's answer."""
        for command in ("bash", "curl", "openssl"):
            self.assertIsNotNone(shutil.which(command), f"{command} is not installed; the test needs it")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        ports = dict(zip(("8080", "9443"), map(str, free_ports(2)), strict=True))
        make, serve = (text for language, text in blocks() if language == "bash")
        (configuration,) = (text for language, text in blocks() if language == "yaml" and "listeners:" in text)

        def here(text: str) -> str:
            return re.sub("8080|9443", lambda match: ports[match[0]], text)

        (folder / "upstream.yaml").write_text(here(configuration))
        script = f'set -e\ntrap "kill 0" EXIT\nedgegw() {{ "{sys.executable}" -m edgegw "$@"; }}\n'
        script += here(make) + here(serve) + "exit 0\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
            start_new_session=True, check=False,
        )
        self.assertIn("a certificate of ca.pem for app.internal", done.stdout, done.stderr)
        self.assertRegex(done.stdout, "CN ?= ?gateway", done.stderr)

    def test_configurations_load(self) -> None:
        """Every example can be used; one of them warns, because it has to."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        make = next(text for language, text in blocks() if language == "bash")
        done = subprocess.run(["bash", "-ec", make.partition("openssl s_server")[0]], cwd=folder, capture_output=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        warned = 0
        for language, text in blocks():
            if language == "yaml":
                if "listeners:" not in text:
                    text += "listeners: [{name: web, address: 127.0.0.1, port: 0, protocol: HTTP}]\n"
                (folder / "x.yaml").write_text(text)
                loaded = load(str(folder / "x.yaml"))
                about_tls = [str(one) for one in loaded.warnings if ".tls" in str(one)]
                warned += len(about_tls)
                self.assertEqual(bool(about_tls), "verify: none" in text)
        self.assertEqual(warned, 1)
