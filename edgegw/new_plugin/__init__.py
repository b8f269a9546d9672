"""``edgegw new-plugin``: writes a plugin that works, with its test, to begin from."""
from __future__ import annotations

import argparse
import keyword
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from shlex import quote
from string import Template
from types import MappingProxyType
from typing import Final

from edgegw.descriptors import reader_may_leave
from edgegw.kinds.policy import kind_name
from edgegw.new_plugin.backend import BACKEND
from edgegw.new_plugin.certificate_source import CERTIFICATE_SOURCE
from edgegw.new_plugin.dynamic_certificate_source import DYNAMIC_CERTIFICATE_SOURCE
from edgegw.new_plugin.header_injector import HEADER_INJECTOR
from edgegw.new_plugin.policy import PLAIN, WAITING
from edgegw.new_plugin.sni_router import SNI_ROUTER
from edgegw.registry import Registry

__all__ = ["KINDS", "CannotWrite", "new_plugin", "run_new_plugin"]

#: The plugin and its test for each kind that can be asked for; ``policy`` with ``waits`` has others.
_TEMPLATES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType({
    "policy": PLAIN,
    "header_injector": HEADER_INJECTOR,
    "certificate_source": CERTIFICATE_SOURCE,
    "dynamic_certificate_source": DYNAMIC_CERTIFICATE_SOURCE,
    "sni_router": SNI_ROUTER,
    "backend": BACKEND,
})
#: The kinds that :func:`new_plugin` writes.
KINDS: Final = tuple(_TEMPLATES)


class CannotWrite(Exception):
    """No plugin was written; the text says why and what would be right."""


def new_plugin(
    name: str, kind: str = "policy", directory: str | os.PathLike[str] = ".", waits: bool = False
) -> list[Path]:
    """Write ``NAME.py`` and ``test_NAME.py``, which passes as it is.

    :param name: the plugin's: what a configuration will write.
    :param kind: one of :data:`KINDS`.
    :param directory: made if it is not there.
    :param waits: write a policy that asks a service, with ``async``.
    :returns: the two files.
    :raises CannotWrite: the name cannot be one or is taken, one of the files is there already, or the directory
        cannot be written to.
    """
    if kind not in _TEMPLATES:
        raise CannotWrite(f"there is no kind {kind}; use one of {', '.join(KINDS)}")
    if waits and kind != "policy":
        raise CannotWrite(f"only a policy can wait, and no {kind}")
    _check_name(name, kind)
    folder = Path(directory)
    names = {"name": name, "camel": "".join(part.capitalize() for part in name.split("_"))}
    templates = WAITING if waits else _TEMPLATES[kind]
    texts = {
        folder / file: Template(template).substitute(names)
        for file, template in zip((f"{name}.py", f"test_{name}.py"), templates, strict=True)
    }
    for path in texts:
        if os.path.lexists(path):
            raise CannotWrite(f"{path} is there already; remove it, or choose another name")
    try:
        _make_folder(folder)
        for path, text in texts.items():
            # Whatever the umask: the gateway loads no code that others may write.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise CannotWrite(f"{error.filename or folder}: {error.strerror}") from error
    return list(texts)


def _make_folder(folder: Path) -> None:
    """Make a directory and those above it, which nobody else may write to: the gateway would load no code there."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(0o755)


def _check_name(name: str, kind: str) -> None:
    try:
        kind_name(name)
    except ValueError as error:
        raise CannotWrite(str(error)) from None
    if name.startswith("test_"):
        raise CannotWrite(f"{name} cannot be a plugin's name: files that begin with test_ are not loaded")
    if keyword.iskeyword(name):
        raise CannotWrite(f"{name} cannot be a plugin's name: it is a word of Python's")
    if name in sys.stdlib_module_names or name in packages_distributions():
        raise CannotWrite(f"{name} cannot be a plugin's name: its test would take it for the module {name}")
    taken = Registry().find(kind, name)
    if taken is not None:
        raise CannotWrite(f"there is a {kind} {name} already, from {taken.origin}; choose another name")


def run_new_plugin(arguments: Sequence[str]) -> int:
    """Write the plugin that a command line asks for, and say what to do next.

    :param arguments: those behind ``edgegw new-plugin``.
    :returns: the exit status: 0, or 1 if nothing was written.
    :raises SystemExit: argparse's, after ``--help`` and after arguments that it does not understand.
    """
    options = _parser().parse_args(arguments)
    try:
        plugin, test = new_plugin(options.name, options.kind, options.directory, options.waits)
    except CannotWrite as error:
        print(error, file=sys.stderr)
        return 1
    with reader_may_leave():
        print(f"wrote {plugin} and {test}")
        print(f"try it:  cd {quote(str(plugin.parent))} && {quote(sys.executable)} -m twisted.trial {test.stem}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgegw new-plugin",
        description="Write a plugin that works, and its test, to begin from: NAME.py and test_NAME.py.",
    )
    parser.add_argument("name", metavar="NAME", help="what a configuration will write: lower-case letters, digits, _")
    parser.add_argument("--kind", default="policy", choices=KINDS, help="what it is to be (default: policy)")
    parser.add_argument("--waits", action="store_true", help="a policy that asks a service and waits for its answer")
    parser.add_argument(
        "--directory", default="plugins", metavar="DIR", help="where to; made if it is not there (default: plugins)"
    )
    return parser
