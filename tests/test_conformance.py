"""The Gateway API's conformance cases, where they are; ``make conformance`` runs them alone, and others like them."""
from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.processes import Networks

REPOSITORY = Path(__file__).resolve().parent.parent
#: Says where they are otherwise.
VARIABLE = "EDGEGW_CONFORMANCE"


class ConformanceTests(SynchronousTestCase):
    """Clients before a gateway that runs on the suite's manifests, with the suite's backends behind it."""

    def test_all_cases(self) -> None:
        root = Path(os.environ.get(VARIABLE) or REPOSITORY.parent / "shared" / "conformance")
        if not (root / "cases").is_dir():
            raise SkipTest(f"there are no cases at {root}; {VARIABLE} may name a directory that has them")
        try:
            with ExitStack() as stack:
                Networks(stack)
        except OSError as error:
            raise SkipTest(f"port 80 of addresses such as 127.16.0.1 cannot be had: {error}") from error
        sources = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", "tests.conformance", "--cases", root],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": sources},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
