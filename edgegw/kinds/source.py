"""``@certificate_source``: a function or a class becomes a kind of certificate source."""
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
    ICertificateSource,
    ICertificateSourceKind,
    IEnvironment,
)
from edgegw.kinds.policy import check_arguments, kind_name

__all__ = ["CertificateSourceKind", "certificate_source"]


@implementer(ICertificateSource)
@frozen(eq=False)
class _FunctionSource:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def load(self) -> CertificateAndKey:
        """Ask the function."""
        return self.function(*self.arguments)  # type: ignore[no-any-return]  # judged by the gateway


@implementer(IPlugin, ICertificateSourceKind)
@frozen(eq=False)
class CertificateSourceKind:
    """A kind of certificate source, made of a function or a class by :func:`certificate_source`.

    Calling it calls the function or makes an object of the class, so that both can be tested as what they are.

    :ivar target: the function or class.
    :ivar refresh_seconds: as of :func:`certificate_source`.
    """

    name: str
    config_type: type[Any] | None
    target: Callable[..., Any]
    description: str
    refresh_seconds: float | str = 0.0
    version: str = ""
    api: int = API_VERSION

    def build(self, config: Any, env: IEnvironment) -> ICertificateSource:
        """See :class:`~edgegw.interfaces.IPluginKind`."""
        arguments = () if self.config_type is None else (config,)
        seconds = self.refresh_seconds
        if isinstance(seconds, str):
            seconds = getattr(config, seconds)
        made: ICertificateSource = (
            self.target(*arguments, env)
            if isinstance(self.target, type)
            else _FunctionSource(self.target, arguments)
        )
        if seconds:

            async def refresh() -> None:
                env.changed()

            env.every(float(seconds), refresh)
        return made

    def __call__(self, *arguments: Any) -> Any:
        return self.target(*arguments)


def certificate_source(
    name: str,
    config: type[Any] | None = None,
    *,
    refresh_seconds: float | str = 0.0,
    version: str = "",
) -> Callable[[Callable[..., Any]], CertificateSourceKind]:
    """Make a kind of certificate source of a function or a class.

    A function takes ``(config)``, or nothing without options, and gives a
    :class:`~edgegw.interfaces.CertificateAndKey`.  A class is called with ``(config, env)``, or ``(env)`` without
    options, and has a method ``load()`` that does the same; it calls ``env.changed()`` when that would give something
    else.  Neither may be ``async``: they are asked on a thread of their own, where they may block.

    :param name: what a configuration writes.
    :param config: the attrs class of its options.
    :param refresh_seconds: ask it anew after so many seconds whether it has said that it has changed or not; the
        seconds, or the name of an option that has them.  0 asks only when it has.
    :raises TypeError: the function or class does not take these arguments or is ``async``, or ``config`` is no attrs
        class.
    :raises ValueError: a name that cannot be one, or a negative ``refresh_seconds``.
    """
    if not isinstance(name, str):
        raise TypeError('the decorator takes the plugin\'s name first: @certificate_source("name")')
    kind_name(name)
    if config is not None and not hasattr(config, "__attrs_attrs__"):
        raise TypeError(f"the options of {name} must be an attrs class, made with @attrs.frozen")
    if not isinstance(refresh_seconds, str) and not refresh_seconds >= 0:
        raise ValueError(f"{name} cannot be asked anew after {refresh_seconds} seconds; 0 asks it when it has changed")

    def make(target: Callable[..., Any]) -> CertificateSourceKind:
        arguments = [] if config is None else ["config"]
        check_arguments(target, [*arguments, "env"] if isinstance(target, type) else arguments)
        asked = getattr(target, "load", None) if isinstance(target, type) else target
        if asked is None:
            raise TypeError(f"the class of {name} has no method load(self)")
        if isinstance(target, type):
            check_arguments(asked, ["self"])
        if inspect.iscoroutinefunction(asked) or inspect.isasyncgenfunction(asked):
            raise TypeError(f"{name} is async; it is asked on a thread of its own, so let it block")
        description = inspect.cleandoc(target.__doc__ or "")
        if not description:
            raise TypeError(f"{name} has no docstring: its first line tells operators what it is for")
        return CertificateSourceKind(name, config, target, description, refresh_seconds, version)

    return make
