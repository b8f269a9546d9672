"""``@dynamic_certificate_source``: a function or a class becomes a kind of source of certificates by name."""
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.plugin import IPlugin
from zope.interface import implementer

from edgegw.interfaces import (
    API_VERSION,
    CertificateAndKey,
    IDynamicCertificateSource,
    IDynamicCertificateSourceKind,
    IEnvironment,
)
from edgegw.kinds.target import check_declaration, describe_target

__all__ = ["DynamicCertificateSourceKind", "dynamic_certificate_source"]


@implementer(IDynamicCertificateSource)
@frozen(eq=False)
class _FunctionSource:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def certificate_for(self, name: str) -> CertificateAndKey | None:
        """Ask the function."""
        return self.function(*self.arguments, name)  # type: ignore[no-any-return]  # judged by the gateway


@implementer(IDynamicCertificateSource)
@frozen(eq=False)
class _WaitingFunctionSource:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    async def certificate_for(self, name: str) -> CertificateAndKey | None:
        """Ask the function."""
        return await self.function(*self.arguments, name)  # type: ignore[no-any-return]  # judged by the gateway


@implementer(IPlugin, IDynamicCertificateSourceKind)
@frozen(eq=False)
class DynamicCertificateSourceKind:
    """A kind of source of certificates by name, made of a function or a class by :func:`dynamic_certificate_source`.

    Calling it calls the function or makes an object of the class, so that both can be tested as what they are.

    :ivar target: the function or class.
    """

    name: str
    config_type: type[Any] | None
    target: Callable[..., Any]
    description: str
    version: str = ""
    api: int = API_VERSION

    def build(self, config: Any, env: IEnvironment) -> IDynamicCertificateSource:
        """See :class:`~edgegw.interfaces.IPluginKind`."""
        arguments = () if self.config_type is None else (config,)
        if isinstance(self.target, type):
            made: IDynamicCertificateSource = self.target(*arguments, env)
            return made
        waits = inspect.iscoroutinefunction(self.target)
        return (_WaitingFunctionSource if waits else _FunctionSource)(self.target, arguments)

    def __call__(self, *arguments: Any) -> Any:
        return self.target(*arguments)


def dynamic_certificate_source(
    name: str, config: type[Any] | None = None, *, version: str = ""
) -> Callable[[Callable[..., Any]], DynamicCertificateSourceKind]:
    """Make a kind of source of certificates by name, of a function or a class.

    A function takes ``(config, name)``, or ``(name)`` without options, and gives the
    :class:`~edgegw.interfaces.CertificateAndKey` for a host name, or ``None`` if there is none.  A class is called with
    ``(config, env)``, or ``(env)`` without options, and has a method ``certificate_for(name)`` that does the same;
    ``env`` is :class:`~edgegw.interfaces.IEnvironment`.  Plain ones are asked on another thread, where they may block,
    one name after the other; ``async`` ones on the reactor's, about many names at a time.

    ::

        @dynamic_certificate_source("vault", Config)
        class Vault:
            \"\"\"Have the certificates of tenants issued by a vault.\"\"\"

            def __init__(self, config, env):
                self.http = env.http()

            async def certificate_for(self, name):
                ...

    :param name: what a configuration writes.
    :param config: the attrs class of its options.
    :raises TypeError: the function or class does not take these arguments, or ``config`` is no attrs class.
    :raises ValueError: a name that cannot be one.
    """
    check_declaration("dynamic_certificate_source", name, config)

    def make(target: Callable[..., Any]) -> DynamicCertificateSourceKind:
        description = describe_target(name, target, config, "certificate_for", ["name"])
        return DynamicCertificateSourceKind(name, config, target, description, version)

    return make
