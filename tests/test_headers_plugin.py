"""Whatever a plugin gives for headers: lines of its own go out, and nothing else does."""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from edgegw.headers.fields import attribute, parse_template
from edgegw.headers.injection import RESERVED, build_injector, build_injectors
from edgegw.headers.plugin import InjectorFailed, PluginInjector
from edgegw.headers.request import HeaderRefusal, RequestHeaders
from edgegw.headers.value import MAX_VALUE_BYTES, ValueTooLargeError
from edgegw.identity import ConnectionInfo, Identity
from edgegw.interfaces import IHeaderInjector
from edgegw.model import Forwarding, InjectorUse, PEMHeader
from edgegw.testing import FakeEnvironment

INFO = ConnectionInfo("edge", Identity(), "192.0.2.1")
OWN = frozenset({b"x-a", b"x-b"})


@frozen
class Kind:
    """As much of a kind as an injector's use looks at."""

    name: str = "made_up"


@frozen
class Injector:
    """Gives whatever a function gives."""

    give: Callable[[Mapping[bytes, Sequence[bytes]]], Any]
    owned: Any = OWN
    owned_responses: Any = frozenset()
    needs_chain: bool = False
    per_request: bool = False
    asked: list[Mapping[bytes, Sequence[bytes]]] = field(factory=list)

    def inject(self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]) -> Any:
        """Remember what it was asked, and answer."""
        self.asked.append(received)
        return self.give(received)


def plugin(give: Any, environment: Any = None, **options: Any) -> PluginInjector:
    """Give a plugin that gives something, or what a function of that name gives, as the gateway uses it."""
    injector = Injector(give if callable(give) else lambda received: give, **options)
    return PluginInjector(InjectorUse(Kind(), injector, environment))


class Loud(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def raising(error: BaseException) -> Callable[[Any], Any]:
    """Give a function that raises something."""

    def give(received: Any) -> Any:
        raise error

    return give


_anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from(sorted(OWN)),
    lambda parts: st.lists(parts, max_size=3) | st.tuples(parts, parts) | st.lists(st.tuples(parts, parts), max_size=3),
    max_leaves=12,
)


class AnswerTests(SynchronousTestCase):
    """What an injector gives at one call."""

    def test_good(self) -> None:
        """Its own names with values come out in its order, repeated names too."""
        lines = [(b"x-b", b"1"), (b"x-a", b"caf\xe9"), (b"x-b", b"")]
        injector = plugin(lines)
        verifyObject(IHeaderInjector, injector)
        self.assertEqual(injector.inject(INFO, {}), lines)
        self.assertEqual(plugin(iter(lines)).inject(INFO, {}), lines)
        self.assertEqual(plugin([]).inject(INFO, {}), [])

    @given(_anything)
    def test_anything(self, answer: Any) -> None:
        """Whatever else it gives is a failure, or is made of its own names and harmless values."""
        try:
            lines = plugin(answer, FakeEnvironment()).inject(INFO, {})
        except InjectorFailed as error:
            self.assertTrue(str(error).isprintable())
            return
        for name, value in lines:
            self.assertIn(name, OWN)
            self.assertIsInstance(value, bytes)
            self.assertFalse(re.search(rb"[\x00-\x1f\x7f]", value))

    def test_failures(self) -> None:
        """Each failure is told in one line with the plugin's name, whatever was raised."""

        async def late() -> list[tuple[bytes, bytes]]:
            return [(b"x-a", b"1")]

        for give, part in (
            (None, "TypeError"),
            ([(b"x-c", b"1")], "gave b'x-c', which is none of its headers"),
            ([("x-a", "1")], "which is none of its headers"),
            ([(b"x-a", b"1\r\nx-c: 2")], "a control character"),
            ([(b"x-a", "1\0")], "a control character"),
            ([(b"x-a", "é")], "UnicodeEncodeError"),
            ([(b"x-a", b"1")] * 101, "more than 100 headers"),
            ([b"x-a"], "too many values"),
            (lambda received: late(), "something to await"),
            (raising(KeyError("a\nb")), r"KeyError: 'a\nb'"),
            (raising(ValueError("a\nb\x1b[31m" + "x" * 9999)), r"ValueError: a\nb\x1b[31mxxx"),
            (raising(SystemExit(2)), "SystemExit: 2"),
            (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
            (raising(GeneratorExit()), "GeneratorExit"),
            (raising(Loud()), "Loud: and its text cannot be had"),
        ):
            injector = plugin(give, FakeEnvironment())
            error = self.assertRaises(InjectorFailed, injector.inject, INFO, {})
            self.assertIn("the header injector made_up failed: ", str(error))
            self.assertIn(part, str(error))
            self.assertTrue(str(error).isprintable() and len(str(error)) < 300, str(error))

    def test_endless(self) -> None:
        """A generator that never ends is one of them."""

        def endless(received: Any) -> Any:
            while True:
                yield b"x-a", b"1"

        self.assertRaises(InjectorFailed, plugin(endless, FakeEnvironment()).inject, INFO, {})

    def test_too_large(self) -> None:
        """A value that no upstream would take is refused as everyone's is, and no fault of the plugin's."""
        environment = FakeEnvironment()
        injector = plugin([(b"x-a", b"a" * (MAX_VALUE_BYTES + 1))], environment)
        self.assertRaises(ValueTooLargeError, injector.inject, INFO, {})
        self.assertEqual(environment.messages, [])

    def test_received(self) -> None:
        """It sees what came under its own names, and cannot change it."""
        built = Injector(lambda received: [], per_request=True)
        injector = PluginInjector(InjectorUse(Kind(), built))
        injector.inject(INFO, {b"x-a": [b"1", b"2"], b"x-forwarded-client-cert": [b"secret"]})
        self.assertEqual(built.asked, [{b"x-a": (b"1", b"2")}])


class LogTests(SynchronousTestCase):
    """What is told of failures."""

    def test_rate(self) -> None:
        """A traceback is logged once in ten seconds, with the number of those that were not; all are counted."""
        environment = FakeEnvironment()
        counted: list[tuple[str, str]] = []
        injector = plugin(raising(RuntimeError("a bug")), environment)
        injector.count_error = lambda kind, operation: counted.append((kind, operation))

        def fail(times: int) -> None:
            for _ in range(times):
                self.assertRaises(InjectorFailed, injector.inject, INFO, {})

        fail(5)
        self.assertEqual(len(environment.messages), 1)
        self.assertIn("RuntimeError: a bug", environment.events[0]["log_failure"].getTraceback())
        environment.advance(9.9)
        fail(3)
        environment.advance(0.2)
        fail(2)
        self.assertEqual([event["untold"] for event in environment.events], [0, 7])
        self.assertEqual(counted, [("made_up", "inject")] * 10)

    def test_without_environment(self) -> None:
        """An injector that was built without an environment is told of too."""
        self.assertRaises(InjectorFailed, plugin(raising(RuntimeError("a bug"))).inject, INFO, {})
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_refusal(self) -> None:
        """The request is refused with 500 and the plugin's name; every request, where it is asked once a connection."""
        for per_request in (False, True):
            injector = plugin(raising(RuntimeError("a bug")), FakeEnvironment(), per_request=per_request)
            rules = RequestHeaders(Forwarding(), [injector], (), b"https")
            for _ in range(2):
                with self.assertRaises(HeaderRefusal) as raised:
                    rules.for_connection(INFO).block([], frozenset(), b"a.example")
                self.assertEqual(
                    (raised.exception.status, raised.exception.detail),
                    (500, "the header injector made_up failed: RuntimeError: a bug"),
                )

    def test_too_large(self) -> None:
        """A value that is too large because of what the client sent is the client's fault."""
        injector = plugin(
            lambda received: [(b"x-a", b"," * (MAX_VALUE_BYTES + 1))] if received else [], per_request=True
        )
        headers = RequestHeaders(Forwarding(), [injector], (), b"https").for_connection(INFO)
        headers.block([], frozenset(), b"a.example")
        with self.assertRaises(HeaderRefusal) as raised:
            headers.block([(b"x-a", b"1", b"x-a: 1\r\n")], frozenset(), b"a.example")
        self.assertEqual(raised.exception.status, 431)


class BuildTests(SynchronousTestCase):
    """Which objects are injectors."""

    def build(self, **options: Any) -> IHeaderInjector:
        """Build one as a listener does."""
        return build_injector(InjectorUse(Kind(), Injector(lambda received: [], **options)))

    def test_names(self) -> None:
        """None that belongs to HTTP or the gateway, has an underscore, or is no name."""
        for name in (*RESERVED, "X-A", "x_a", "x a", "", "x\r\na", "\xff"):
            with self.assertRaisesRegex(ValueError, "the header injector made_up"):
                self.build(owned=frozenset({name.encode("latin-1")}))
        self.assertEqual(self.build().owned, OWN)

    def test_no_injectors(self) -> None:
        """An object that lacks something, or has it of another type, is named by its kind."""
        for owned in (None, frozenset(), "x-a", b"x-a", ["x-a"], [b"x-a", None], 1):
            with self.assertRaisesRegex(ValueError, "the header injector made_up"):
                self.build(owned=owned)
        for built in (object(), None, type("Owner", (), {"owned": OWN})()):
            self.assertRaises(ValueError, build_injector, InjectorUse(Kind(), built))
        self.assertRaises(ValueError, self.build, owned_responses="x-a")

    def test_owned_twice(self) -> None:
        """Nor may two own one name, a plugin and the gateway's own injector among them."""
        use = InjectorUse(Kind(), Injector(lambda received: []))
        for pair in ((use, use), (use, PEMHeader("x-b"))):
            self.assertRaisesRegex(ValueError, "two header injectors set", build_injectors, pair)

    def test_shown(self) -> None:
        """It is called by its kind's name."""
        self.assertEqual(repr(plugin([])), "<header injector made_up>")


class AttributeTests(SynchronousTestCase):
    """What policies said, in templates."""

    def filled(self, template: str, **attributes: str) -> str:
        """Fill a template in."""
        return parse_template(template).fill(INFO._replace(attributes=attributes))

    def test_values(self) -> None:
        """An attribute takes its place; without it there is nothing, and without anything no header."""
        self.assertEqual(self.filled("{attribute:team}", team="red"), "red")
        self.assertEqual(self.filled("{attribute:team} of {listener}", team="red"), "red of edge")
        self.assertEqual(self.filled("{attribute:team} of {listener}"), "of edge")
        self.assertEqual(self.filled("team={attribute:team}", other="red"), "")
        self.assertEqual(self.filled("team={attribute:team}", team=""), "")

    @given(st.text(max_size=60))
    def test_safe(self, value: str) -> None:
        """Whatever a policy says, the value is printable ASCII without outer spaces, and two are never one."""
        written = attribute(INFO._replace(attributes={"a": value}), "a")
        self.assertTrue(re.fullmatch(r"(?:[!-~](?:[ -~]*[!-~])?)?", written), written)
        raw = re.sub(rb"\\([0-9A-F]{2})", lambda match: bytes.fromhex(match[1].decode()), written.encode())
        self.assertEqual(raw, value.encode("utf-8", "backslashreplace"))

    def test_names(self) -> None:
        """Names have letters, digits, underscores, dots and hyphens, 64 at most."""
        for name in ("a", "A.b-c_9", "a" * 64):
            self.assertEqual(self.filled(f"{{attribute:{name}}}", **{name: "x"}), "x")
        for name in ("", "a b", "a:b", "é", "a" * 65, "a\n"):
            self.assertRaises(ValueError, parse_template, f"{{attribute:{name}}}")
