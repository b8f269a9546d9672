"""``edgegw convert``: Gateway API manifests in the native language.

What it prints runs the same: the gateway serves manifests by compiling them to just this.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final

import yaml

from edgegw.config.core_schema import core_type
from edgegw.config.nodes import ScalarType
from edgegw.descriptors import reader_may_leave
from edgegw.manifest_arguments import add_manifest_arguments, configuration_of

__all__ = ["run_convert"]


def run_convert(arguments: Sequence[str]) -> int:
    """Run the command; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="edgegw convert",
        description="Print Gateway API manifests in the native language; the output has private keys in it.",
        allow_abbrev=False,
    )
    parser.add_argument("paths", metavar="PATH", nargs="+", help="files and directories of manifests; - is stdin")
    parser.add_argument("--to", choices=("native",), default="native", help="the language (default: %(default)s)")
    add_manifest_arguments(parser)
    options = parser.parse_args(arguments)
    from edgegw.config import ConfigError

    configuration = configuration_of(parser, options.paths, options)
    if configuration.manifests is None:
        print(f"{options.paths[0]} has no Gateway API objects in it; it is native already", file=sys.stderr)
        return 1
    try:
        compiled, warnings = configuration.compile()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    with reader_may_leave():
        print(native_text(compiled.document), end="")
    for warning in warnings:
        print(warning, file=sys.stderr)
    return 0


_TEXT: Final = "tag:yaml.org,2002:str"


class _Dumper(yaml.SafeDumper):
    """Writes PEM and other text of several lines as it is, and ``$`` so that no variable is expanded."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write what stands in several places in each of them."""
        return True


def _node_of_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text and text.replace("\n", "").isprintable():
        style = "|"
    elif core_type(text) is not ScalarType.TEXT or not text.isprintable():
        # What PyYAML would have for text, and readers of YAML 1.2 for something else.
        style = '"'
    return dumper.represent_scalar(_TEXT, text, style=style)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return _node_of_text(dumper, text.replace("${", "$${"))


def _mapping(dumper: yaml.SafeDumper, mapping: dict[str, Any]) -> yaml.MappingNode:
    # In keys no variable is looked for.
    pairs = [(_node_of_text(dumper, key), dumper.represent_data(value)) for key, value in mapping.items()]
    return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=False)


def _number(dumper: yaml.SafeDumper, number: float) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", repr(number))


_Dumper.add_representer(str, _text)
_Dumper.add_representer(dict, _mapping)
_Dumper.add_representer(float, _number)


def native_text(document: Any) -> str:
    """Give a native document as YAML."""
    return str(
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=120)
    )
