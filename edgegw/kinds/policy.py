"""``@policy``: a function or a class becomes a kind of policy."""
from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from attrs import Factory, frozen
from twisted.plugin import IPlugin
from zope.interface import implementer

from edgegw.interfaces import API_VERSION, IEnvironment, IPolicy, IPolicyKind
from edgegw.peer import Peer
from edgegw.verdict import Explanation, Verdict, is_code

__all__ = ["PolicyKind", "kind_name", "policy"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
#: Words that stand in the same place of a configuration and mean something else.
_TAKEN: Final = frozenset({"all", "any", "not"})


def kind_name(name: object) -> str:
    """Give a kind's name back.

    :raises TypeError: it is no text, as when a decorator is used without its call.
    :raises ValueError: a configuration could not name it so.
    """
    if not isinstance(name, str):
        raise TypeError("the decorator takes the plugin's name first: @policy(\"name\")")
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise ValueError(f"{name!r} cannot be a plugin's name: lower-case letters, digits, _, and not all, any, not")
    return name


@implementer(IPolicy)
@frozen(eq=False)
class _FunctionPolicy:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    needs_chain: bool
    without_certificate: bool
    cache_seconds: float

    def check(self, peer: Peer) -> Verdict | Awaitable[Verdict]:
        """Ask the function."""
        return self.function(*self.arguments, peer)  # type: ignore[no-any-return]  # judged by the chain


@implementer(IPlugin, IPolicyKind)
@frozen(eq=False)
class PolicyKind:
    """A kind of policy, made of a function or a class by :func:`policy`.

    Calling it calls the function or makes an object of the class, so that both can be tested as what they are.

    :ivar target: the function or class.
    :ivar needs_chain, needs_fingerprints, without_certificate, cache_seconds: as of
        :class:`~edgegw.interfaces.IPolicy`, for configured objects that do not say otherwise.  ``cache_seconds`` may
        name an option that has the seconds.
    """

    name: str
    config_type: type[Any] | None
    target: Callable[..., Any]
    waits: bool
    description: str
    codes: Mapping[str, Explanation] = Factory(dict)
    needs_chain: bool = False
    without_certificate: bool = False
    cache_seconds: float | str = 0.0
    version: str = ""
    api: int = API_VERSION
    needs_fingerprints: bool = False

    def build(self, config: Any, env: IEnvironment) -> IPolicy:
        """See :class:`~edgegw.interfaces.IPluginKind`."""
        arguments = () if self.config_type is None else (config,)
        if isinstance(self.target, type):
            made: IPolicy = self.target(*arguments, env)
            if self.cache_seconds and not hasattr(made, "cache_seconds"):
                made.cache_seconds = self._cache_seconds(config)  # type: ignore[attr-defined]  # an optional one
            return made
        seconds = self._cache_seconds(config)
        return _FunctionPolicy(self.target, arguments, self.needs_chain, self.without_certificate, seconds)

    def _cache_seconds(self, config: Any) -> float:
        named = self.cache_seconds
        return float(getattr(config, named) if isinstance(named, str) else named)

    def __call__(self, *arguments: Any) -> Any:
        return self.target(*arguments)


def policy(
    name: str,
    config: type[Any] | None = None,
    *,
    codes: Mapping[str, str | Explanation] | None = None,
    needs_chain: bool = False,
    without_certificate: bool = False,
    cache_seconds: float | str = 0.0,
    version: str = "",
    needs_fingerprints: bool = False,
) -> Callable[[Callable[..., Any]], PolicyKind]:
    """Make a kind of policy of a function or a class.

    A function takes ``(config, peer)``, or ``(peer)`` without options, and returns
    :class:`~edgegw.verdict.Accept` or :class:`~edgegw.verdict.Reject`; it may be ``async``.  A class is
    called with ``(config, env)``, or ``(env)`` without options, and has a method ``check(peer)`` that does
    the same; ``env`` is :class:`~edgegw.interfaces.IEnvironment`.

    :param name: what a configuration writes.
    :param config: the attrs class of its options.
    :param codes: reason codes of its own that it may give, with a sentence for each.  Its name needs none, and may be
        among them to be explained in the policy's words.
    :param needs_chain: see :class:`~edgegw.interfaces.IPolicy`; so are the next two, and ``needs_fingerprints``.
    :param cache_seconds: seconds, or the name of an option that has them.
    :raises TypeError: the function or class does not take these arguments, or ``config`` is no attrs class.
    :raises ValueError: a name or code that cannot be one.
    """
    kind_name(name)
    if config is not None and not hasattr(config, "__attrs_attrs__"):
        raise TypeError(f"the options of {name} must be an attrs class, made with @attrs.frozen")
    explained: dict[str, Explanation] = {}
    for code, text in (codes or {}).items():
        if not is_code(code):
            raise ValueError(f"{code!r} cannot be a reason code: lower-case letters, digits and _")
        explained[code] = text if isinstance(text, Explanation) else Explanation(text)

    def make(target: Callable[..., Any]) -> PolicyKind:
        arguments = ([] if config is None else ["config"]) + (["env"] if isinstance(target, type) else ["peer"])
        check_arguments(target, arguments)
        asked = getattr(target, "check", None) if isinstance(target, type) else target
        if asked is None:
            raise TypeError(f"the class of {name} has no method check(self, peer)")
        description = inspect.cleandoc(target.__doc__ or "")
        if not description:
            raise TypeError(f"{name} has no docstring: its first line tells operators what it is for")
        return PolicyKind(
            name, config, target, inspect.iscoroutinefunction(asked), description, explained, needs_chain,
            without_certificate, cache_seconds, version, needs_fingerprints=needs_fingerprints,
        )

    return make


def check_arguments(target: Callable[..., Any], wanted: list[str]) -> None:
    """Make sure that a function or class can be called with as many positional arguments as ``wanted`` names.

    :raises TypeError: it cannot.
    """
    try:
        inspect.signature(target).bind(*wanted)
    except TypeError as error:
        name = getattr(target, "__name__", repr(target))
        raise TypeError(f"{name} must take ({', '.join(wanted)}): {error}") from None
