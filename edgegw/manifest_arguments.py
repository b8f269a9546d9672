"""What commands take that read Gateway API manifests."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgegw.configuration import Configuration

__all__ = ["add_manifest_arguments", "configuration_of"]


def add_manifest_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command take what :func:`configuration_of` reads beside paths."""
    group = parser.add_argument_group("for Gateway API manifests")
    group.add_argument("--resolve", metavar="NAME.NAMESPACE=HOST:PORT", action="append", default=[],
                       help="where a Service is; may be given again, also for further endpoints")
    group.add_argument("--cluster-domain", metavar="NAME", default="cluster.local",
                       help="what DNS names of Services end with (default: %(default)s)")
    group.add_argument("--address-pool", metavar="NETWORK",
                       help="has an address for each Gateway that names none (default: they take all addresses)")


def configuration_of(
    parser: argparse.ArgumentParser, paths: Sequence[str], options: argparse.Namespace
) -> Configuration:
    """Give the configuration that a command line names.

    :raises SystemExit: argparse's, where something cannot be understood.
    """
    # What reads configurations takes its time to import, and other commands have no use for it.
    from edgegw.configuration import Configuration, manifest_settings

    try:
        settings = manifest_settings(options.resolve, options.cluster_domain, options.address_pool)
    except ValueError as error:
        parser.error(str(error))
    return Configuration(paths, settings)
