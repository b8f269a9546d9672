"""Runs cases: ``python -m tests.conformance --cases DIRECTORY [NAME …]``."""
from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.conformance.known_fields import unknown_fields
from tests.conformance.processes import Failed
from tests.conformance.runner import Runner, read_case

_CASES = Path(__file__).resolve().parent.parent.parent.parent / "shared" / "conformance"


def main() -> int:
    """Run the command; gives the exit status: 1 if a case fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--cases", metavar="DIRECTORY", default=str(_CASES),
                        help="has cases/ and manifests/, or cases themselves for the manifests beside it "
                             "(default: %(default)s)")
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these cases")
    options = parser.parse_args()
    root, cases = _places(Path(options.cases).resolve())
    paths = sorted(path for path in cases.glob("*.yaml") if not path.name.startswith("_"))
    chosen = [path for path in paths if not options.names or path.stem in options.names]
    counts = {"ok": 0, "skip": 0, "FAIL": 0}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            runner = Runner(root, directory, stack)
        except OSError as error:
            print(f"the cases' ports cannot be had: {error}", file=sys.stderr)
            return 2
        for path in chosen:
            result, told = _run(runner, path)
            counts[result] += 1
            print(f"{result:4} {path.stem}{told}", flush=True)
    skipped = f", {counts['skip']} skipped" if counts["skip"] else ""
    print(f"{counts['ok']} of {len(chosen)} cases pass{skipped}")
    return 1 if counts["FAIL"] or not chosen else 0


def _places(given: Path) -> tuple[Path, Path]:
    """Give the folder that has fixtures and manifests, and the one with the cases."""
    cases = given / "cases" if (given / "cases").is_dir() else given
    for root in (given, given.parent, _CASES):
        if (root / "manifests").is_dir() and (root / "cases" / "_fixtures.yaml").is_file():
            return root, cases
    return given, cases


def _run(runner: Runner, path: Path) -> tuple[str, str]:
    case = read_case(path)
    for field in unknown_fields(case):
        print(f"     {path.stem}: {field} is not known, and not looked at", flush=True)
    why = runner.why_skipped(case)
    if why:
        return "skip", f": {why}"
    began = time.monotonic()
    try:
        runner.run(case)
    except Failed as error:
        return "FAIL", f": {error}"
    except (KeyError, LookupError, TypeError, ValueError, AttributeError) as error:
        return "FAIL", f": the case is not understood: {error!r}"
    return "ok", f" ({time.monotonic() - began:.1f} s)"


if __name__ == "__main__":
    sys.exit(main())
