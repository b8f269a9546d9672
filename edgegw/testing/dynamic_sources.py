"""What a source of certificates by name gives."""
from __future__ import annotations

from collections.abc import AsyncIterator
from inspect import isawaitable
from typing import Any, Final

from cryptography import x509

from edgegw.interfaces import CertificateAndKey, IEnvironment
from edgegw.testing.environment import FakeEnvironment
from edgegw.testing.options import configure
from edgegw.testing.sources import check_given
from edgegw.testing.waiting import result_of

__all__ = ["certificate_for", "dynamic_source_faults"]

#: Names as clients may send them, in canonical form.
_ODD: Final = (
    "a.example",
    "localhost",
    "a." * 120 + "example",
    "x" * 63 + ".example",
    "xn--nxasmq6b.example",
    "_service.a.example",
    "192.0.2.7",
    "a.example",
)


def certificate_for(
    kind: Any, config: Any, name: str, env: IEnvironment | None = None
) -> CertificateAndKey | None:
    """Ask a source of certificates about a name, and see that what it gives can be shown to clients.

    One that is ``async`` is run to its end without a reactor.

    :param kind: a kind of source of certificates by name.
    :param config: its options, as for :func:`edgegw.testing.build`.
    :param name: in lower case, as clients ask for it.
    :raises AssertionError: it is neither ``None`` nor a :class:`~edgegw.api.CertificateAndKey`, not in PEM, not for the
        name, the key is another certificate's, or the source waits for something.  What it raises comes out as it is.
    """
    asked = configure(kind, config, FakeEnvironment() if env is None else env).certificate_for(name)
    return _checked(result_of(asked) if isawaitable(asked) else asked, name)


def _checked(given: Any, name: str) -> CertificateAndKey | None:
    if given is None:
        return None
    checked = check_given(given, "certificate_for()")
    leaf = x509.load_pem_x509_certificates(checked.certificate)[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns_names = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        dns_names = []
    if name not in dns_names and f"*.{name.partition('.')[2]}" not in dns_names:
        raise AssertionError(f"certificate_for({name!r}) gave a certificate that is for {dns_names}")
    return checked


async def dynamic_source_faults(kind: Any, made: Any, env: IEnvironment) -> AsyncIterator[str]:
    """Give what is wrong with what a configured source gives for odd names."""
    if not callable(getattr(made, "certificate_for", None)):
        yield f"makes a {type(made).__name__}, which has no method certificate_for(self, name)"
        return
    told: set[str] = set()
    for name in _ODD:
        try:
            asked = made.certificate_for(name)
            _checked(await asked if isawaitable(asked) else asked, name)
        except AssertionError as error:
            fault = str(error)
        except Exception as error:
            fault = f"raised {type(error).__name__}: {error}"
        else:
            continue
        if fault not in told:
            told.add(fault)
            yield f"{name}: {fault}"
