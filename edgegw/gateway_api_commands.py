"""``edgegw secret`` and ``edgegw configmap``: manifests made from files, as ``kubectl create`` makes them.

The exit status is 0, 1 if a file cannot be read or no manifest can be made of it, 2 when the command line cannot be
understood.
"""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgegw.descriptors import reader_may_leave
from edgegw.gateway_api.make_objects import CannotMake, config_map, data_key, tls_secret

__all__ = ["run_configmap", "run_secret"]


def run_secret(arguments: Sequence[str]) -> int:
    """Print a Secret; gives the exit status.

    :param arguments: those behind ``edgegw secret``.
    :raises SystemExit: argparse's, after ``--help`` and after arguments that it does not understand.
    """
    parser = argparse.ArgumentParser(
        prog="edgegw secret", description="Print a Secret's manifest.", allow_abbrev=False
    )
    types = parser.add_subparsers(dest="type", required=True, metavar="TYPE")
    tls = types.add_parser(
        "tls", help="a certificate and its private key", description="Print a Secret of type kubernetes.io/tls.",
        allow_abbrev=False,
    )
    tls.add_argument("name", metavar="NAME")
    tls.add_argument("--cert", metavar="FILE", required=True, help="the certificate and those that issued it, PEM")
    tls.add_argument("--key", metavar="FILE", required=True, help="its private key, PEM")
    tls.add_argument("-n", "--namespace", metavar="NAMESPACE", help="default: none is written")
    options = parser.parse_args(arguments)
    try:
        text = tls_secret(options.name, _content(options.cert), _content(options.key), options.namespace)
    except (OSError, CannotMake) as error:
        return _refuse("secret", error)
    return _print(text)


def run_configmap(arguments: Sequence[str]) -> int:
    """Print a ConfigMap; gives the exit status.

    :param arguments: those behind ``edgegw configmap``.
    :raises SystemExit: argparse's, after ``--help`` and after arguments that it does not understand.
    """
    parser = argparse.ArgumentParser(
        prog="edgegw configmap", description="Print a ConfigMap's manifest.", allow_abbrev=False
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--from-file", metavar="[KEY=]FILE", action="append", default=[], dest="files",
                        help="a file, or a directory with files, each under its own name if no key is given")
    parser.add_argument("--from-literal", metavar="KEY=VALUE", action="append", default=[], dest="literals",
                        help="a value as it stands")
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help="default: none is written")
    options = parser.parse_args(arguments)
    entries: dict[str, bytes] = {}
    try:
        for key, content in [*_files(options.files), *_literals(options.literals)]:
            if key in entries:
                raise CannotMake(f"the key {key!r} is given twice; keep one of the two")
            entries[key] = content
        text = config_map(options.name, entries, options.namespace)
    except (OSError, CannotMake) as error:
        return _refuse("configmap", error)
    return _print(text)


def _files(sources: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for source in sources:
        key, equals, path = source.partition("=")
        if equals:
            if not key or not path or "=" in path:
                raise CannotMake(f"{source!r} is no [KEY=]FILE; write KEY=FILE with one =")
            yield data_key(key), _content(path)
        elif os.path.isdir(source):
            for name in sorted(os.listdir(source)):
                below = os.path.join(source, name)
                if os.path.isfile(below) and not os.path.islink(below):
                    yield data_key(name), _content(below)
        else:
            yield data_key(os.path.basename(source)), _content(source)


def _literals(sources: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for source in sources:
        key, equals, value = source.partition("=")
        if not key or not equals:
            raise CannotMake(f"{source!r} is no KEY=VALUE")
        yield data_key(key), value.encode("utf-8", "surrogateescape")


def _content(path: str) -> bytes:
    return Path(path).read_bytes()


def _refuse(command: str, error: OSError | CannotMake) -> int:
    problem = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
    print(f"edgegw {command}: {problem}", file=sys.stderr)
    return 1


def _print(text: str) -> int:
    with reader_may_leave():
        print(text, end="")
    return 0
