"""Which of a listener's TLS names the OpenSSL in use does not have.

The configuration asks before anything is built, so that a wrong name is a fault with a line number.
"""
from __future__ import annotations

from collections.abc import Callable

from OpenSSL import SSL

from edgegw.model import TLSSettings
from edgegw.tls import openssl

__all__ = ["check_tls"]


def check_tls(settings: TLSSettings) -> list[tuple[str, str, str]]:
    """Give ``(setting, name, problem)`` for every name that OpenSSL refuses.

    ``setting`` is ``cipher_suites``, ``groups`` or ``signature_algorithms``; ``name`` is in OpenSSL's spelling.
    """
    problems: list[tuple[str, str, str]] = []

    def each(setting: str, names: tuple[str, ...], use: Callable[[SSL.Context, str], None]) -> None:
        for name in names:
            try:
                use(SSL.Context(SSL.TLS_SERVER_METHOD), name)
            except (SSL.Error, ValueError):
                problems.append((setting, name, f"{openssl.openssl_version()} does not have it"))

    each("cipher_suites", settings.tls12_ciphers, _use_tls12)
    each("cipher_suites", settings.tls13_ciphers, lambda context, name: context.set_tls13_ciphersuites(name.encode()))
    each("groups", settings.groups, lambda context, name: openssl.set_groups(context, (name,)))
    each(
        "signature_algorithms",
        settings.signature_algorithms,
        lambda context, name: openssl.set_signature_algorithms(context, (name,)),
    )
    return problems


def _use_tls12(context: SSL.Context, name: str) -> None:
    context.set_cipher_list(name.encode())
    # An unknown name next to known ones is skipped in silence; alone it leaves only TLS 1.3's suites.
    known = SSL.Connection(context).get_cipher_list()
    if name not in known:
        raise ValueError(name)
