"""The ``edgegw`` command.

``edgegw run``         serves a configuration in the foreground
``edgegw check``       says what a configuration would run, or what is wrong with it
``edgegw schema``      prints the JSON Schema of the configuration
``edgegw status``      shows the status of Gateway API objects, as a cluster would
``edgegw convert``     prints manifests in the native language
``edgegw explain``     says whether a client certificate would come in, and why
``edgegw handshakes``  shows the last handshakes of a running gateway
``edgegw plugins``     lists the plugins that are found, with their options
``edgegw new-plugin``  writes a plugin to begin with, and its test
``edgegw secret``      prints a Secret's manifest, made of a certificate and its key
``edgegw configmap``   prints a ConfigMap's manifest, made of files
``edgegw demo``        makes a throw-away PKI, an upstream and a configuration, and serves it
``edgegw version``     says which versions are at work

The exit status is 0 when what was asked for was done, 1 when the configuration or an address cannot
be used, 2 when the command line cannot be understood; ``explain`` has 3 for a client that is refused, and 4
where that is not known without asking others.  It is the same where whoever reads the output has seen enough, as
``head`` has.
"""
from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from typing import Any, Final

from edgegw.descriptors import hold_standard, reader_may_leave
from edgegw.garbage import no_garbage_collection
from edgegw.manifest_arguments import add_manifest_arguments, configuration_of
from edgegw.openssl_conf import use_configuration

__all__ = ["main"]


#: Commands with options and a help of their own: the module and the function that run them, and what they do.
_WITH_OPTIONS: Final = {
    "status": ("edgegw.status_command", "run_status", "show the status of Gateway API objects, as a cluster would"),
    "convert": ("edgegw.convert_command", "run_convert", "print Gateway API manifests in the native language"),
    "explain": ("edgegw.explain_command", "run_explain", "say whether a client certificate would come in, and why"),
    "handshakes": ("edgegw.handshakes_command", "run_handshakes", "show the last handshakes of a running gateway"),
    "plugins": ("edgegw.plugins_command", "run_plugins", "list the plugins that are found, with their options"),
    "new-plugin": ("edgegw.new_plugin", "run_new_plugin", "write a plugin to begin with, and its test"),
    "secret": ("edgegw.gateway_api_commands", "run_secret", "print a Secret's manifest"),
    "configmap": ("edgegw.gateway_api_commands", "run_configmap", "print a ConfigMap's manifest"),
    "demo": ("edgegw.demo", "run_demo", "serve a throw-away PKI, upstream and configuration"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status.

    :param argv: the arguments behind the command's name; ``sys.argv``'s if not given.
    :raises SystemExit: argparse's, after ``--help`` and after arguments that it does not understand.
    """
    hold_standard()
    try:
        return _main(argv)
    finally:
        with reader_may_leave():
            pass  # what argparse has printed, above all


def _main(argv: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, TextIOWrapper):
        # Whatever the locale: a description that cannot be printed would pass for a faulty configuration.
        sys.stdout.reconfigure(encoding="utf-8")
    parser, options, rest = _parse(argv)
    command = options.command
    if command in ("demo", "run"):
        use_configuration()
    if command in _WITH_OPTIONS:
        module, function, _ = _WITH_OPTIONS[command]
        return int(getattr(import_module(module), function)(rest))
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if command == "run":
        return _run(parser, options)
    if command == "check":
        with no_garbage_collection():
            return _check(parser, options)
    if command == "schema":
        return _schema(options.plugins)
    return _version()


def _parse(argv: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="edgegw", description="A pluggable mTLS edge gateway.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve a configuration in the foreground")
    run.add_argument("-c", "--config", metavar="PATH", action="extend", nargs="+",
                     help="a file, or files and directories of Gateway API manifests; - is standard input "
                          "(default: /etc/edgegw/edgegw.yaml)")
    check = commands.add_parser("check", help="say what a configuration would run, or what is wrong with it")
    check.add_argument("files", metavar="PATH", nargs="+",
                       help="a file, or files and directories of Gateway API manifests; - is standard input")
    check.add_argument("--strict", action="store_true", help="take warnings for faults")
    for command in (run, check):
        add_manifest_arguments(command)
    schema = commands.add_parser("schema", help="print the JSON Schema of the configuration")
    schema.add_argument(
        "--plugins", metavar="DIR", action="append", help="explain those in a directory too, and all that are installed"
    )
    for name, (_, _, description) in _WITH_OPTIONS.items():
        commands.add_parser(name, help=description, add_help=False)
    commands.add_parser("version", help="say which versions are at work")
    options, rest = parser.parse_known_args(argv)
    return parser, options, rest


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    # All that is imported and built stays; looking through it again and again takes a tenth of the time to start.
    with no_garbage_collection():
        reactor = _started(parser, options)
        if reactor is None:
            return 1
        # What has been built so far stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
    reactor.run()
    return 0


def _started(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Any:
    """Open every port; gives the reactor to run, or ``None`` if that cannot be done, which has been said."""
    from edgegw.reactor import install

    # Before anything imports twisted.internet.reactor, which would choose another.
    reactor: Any = install()
    from twisted.logger import globalLogBeginner

    from edgegw.config import ConfigError
    from edgegw.configuration import absolute_paths
    from edgegw.observe.logs import StandardOutputLog
    from edgegw.observe.plugin_counters import PluginCounters
    from edgegw.service import CannotStart, GatewayService
    from edgegw.tap import DEFAULT_CONFIG, config_paths

    paths = config_paths(options.config)
    if not paths:
        parser.error(f"name a configuration with --config; there is no {DEFAULT_CONFIG}")
    configuration = configuration_of(parser, absolute_paths(paths), options)
    counters = PluginCounters()
    try:
        loaded = configuration.read(counters)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return None
    output = StandardOutputLog(loaded.gateway.logging)
    globalLogBeginner.beginLoggingTo([output], redirectStandardIO=False)
    service = GatewayService(
        reactor, partial(configuration.read, counters), initial=loaded, counters=counters, output=output,
        watched=configuration.watched,
    )  # fmt: skip
    try:
        service.privilegedStartService()
        service.startService()
    except CannotStart as error:
        print(error, file=sys.stderr)
        return None
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    return reactor


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from edgegw.config import ConfigError, describe
    from edgegw.observe.metrics import Metrics
    from edgegw.proxy.generation import Generation, GenerationError

    configuration = configuration_of(parser, options.files, options)
    try:
        loaded = configuration.read()
        # What has no fault must be what runs, also where only OpenSSL can tell.
        Generation(None, loaded.gateway, Metrics())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except GenerationError as error:
        print(f"{options.files[0]}:1:1: {error}", file=sys.stderr)
        return 1
    if options.strict and loaded.warnings:
        for warning in loaded.warnings:
            print(warning, file=sys.stderr)
        return 1
    with reader_may_leave():
        print(describe(loaded.gateway, datetime.now(UTC)).rstrip("\n"))
        for warning in loaded.warnings:
            print(warning)
    return 0


def _schema(plugins: list[str] | None) -> int:
    from edgegw.config import schema_text
    from edgegw.registry import Registry

    registry = Registry([os.path.abspath(directory) for directory in plugins or ()])
    if plugins is not None:
        for problem in registry.problems:
            print(problem, file=sys.stderr)
    # What is installed beside the gateway is not in the schema that it ships.
    kinds = [found for found in registry.all() if plugins is not None or found.built_in]
    with reader_may_leave():
        print(schema_text(kinds), end="")
    return 1 if plugins is not None and registry.problems else 0


def _version() -> int:
    from edgegw.observe.metrics import versions

    with reader_may_leave():
        for name, version in versions().items():
            print(f"{name} {version}")
    return 0
