"""Single values of Kubernetes objects, described as a CustomResourceDefinition does: texts, numbers, flags."""
from __future__ import annotations

import re
from typing import Any, Final

from attrs import field, frozen

from edgegw.config.faults import shown
from edgegw.config.nodes import Mapping as MappingNode
from edgegw.config.nodes import Node, Scalar, ScalarType, Sequence
from edgegw.config.shapes import did_you_mean
from edgegw.gateway_api.schema import INVALID, Faults, Shape

__all__ = ["AnyValue", "Flag", "Ignored", "Integer", "IntegerOrText", "Text", "Words", "text_of"]

#: Digits of a number; more than any field takes.
_MOST_DIGITS: Final = 20
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")


@frozen
class Text(Shape):
    """Text.

    :ivar wanted: what it is, for messages.
    :ivar pattern: must match all of it; ``None`` takes any text.
    :ivar max_length: in characters; looked at first, so that patterns meet short texts only.
    :ivar secret: whether messages must not show it.
    """

    wanted: str = "text"
    pattern: str | None = None
    min_length: int = 0
    max_length: int = 1_048_576
    secret: bool = False
    _compiled: re.Pattern[str] | None = field(init=False)

    @_compiled.default
    def _compile(self) -> re.Pattern[str] | None:
        return None if self.pattern is None else re.compile(self.pattern)

    def takes(self, text: str) -> bool:
        """Whether a text is right."""
        return self.min_length <= len(text) <= self.max_length and (
            self._compiled is None or self._compiled.fullmatch(text) is not None
        )

    def read(self, node: Node, report: Faults) -> Any:
        text = text_of(node, self, report, self.secret)
        if text is INVALID:
            return INVALID
        if len(text) < self.min_length:
            report.fault(node, "is empty", f"write {self.wanted}")
            return INVALID
        if len(text) > self.max_length:
            report.fault(node, f"is {len(text)} characters long", f"write {self.max_length} or fewer")
            return INVALID
        if self._compiled is not None and not self._compiled.fullmatch(text):
            report.fault(node, f"{shown(text)} is not right here", f"write {self.wanted}")
            return INVALID
        return text


def text_of(node: Node, shape: Shape, report: Faults, secret: bool = False) -> Any:
    """Give a node's text if it is text; another single value has to be quoted.

    :param secret: whether messages must not show it.
    """
    if not isinstance(node, Scalar) or node.broken or node.type is ScalarType.NULL:
        return shape.mismatch(node, report)
    if node.type is not ScalarType.TEXT:
        remedy = "quote it" if secret else f'quote it: "{node.text[:80]}"'
        report.fault(node, f"is {node.type.value} and not text", remedy)
        return INVALID
    return node.text


@frozen
class Words(Shape):
    """One of several words, as an ``enum`` has them."""

    words: tuple[str, ...]

    @property
    def wanted(self) -> str:  # type: ignore[override]  # made of the words
        return f"one of {', '.join(self.words)}" if len(self.words) > 1 else self.words[0]

    def read(self, node: Node, report: Faults) -> Any:
        text = text_of(node, self, report)
        if text is INVALID or text in self.words:
            return text
        same = next((word for word in self.words if word.lower() == text.lower()), None)
        remedy = f"write {same}" if same is not None else did_you_mean(text, self.words)
        report.fault(node, f"{shown(text)} is not right here", remedy)
        return INVALID


@frozen
class Integer(Shape):
    """A whole number between two bounds."""

    minimum: int = -(2**31)
    maximum: int = 2**31 - 1
    #: Only these, where there are any.
    values: tuple[int, ...] = ()

    @property
    def wanted(self) -> str:  # type: ignore[override]  # made of the bounds
        if self.values:
            return f"one of {', '.join(map(str, self.values))}"
        return f"a whole number from {self.minimum} to {self.maximum}"

    def read(self, node: Node, report: Faults) -> Any:
        number = integer_of(node)
        if number is None:
            text = node.text[:_MOST_DIGITS] if isinstance(node, Scalar) and node.type is ScalarType.TEXT else ""
            if _INTEGER.fullmatch(text):
                report.fault(node, "is text and not a number", f"write {text} without quotes")
                return INVALID
            return self.mismatch(node, report)
        if not self.minimum <= number <= self.maximum or (self.values and number not in self.values):
            report.fault(node, f"is {number}", f"write {self.wanted}")
            return INVALID
        return number


def integer_of(node: Node) -> int | None:
    """Give the whole number that a node is."""
    if not isinstance(node, Scalar) or node.type is not ScalarType.INTEGER or node.broken:
        return None
    if len(node.text) > _MOST_DIGITS or not _INTEGER.fullmatch(node.text):
        return None
    return int(node.text, {"0o": 8, "0x": 16}.get(node.text[:2], 10))


@frozen
class IntegerOrText(Shape):
    """A number or a name, as ``targetPort`` of Services is (``IntOrString``)."""

    number: Integer
    text: Text

    @property
    def wanted(self) -> str:  # type: ignore[override]  # made of the two
        return f"{self.number.wanted}, or {self.text.wanted}"

    def read(self, node: Node, report: Faults) -> Any:
        if isinstance(node, Scalar) and node.type is ScalarType.TEXT:
            return self.text.read(node, report)
        return self.number.read(node, report)


@frozen
class Flag(Shape):
    """``true`` or ``false``."""

    wanted: str = "true or false"

    def read(self, node: Node, report: Faults) -> Any:
        if not isinstance(node, Scalar) or node.type is not ScalarType.BOOLEAN or node.broken:
            return self.mismatch(node, report)
        return node.text.lower() == "true"


@frozen
class AnyValue(Shape):
    """Whatever JSON can say, as it stands."""

    wanted: str = "any value"

    def read(self, node: Node, report: Faults) -> Any:
        if isinstance(node, MappingNode):
            return {key: self.read(value, report) for key, value in node.values.items()}
        if isinstance(node, Sequence):
            return [self.read(item, report) for item in node.items]
        if node.broken:
            return None
        number = integer_of(node)
        if number is not None:
            return number
        if node.type is ScalarType.NUMBER:
            try:
                return float(node.text)
            except ValueError:  # infinity, which JSON does not know
                return node.text
        if node.type is ScalarType.BOOLEAN:
            return node.text.lower() == "true"
        return None if node.type is ScalarType.NULL else node.text


@frozen
class Ignored(Shape):
    """Whatever it is, it is left out."""

    wanted: str = "any value"

    def read(self, node: Node, report: Faults) -> Any:
        return INVALID
