"""Manifests → what can be served: read, compiled to the native language, and loaded as if it had been written in it.

The native language finds faults that only it can see: a cipher suite that OpenSSL does not have, an option of a policy.
Whoever wrote the part is told so in its status, and everything else is served without it.
"""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from attrs import Factory, define, evolve

from edgegw.config.faults import ConfigError, Fault, Report, Severity
from edgegw.config.native import FindPlugins, Loaded, load_document
from edgegw.config.policies import MakeEnvironment
from edgegw.config.tls_parameters import CheckTLS
from edgegw.gateway_api.compiled import Compiled, Surroundings
from edgegw.gateway_api.compiling import STANDING_IN, compile_objects
from edgegw.gateway_api.gateway_addresses import named_addresses, wants_address
from edgegw.gateway_api.manifest_files import Stream
from edgegw.gateway_api.manifest_settings import ManifestSettings
from edgegw.gateway_api.manifests import read_objects
from edgegw.gateway_api.native_nodes import node_of, said
from edgegw.gateway_api.objects import GATEWAY_API, Object, Objects
from edgegw.gateway_api.seen_before import SeenBefore
from edgegw.gateway_api.status_warnings import status_warnings
from edgegw.gateway_api.upstreams import CLOSING

__all__ = ["Manifests", "load_manifests"]

#: Each round leaves out what the one before found fault with; more than a few are a fault of the compiler.
_MOST_ROUNDS: Final = 8
_PART: Final = re.compile(r"(listeners|routes|tls_routes|tcp_routes|upstreams)\[(\d+)\]")


@define(eq=False)
class Manifests:
    """What is to be read, and what is remembered of earlier times it was read.

    :ivar paths: files and directories.
    :ivar streams: what was in those among the paths that can be read once only.
    """

    paths: Sequence[str]
    settings: ManifestSettings = Factory(ManifestSettings)
    streams: Mapping[str, Stream] = Factory(dict)
    seen_before: SeenBefore = Factory(SeenBefore)


def load_manifests(
    manifests: Manifests,
    directory: str,
    *,
    check_tls: CheckTLS | None = None,
    find_plugins: FindPlugins | None = None,
    make_environment: MakeEnvironment | None = None,
    now: datetime | None = None,
) -> tuple[Loaded, Compiled]:
    """Read manifests and everything that they name.

    :param directory: what relative paths in options start from.
    :param now: aware; certificates are judged by it.
    :returns: what can be served, and the native document that it is.
    :raises ConfigError: with every fault of every file.
    """
    found = read_objects(manifests.paths, manifests.streams)
    objects = manifests.seen_before.with_generations(found.objects)
    surroundings = _surroundings(manifests, objects)
    refused: dict[tuple[str, str], tuple[Object, str]] = {}
    for _ in range(_MOST_ROUNDS):
        compiled = compile_objects(objects, surroundings, refused)
        report = Report(manifests.paths[0])
        try:
            loaded = load_document(
                node_of(compiled.document), f"{directory}/manifests", report, check_tls=check_tls,
                find_plugins=find_plugins, make_environment=make_environment, may_be_idle=True, now=now,
            )  # fmt: skip
        except ConfigError as error:
            if not _refuse(error, compiled, refused):
                raise ConfigError([_of_owner(fault, compiled) for fault in error.faults]) from error
            continue
        # That nothing is behind it the conditions of routes say.
        told = [
            _of_owner(fault, compiled) for fault in loaded.warnings if _part(fault, compiled) != ("upstreams", CLOSING)
        ]
        odd = [_warning(one, problem) for one, problem in compiled.warnings]
        warnings = dict.fromkeys([*found.warnings, *odd, *status_warnings(compiled.statuses), *told])
        order = {file: index for index, file in enumerate(found.files)}
        in_order = sorted(warnings, key=lambda one: (order.get(one.file, -1), one.line, one.column))
        return evolve(loaded, warnings=tuple(in_order), statuses=compiled.statuses), compiled
    raise ConfigError([Fault(manifests.paths[0], 1, 1, "", "the manifests cannot be compiled", "")])


def _surroundings(manifests: Manifests, objects: Objects) -> Surroundings:
    settings = manifests.settings
    addresses, names = named_addresses(objects)
    given: Mapping[tuple[str, str], str] = {}
    if settings.address_pool is not None:
        wanting = [
            (one.namespace, one.name) for one in objects.of_kind(GATEWAY_API, "Gateway") if wants_address(one)
        ]
        assigned = manifests.seen_before.addresses(settings.address_pool, wanting, addresses)
        given = {name: assigned.get(name, "") for name in wanting}
    found = {name: settings.look_up(name) for name in sorted(names)}
    wanted = {*addresses, *filter(None, given.values()), *(one for several in found.values() for one in several)}
    problems = {address: settings.address_problem(address) for address in sorted(wanted)}
    return Surroundings(
        settings.endpoints, settings.cluster_domain, given, settings.host_addresses(), found,
        {address: problem for address, problem in problems.items() if problem},
    )  # fmt: skip


def _refuse(error: ConfigError, compiled: Compiled, refused: dict[tuple[str, str], tuple[Object, str]]) -> bool:
    """Note which parts have faults; false if a fault is in none, or in one that is left out already."""
    parts: dict[tuple[str, str], list[str]] = {}
    owners: dict[tuple[str, str], Object] = {}
    for fault in error.faults:
        if fault.severity is Severity.WARNING:
            continue
        part = _part(fault, compiled)
        if part is None or part not in compiled.owners:
            return False
        owners[part] = compiled.owners[part]
        if part in refused and part[0] == "routes":
            # What stands for the route is not to be had either.
            part = (STANDING_IN, part[1])
            owners[part] = compiled.owners["routes", part[1]]
        if part in refused:
            return False
        where = _PART.sub("", fault.path, count=1).lstrip(".")
        parts.setdefault(part, []).append(said(evolve(fault, path=where)))
    for part, texts in parts.items():
        refused[part] = owners[part], "; ".join(dict.fromkeys(texts))
    return bool(parts)


def _part(fault: Fault, compiled: Compiled) -> tuple[str, str] | None:
    """Find the part of the native document that a fault is in."""
    match = _PART.match(fault.path)
    if match is None:
        return None
    key, index = match[1], int(match[2])
    return key, str(compiled.document[key][index]["name"])


def _of_owner(fault: Fault, compiled: Compiled) -> Fault:
    """Say a finding about the native document of the object that it comes from."""
    part = _part(fault, compiled)
    setting = re.split(r"[.\[]", fault.path, maxsplit=1)[0]
    owner = compiled.owners.get(("settings", setting) if part is None else part)
    if owner is None or owner.source is None:
        return fault
    within: tuple[str | int, ...] = ("metadata", "name")
    if part is None:
        steps = re.findall(r"[^.\[\]]+", fault.path)
        within = ("spec", *(int(step) if step.isdecimal() else step for step in steps))
    line, column, _ = owner.source.place(within)
    path = f"{owner}: spec.{fault.path}"
    if part is not None:
        # Several backends of a route are told from each other by their names.
        steps = [part[1] if part[0] == "upstreams" else "", _PART.sub("", fault.path, count=1).lstrip(".")]
        path = ": ".join([str(owner), *filter(None, steps)])
    return evolve(fault, file=owner.source.file, line=line, column=column, path=path)


def _warning(owner: Object, problem: str) -> Fault:
    file, (line, column, _) = "", (1, 1, "")
    if owner.source is not None:
        file, (line, column, _) = owner.source.file, owner.source.place(("metadata", "name"))
    return Fault(file, line, column, str(owner), problem, severity=Severity.WARNING)
