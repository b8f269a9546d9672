"""Plainly written YAML is read as libyaml reads it, or not at all."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegw.config import ConfigError
from edgegw.config.faults import Report
from edgegw.config.nodes import Node, Scalar, Sequence
from edgegw.config.plain_yaml import NotPlain, read_plain
from edgegw.config.reader import _Loader, _Tree, read_text
from tests.config_documents import ConfigTestCase

ENVIRON = {"A": "12"}


def dump(node: Node) -> Any:
    """Give everything of a node, as values that can be compared."""
    place = (node.path, node.line, node.column)
    if isinstance(node, Scalar):
        return (*place, node.text, node.type, node.expanded, node.broken)
    if isinstance(node, Sequence):
        return (*place, [dump(item) for item in node.items])
    keys = [(key, node.key(key).path, node.key(key).line, node.key(key).column) for key in node.values]
    return (*place, keys, [(key, dump(value)) for key, value in node.values.items()])


def by_libyaml(text: str) -> Any:
    """Give what libyaml makes of a text, and the faults."""
    report = Report("x")
    root = yaml.compose(text, Loader=_Loader)
    return None if root is None else dump(_Tree(ENVIRON, report).node(root, "", ())), report.findings


def plainly(text: str) -> Any:
    """Give what the plain reader makes of a text; ``None`` if it does not read it."""
    try:
        return dump(read_plain(text, ENVIRON))
    except NotPlain:
        return None


_words = st.sampled_from([
    "a", "b c", "1", "-3", "0x1F", "1.5", "true", "Null", "~", "no", "12:30", "a:b", "a#b", "x # y", "é", "${A}",
    "$${", "http://h:1/x?y=z", "/v1/{id}", "a, b", "[x", "*.example.com", "- a", "", "'", '"', "a\\b", "x: y", "a :b",
    "?", "|", "${B:-3}", "...", "---", "%a", "&a", "!t", "@", "`", "a\u00a0b", "null", ".5", ".inf", "\u2028",
    "x" * 300,
])  # fmt: skip
_keys = st.sampled_from(["a", "bc", "d-e", "f.g", "_h", "true", "A1"])
_documents = st.dictionaries(
    _keys,
    st.recursive(
        _words,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=3)),
        max_leaves=12,
    ),
    min_size=1,
)
_SIGNS = [
    "a", "b", "a:", " b: ", "- ", "-", "  ", " ", "\n", "\n", "\n  ", "\n- ", "\n  - ", "#", " # c", "'", '"', "[", "]",
    "{", "}", ", ", ",", ": ", ":", "1", "${A}", "/x", "é", "---", "...", "&a", "*a", "|", "? ", "a: {b: [c, d]}",
]  # fmt: skip


class PlainTests(ConfigTestCase):
    """The two readers side by side."""

    def check(self, text: str) -> None:
        found = plainly(text)
        if found is not None:
            self.assertEqual((found, ()), by_libyaml(text), text)

    @given(_documents, st.sampled_from([None, False, True]), st.integers(2, 5), st.sampled_from([None, "'", '"']))
    @settings(max_examples=300, deadline=None)
    def test_documents(self, document: Any, style: bool | None, indent: int, quotes: str | None) -> None:
        """Whatever a program has written."""
        self.check(yaml.safe_dump(
            document, default_flow_style=style, indent=indent, default_style=quotes, allow_unicode=True, width=10_000
        ))  # fmt: skip

    @given(st.lists(st.sampled_from(_SIGNS), max_size=14).map("".join))
    @settings(max_examples=1500, deadline=None)
    def test_any_text(self, text: str) -> None:
        """Whatever anybody has typed: what libyaml refuses is never taken."""
        self.check(text)

    @given(st.data())
    @settings(max_examples=300, deadline=None)
    def test_changed_texts(self, data: st.DataObject) -> None:
        """A plain text with a few characters put in, or taken away."""
        lines = [
            "# a", "a: b", "", "list:", "  - x: 1  # one", "    y: [c, {d: e}, \"f\"]", "  -   z: 'g'", "  # between",
            "same:", "- h", "- {}", "- i: []", "last:", "    deep:", "        - j",
        ]  # fmt: skip
        text = "\n".join(lines) + "\n"
        self.assertIsNotNone(plainly(text))
        for _ in range(data.draw(st.integers(0, 3))):
            place = data.draw(st.integers(0, len(text)))
            taken = data.draw(st.integers(0, 3))
            text = text[:place] + data.draw(st.sampled_from([*_SIGNS, ""])) + text[place + taken :]
        self.check(text)

    def test_what_is_plain(self) -> None:
        """What large configurations consist of is read; what could mean anything else is left to libyaml."""
        for text in (
            "a: b", "a:\n- b\n- c: d\n  e: f\n", "a:\n  - b: {c: [d, 'e'], f: ${A}}\n".replace("${A}", '"${A}"'),
            "a: x y z # comment\n", "a: http://b:1/c#d\n", "a:   # why\n\n  # because\n  b: 1\n",
        ):
            self.assertIsNotNone(plainly(text), text)
        for text in (
            "", "# a", "- a", "a", "a:", "a: &b c", "a: *b", "a: !c d", "a: |\n  b", "a: b\n  c", 'a: "b\\n"',
            "a: 'b''c'", "a: [b,\n c]", "a: b\na: c", "a: {b: c, b: d}", "a: ${B}", "a: ${", "---\na: b", "a: b\n...",
            "a: b: c", "? a",
            "a:\tb", "a: b\r\n", "a: [b, ]", "a: {b}", "a: [b: c]", " a: b", "a: - b", "a:\n  - - b", "'a': b",
        ):
            self.assertIsNone(plainly(text), text)

    def test_shipped(self) -> None:
        """The configuration that comes with the gateway is plain."""
        text = (Path(__file__).parent.parent / "conf" / "edgegw.yaml").read_text()
        self.assertIsNotNone(plainly(text))
        self.check(text)

    def test_deep(self) -> None:
        """Nesting is left to libyaml, which has a bound, before Python's is reached."""
        in_blocks = "".join(f"{' ' * level}a:\n" for level in range(200)) + " " * 200 + "a: b"
        for text in ("a: " + "[" * 5000 + "]" * 5000, in_blocks):
            self.assertIsNone(plainly(text))
            self.assertRaises(ConfigError, read_text, text, "x", {}, Report("x"))
