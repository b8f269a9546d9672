"""YAML text → :mod:`edgegw.config.nodes`, with a fault wherever the text is no single plain document.

Scalars are typed by YAML 1.2's core schema, as editors do, and not by YAML 1.1 as PyYAML would:
``no`` and ``12:30`` are text.  The text is the operator's, yet a mistake in it must not take the
process down: size, depth and what aliases multiply are bounded.
"""
from __future__ import annotations

import re
from collections.abc import Mapping as MappingABC
from pathlib import Path
from typing import Any, Final

import yaml
from attrs import define, field

from edgegw.config.core_schema import CORE_SCHEMA
from edgegw.config.faults import ConfigError, Fault, Report, shown
from edgegw.config.nodes import Mapping, Node, Scalar, ScalarType, Sequence, Within
from edgegw.config.plain_yaml import KnownLines, NotPlain, read_plain
from edgegw.config.variables import VariableError, expand

__all__ = [
    "MAX_ALIASED_NODES",
    "MAX_DEPTH",
    "MAX_SIZE",
    "SharedByDocuments",
    "decoded",
    "file_text",
    "read_file",
    "read_text",
]

#: Bytes in a file.
MAX_SIZE: Final = 64 * 1024 * 1024
#: Levels of nesting; the native document has ten.
MAX_DEPTH: Final = 64
#: Nodes that aliases repeat, all together.
MAX_ALIASED_NODES: Final = 100_000

_TAG: Final = "tag:yaml.org,2002:"
_TEXT_TAG: Final = _TAG + "str"
_TAGS: Final = {
    ScalarType.TEXT: _TEXT_TAG,
    ScalarType.INTEGER: _TAG + "int",
    ScalarType.NUMBER: _TAG + "float",
    ScalarType.BOOLEAN: _TAG + "bool",
    ScalarType.NULL: _TAG + "null",
}
_TYPES: Final = {tag: type_ for type_, tag in _TAGS.items()}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")

_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _TooDeep(Exception):
    """Nesting beyond :data:`MAX_DEPTH`; ``args[0]`` is the mark of the node that holds too much."""


class _Loader(_BaseLoader):  # type: ignore[misc]  # whether libyaml is there is known at run time only
    """Composes nodes and counts their depth, which libyaml does not bound."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode and value[:1] not in self.yaml_implicit_resolvers:
            return _TEXT_TAG
        tag: str = super().resolve(kind, value, implicit)
        return tag

    def descend_resolver(self, parent: yaml.Node | None, index: object) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _TooDeep(parent.start_mark if parent is not None else None)

    def ascend_resolver(self) -> None:
        self._depth -= 1


for _type, _pattern, _first in CORE_SCHEMA:
    _Loader.add_implicit_resolver(_TAGS[_type], re.compile(rf"(?:{_pattern})\Z"), list(_first))


@define(eq=False)
class SharedByDocuments:
    """What the documents of one file have in common.

    :ivar lines: those that were met, see :func:`edgegw.config.plain_yaml.read_plain`.
    :ivar repeated: nodes that aliases have repeated so far.
    """

    lines: KnownLines = field(factory=dict)
    repeated: int = 0


def read_file(
    path: str, environ: MappingABC[str, str], report: Report, data: bytes | None = None
) -> Node | None:
    """Read a document from a file; see :func:`read_text`.

    :param data: what is in the file, where that was read already.
    :raises ConfigError: also where the file cannot be read, is too large or is not UTF-8.
    """
    return read_text(file_text(path) if data is None else decoded(data, path), path, environ, report)


def file_text(path: str) -> str:
    """Read a file.

    :raises ConfigError: it cannot be read, is too large or is not UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Fault(path, 1, 1, "", f"cannot be read: {reason}", "give a readable file")]) from error
    return decoded(data, path)


def decoded(data: bytes, path: str) -> str:
    """Decode what a file has in it.

    :param data: at most one byte more than :data:`MAX_SIZE` need be read.
    :param path: the file's, for faults.
    :raises ConfigError: it is too large or is not UTF-8.
    """
    if len(data) > MAX_SIZE:
        raise ConfigError([Fault(path, 1, 1, "", f"is larger than {MAX_SIZE} bytes", "split the configuration")])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode("utf-8"))
        problem = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        raise ConfigError([Fault(path, line, column, "", problem, "save the file as UTF-8")]) from error


def read_text(
    text: str,
    file: str,
    environ: MappingABC[str, str] | None,
    report: Report,
    above: int = 0,
    shared: SharedByDocuments | None = None,
) -> Node | None:
    """Read one document; ``None`` if there is nothing in it.

    :param environ: for ``${VAR}``; see :func:`edgegw.config.variables.expand`.  ``None`` leaves it as it stands.
    :param report: takes faults after which the rest can still be judged: keys given twice, unset
        variables.
    :param above: how many lines of the file stand above the text.
    :param shared: where the text is one of several.
    :raises ConfigError: the text is not YAML, or more than one document.
    """

    def refuse(line: int, column: int, problem: str, remedy: str) -> ConfigError:
        return ConfigError([*report.findings, Fault(file, line + above, column, "", problem, remedy)])

    shared = shared or SharedByDocuments()
    text = text.removeprefix("\ufeff")
    # The expression takes its time, and mostly there is nothing to find.
    unprintable = None if text.replace("\n", "").isprintable() else _UNPRINTABLE.search(text)
    if unprintable is not None:
        line, column = _position(text[: unprintable.start()])
        code = ord(unprintable[0])
        raise refuse(line, column, f"the character U+{code:04X} may not stand in YAML", "remove it")
    try:
        return read_plain(text, environ, above, shared.lines)
    except NotPlain:
        pass
    try:
        root = yaml.compose(text, Loader=_Loader)
    except _TooDeep as error:
        line, column = _of_mark(error.args[0])
        raise refuse(line, column, f"more than {MAX_DEPTH} levels of nesting", "nest less") from error
    except yaml.MarkedYAMLError as error:
        line, column = _of_mark(error.problem_mark or error.context_mark)
        if "maximum nesting depth" in str(error.problem):
            # Newer libyaml has a bound of its own, which a long line of brackets reaches first.
            raise refuse(line, column, f"more than {MAX_DEPTH} levels of nesting", "nest less") from error
        raise refuse(line, column, f"not valid YAML: {_explain(error)}", _remedy(error)) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise refuse(1, 1, f"not valid YAML: {error}", "correct it") from error
    if root is None:
        return None
    return _Tree(environ, report, above, shared).node(root, "", ())


def _explain(error: yaml.MarkedYAMLError) -> str:
    if error.problem == "but found another document":
        return "a second document begins"
    return str(error.problem) if error.context is None else f"{error.problem} {error.context}"


def _remedy(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if "another document" in problem:
        return "keep one document in the file"
    if "cannot start any token" in problem:
        return "indent with spaces, never tabs, and quote values that begin with @, %, ` or a tab"
    if "mapping values are not allowed" in problem:
        return "check the indentation and quote values with a colon and a space in them"
    if "alias" in problem:
        return "define the anchor before it is used, or quote a value that begins with *"
    return "check indentation, quotes and brackets up to here"


def _position(before: str) -> tuple[int, int]:
    """Give line and column of what follows a text."""
    line, start = 1, 0
    for match in _LINE_BREAK.finditer(before):
        line, start = line + 1, match.end()
    return line, len(before) - start + 1


def _of_mark(mark: Any) -> tuple[int, int]:
    return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)


class _Tree:
    """Makes nodes of PyYAML's, which are shared where a document has aliases."""

    def __init__(
        self,
        environ: MappingABC[str, str] | None,
        report: Report,
        above: int = 0,
        shared: SharedByDocuments | None = None,
    ) -> None:
        self._environ = environ
        self._report = report
        self._first = above + 1
        self._seen: set[int] = set()
        self._shared = shared or SharedByDocuments()

    def node(self, node: Any, path: Within, parents: tuple[int, ...]) -> Node:
        """Convert a node and what is in it; whatever is at fault becomes a broken scalar."""
        mark = node.start_mark
        line, column = mark.line + self._first, mark.column + 1
        identity = id(node)
        if identity in self._seen:
            self._shared.repeated += 1
            if identity in parents or len(parents) > MAX_DEPTH:
                return self._broken(path, mark, "an alias stands inside of what it repeats", "write the value out")
            if self._shared.repeated > MAX_ALIASED_NODES:
                if self._shared.repeated > MAX_ALIASED_NODES + 1:
                    return Scalar(path, line, column, "", broken=True)
                return self._broken(
                    path, mark, f"aliases repeat more than {MAX_ALIASED_NODES} values", "write fewer"
                )
        self._seen.add(identity)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, line, column)
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            return self._broken(path, mark, f"the tag {shown(node.tag)} means nothing here", "remove it")
        within = (*parents, identity)
        if isinstance(node, yaml.SequenceNode):
            items = [self.node(item, (path, index), within) for index, item in enumerate(node.value)]
            return Sequence(path, line, column, tuple(items))
        return self._mapping(node, path, within)

    def _broken(self, path: Within, mark: Any, problem: str, remedy: str) -> Scalar:
        """Report a fault and give a node that stands in for what is at fault."""
        node = Scalar(path, mark.line + self._first, mark.column + 1, "", broken=True)
        self._report.fault(node, problem, remedy)
        return node

    def _mapping(self, node: Any, path: Within, parents: tuple[int, ...]) -> Mapping:
        mark = node.start_mark
        keys: dict[str, tuple[int, int]] = {}
        values: dict[str, Node] = {}
        for key_node, value_node in node.value:
            mark_of_key = key_node.start_mark
            line, column = mark_of_key.line + self._first, mark_of_key.column + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._broken(path, mark_of_key, "a key is a list or a mapping", "write a word as key")
                continue
            name = key_node.value
            path_of_value = (path, name)
            value = self.node(value_node, path_of_value, parents)
            if name in keys:
                problem = f"is given twice, first in line {keys[name][0]}"
                self._broken(path_of_value, mark_of_key, problem, "keep one of the two")
                continue
            keys[name] = line, column
            values[name] = value
        return Mapping(path, mark.line + self._first, mark.column + 1, keys, values)

    def _scalar(self, node: Any, path: Within, line: int, column: int) -> Scalar:
        text = node.value
        type_ = _TYPES.get(node.tag)
        if type_ is None:
            return self._broken(path, node.start_mark, f"the tag {shown(node.tag)} means nothing here", "remove it")
        if self._environ is None or "${" not in text:
            return Scalar(path, line, column, text, type_)
        try:
            return Scalar(path, line, column, expand(text, self._environ), ScalarType.TEXT, expanded=True)
        except VariableError as error:
            here = Scalar(path, line, column + _offset(node, error.offset), "", broken=True)
            self._report.fault(here, str(error), error.remedy)
            return here


def _offset(node: Any, offset: int) -> int:
    """Give the columns from a scalar's start to a character of its value, if that can be told."""
    start, end = node.start_mark, node.end_mark
    quotes = 2 if node.style in ("'", '"') else 0
    if start.line == end.line and end.column - start.column == len(node.value) + quotes:
        return offset + quotes // 2
    return 0
