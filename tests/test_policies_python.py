"""``python``: functions that a configuration names."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.config import ConfigError
from edgegw.policies.python_function import PythonFunction
from edgegw.testing import (
    Authority,
    anonymous_peer,
    assert_accepts,
    assert_rejects,
    build,
    check_plugin,
    check_plugin_later,
    examples_of,
    options,
    peer,
    serve,
)
from edgegw.verdict import Accept, Reason, Reject

CA = Authority()
CLIENT = CA.issue("client", dns=["client.example"])

CODE = '''
import functools

from edgegw.api import Accept, Peer, Reason, Reject, policy


def plain(peer):
    if peer.common_name == "client":
        return Accept({"by": "plain"})
    return Reject("python", f"{peer.common_name!r}")


async def later(peer):
    return Accept({"by": "later"}) if peer.dns_names else Reject(Reason.SUBJECT_ALT_NAME, "none")


def with_chain(peer):
    return Accept({"length": str(len(peer.certificates))})


def anybody(peer):
    return Accept({"certificate": str(peer.certificate is not None)})


def with_default(peer, wanted="client"):
    return Accept() if peer.common_name == wanted else Reject("python")


class Checks:
    def __call__(self, peer):
        return plain(peer)

    def method(self, peer):
        return plain(peer)

    @staticmethod
    async def static(peer):
        return await later(peer)


class LaterChecks:
    async def __call__(self, peer):
        return await later(peer)


checks = Checks()
later_checks = LaterChecks()
partial = functools.partial(with_default, wanted="client")
later_partial = functools.partial(later)


def none(peer):
    return None


def true(peer):
    return True


def raises(peer):
    raise KeyError("x")


def unwaited(peer):
    return later(peer)


def two(peer, other):
    return Accept()


def nobody():
    return Accept()


constant = 3


@policy("its_own")
def its_own(peer):
    """Be a policy already."""
    return Accept()
'''


class ModuleTestCase(TestCase):
    """Has a module to name, ``edgegw_test_functions``."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.patch(sys, "path", [str(self.directory), *sys.path])
        self.addCleanup(self.forget)
        self.write(CODE)

    def write(self, code: str, name: str = "edgegw_test_functions") -> None:
        """Write a module."""
        (self.directory / f"{name}.py").write_text(code)

    def forget(self) -> None:
        """Have modules imported anew."""
        for name in [name for name in sys.modules if name.startswith("edgegw_test_")]:
            del sys.modules[name]

    def function(self, name: str, **document: Any) -> Any:
        """Build a policy of a function of the module."""
        return build(PythonFunction, {"function": f"edgegw_test_functions:{name}", **document})

    def fault(self, name: str) -> str:
        """Give what is wrong with a function."""
        return str(self.assertRaises(ValueError, build, PythonFunction, {"function": name}))


class FunctionTests(ModuleTestCase):
    """What may be named, and what it decides."""

    def test_function(self) -> None:
        """A function's verdict is the policy's."""
        policy = self.function("plain")
        self.assertEqual(policy.check(peer(CLIENT)), Accept({"by": "plain"}))
        self.assertEqual(policy.check(peer(common_name="x")), Reject("python", "'x'"))
        self.assertFalse(policy.waits)
        assert_accepts(PythonFunction, {"function": "edgegw_test_functions:plain"}, peer(CLIENT), by="plain")
        assert_rejects(PythonFunction, {"function": "edgegw_test_functions:plain"}, peer(common_name="x"), "python")

    def test_objects(self) -> None:
        """Objects that can be called, their methods, and functions with arguments filled in are functions, too."""
        for name in ("checks", "checks.method", "partial", "with_default"):
            policy = self.function(name)
            self.assertIsInstance(policy.check(peer(CLIENT)), Accept, name)
            self.assertFalse(policy.waits)

    async def test_async(self) -> None:
        """A function that is async is asked after the handshake."""
        for name in ("later", "Checks.static", "later_checks", "later_partial"):
            policy = self.function(name)
            self.assertTrue(policy.waits, name)
            self.assertEqual(await policy.check(peer(CLIENT)), Accept({"by": "later"}), name)

    def test_what_it_may_see(self) -> None:
        """The chain, and clients without a certificate, are there if the configuration says so."""
        policy = self.function("with_chain", needs_chain=True)
        self.assertTrue(policy.needs_chain)
        self.assertEqual(policy.check(peer(CLIENT)), Accept({"length": "2"}))
        self.assertRaises(RuntimeError, self.function("with_chain").check, peer(CLIENT))
        policy = self.function("anybody", without_certificate=True)
        self.assertEqual(policy.check(anonymous_peer()), Accept({"certificate": "False"}))

    def test_cache(self) -> None:
        """Its answers are kept as long as the configuration says."""
        self.assertEqual(self.function("plain", cache="5m").cache_seconds, 300)
        self.assertEqual(self.function("plain").cache_seconds, 0)

    async def test_contract(self) -> None:
        """It keeps to what plugins promise, and its example is a configuration."""
        check_plugin(PythonFunction, {"function": "edgegw_test_functions:plain"})
        await check_plugin_later(PythonFunction, {"function": "edgegw_test_functions:later"})
        self.assertEqual(len(list(examples_of(PythonFunction))), 1)


class FaultTests(ModuleTestCase):
    """What cannot be named is a fault of the configuration that says why."""

    def test_spelling(self) -> None:
        """Anything that is not module:function is refused before anything is imported."""
        for name in ("", "x", "x:", ":x", "x:y:z", "x y:z", "./x.py:y", "x.py:", "x-y:z", "x:y()", "os;x:y", "..x:y"):
            self.assertRaises(ConfigError, options, PythonFunction, {"function": name})

    def test_no_such_module(self) -> None:
        """A module that is not there is said to be missing, and how to have it found."""
        for name in ("edgegw_test_none:x", "edgegw_test_none.sub:x"):
            self.assertEqual(
                self.fault(name), "there is no module edgegw_test_none; install it, or name its directory in PYTHONPATH"
            )

    def test_module_that_fails(self) -> None:
        """A module that cannot be imported is shown with where and why, in one line."""
        for number, (code, said) in enumerate((
            ("import edgegw_test_missing_thing", "No module named 'edgegw_test_missing_thing'"),
            ("x = 1\nraise KeyError('boom; bang')", "py:2: raise KeyError('boom, bang') > KeyError: 'boom, bang'"),
            ("def f(:\n", "SyntaxError"),
            ("raise SystemExit(3)", "SystemExit: 3"),
            ("def f():\n    return 1 // 0\nf()", "return 1 // 0 > ZeroDivisionError"),
            ("raise ValueError('x' * 100_000)", "ValueError: xxx"),
        )):
            self.write(code, f"edgegw_test_broken{number}")
            problem = self.fault(f"edgegw_test_broken{number}:f")
            self.assertTrue(problem.startswith(f"edgegw_test_broken{number} cannot be imported: "), problem)
            self.assertIn(said, problem)
            self.assertNotIn("\n", problem)
            self.assertLess(len(problem), 1200)

    def test_no_function(self) -> None:
        """What is not there or cannot be asked is said to be so."""
        for name, said in (
            ("nothing", "edgegw_test_functions has no nothing"),
            ("checks.nothing", "edgegw_test_functions has no checks.nothing"),
            ("constant", "is no function"),
            ("Checks", "is no function"),
            ("two", "must take one argument, the client"),
            ("nobody", "must take one argument, the client"),
            ("its_own", "is a policy already; write 'edgegw_test_functions:its_own' or its name its_own"),
        ):
            self.assertIn(said, self.fault(f"edgegw_test_functions:{name}"))

    def test_configuration_directory(self) -> None:
        """A module beside the configuration is not found, as nothing but the environment says where modules are."""
        self.patch(sys, "path", [path for path in sys.path if path != str(self.directory)])
        self.assertIn("there is no module", self.fault("edgegw_test_functions:plain"))
        self.assertNotIn(str(self.directory), sys.path)


class HandshakeTests(ModuleTestCase):
    """In real handshakes."""

    async def outcome(self, name: str, client: Any = CLIENT) -> Any:
        """Have a client shake hands with a gateway with one function."""
        policy = (PythonFunction, {"function": f"edgegw_test_functions:{name}"})
        async with serve([policy], trust=[CA]) as edge:
            return await edge.handshake(client)

    async def test_plain_and_async(self) -> None:
        """Both sorts let in whom they accept, and refuse others."""
        other = CA.issue("other")
        for name, code in (("plain", "python"), ("later", Reason.SUBJECT_ALT_NAME)):
            good, bad = await self.outcome(name), await self.outcome(name, other)
            self.assertEqual((good.accepted, good.attributes), (True, {"by": name}))
            self.assertEqual((bad.accepted, bad.code), (False, code))

    async def test_functions_that_are_wrong(self) -> None:
        """A function that returns something else, or raises, lets nobody in."""
        for name in ("none", "true", "raises", "unwaited"):
            outcome = await self.outcome(name)
            self.assertEqual((outcome.accepted, outcome.code), (False, Reason.POLICY_ERROR), name)
        self.flushLoggedErrors()


class KindTests(SynchronousTestCase):
    """The kind itself."""

    def test_name(self) -> None:
        """A configuration writes ``python``."""
        self.assertEqual(PythonFunction.name, "python")
