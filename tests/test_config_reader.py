"""Reading YAML with positions: whatever stands in a file, a configuration or a list of faults comes out."""
from __future__ import annotations

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgegw.config import ConfigError, load
from edgegw.config.faults import Report
from edgegw.config.nodes import Mapping, Node, Scalar, ScalarType
from edgegw.config.reader import MAX_DEPTH, read_text
from edgegw.config.scalars import format_duration, format_size, parse_duration, parse_size
from edgegw.config.variables import VariableError, expand
from tests.config_documents import LISTENERS, ConfigTestCase


class SyntaxFaults(ConfigTestCase):
    """Text that is no document."""

    def test_tab_indentation(self) -> None:
        """A tab as indentation is reported where it stands, with the remedy."""
        self.assert_faults("logging:\n\tlevel: info\n", (2, 1, "", "spaces, never tabs"))

    def test_unclosed_quote(self) -> None:
        """A quote that is never closed is a fault at the end of the text."""
        self.assert_faults('logging: "text', (1, 15, "", "not valid YAML"))

    def test_mapping_in_a_value(self) -> None:
        """An unquoted colon in a value is reported with the remedy."""
        self.assert_faults("logging: text: json\n", (1, 14, "", "quote values"))

    def test_second_document(self) -> None:
        """Only one document may stand in a file."""
        self.assert_faults("logging: {}\n---\nlogging: {}\n", (2, 1, "", "second document"))

    def test_not_utf8(self) -> None:
        """The first byte that is not UTF-8 is reported with its position."""
        self.assert_faults("logging:\n  é: ".encode() + b"\xff\n", (2, 6, "", "0xff is not UTF-8"))

    def test_control_character(self) -> None:
        """A character that YAML forbids is reported with its position."""
        self.assert_faults("logging:\n  level: in\x07fo\n", (2, 12, "", "U+0007"))

    def test_byte_order_mark(self) -> None:
        """A byte order mark does not move the columns."""
        self.assert_faults("\ufeffloging: {}\n" + LISTENERS, (1, 1, "loging", "did you mean logging?"))

    def test_undefined_alias(self) -> None:
        """An alias without anchor is a fault."""
        self.assert_faults("logging: *no\n", (1, 10, "", "undefined alias"))

    def test_recursive_alias(self) -> None:
        """An alias inside of what it repeats is a fault and no endless loop."""
        self.assert_faults(LISTENERS + "logging: &a\n  level: *a\n", (3, 10, "logging.level", "inside of what it"))

    def test_alias_bomb(self) -> None:
        """Aliases that multiply are cut off."""
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        error = self.refusal("\n".join(lines))
        self.assertIn("aliases repeat more than", str(error))

    def test_deep_nesting(self) -> None:
        """Nesting is bounded, however it is written."""
        for text in ("[" * 100_000, "- " * 100_000, "{a: " * 1000, "? " * 1000):
            error = self.refusal(text)
            self.assertIn(f"more than {MAX_DEPTH} levels", str(error))

    def test_aliases_are_values(self) -> None:
        """An alias stands for a copy of what it names."""
        loaded = self.load(LISTENERS + "  - {name: more, port: 8444, tls: *tls}\n")
        first, second = loaded.gateway.listeners
        self.assertEqual(first.tls, second.tls)

    def test_duplicate_key(self) -> None:
        """A key that is given twice is reported at its second place."""
        self.assert_faults(
            LISTENERS + "logging:\n  level: info\n  level: warn\n", (5, 3, "logging.level", "first in line 4")
        )

    def test_keys_that_are_no_words(self) -> None:
        """Lists as keys and merge keys are faults."""
        self.assert_faults(
            LISTENERS + "? [a]\n: 1\n<<: {}\n",
            (3, 3, "", "a key is a list"),
            (5, 1, '["<<"]', "no known key"),
        )

    def test_tags(self) -> None:
        """Tags beyond YAML's own single values are faults, and make no objects."""
        self.assert_faults(
            LISTENERS + "drain_timeout: !!python/name:os.system 30s\nlogging: !foo {}\n",
            (3, 16, "drain_timeout", "means nothing here"),
            (4, 10, "logging", "means nothing here"),
        )

    def test_nothing_in_it(self) -> None:
        """A file of comments lacks listeners and does nothing else wrong."""
        self.assert_faults("# nothing\n", (1, 1, "", "has no listeners"))

    def test_not_a_mapping(self) -> None:
        """A document must be a mapping."""
        self.assert_faults("- listeners\n", (1, 1, "", "is a list"))

    def test_missing_file(self) -> None:
        """A file that is not there, or a directory, is a fault."""
        error = self.assertRaises(ConfigError, load, str(self.directory / "no.yaml"), {})
        self.assertIn("no.yaml:1:1: cannot be read: No such file", str(error))
        error = self.assertRaises(ConfigError, load, str(self.directory), {})
        self.assertIn("cannot be read: Is a directory", str(error))


class CoreSchema(ConfigTestCase):
    """How unquoted values are typed."""

    def test_types(self) -> None:
        """YAML 1.2's core schema decides, so that ``no`` and ``12:30`` are text."""
        text = "[no, on, 12:30, 2020-01-01, 0o17, 0x1F, -3, 1.5, .inf, true, null, ~, '1', 1_000]"
        root = read_text("a: " + text, "x", {}, Report("x"))
        assert isinstance(root, Mapping)
        types = [item.type for item in getattr(root.values["a"], "items", ())]
        text_, integer, number = ScalarType.TEXT, ScalarType.INTEGER, ScalarType.NUMBER
        self.assertEqual(
            types,
            [text_] * 4
            + [integer] * 3
            + [number] * 2
            + [ScalarType.BOOLEAN, ScalarType.NULL, ScalarType.NULL, text_, text_],
        )


class Variables(ConfigTestCase):
    """``${VAR}`` in values."""

    def test_expansion(self) -> None:
        """Values, defaults and escapes."""
        environ = {"A": "x", "EMPTY": "", "DOLLAR": "${A}"}
        for text, expected in (
            ("${A}", "x"),
            ("a${A}b${A}", "axbx"),
            ("${B:-y}", "y"),
            ("${B:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-z}", "z"),
            ("$${A}", "${A}"),
            ("${DOLLAR}", "${A}"),
            ("$A $ $$", "$A $ $$"),
        ):
            self.assertEqual(expand(text, environ), expected)

    def test_no_variable(self) -> None:
        """What begins like a reference and is none is refused, not passed on."""
        for text in ("${", "${}", "${1}", "${A", "${A-b}", "${A:b}"):
            self.assertRaises(VariableError, expand, text, {"A": "x"})

    def test_types(self) -> None:
        """A variable's value is typed by what is wanted in its place, quoted or not."""
        document = """\
            listeners:
              - {name: "${N}", port: "${P}", protocol: HTTP, forwarding: {preserve_host: "${T}"}}
            drain_timeout: ${D:-5s}
            """
        gateway = self.load(document, {"N": "123", "P": "8080", "T": "false"}).gateway
        (listener,) = gateway.listeners
        self.assertEqual((listener.name, listener.port), ("123", 8080))
        self.assertFalse(listener.forwarding.preserve_host)
        self.assertEqual(gateway.drain_timeout, 5.0)

    def test_unset(self) -> None:
        """An unset variable is a fault at its own column, and nothing follows from it."""
        self.assert_faults(
            """\
            drain_timeout: 3${NO}s
            listeners:
              - name: "a${NAME}"
                port: ${PORT}
                protocol: HTTP
            """,
            (1, 17, "drain_timeout", "the variable NO is not set"),
            (3, 13, "listeners[0].name", "the variable NAME is not set"),
            (4, 11, "listeners[0].port", "the variable PORT is not set"),
        )


class Quantities(ConfigTestCase):
    """Durations and sizes."""

    def test_durations(self) -> None:
        """GEP-2257's examples, and what it does not allow."""
        for text, seconds in (("500ms", 0.5), ("30s", 30), ("1h30m", 5400), ("1h10m30s5ms", 4230.005), ("0s", 0)):
            self.assertEqual(parse_duration(text), seconds)
        for text in ("", "30", "1.5h", "-1s", "1d", "1 s", "123456s", "1h1m1s1ms1s"):
            self.assertRaises(ValueError, parse_duration, text)

    @given(st.integers(0, 10**11))
    def test_duration_round_trip(self, milliseconds: int) -> None:
        """What is written can be read."""
        if milliseconds < 99_999 * 3_600_000:
            self.assertAlmostEqual(parse_duration(format_duration(milliseconds / 1000)), milliseconds / 1000, 3)

    def test_sizes(self) -> None:
        """Binary units only."""
        self.assertEqual([parse_size("64KiB"), parse_size("1MiB"), parse_size("2GiB")], [65536, 1 << 20, 2 << 30])
        for text in ("64KB", "64k", "1 MiB", "-1KiB", "1.5MiB", "KiB"):
            self.assertRaises(ValueError, parse_size, text)
        self.assertEqual([format_size(65536), format_size(100), format_size(0)], ["64KiB", "100", "0"])


_WORDS = st.sampled_from(
    """listeners name port tls certificates certificate private_key server.pem server.key admin disabled routes rules
    backends upstreams endpoints 8443 ${X} ${HOME:-a} client_validation default per_port mode null AllowValidOnly 1h
    ca_certificates ca.pem header_injection xfcc fields headers {subject} http limits * unix:a ::1 protocol HTTP HTTPS
    address hostname *.example.com cipher_suites groups alpn pem header forwarding via""".split()  # noqa: SIM905 - shorter
)
_SCALARS = st.one_of(_WORDS, st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=20))
_TREES = st.recursive(
    _SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_WORDS, inner, max_size=5))
)
_MARKS = ["\n", "\n  ", "\n- ", ": ", "{", "}", "[", "]", "&a ", "*a", "!!int ", "|", ">", '"', "'", "#", "\t", "\x00"]
_SOUP = st.lists(st.one_of(_WORDS, st.sampled_from(_MARKS), st.characters()), max_size=60).map("".join)


class AnyText(ConfigTestCase):
    """Whatever is in a file, :func:`load` ends with a gateway or with :exc:`ConfigError`."""

    def _try(self, content: bytes) -> None:
        path = self.write("edgegw.yaml", content)
        try:
            load(str(path), {})
        except ConfigError as error:
            lines = content.count(b"\n") + content.count(b"\r") + 4 * len(content)
            for fault in error.faults:
                self.assertTrue(1 <= fault.line <= lines + 1 and fault.column >= 1, str(fault))
                self.assertNotIn("\n", str(fault))

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_SOUP)
    def test_soup(self, text: str) -> None:
        """YAML's marks and the document's words in any order."""
        self._try(text.encode("utf-8", "surrogatepass"))

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200))
    def test_bytes(self, content: bytes) -> None:
        """Any bytes."""
        self._try(content)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_TREES)
    def test_trees(self, tree: object) -> None:
        """Well-formed documents of any shape."""
        self._try(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))

    def test_paths_of_files(self) -> None:
        """A path with odd characters in it is a fault and no crash."""
        for path in ("\0", "", "/dev/null/x", "a" * 5000):
            with self.assertRaises(ConfigError):
                load(path, {})


class Scalars(ConfigTestCase):
    """Positions of single values."""

    def test_positions(self) -> None:
        """Lines and columns count from one."""
        root = read_text("a: 1\nbc:\n  - x\n  - {d: y}\n", "x", {}, Report("x"))
        assert isinstance(root, Mapping)
        found = []
        stack: list[Node] = [root]
        while stack:
            node = stack.pop()
            if isinstance(node, Scalar):
                found.append((node.path, node.line, node.column))
            stack += getattr(node, "items", ()) if not isinstance(node, Mapping) else node.values.values()
        self.assertEqual(sorted(found), [("a", 1, 4), ("bc[0]", 3, 5), ("bc[1].d", 4, 9)])
