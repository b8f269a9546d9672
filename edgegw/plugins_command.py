"""``edgegw plugins``: which plugins there are, where they come from, and how one is used.

It finds what a gateway with the same configuration would find.  The exit status is 0, 1 if a plugin could not be
loaded or the configuration's ``plugin_path`` is at fault, 2 when the command line cannot be understood or names a
plugin that does not exist.

``python -m edgegw.plugins_command`` prints ``docs/policies.rst``, with ``backend`` behind it ``docs/backends.rst``; see
:mod:`edgegw.config.reference_page` and :mod:`edgegw.config.backends_page`.
"""
from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Final

from edgegw.config import ConfigError
from edgegw.config.backends_page import backends_page
from edgegw.config.document import DOCUMENT
from edgegw.config.faults import Report
from edgegw.config.nodes import Mapping
from edgegw.config.reader import read_file
from edgegw.config.reference import kind_as_json, kind_as_text
from edgegw.config.reference_page import policies_page
from edgegw.config.shapes import Invalid, did_you_mean
from edgegw.descriptors import reader_may_leave
from edgegw.registry import INTERFACES, Found, Problem, Registry

__all__ = ["plugin_directories", "run_plugins"]

#: Where plugins are looked for without a configuration's ``plugin_path``: ``plugins`` beside it, and here.
_SYSTEM_DIRECTORY: Final = Path("/etc/edgegw/plugins")
_WIDEST: Final = 120
#: Columns below which a description stands under the name and not beside it.
_NARROW: Final = 60
#: Columns that names may take.
_LONGEST_NAME: Final = 24


def run_plugins(arguments: Sequence[str]) -> int:
    """List the plugins, or tell all about one; gives the exit status.

    :param arguments: those behind ``edgegw plugins``.
    :raises SystemExit: argparse's, after ``--help`` and after arguments that it does not understand.
    """
    parser, options = _parse(arguments)
    try:
        directories = plugin_directories(options.config)
    except ConfigError as error:
        print(_shown(str(error)), file=sys.stderr)
        return 1
    registry = Registry(directories)
    _complain(registry.problems)
    status = 1 if registry.problems else 0
    found = [one for one in registry.all() if options.kind in (None, one.what)]
    if options.name is not None:
        try:
            found = _named(registry, found, options)
        except ValueError as error:
            print(f"edgegw plugins: {_shown(options.name)} {_shown(str(error))}", file=sys.stderr)
            return 1
        if not found:
            parser.error(_no_such(options, registry))
    with reader_may_leave():
        print(_json(found, options.name) if options.json else _text(found, options.name))
    return status


def _parse(arguments: Sequence[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="edgegw plugins",
        description="List the plugins that a gateway finds, or tell all about one.",
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="tell all about one: a name, or module:object")
    parser.add_argument("-c", "--config", metavar="FILE",
                        help="look where a configuration's plugin_path says (default: plugins in the current "
                             f"directory, and {_SYSTEM_DIRECTORY})")
    parser.add_argument("--kind", metavar="KIND", help=f"only those of one kind: {', '.join(INTERFACES)}")
    parser.add_argument("--json", action="store_true", help="print everything about each as JSON")
    options = parser.parse_args(arguments)
    if options.kind is not None and options.kind not in INTERFACES:
        parser.error(f"there is no kind {_shown(options.kind)}: {did_you_mean(options.kind, list(INTERFACES))}")
    return parser, options


def _no_such(options: argparse.Namespace, registry: Registry) -> str:
    whats = list(INTERFACES) if options.kind is None else [options.kind]
    names = sorted({name for what in whats for name in registry.names(what)})
    which = "plugin" if options.kind is None else options.kind
    remedy = did_you_mean(options.name, names)
    return f"there is no {which} {_shown(options.name)}" + (f": {remedy}" if remedy else "")


def _named(registry: Registry, found: list[Found], options: argparse.Namespace) -> list[Found]:
    """Give the plugins of the name that was asked for.

    :raises ValueError: ``module:object`` cannot be loaded, or is no plugin.
    """
    if ":" not in options.name:
        return [one for one in found if one.kind.name == options.name]
    problem: ValueError | None = None
    for what in INTERFACES if options.kind is None else [options.kind]:
        try:
            one = registry.find(what, options.name)
        except ValueError as error:
            problem = problem or error
        else:
            return [] if one is None else [one]
    raise ValueError(problem)


# --- where to look ----------------------------------------------------------------------------


def plugin_directories(config: str | None) -> list[str]:
    """Give the directories whose files are plugins, absolute.

    :param config: a configuration, of which nothing is read but ``plugin_path``; ``None`` for the directories that
        one in the current directory would have without it.
    :raises ConfigError: it cannot be read, or names what is no directory.
    """
    if config is None:
        return _default_directories(Path.cwd())
    beside = Path(config).absolute().parent
    report = Report(config)
    root = read_file(config, os.environ, report)
    node = root.values.get("plugin_path") if isinstance(root, Mapping) else None
    if node is None:
        return _default_directories(beside)
    shape = next(field.shape for field in DOCUMENT.fields if field.key == "plugin_path")
    items = shape.read(node, report)
    directories = []
    for item in () if isinstance(items, Invalid) else items:
        path = beside / item.value
        if path.is_dir():
            directories.append(str(path))
        else:
            report.fault(item.node, f"there is no directory {path}", "create it, or correct the path")
    faults = [fault for fault in report.findings if fault.path.startswith("plugin_path")]
    if faults:
        raise ConfigError(faults)
    return directories


def _default_directories(beside: Path) -> list[str]:
    return [str(path) for path in (beside / "plugins", _SYSTEM_DIRECTORY) if path.is_dir()]


# --- what to print ----------------------------------------------------------------------------


def _complain(problems: Sequence[Problem]) -> None:
    for problem in problems:
        print(f"edgegw plugins: {_shown(problem.origin)} cannot be loaded:", file=sys.stderr)
        print(_shown(problem.trace or problem.problem).rstrip("\n"), file=sys.stderr)


def _json(found: Sequence[Found], name: str | None) -> str:
    kinds = [kind_as_json(one) for one in found]
    return json.dumps(kinds[0] if name is not None and len(kinds) == 1 else kinds, indent=2)


def _text(found: Sequence[Found], name: str | None) -> str:
    width = min(shutil.get_terminal_size((100, 24)).columns, _WIDEST)
    if name is not None:
        return _shown("\n\n".join(kind_as_text(one, width).rstrip("\n") for one in found))
    return _shown("\n".join(_listed(found, max(width, 24))) or "There are no plugins.")


def _listed(found: Sequence[Found], width: int) -> Iterator[str]:
    beside = min(max((len(one.kind.name) for one in found), default=0), _LONGEST_NAME) + 4 if width >= _NARROW else 4
    what = ""
    for one in found:
        if one.what != what:
            if what:
                yield ""
            what = one.what
            yield f"{what}:"
        yield from _entry(one, beside, width)


def _entry(found: Found, beside: int, width: int) -> Iterator[str]:
    indent = " " * beside
    kind = found.kind
    summary = " ".join(kind.description.split("\n\n")[0].split())
    origin = f"from {found.origin}{f' {found.version}' if found.version else ''}"
    if getattr(kind, "waits", False):
        origin += "; waits"
    head = f"  {kind.name}"
    if len(head) + 1 >= beside:
        yield head
        head = indent
    yield from wrap(summary, width, initial_indent=head.ljust(beside), subsequent_indent=indent)
    yield from wrap(
        origin, width, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False,
        break_long_words=False,
    )


def _shown(text: str) -> str:
    """Escape what a terminal would obey; lines stay."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text
    )


if __name__ == "__main__":
    page = backends_page if sys.argv[1:] == ["backend"] else policies_page
    sys.stdout.buffer.write(page(Registry().all()).encode())
