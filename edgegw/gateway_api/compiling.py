"""Objects → a native document and the status of each object: a pure function."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgegw.gateway_api.compiled import Compiled, Surroundings
from edgegw.gateway_api.gateway_classes import class_statuses, gateways_of_others
from edgegw.gateway_api.gateway_status import gateway_status, withdraw
from edgegw.gateway_api.gateways import CompiledGateways, compile_gateways
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.objects import KeyOfObject, Object, Objects
from edgegw.gateway_api.routes import CompiledRoutes, compile_routes
from edgegw.gateway_api.settings import settings_of
from edgegw.gateway_api.shared_ports import stand_in, unmatched_names

__all__ = ["STANDING_IN", "Refused", "compile_objects"]

#: Parts of the native document that cannot be had, by their list's key and name, with what is wrong and whose they are.
Refused = Mapping[tuple[str, str], tuple[Object, str]]
#: In place of a list's key: what answers the requests of a route that cannot be had.
STANDING_IN: Final = "standing in"


def compile_objects(objects: Objects, surroundings: Surroundings, refused: Refused | None = None) -> Compiled:
    """Compile a set of objects.

    :param refused: what an earlier attempt had in it and the native language would not take: it is left out, and said
        in the status of the object that it is of.
    """
    refused = {} if refused is None else refused
    grants = Grants(objects)
    gateways = compile_gateways(objects, grants, surroundings)
    listeners = _served(gateways, refused)
    rejected: dict[KeyOfObject, str] = {
        owner.key: problem for (key, _), (owner, problem) in refused.items() if key.endswith("routes")
    }
    silent = {owner.key for (key, _), (owner, _) in refused.items() if key == STANDING_IN}
    routes = compile_routes(objects, grants, gateways.states, surroundings, rejected=rejected, silent=silent)
    upstreams = _reached(routes, refused)
    settings_object, settings, warnings = settings_of(objects)
    document: dict[str, Any] = {
        **settings,
        "listeners": listeners,
        "ports": unmatched_names(listeners, gateways.owners),
        "routes": routes.routes,
        "tls_routes": routes.tls_routes,
        "tcp_routes": routes.tcp_routes,
        "upstreams": upstreams,
    }
    owners = {**routes.owners, **{("listeners", name): one.gateway for name, one in gateways.owners.items()}}
    if settings_object is not None:
        owners.update({("settings", key): settings_object for key in settings})
    of_classes = class_statuses(objects)
    statuses = [*of_classes, *map(gateway_status, gateways.states), *routes.statuses]
    return Compiled(
        {key: value for key, value in document.items() if key == "listeners" or value != []},
        tuple(sorted(statuses, key=lambda one: one.object.order)),
        owners,
        (*warnings, *gateways_of_others(objects), *routes.warnings,
         *((one, problem) for (key, _), (one, problem) in refused.items() if key == "upstreams")),
    )  # fmt: skip


def _served(gateways: CompiledGateways, refused: Refused) -> list[dict[str, Any]]:
    """Leave out listeners that cannot be had, with all of their addresses; nobody else gets their clients."""
    withdrawn = set()
    for (key, name), (_, problem) in refused.items():
        if key == "listeners" and name in gateways.owners:
            withdraw(gateways.owners[name], problem)
            withdrawn.add(gateways.owners[name])
    there = [one for one in gateways.listeners if gateways.owners[one["name"]] not in withdrawn]
    left = [one for one in gateways.listeners if gateways.owners[one["name"]] in withdrawn]
    return [*there, *filter(None, (stand_in(one, there) for one in left))]


def _reached(routes: CompiledRoutes, refused: Refused) -> list[dict[str, Any]]:
    """Let upstreams that cannot be had answer 500, as backends do that do not exist."""
    return [
        {"name": one["name"], "backend": {"respond": {"status": 500}}} if ("upstreams", one["name"]) in refused else one
        for one in routes.upstreams
    ]
