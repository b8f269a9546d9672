"""The bindings that pyOpenSSL stands on, for what it has no word for.

They are private.  What uses them are :mod:`edgegw.tls.openssl` and :mod:`edgegw.tls.store_context`, and each says first
what it needs: a release without it fails when the gateway starts, and not at a handshake.
"""
from __future__ import annotations

from typing import Any

from OpenSSL import _util

__all__ = ["ffi", "lib", "require"]

lib: Any = _util.lib
ffi: Any = _util.ffi


def require(*names: str) -> None:
    """Make sure that OpenSSL's functions of these names are there.

    :raises ImportError: one is not.
    """
    missing = [name for name in names if not hasattr(lib, name)]
    if missing:
        raise ImportError(f"this pyOpenSSL's bindings lack {', '.join(missing)}", name="OpenSSL._util")
