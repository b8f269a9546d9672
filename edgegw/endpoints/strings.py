"""Endpoints from strings, as ``twistd web --listen`` and ``serverFromString`` take them.

A listener of a configuration file, or all that there is to say::

    edgegw:config=/etc/edgegw.yaml:listener=edge
    edgegw:tcp:8443:certificate=server.pem:key=server-key.pem:ca=ca.pem:mode=AllowValidOnly
    edgegw:unix:/run/app.sock:certificate=server.pem:key=server-key.pem:ca=ca.pem:policy=key_strength

The values are judged by the rules of the configuration, and what is wrong with one is said in the same words.
"""
from __future__ import annotations

import os
from collections.abc import Mapping as MappingABC
from typing import Any, Final

from edgegw.config.faults import Fault, Report, Severity
from edgegw.config.native import Loaded, load_document
from edgegw.config.nodes import Mapping, Node, Scalar, Sequence
from edgegw.config.shapes import did_you_mean
from edgegw.endpoints.documents import build_endpoint, endpoint_from_config
from edgegw.endpoints.server import EdgeServerEndpoint, EndpointError
from edgegw.environment import Environments
from edgegw.model import Listener
from edgegw.registry import Registry
from edgegw.tls.names import check_tls

__all__ = ["OPTIONS", "endpoint_from_string"]

#: Where each option stands in a listener of the configuration; a name with ``[]`` is a list.
OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "certificate": ("tls", "certificates[]", "certificate"),
    "key": ("tls", "certificates[]", "private_key"),
    "ca": ("tls", "client_validation", "ca_certificates[]"),
    "mode": ("tls", "client_validation", "mode"),
    "required": ("tls", "client_validation", "required"),
    "max_depth": ("tls", "client_validation", "max_depth"),
    "policy": ("tls", "client_validation", "policies[]"),
    "min_version": ("tls", "min_version"),
    "max_version": ("tls", "max_version"),
    "alpn": ("tls", "alpn[]"),
    "strict_sni": ("tls", "strict_sni"),
    "interface": ("address",),
    "hostname": ("hostname",),
    "name": ("name",),
    "max_connections": ("limits", "max_connections"),
    "handshake_timeout": ("limits", "handshake_timeout"),
}


def endpoint_from_string(reactor: Any, *arguments: str, **options: str) -> EdgeServerEndpoint:
    """Make an endpoint of the parts of a string.

    :param arguments: ``"tcp"`` and a port, ``"unix"`` and a path, or none with ``config``.
    :raises EndpointError: with all that is wrong.
    """
    if "config" in options:
        return _of_config(reactor, arguments, options)
    unknown = [name for name in options if name not in OPTIONS]
    faults = [f"{name}: is no known key; {did_you_mean(name, ['config', *OPTIONS])}" for name in unknown]
    if len(arguments) != 2 or arguments[0] not in ("tcp", "unix"):
        faults.append("it begins with neither tcp and a port nor unix and a path; write edgegw:tcp:8443:…, "
                      "edgegw:unix:/run/app.sock:… or edgegw:config=FILE:listener=NAME")  # fmt: skip
    for name in ("certificate", "key"):
        if name not in options:
            faults.append(f"has no {name}; give {name}= and a PEM file")
    if "ca" not in options:
        faults += [
            f"{name}: needs client certificates; give ca= and a PEM file"
            for name in ("mode", "required", "max_depth", "policy") if name in options
        ]  # fmt: skip
    if faults:
        raise EndpointError("\n".join(faults))
    kind, where = arguments
    values = {"name": "edgegw", **options}
    given = {name: (OPTIONS[name], value) for name, value in values.items()}
    if kind == "tcp":
        given["port"] = (("port",), where)
    else:
        given["path"] = (("address",), f"unix:{where}")
    root = _document(_tree(given))
    directory = os.getcwd()

    def load_with(environments: Environments) -> Loaded:
        return load_document(
            root, os.path.join(directory, "endpoint"), Report("endpoint"), check_tls=check_tls, find_plugins=Registry,
            make_environment=environments.make,
        )  # fmt: skip

    return build_endpoint(reactor, directory, load_with, _only, _written)


def _of_config(reactor: Any, arguments: tuple[str, ...], options: MappingABC[str, str]) -> EdgeServerEndpoint:
    others = [name for name in options if name not in ("config", "listener")]
    faults = [f"{name}: does not go with config; write it into the file" for name in (*arguments, *others)]
    if faults:
        raise EndpointError("\n".join(faults))
    return endpoint_from_config(reactor, options["config"], options.get("listener"))


def _only(listeners: tuple[Listener, ...]) -> Listener:
    (listener,) = listeners
    return listener


def _written(finding: Fault) -> str:
    warning = "warning: " if finding.severity is Severity.WARNING else ""
    path = f"{finding.path}: " if finding.path else ""
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return f"{warning}{path}{finding.problem}{remedy}"


# --- the document -----------------------------------------------------------------------------


def _tree(given: MappingABC[str, tuple[tuple[str, ...], str]]) -> dict[str, Any]:
    """Give a listener as nested dictionaries; what is in them at last is an option's name and value."""
    tree: dict[str, Any] = {}
    for name, (place, value) in given.items():
        within = tree
        for step in place[:-1]:
            within = within.setdefault(step, {})
        within[place[-1]] = (name, value)
    return tree


def _node(value: Any) -> Node:
    if isinstance(value, tuple):
        name, text = value
        # As if a variable had been written: what it is, number or text, the place says where it stands.
        return Scalar(name, 1, 1, text, expanded=True)
    values: dict[str, Node] = {}
    for key, inner in value.items():
        node = _node(inner)
        values[key.removesuffix("[]")] = Sequence(node.path, 1, 1, (node,)) if key.endswith("[]") else node
    return Mapping("", 1, 1, dict.fromkeys(values, (1, 1)), values)


def _document(listener: dict[str, Any]) -> Mapping:
    listeners = Sequence("", 1, 1, (_node(listener),))
    values: dict[str, Node] = {"admin": Scalar("admin", 1, 1, "disabled"), "listeners": listeners}
    return Mapping("", 1, 1, dict.fromkeys(values, (1, 1)), values)
