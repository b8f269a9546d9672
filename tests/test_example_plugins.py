"""The plugins to copy, in ``plugins/``: the gateway takes each, and each one's own tests pass.

The test cases beside them are taken in here, so that they run with all others.
"""
from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from edgegw.registry import Registry
from edgegw.testing import examples_of, options

FOLDER = Path(__file__).resolve().parent.parent / "plugins"
#: The examples, and the names under which a configuration finds what is in them.
NAMES = {"business_hours", "canary", "device_registry", "geofence", "jwt_bound"}


def cases() -> dict[str, type[SynchronousTestCase]]:
    """Give the test cases beside the plugins, each under its module's name and its own."""
    # Theirs is the way an author runs them: with the folder of the plugin on the path.
    sys.path.insert(0, str(FOLDER))
    try:
        modules = [import_module(path.stem) for path in sorted(FOLDER.glob("test_*.py"))]
    finally:
        sys.path.remove(str(FOLDER))
    found = {
        f"{module.__name__}_{name}": case
        for module in modules
        for name, case in vars(module).items()
        if isinstance(case, type) and issubclass(case, SynchronousTestCase) and case.__module__ == module.__name__
    }
    # As classes of this module: a worker process that is told a test's name finds it here.
    return {
        name: type(name, (case,), {"__module__": __name__, "__doc__": case.__doc__}) for name, case in found.items()
    }


globals().update(cases())


class ExamplesTests(SynchronousTestCase):
    """What holds for every one of them."""

    def test_found(self) -> None:
        """The gateway finds what it should and has nothing to complain of."""
        registry = Registry([str(FOLDER)])
        self.assertEqual(registry.problems, [])
        found = {one.kind.name for one in registry.all() if one.origin.startswith(str(FOLDER))}
        self.assertEqual(found, NAMES)

    def test_documented(self) -> None:
        """Each shows how it is written in a configuration, and that is a configuration."""
        registry = Registry([str(FOLDER)])
        for name in NAMES:
            found = registry.find("policy", name)
            assert found is not None
            examples = list(examples_of(found.kind))
            self.assertNotEqual(examples, [], name)
            for _, document in examples:
                options(found.kind, document)

    def test_tested(self) -> None:
        """Each has a test beside it, which is among those that run."""
        tests = {path.stem for path in FOLDER.glob("test_*.py")}
        self.assertEqual(tests, {f"test_{name}" for name in NAMES})
        self.assertEqual({path.stem for path in FOLDER.glob("*.py")} - tests, NAMES)
        for test in tests:
            self.assertTrue(any(name.startswith(f"{test}_") for name in globals()), test)
