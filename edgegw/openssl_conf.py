"""Gives OpenSSL a configuration file, for what no binding of it can set.

OpenSSL reads the file that ``OPENSSL_CONF`` names when it is first used, and applies its ``system_default``
section to every context (config(5), SSL_CONF_cmd(3)).  So this has to be called before anything imports
pyOpenSSL or cryptography; a process where that has happened, like ``twistd``, is started with
``OPENSSL_CONF`` in its environment instead, or goes without.
"""
from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

__all__ = ["CONFIGURATION", "use_configuration"]

CONFIGURATION = Path(__file__).with_name("openssl.cnf")


def use_configuration(environ: MutableMapping[str, str] = os.environ) -> None:
    """Name :data:`CONFIGURATION` in the environment, unless the operator has named another file."""
    environ.setdefault("OPENSSL_CONF", str(CONFIGURATION))
