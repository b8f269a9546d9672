"""From the model's header injection to the injectors of a listener."""
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgegw.interfaces import IHeaderInjector
from edgegw.model import XFCC, ClientCertificateField, HeaderInjection, InjectorUse, PEMHeader

from .client_cert import ClientCertInjector
from .fields import FieldsInjector
from .pem import PEMInjector
from .plugin import PluginInjector
from .xfcc import XFCCInjector

__all__ = ["build_injector", "build_injectors"]

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")

#: What frames a message, belongs to one connection, or the gateway writes by itself.
RESERVED = frozenset({
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
})


def build_injector(settings: HeaderInjection) -> IHeaderInjector:
    """Make the injector that ``settings`` describes.

    :raises ValueError: a header's name is no lower-case token (RFC 9110 §5.6.2), stands twice in it, is the
        gateway's own (:data:`RESERVED`), or has an underscore and is a plugin's; a template is faulty; or a plugin
        has made something that is no injector.
    """
    if isinstance(settings, InjectorUse):
        return _build_plugin(settings)
    if isinstance(settings, XFCC):
        return XFCCInjector(settings)
    if isinstance(settings, ClientCertificateField):
        return ClientCertInjector(settings)
    if isinstance(settings, PEMHeader):
        _check_names([settings.header])
        return PEMInjector(settings)
    _check_names([name for name, _ in settings.headers])
    return FieldsInjector(settings)


def _build_plugin(use: InjectorUse) -> IHeaderInjector:
    injector = PluginInjector(use)
    names = sorted(name.decode("latin-1") for name in injector.owned)
    try:
        _check_names(names)
        underscores = [name for name in names if "_" in name]
        if underscores:
            raise ValueError(f"{underscores[0]} has an underscore, which many upstreams read as a hyphen")
    except ValueError as error:
        raise ValueError(f"the header injector {injector.name}: {error}") from None
    return injector


def build_injectors(settings: Sequence[HeaderInjection]) -> tuple[IHeaderInjector, ...]:
    """Make the injectors of one listener, in order.

    :raises ValueError: as :func:`build_injector` does, or two of them own the same name, ``_`` being
        as good as ``-``.
    """
    injectors = tuple(build_injector(each) for each in settings)
    taken: set[bytes] = set()
    for injector in injectors:
        names = {name.replace(b"_", b"-") for name in injector.owned}
        both = sorted(name.decode("ascii") for name in names & taken)
        if both:
            raise ValueError(f"two header injectors set {', '.join(both)}")
        taken |= names
    return injectors


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        spelling = name.replace("_", "-")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no header name in lower case")
        if spelling in RESERVED:
            raise ValueError(f"{name} is not for injectors: the gateway sets it by itself or HTTP needs it")
        if spelling in seen:
            raise ValueError(f"{name} is set twice")
        seen.add(spelling)
