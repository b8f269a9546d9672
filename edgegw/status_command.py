"""``edgegw status``: what a cluster would show of Gateway API objects.

From files it needs no gateway: they are compiled as ``edgegw run`` would compile them.  Whether addresses and ports can
be used is known only to a gateway that runs, which ``--admin`` asks.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

import yaml

from edgegw.descriptors import reader_may_leave
from edgegw.gateway_api.status_items import StatusItems, status_table
from edgegw.manifest_arguments import add_manifest_arguments, configuration_of

__all__ = ["run_status"]

_MOST_BYTES: Final = 256 * 1024 * 1024
_SECONDS: Final = 10.0


def run_status(arguments: Sequence[str]) -> int:
    """Run the command; gives the exit status: 1 where the manifests have faults, or no gateway answers."""
    parser = argparse.ArgumentParser(
        prog="edgegw status",
        description="Show the status of Gateway API objects, as a cluster would.",
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", metavar="PATH", action="extend", nargs="+",
                        help="files and directories of manifests; - is standard input")
    parser.add_argument("--admin", metavar="URL", default="http://127.0.0.1:9901",
                        help="the admin site of a running gateway, which is asked without --config "
                             "(default: %(default)s)")
    parser.add_argument("-o", "--output", choices=("table", "yaml", "json"), default="table")
    add_manifest_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        items, faults = _offline(parser, options) if options.config else _running(options.admin)
        written = _written(items, options.output)
    except _NoStatus as error:
        print(error, file=sys.stderr)
        return 1
    with reader_may_leave():
        print(written, end="")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


class _NoStatus(Exception):
    """The text says why there is none."""


def _offline(parser: argparse.ArgumentParser, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    from edgegw.config import ConfigError

    configuration = configuration_of(parser, options.config, options)
    if configuration.manifests is None:
        raise _NoStatus(f"{options.config[0]} has no Gateway API objects in it: a native configuration has no status")
    try:
        compiled, _ = configuration.compile()
    except ConfigError as error:
        raise _NoStatus(str(error)) from error
    seen = StatusItems()
    seen.see(compiled.statuses, datetime.now(UTC))
    return seen.items, []


def _running(admin: str) -> tuple[list[dict[str, Any]], list[str]]:
    url = f"{admin.rstrip('/')}/gateway-api/status"
    try:
        if urlsplit(url).scheme not in ("http", "https"):
            raise _NoStatus(f"{admin} is no http URL; write http://127.0.0.1:9901")
        # The proxies of the environment have nothing to do with an admin site.
        with build_opener(ProxyHandler({})).open(url, timeout=_SECONDS) as answer:
            found = json.loads(answer.read(_MOST_BYTES))
        return list(found["items"]), [str(fault) for fault in found["faults"]]
    except HTTPError as error:
        error.close()
        if error.code == 404:
            reason = "a gateway with Gateway API manifests has this page; what answers here has not"
        else:
            reason = f"it answers {error.code}"
    except URLError as error:
        reason = str(error.reason)
    except (OSError, HTTPException, ValueError) as error:
        reason = str(error) or type(error).__name__
    except (KeyError, TypeError):
        reason = "what answers here is no gateway"
    raise _NoStatus(f"{url}: {reason}; name the files with --config, or a gateway with --admin")


def _written(items: list[dict[str, Any]], output: str) -> str:
    if output == "table":
        try:
            return status_table(items)
        except (AttributeError, KeyError, TypeError) as error:
            raise _NoStatus("what answers is no gateway of this version; see it with -o json") from error
    # As "kubectl get -o" gives several objects.
    document = {"apiVersion": "v1", "kind": "List", "items": items}
    if output == "json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
