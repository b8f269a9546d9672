"""What a certificate source yields."""
from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edgegw.interfaces import CertificateAndKey, IEnvironment
from edgegw.testing.environment import FakeEnvironment
from edgegw.testing.options import configure

__all__ = ["check_given", "load_source", "source_faults"]


def load_source(kind: Any, config: Any = None, env: IEnvironment | None = None) -> CertificateAndKey:
    """Ask a certificate source, and see that what it gives can be shown to clients.

    :param kind: a kind of certificate source.
    :param config: its options, as for :func:`edgegw.testing.build`.
    :raises AssertionError: it is no :class:`~edgegw.api.CertificateAndKey`, not in PEM, or the key is another
        certificate's.  What the source raises comes out as it is.
    """
    return check_given(configure(kind, config, FakeEnvironment() if env is None else env).load())


def check_given(given: Any, method: str = "load()") -> CertificateAndKey:
    """See that what a source has given can be shown to clients.

    :raises AssertionError: it cannot.
    """
    if not isinstance(given, CertificateAndKey):
        raise AssertionError(f"{method} gave {given!r}, which is no CertificateAndKey")
    try:
        chain = x509.load_pem_x509_certificates(given.certificate)
        key = load_pem_private_key(given.private_key, None)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{method} gave what is not in PEM: {error}") from error
    if chain[0].public_key() != key.public_key():
        raise AssertionError(f"{method} gave a key that is not the certificate's")
    for below, above in pairwise(chain):
        if below.issuer != above.subject:
            raise AssertionError(f"{above.subject.rfc4514_string()} stands behind a certificate that it did not issue")
    return given


async def source_faults(kind: Any, made: Any, env: IEnvironment) -> AsyncIterator[str]:
    """Give what is wrong with what a configured source yields."""
    load = getattr(made, "load", None)
    if not callable(load):
        yield f"makes a {type(made).__name__}, which has no method load(self)"
        return
    # It is asked more than once.
    for _ in range(2):
        try:
            given = load()
        except Exception as error:
            yield f"load() raised {type(error).__name__}: {error}"
            return
        try:
            check_given(given)
        except AssertionError as error:
            yield str(error)
            return
