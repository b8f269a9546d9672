"""A plugin's options as a configuration writes them: read from text or a mapping, and written back."""
from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from textwrap import dedent
from typing import Any

import attrs
import yaml

from edgegw.config.faults import ConfigError, Report
from edgegw.config.nodes import Mapping as MappingNode
from edgegw.config.options import Options, options_of
from edgegw.config.reader import read_text
from edgegw.config.shapes import INVALID, Entries, ListOf, Shape
from edgegw.interfaces import IEnvironment, IPluginKind

__all__ = ["configure", "document_of", "examples_of", "options", "undocumented"]


def options(kind: Any, document: Mapping[str, Any] | str = "", directory: str | os.PathLike[str] | None = None) -> Any:
    """Read options as a configuration does: rules, conversions and checks apply.

    ::

        options(rate_limit, {"per": "1m", "connections": 10})
        options(rate_limit, "per: 1m\\nconnections: 10\\n")

    :param kind: what a plugin's decorator made.
    :param document: a mapping, or YAML.
    :param directory: where relative paths begin; the current directory without it.
    :returns: an instance of the kind's class for options; ``None`` if it has none.
    :raises edgegw.testing.ConfigError: with every fault, as ``edgegw check`` would print it.
    :raises TypeError: the class has a field that no configuration can give.
    """
    text = document if isinstance(document, str) else json.dumps(dict(document))
    report = Report(str(kind.name))
    root = read_text(text, str(kind.name), {}, report)
    node = MappingNode("", 1, 1, {}, {}) if root is None else root
    if kind.config_type is None:
        if not isinstance(node, MappingNode) or node.values:
            report.fault(node, "takes no options", "write the name alone")
        value: Any = None
    else:
        value = options_of(kind.config_type, os.path.abspath(directory or os.curdir)).read(node, report)
    if value is INVALID or report.failed:
        raise ConfigError(report.findings)
    return value


def configure(kind: Any, config: Any, env: IEnvironment) -> Any:
    """Make a configured object of a kind of plugin.

    :param config: its options: an instance of the kind's class for them, a mapping as a configuration has it, or
        YAML; ``None`` if there are none.
    :raises edgegw.testing.ConfigError: a mapping or YAML has a fault.
    :raises TypeError: ``kind`` is no kind of plugin, or ``config`` is of another class than its options.
    """
    if not IPluginKind.providedBy(kind):
        raise TypeError(f"{kind!r} is no kind of plugin: is the decorator missing?")
    if isinstance(config, (Mapping, str)):
        config = options(kind, config, env.directory)
    if kind.config_type is None:
        if config is not None:
            raise TypeError(f"{kind.name} has no options: give None")
    elif not isinstance(config, kind.config_type):
        raise TypeError(f"{kind.name} takes {kind.config_type.__name__}, and not {config!r}")
    return kind.build(config, env)


def document_of(config: Any) -> dict[str, Any]:
    """Give options as a configuration would write them; those that have their default are left out.

    :raises TypeError: an option's conversion has made something of it that nothing can be told of, such as a compiled
        expression.
    """
    config_type: Any = type(config)
    document = _written(options_of(config_type), config)
    assert isinstance(document, dict)
    # What JSON does not know is not what a document said.
    json.dumps(document)
    return document


def _written(shape: Shape, value: Any) -> Any:
    if isinstance(shape, Options):
        defaults = {field.name: field.default for field in attrs.fields(type(value))}
        parts = [(field, getattr(value, field.attribute)) for field in shape.record.fields]
        return {
            field.key: _written(field.shape, part) for field, part in parts if part != defaults[field.attribute]
        }
    if isinstance(shape, ListOf):
        return [_written(shape.element, one) for one in value]
    if isinstance(shape, Entries):
        return {key: _written(shape.value, one) for key, one in dict(value).items()}
    try:
        return shape.show(value)
    except (AttributeError, ValueError) as error:
        raise TypeError(str(error)) from error


def examples_of(kind: Any) -> Iterator[tuple[str, Any]]:
    """Find what a kind's docstring shows under ``Example::``.

    Gives the word that names it, ``policies`` for instance, with its options: a mapping, or ``None`` for the bare
    name.

    :raises ValueError: the example is not YAML.
    """
    for block in re.findall(r"^Examples?::\n\n((?:[ \t]+.*\n?|\n)+)", kind.description, re.MULTILINE):
        try:
            document = yaml.safe_load(dedent(block))
        except yaml.YAMLError as error:
            raise ValueError(f"the example is not YAML: {error}") from error
        yield from _uses(document, kind.name, "")


def _uses(part: Any, name: str, word: str) -> Iterator[tuple[str, Any]]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == name:
                yield word, value
            else:
                yield from _uses(value, name, str(key))
    elif isinstance(part, list):
        for one in part:
            yield from _uses(one, name, word)
    elif part == name:
        yield word, None


def undocumented(config_type: Any) -> Iterator[str]:
    """Give every option, those of options inside options among them, that does not say what it is for."""
    seen: list[Any] = []
    waiting = [config_type]
    while waiting:
        options_class = waiting.pop()
        if options_class in seen:
            continue
        seen.append(options_class)
        for field in attrs.fields(attrs.resolve_types(options_class)):
            if not str(field.metadata.get("doc", "")).strip():
                yield f"{options_class.__name__}.{field.name}"
            waiting += _classes_in(field.type)


def _classes_in(annotation: Any) -> Iterator[Any]:
    if attrs.has(annotation):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _classes_in(inner)
