"""The command line of ``edgegw explain``."""
from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from OpenSSL import SSL

from edgegw.config.addresses import parse_hostname, parse_ip_address
from edgegw.config.scalars import Unparsable
from edgegw.configuration import absolute_paths
from edgegw.manifest_arguments import add_manifest_arguments, configuration_of
from edgegw.observe.handshake_entry import visible
from edgegw.policies.tls_fingerprint import normalise_tls_fingerprint
from edgegw.tap import DEFAULT_CONFIG, config_paths
from edgegw.wire.fingerprints import Fingerprints

__all__ = ["parse_arguments"]

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VERSIONS: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the arguments behind ``edgegw explain``.

    ``configuration`` is what is to be read, ``at`` a time in UTC, ``tls`` a version as OpenSSL numbers them, ``sni`` a
    canonical name, ``fingerprints`` those of ``ja3`` and ``ja4``; what was not given is ``None``.

    :raises SystemExit: argparse's, after ``--help`` and after arguments that it does not understand.
    """
    parser = argparse.ArgumentParser(
        prog="edgegw explain",
        description="Say whether a client certificate would come in, and why, by the very code that would decide.",
        epilog="The status is 0 for a client that comes in, 3 for one that is refused, 4 where a policy or a router "
               "that waits was not asked and would have a say in it (--online asks), 1 for a faulty configuration. "
               "Nothing is known here of what a running gateway has counted or fetched: rate_limit begins with full "
               "buckets.",
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", metavar="PATH", action="extend", nargs="+",
                        help="a file, or files and directories of Gateway API manifests; - is standard input "
                             f"(default: {DEFAULT_CONFIG})")
    parser.add_argument("-l", "--listener", metavar="NAME",
                        help="needed where there are several HTTPS listeners; of a Gateway's listener NAMESPACE/"
                             "GATEWAY/NAME, or as much of its end as tells it from others")
    client = parser.add_argument_group("the client")
    client.add_argument("--cert", metavar="FILE",
                        help="its certificate, PEM or DER, maybe with what it sends above it; - for standard input "
                             "(default: a client without a certificate)")
    client.add_argument("--chain", metavar="FILE", action="append", default=[],
                        help="more certificates that it sends above its own; may be given again")
    client.add_argument("--key", metavar="FILE", help="its private key; without it all the same is decided")
    client.add_argument("--sni", metavar="NAME", type=_hostname,
                        help="the name that it asks for (default: the listener's hostname, if that is a single name)")
    client.add_argument("--address", metavar="IP", type=_address, default="192.0.2.1",
                        help="where it comes from (default: %(default)s)")
    client.add_argument("--tls", choices=tuple(_VERSIONS), help="the only version that it speaks (default: both)")
    client.add_argument("--ja3", metavar="DIGITS", type=_fingerprint("JA3"),
                        help="the JA3 of its ClientHello, as edgegw handshakes shows it (default: none was taken)")
    client.add_argument("--ja4", metavar="TEXT", type=_fingerprint("JA4"), help="the JA4 of its ClientHello")
    client.add_argument("--at", metavar="TIME", type=_time,
                        help="judge as of a date or a time such as 2027-01-31T12:00Z; UTC unless it says otherwise "
                             "(default: now)")
    request = parser.add_argument_group("a request of the client, which a route's rule has to let through")
    request.add_argument("--path", metavar="PATH", type=_line("path", "/"), help="such as /admin, or /admin?a=b")
    request.add_argument("--method", metavar="METHOD", type=_line("method"), help="default: GET")
    request.add_argument("--host", metavar="NAME", type=_line("host"), help="default: the name of --sni")
    request.add_argument("--header", metavar="LINE", type=_header, action="append", default=[],
                         help="a header that rules may match by, such as 'x-version: 2'; may be given again")
    parser.add_argument("--online", action="store_true",
                        help="also ask the policies that wait, which may ask others over the network, and fetch lists")
    parser.add_argument("--json", action="store_true", help="print all that is known as JSON")
    add_manifest_arguments(parser)
    options = parser.parse_args(arguments)
    if options.cert is None and (options.chain or options.key):
        parser.error("--chain and --key are for a client with a certificate: give --cert")
    if options.path is None and (options.method or options.host or options.header):
        parser.error("--method, --host and --header are for a request: give --path")
    paths = config_paths(options.config)
    if not paths:
        parser.error(f"name a configuration with --config; there is no {DEFAULT_CONFIG}")
    if "-" in paths and "-" in (options.cert, *options.chain, options.key):
        parser.error("standard input can be the configuration or a certificate, not both")
    options.configuration = configuration_of(parser, absolute_paths(paths), options)
    options.tls = _VERSIONS.get(options.tls)
    given = options.ja3 or options.ja4
    options.fingerprints = Fingerprints(options.ja3 or "", options.ja4 or "") if given else None
    return options


def _hostname(text: str) -> str:
    try:
        name = parse_hostname(text)
    except Unparsable as error:
        raise argparse.ArgumentTypeError(f"{visible(text)} {error}; {error.remedy}") from None
    if name.startswith("*."):
        raise argparse.ArgumentTypeError("a client asks for a single name, without a wildcard")
    return name


def _address(text: str) -> str:
    try:
        return parse_ip_address(text)
    except Unparsable as error:
        raise argparse.ArgumentTypeError(f"{visible(text)} {error}; {error.remedy}") from None


def _fingerprint(what: str) -> Any:
    """Give a judge of a JA3 or a JA4."""

    def judge(text: str) -> str:
        try:
            normal = normalise_tls_fingerprint(text)
        except ValueError:
            normal = "*"
        if normal.endswith("*") or ("_" in normal) is not (what == "JA4"):
            raise argparse.ArgumentTypeError(f"{visible(text)} is no whole {what}; copy it from edgegw handshakes")
        return normal

    return judge


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{visible(text)} is no time; write 2027-01-31, 2027-01-31T12:00 or 2027-01-31T12:00+01:00"
        ) from None


def _line(what: str, begin: str = "") -> Any:
    """Give a judge of a part of a request line."""

    def judge(text: str) -> str:
        if not text or not all("!" <= c <= "~" for c in text) or not text.startswith(begin):
            beginning = f" that begins with {begin}" if begin else ""
            raise argparse.ArgumentTypeError(
                f"{visible(text)} is no {what}; write printable ASCII without spaces{beginning}, the rest as %XX"
            )
        return text

    return judge


def _header(text: str) -> str:
    name, colon, value = text.partition(":")
    if not colon or not _HEADER_NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
        raise argparse.ArgumentTypeError(f"{visible(text)} is no header; write NAME: VALUE in printable ASCII")
    return f"{name}: {value.strip(' ')}"
