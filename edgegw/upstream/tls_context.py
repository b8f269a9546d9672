"""The OpenSSL context of an upstream's connections: one for each upstream and generation of the configuration.

Nothing of it is shared between upstreams but the platform's CA certificates: neither connections nor sessions that were
made under one upstream's settings are ever used under another's.
"""
from __future__ import annotations

import os
from weakref import WeakValueDictionary

from cryptography import x509
from OpenSSL import SSL, crypto

from edgegw.model import HTTPVersion, UpstreamTLS, UpstreamVerification
from edgegw.tls import openssl
from edgegw.tls.context import ContextError, set_parameters, use_certificate

__all__ = ["ContextError", "make_client_context"]

#: OpenSSL's, as listeners have it unless told otherwise: 112 bits of security.
_SECURITY_LEVEL = 2
#: What an upstream is asked for in ALPN (RFC 7301).
_ALPN = {
    HTTPVersion.HTTP_1_1: [b"http/1.1"],
    HTTPVersion.HTTP_2: [b"h2"],
    HTTPVersion.AUTO: [b"h2", b"http/1.1"],
}


class _SharedStore:
    """The certificates of a file; upstreams that trust it share it for as long as one of them is there."""

    def __init__(self, path: str) -> None:
        self.x509_store = crypto.X509Store()
        self.x509_store.load_locations(path)


#: By the file and its state: one that has changed is read again at a reload, while the store of before is still in use.
_stores: WeakValueDictionary[tuple[str, int, int, int], _SharedStore] = WeakValueDictionary()


def _shared_store(path: str) -> _SharedStore:
    """Give the store of a file as it is now.

    :raises ContextError: it cannot be read, or has no certificates.
    """
    try:
        state = os.stat(path)
        key = (path, state.st_ino, state.st_size, state.st_mtime_ns)
        shared = _stores.get(key)
        if shared is None:
            shared = _stores[key] = _SharedStore(path)
    except (OSError, crypto.Error) as error:
        raise ContextError(f"{path}: not usable as CA certificates") from error
    return shared


class ClientContext:
    """A context, and what has to live as long as it does.

    :ivar context: frozen once the first connection was made of it.
    """

    __slots__ = ("_store", "context")

    def __init__(self, context: SSL.Context, store: _SharedStore | None) -> None:
        self.context = context
        self._store = store


def make_client_context(tls: UpstreamTLS, version: HTTPVersion = HTTPVersion.HTTP_1_1) -> ClientContext:
    """Build the context for an upstream's connections.

    :raises ContextError: naming what OpenSSL did not take.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_mode(openssl.NO_AUTO_CHAIN)
    set_parameters(context, tls, _SECURITY_LEVEL)
    _send_key_shares(context, tls.groups)
    # Sessions are kept by whoever has the endpoint; OpenSSL would not know for which one they are.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if not tls.session_resumption:
        context.set_options(SSL.OP_NO_TICKET)
    context.set_alpn_protos(_ALPN[version])
    if tls.client_certificate is not None:
        use_certificate(context, tls.client_certificate)
    store = None
    if tls.verify is not UpstreamVerification.NONE:
        store = _trust(context, tls)
        openssl.ask_about_certificates(context, False)
    return ClientContext(context, store)


def _send_key_shares(context: SSL.Context, groups: tuple[str, ...]) -> None:
    """Send a key share of the first classical group beside that of the first one, where this is a hybrid one.

    An upstream without hybrid groups, which most are, would otherwise ask for it first: a round trip more for each
    connection (RFC 8446 §4.1.4).
    """
    wanted = {next(iter(groups), ""), next((name for name in groups if "MLKEM" not in name.upper()), "")}
    try:
        openssl.set_groups(context, tuple(f"*{name}" if name in wanted else name for name in groups))
    except ValueError:
        # Before 3.5 OpenSSL knows no such mark, and sends a share of the first group that it has.
        if groups:
            openssl.set_groups(context, groups)


def _trust(context: SSL.Context, tls: UpstreamTLS) -> _SharedStore | None:
    """Let a context trust what the settings name, and nothing else."""
    if tls.system_trust is not None:
        shared = _shared_store(tls.system_trust)
        openssl.use_store(context, shared.x509_store)
        return shared
    store = context.get_cert_store()
    assert store is not None
    for anchor in tls.trust_anchors:
        try:
            store.add_cert(crypto.X509.from_cryptography(x509.load_pem_x509_certificate(anchor.pem)))
        except (ValueError, crypto.Error) as error:
            raise ContextError(f"{anchor.name}: not usable as a trust anchor: {error}") from error
    # A trust anchor may be an intermediate, or the upstream's own certificate.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    return None
