"""Every command of docs/twisted.rst does what the page says, in an empty folder, with the real curl and openssl."""
from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from edgegw.endpoints.strings import OPTIONS
from tests import test_tutorial
from tests.test_packaging import ROOT
from tests.test_tutorial import Command, File, steps

PAGE = ROOT / "docs" / "twisted.rst"


class PageTests(test_tutorial.TutorialTests):
    """The page, from its first command to the last."""

    page = PAGE
    ports_of_page = ("8443", "8444", "8080", "8081", "8082", "8083", "8084", "8085")
    least = 30


class ReadingTests(SynchronousTestCase):
    """What else the page says."""

    def test_every_option(self) -> None:
        """Each option of a string stands in the table, and nothing else."""
        (table,) = re.findall(r"list-table::\n   :widths: 30 70\n\n(.*?)\n\n", PAGE.read_text(), re.DOTALL)
        lines = re.findall(r"^   \* - (.*)$", table, re.MULTILINE)
        self.assertEqual({name for line in lines for name in re.findall("``(.*?)``", line)}, set(OPTIONS))

    def test_nothing_is_passed_over(self) -> None:
        """Whatever looks like a step is one."""
        text = PAGE.read_text()
        found = list(steps(text))
        self.assertEqual(text.count("    $ "), sum(isinstance(step, Command) for step in found))
        self.assertEqual(text.count(":caption:"), sum(isinstance(step, File) for step in found))
