"""Shapes of single values: text, numbers, words, durations, sizes and whatever text can be parsed into."""
from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from attrs import field, frozen

from edgegw.config.faults import Report, shown
from edgegw.config.nodes import Node, Scalar, ScalarType
from edgegw.config.shapes import INVALID, Invalid, Schema, Shape, did_you_mean

__all__ = [
    "Boolean",
    "Choice",
    "Duration",
    "Integer",
    "Number",
    "Parsed",
    "Size",
    "Text",
    "Unparsable",
    "Words",
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_size",
]

_INTEGER = re.compile(r"[-+]?[0-9]{1,19}|0o[0-7]{1,21}|0x[0-9a-fA-F]{1,16}")
_DURATION = re.compile(r"(?:[0-9]{1,5}(?:h|ms|m|s)){1,4}")
_DURATION_PART = re.compile(r"([0-9]{1,5})(h|ms|m|s)")
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB)")
_BYTES: Final = {"GiB": 1024**3, "MiB": 1024**2, "KiB": 1024}

#: In a schema: whatever a variable will turn into something else is for ``edgegw check`` to judge.
_VARIABLE: Final = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}


def _or_variable(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    definitions["variable"] = {**_VARIABLE, "description": "A value with ${VAR} or ${VAR:-default} in it."}
    return {"anyOf": [schema, {"$ref": "#/$defs/variable"}]}


class Unparsable(ValueError):
    """What a text should be and is not.

    :ivar remedy: what would be right; may be empty.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.remedy = remedy


def parse_duration(text: str) -> float:
    """Give the seconds of a Gateway API duration (GEP-2257): ``500ms``, ``30s``, ``1h30m``.

    :raises ValueError: the text is none.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError("no duration")
    return sum(int(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def format_duration(seconds: float) -> str:
    """Give a duration as GEP-2257 writes it, to the millisecond: the opposite of :func:`parse_duration`."""
    rest = round(seconds * 1000)
    text = ""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_size(text: str) -> int:
    """Give the bytes of ``64KiB``, ``1MiB`` or ``2GiB``.

    :raises ValueError: the text is none of these.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("no size")
    return int(match[1]) * _BYTES[match[2]]


def format_size(size: int) -> str:
    """Give a number of bytes in the largest unit that divides it."""
    for unit, factor in _BYTES.items():
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


# A member of an enumeration by its class costs several times as much as a global.
_TEXT: Final = ScalarType.TEXT

#: Texts that are remembered as good, of one shape, and how long the longest are.
_MOST_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 64


def _text(node: Node) -> str | None:
    """Give a node's text if it is text, or may be read as text because a variable stands in it."""
    if isinstance(node, Scalar) and node.type is _TEXT and not node.broken:
        return node.text
    return None


def _integer(node: Node) -> int | None:
    if not isinstance(node, Scalar) or node.broken:
        return None
    if (node.type is not ScalarType.INTEGER and not node.expanded) or not _INTEGER.fullmatch(node.text):
        return None
    base = {"0o": 8, "0x": 16}.get(node.text[:2], 10)
    return int(node.text, base)


@frozen
class Text(Shape):
    """Any text, or text of a pattern.

    :ivar pattern: must match the whole text; in the common part of Python's and ECMA-262's syntax.
    :ivar wanted: what it is, for messages.
    :ivar remedy: what would be right; by default ``wanted``.
    :ivar repeated: large documents have the same ones again and again: remember some that were good.
    """

    wanted: str = "text"
    pattern: str = r"[^\u0000-\u001f\u007f]+"
    remedy: str = ""
    max_length: int = 4096
    repeated: bool = False
    _compiled: re.Pattern[str] = field(init=False)
    _good: set[str] = field(init=False, factory=set, eq=False, repr=False)

    @_compiled.default
    def _compile(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def read(self, node: Node, report: Report) -> Any:
        text = _text(node)
        if text in self._good:
            return text
        if text is not None and len(text) <= self.max_length and self._compiled.fullmatch(text):
            if self.repeated:
                self._remember(text)
            return text
        if text is None:
            if isinstance(node, Scalar) and not node.broken and node.type is not ScalarType.NULL:
                report.fault(node, f"is {node.type.value}", f'write {self.wanted} in quotes: "{node.text}"')
                return INVALID
            return self.mismatch(node, report)
        if len(text) > self.max_length:
            report.fault(node, f"is {len(text)} characters long", f"write {self.max_length} or fewer")
            return INVALID
        report.fault(node, f"{shown(text)} is not {self.wanted}", self.remedy or f"write {self.wanted}")
        return INVALID

    def _remember(self, text: str) -> None:
        if len(text) <= _LONGEST_REMEMBERED:
            if len(self._good) >= _MOST_REMEMBERED:
                self._good.clear()
            self._good.add(text)

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return _or_variable(
            {"type": "string", "pattern": f"^(?:{self.pattern})$", "maxLength": self.max_length}, definitions
        )


@frozen
class Parsed(Shape):
    """Text that a function makes a value of.

    :ivar parse: raises :class:`Unparsable`.
    :ivar rules: what JSON Schema can say about the text.
    :ivar write: makes text of a value again.
    """

    wanted: str
    parse: Callable[[str], Any]
    rules: Schema = field(factory=dict)
    write: Callable[[Any], Any] = str
    _any: Text = field(init=False)

    @_any.default
    def _any_text(self) -> Text:
        return Text(self.wanted, r"[\s\S]*")

    def read(self, node: Node, report: Report) -> Any:
        text = self._any.read(node, report)
        if isinstance(text, Invalid):
            return text
        try:
            return self.parse(text)
        except Unparsable as error:
            report.fault(node, f"{shown(text)} {error}", error.remedy or f"write {self.wanted}")
            return INVALID

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return _or_variable({"type": "string", **self.rules}, definitions)

    def show(self, value: Any) -> Any:
        return self.write(value)


@frozen
class Integer(Shape):
    """A whole number within bounds, both inclusive."""

    minimum: int
    maximum: int

    @property
    def wanted(self) -> str:  # type: ignore[override]  # made of the bounds
        return f"a whole number from {self.minimum} to {self.maximum}"

    def read(self, node: Node, report: Report) -> int | Invalid:
        number = _integer(node)
        if number is None:
            if isinstance(node, Scalar) and not node.broken and node.type in (ScalarType.TEXT, ScalarType.INTEGER):
                report.fault(node, f"{shown(node.text)} is not a whole number", f"write {self.wanted}, without quotes")
                return INVALID
            return self.mismatch(node, report)
        if not self.minimum <= number <= self.maximum:
            report.fault(node, f"{number} is out of range", f"write {self.wanted}")
            return INVALID
        return number

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return _or_variable({"type": "integer", "minimum": self.minimum, "maximum": self.maximum}, definitions)


@frozen
class Number(Shape):
    """A number, whole or with a fraction, within bounds that are inclusive where there are any."""

    minimum: float | None = None
    maximum: float | None = None

    @property
    def wanted(self) -> str:  # type: ignore[override]  # made of the bounds
        lowest = "" if self.minimum is None else f" from {self.minimum:g}"
        return f"a number{lowest}" + ("" if self.maximum is None else f" to {self.maximum:g}")

    def read(self, node: Node, report: Report) -> float | Invalid:
        numeric = (ScalarType.INTEGER, ScalarType.NUMBER)
        if not isinstance(node, Scalar) or node.broken or (node.type not in numeric and not node.expanded):
            return self.mismatch(node, report)
        try:
            number = float(node.text)
        except ValueError:
            return self.mismatch(node, report)
        lowest, highest = self.minimum, self.maximum
        # Written so that what is not a number at all is out of range too.
        if not ((lowest is None or number >= lowest) and (highest is None or number <= highest)) or number != number:
            report.fault(node, f"{node.text} is out of range", f"write {self.wanted}")
            return INVALID
        return number

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        schema: Schema = {"type": "number"}
        if self.minimum is not None:
            schema["minimum"] = self.minimum
        if self.maximum is not None:
            schema["maximum"] = self.maximum
        return _or_variable(schema, definitions)


@frozen
class Boolean(Shape):
    """``true`` or ``false``."""

    wanted: str = "true or false"

    def read(self, node: Node, report: Report) -> bool | Invalid:
        if isinstance(node, Scalar) and (node.type is ScalarType.BOOLEAN or node.expanded) and not node.broken:
            value = {"true": True, "false": False}.get(node.text.lower())
            if value is not None:
                return value
        if isinstance(node, Scalar) and node.type is ScalarType.TEXT and not node.broken:
            report.fault(node, f"{shown(node.text)} is not true or false", "write true or false, without quotes")
            return INVALID
        return self.mismatch(node, report)

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return _or_variable({"type": "boolean"}, definitions)


@frozen
class Words(Shape):
    """One of a few words.

    :ivar words: in the order that messages name them in.
    """

    words: tuple[str, ...]

    @property
    def wanted(self) -> str:  # type: ignore[override]  # made of the words
        return " or ".join(self.words)

    def read(self, node: Node, report: Report) -> Any:
        text = _text(node)
        if text is None:
            if isinstance(node, Scalar) and not node.broken and node.text in self.words:
                report.fault(node, f"is {node.type.value}", f'write it in quotes: "{node.text}"')
                return INVALID
            return self.mismatch(node, report)
        if text not in self.words:
            report.fault(node, f"{shown(text)} is not {self.wanted}", did_you_mean(text, self.words))
            return INVALID
        return text

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return _or_variable({"enum": list(self.words)}, definitions)


@frozen
class Choice(Shape):
    """A member of an enumeration of the model's, by its value."""

    members: type[Enum]
    _words: Words = field(init=False)
    _by_word: dict[str, Enum] = field(init=False)

    @_by_word.default
    def _index(self) -> dict[str, Enum]:
        return {str(member.value): member for member in self.members}

    @_words.default
    def _values(self) -> Words:
        return Words(tuple(str(member.value) for member in self.members))

    @property
    def wanted(self) -> str:  # type: ignore[override]  # made of the members
        return self._words.wanted

    def read(self, node: Node, report: Report) -> Enum | Invalid:
        text = _text(node)
        if text in self._by_word:
            return self._by_word[text]
        word = self._words.read(node, report)
        return INVALID if isinstance(word, Invalid) else self.members(word)

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return self._words.schema(definitions)

    def show(self, value: Enum) -> Any:
        return value.value


@frozen
class Duration(Shape):
    """A Gateway API duration (GEP-2257), read as seconds.

    :ivar zero: whether ``0s`` is allowed.
    :ivar maximum: seconds; so is ``minimum``.
    """

    zero: bool = False
    maximum: float = 7 * 24 * 3600.0
    minimum: float = 0.0
    wanted: str = "a duration such as 500ms, 30s or 1h30m"

    def read(self, node: Node, report: Report) -> float | Invalid:
        text = _text(node)
        if text is None:
            if isinstance(node, Scalar) and node.type in (ScalarType.INTEGER, ScalarType.NUMBER):
                report.fault(node, f"{node.text} has no unit", f"write {self.wanted}")
                return INVALID
            return self.mismatch(node, report)
        try:
            seconds = parse_duration(text)
        except ValueError:
            report.fault(node, f"{shown(text)} is not a duration", f"write {self.wanted}")
            return INVALID
        if seconds > self.maximum or seconds < self.minimum or (seconds == 0 and not self.zero):
            shortest = format_duration(self.minimum) if self.minimum else "0s" if self.zero else "1ms"
            remedy = f"write a duration from {shortest} to {format_duration(self.maximum)}"
            report.fault(node, f"{text} is out of range", remedy)
            return INVALID
        return seconds

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        some = "" if self.zero else "(?=.*[1-9])"
        definitions_key = "duration" if self.zero else "positive_duration"
        definitions[definitions_key] = _or_variable(
            {"type": "string", "pattern": f"^{some}([0-9]{{1,5}}(h|ms|m|s)){{1,4}}$"}, definitions
        )
        return {"$ref": f"#/$defs/{definitions_key}"}

    def show(self, value: float) -> str:
        return format_duration(value)


@frozen
class Size(Shape):
    """A number of bytes, or a number with KiB, MiB or GiB; bounds in bytes, both inclusive."""

    minimum: int
    maximum: int
    wanted: str = "a size in bytes, or such as 64KiB or 1MiB"

    def read(self, node: Node, report: Report) -> int | Invalid:
        size = _integer(node)
        if size is None:
            text = _text(node)
            if text is None:
                return self.mismatch(node, report)
            try:
                size = parse_size(text)
            except ValueError:
                report.fault(node, f"{shown(text)} is not a size", f"write {self.wanted}")
                return INVALID
        if not self.minimum <= size <= self.maximum:
            remedy = f"write {format_size(self.minimum)} to {format_size(self.maximum)}"
            report.fault(node, f"{format_size(size)} is out of range", remedy)
            return INVALID
        return size

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        number = {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}
        return {
            "anyOf": [
                number,
                {"type": "string", "pattern": "^[0-9]{1,15}(KiB|MiB|GiB)$"},
                _or_variable({}, definitions)["anyOf"][1],
            ]
        }

    def show(self, value: int) -> Any:
        return format_size(value) if value % 1024 == 0 and value else value


