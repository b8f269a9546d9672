"""Runs cases: ``python -m tests.conformance --cases DIRECTORY [NAME …]``."""
from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.conformance.runner import Failed, Runner, read_case


def main() -> int:
    """Run the command; gives the exit status: 1 if a case fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--cases", metavar="DIRECTORY", default="../shared/conformance",
                        help="has cases/ and manifests/ (default: %(default)s)")
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these cases")
    options = parser.parse_args()
    root = Path(options.cases).resolve()
    paths = sorted(path for path in (root / "cases").glob("*.yaml") if not path.name.startswith("_"))
    chosen = [path for path in paths if not options.names or path.stem in options.names]
    failed = 0
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runner = Runner(root, directory, stack)
        for path in chosen:
            began = time.monotonic()
            try:
                runner.run(read_case(path))
            except Failed as error:
                failed += 1
                print(f"FAIL {path.stem}: {error}", flush=True)
            else:
                print(f"ok   {path.stem} ({time.monotonic() - began:.1f} s)", flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} cases pass")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
