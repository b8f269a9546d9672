"""What every plugin must keep to, checked in one line: ``check_plugin(kind, Config(...))``."""
from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from edgegw.config.faults import ConfigError
from edgegw.config.options import options_of
from edgegw.interfaces import (
    API_VERSION,
    IBackendKind,
    ICertificateSourceKind,
    IDynamicCertificateSourceKind,
    IEnvironment,
    IHeaderInjectorKind,
    IPolicyKind,
    ISNIRouterKind,
)
from edgegw.kinds.policy import kind_name
from edgegw.testing.backends import backend_faults
from edgegw.testing.dynamic_sources import dynamic_source_faults
from edgegw.testing.environment import FakeEnvironment
from edgegw.testing.injectors import injector_faults
from edgegw.testing.options import configure, document_of, examples_of, options, undocumented
from edgegw.testing.policy_contract import policy_faults
from edgegw.testing.routers import router_faults
from edgegw.testing.sources import source_faults
from edgegw.testing.waiting import result_of
from edgegw.verdict import is_code

__all__ = ["check_plugin", "check_plugin_later"]

#: What is asked of the configured objects of each sort of kinds: with the kind, the object and its environment.
_CONTRACTS: Final[Mapping[Any, Callable[[Any, Any, IEnvironment], AsyncIterator[str]]]] = MappingProxyType({
    IPolicyKind: policy_faults,
    IHeaderInjectorKind: injector_faults,
    ICertificateSourceKind: source_faults,
    IDynamicCertificateSourceKind: dynamic_source_faults,
    ISNIRouterKind: router_faults,
    IBackendKind: backend_faults,
})


def check_plugin(kind: Any, *configs: Any, env: IEnvironment | None = None) -> None:
    """Check all that a kind of plugin promises.

    * It provides its interface, has a name, a docstring, an options class whose options are all documented, and
      reason codes, where it has any, with a sentence each.
    * Each of ``configs`` can be written in a configuration and makes a configured object, and so does the
      docstring's ``Example::``.
    * A policy gives ``Accept`` or ``Reject`` for every odd client (see :func:`edgegw.testing.odd_peers`), raises
      for none, gives codes that it has declared, attributes of text, and details that fit in a line of a log.
      With ``cache_seconds`` it says the same of a certificate whatever else is new about the connection.
    * A header injector gives headers of its own for every odd client, and values that can be sent.
    * A certificate source yields a certificate with its key, and does so again; one that is asked by name gives none,
      or one for the name, whatever the name.
    * An SNI router has an answer for every odd ClientHello, and a backend one for every odd request.

    :param kind: what the decorator made.
    :param configs: options to try: instances of the kind's class for them, mappings as a configuration has
        them, or YAML; at least one where there is a class.
    :param env: a new :class:`~edgegw.testing.FakeEnvironment` without it.
    :raises AssertionError: listing everything that is wrong; also if a policy waits for something that only a
        reactor could bring: then await :func:`check_plugin_later`.
    """
    result_of(check_plugin_later(kind, *configs, env=env))


async def check_plugin_later(kind: Any, *configs: Any, env: IEnvironment | None = None) -> None:
    """Do what :func:`check_plugin` does, in a test of ``twisted.trial``, for policies that wait."""
    faults = list(_kind_faults(kind))
    if not faults:
        if kind.config_type is not None and not configs:
            faults.append(f"{kind.name} has options: give check_plugin some to try")
        for config in configs or (None,):
            faults += [fault async for fault in _document_faults(kind, config, env or FakeEnvironment())]
    if faults:
        raise AssertionError("\n".join([f"{getattr(kind, 'name', kind)!s} breaks the contract:", *faults]))


# --- the kind -----------------------------------------------------------------------------------


def _kind_faults(kind: Any) -> Iterable[str]:
    interface = _interface_of(kind)
    if interface is None:
        yield f"{kind!r} provides no interface of a plugin's kind: is the decorator missing?"
        return
    try:
        verifyObject(interface, kind)
    except Invalid as error:
        yield str(error)
        return
    try:
        kind_name(kind.name)
    except (TypeError, ValueError) as error:
        yield str(error)
    if kind.api != API_VERSION:
        yield f"written for version {kind.api!r} of the interfaces; this is {API_VERSION}"
    if not kind.description.strip():
        yield "no description: the docstring's first line tells operators what it is for"
    yield from _code_faults(getattr(kind, "codes", {}))
    if kind.config_type is not None:
        yield from _option_faults(kind.config_type)
    try:
        for _, given in examples_of(kind):
            options(kind, given or {})
    except (ConfigError, ValueError, TypeError, NameError) as error:
        yield f"the docstring's example is no configuration: {error}"


def _code_faults(codes: Mapping[str, Any]) -> Iterable[str]:
    for code, explanation in codes.items():
        if not is_code(code):
            yield f"{code!r} cannot be a reason code: lower-case letters, digits and _"
        if not explanation.sentence.strip():
            yield f"the code {code} has no sentence that says what it means"


def _interface_of(kind: Any) -> Any:
    """Give the interface of a kind's sort; ``None`` if it has none."""
    return next((interface for interface in _CONTRACTS if interface.providedBy(kind)), None)


def _option_faults(config_type: Any) -> Iterable[str]:
    if not attrs.has(config_type):
        yield f"{config_type!r} is no attrs class: make it with @attrs.frozen"
        return
    if getattr(config_type.__setattr__, "__name__", "") != "_frozen_setattrs":
        yield f"{config_type.__name__} can be changed: make it with @attrs.frozen"
    try:
        for name in undocumented(config_type):
            yield f"{name} is not documented: make it with option(\"what it is for\")"
        options_of(config_type).schema({})
    except (TypeError, NameError) as error:
        yield f"the types of {config_type.__name__} cannot be read: {error}"


# --- a configured object ------------------------------------------------------------------------


async def _document_faults(kind: Any, config: Any, env: IEnvironment) -> AsyncIterator[str]:
    if isinstance(config, (Mapping, str)):
        try:
            config = options(kind, config, env.directory)
        except ConfigError as error:
            yield f"{config!r} is no configuration: {error}"
            return
    async for fault in _config_faults(kind, config, env):
        yield fault


async def _config_faults(kind: Any, config: Any, env: IEnvironment) -> AsyncIterator[str]:
    if kind.config_type is not None and not isinstance(config, kind.config_type):
        yield f"{config!r} are no options of {kind.name}: it takes {kind.config_type.__name__}"
        return
    for fault in _round_trip_faults(kind, config):
        yield fault
    try:
        made = configure(kind, config, env)
    except Exception as error:
        yield f"{config!r} cannot be built: {type(error).__name__}: {error}"
        return
    try:
        async for fault in _CONTRACTS[_interface_of(kind)](kind, made, env):
            yield fault
    finally:
        close = getattr(made, "close", None)
        if close is not None:
            close()


def _round_trip_faults(kind: Any, config: Any) -> Iterable[str]:
    """See that a configuration can give these options."""
    if config is None:
        return
    try:
        document = document_of(config)
    except TypeError:
        # A conversion has made something else of what stood in the document, which cannot be told back.
        return
    try:
        again = options(kind, document)
    except ConfigError as error:
        yield f"{config!r} are options that no configuration can give: {error}"
        return
    if again != config:
        yield f"{config!r}, written to a configuration and read again, is {again!r}"
