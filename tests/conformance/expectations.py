"""What a case expects of statuses and responses: each function says what is not so, and is empty if all is."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from tests.conformance.client import Answer
from tests.conformance.cluster import Cluster, key_of

__all__ = ["backend_of", "wrong_echo", "wrong_response", "wrong_status"]

GROUP = "gateway.networking.k8s.io"
CONTROLLER = "edgegw.io/gateway-controller"

#: Objects of ``/gateway-api/status`` by kind, namespace and name.
Items = Mapping[tuple[str, str, str], Mapping[str, Any]]


def backend_of(pod: str) -> str:
    """Give the Deployment that a pod's name was made of."""
    return pod.rsplit("-", 2)[0]


# --- statuses ---------------------------------------------------------------------------------


def wrong_status(expected: Mapping[str, Any], items: Items, cluster: Cluster) -> str:
    """Judge one entry of ``status``."""
    return "; ".join(_wrong_status(expected, items, cluster))


def _wrong_status(expected: Mapping[str, Any], items: Items, cluster: Cluster) -> Iterator[str]:
    if "gateways_accepted_and_programmed" in expected:
        for name in expected["object"].get("names") or [expected["object"]["name"]]:
            if ("Namespace", "", name) not in cluster.objects:
                yield f"there is no Namespace {name}"
        for (kind, namespace, name), shown in items.items():
            # What was deleted a moment ago may still be shown.
            applied = cluster.objects.get((kind, namespace, name), {"metadata": {}})
            skipped = "gateway-api/skip-this-for-readiness" in (applied["metadata"].get("annotations") or {})
            names = expected["object"].get("names") or [expected["object"]["name"]]
            if kind == "Gateway" and namespace in names and not skipped:
                for type_ in ("Accepted", "Programmed"):
                    wanted = {"type": type_, "status": "True", "reason": None}
                    yield from _wrong_conditions([wanted], shown["status"], f"{namespace}/{name}")
        return
    key = key_of(expected["object"])
    item = items.get(key)
    if item is None:
        if not (expected.get("no_accepted_parents") or expected.get("zero_attached_routes")):
            yield f"{key} has no status"
        return
    status = item["status"]
    yield from _old_conditions(status, item["metadata"]["generation"], str(key))
    if expected.get("has_address") and not any(one.get("type") for one in status.get("addresses", ())):
        yield f"{key} has no address"
    if "addresses_exact" in expected:
        found = [(one.get("type"), one["value"]) for one in status.get("addresses", ())]
        wanted_addresses = [
            ("IPAddress", one) if isinstance(one, str) else (one.get("type") or "IPAddress", one["value"])
            for one in expected["addresses_exact"]
        ]
        if found != wanted_addresses:
            yield f"{key} has the addresses {found}, not {wanted_addresses}"
    for name in ("parent", "ancestor"):
        if name in expected:
            yield from _wrong_parent(expected, name, status.get(f"{name}s", ()), key)
            break
    else:
        yield from _wrong_conditions(expected.get("conditions", ()), status, str(key))
    for listener in status.get("listeners", ()) if "all_listeners_conditions" in expected else ():
        yield from _wrong_conditions(
            expected["all_listeners_conditions"], listener, f"{key} listener {listener['name']}"
        )
    if "listeners" in expected:
        yield from _wrong_listeners(expected, status, key)
    if expected.get("no_accepted_parents"):
        parents = status.get("parents", ())
        accepted = [one for parent in parents for one in parent["conditions"] if one["type"] == "Accepted"]
        if len(parents) > 1 or any(one["status"] != "False" for one in accepted):
            yield f"{key} is accepted: {accepted}"
    if expected.get("zero_attached_routes"):
        listeners = status.get("listeners", ())
        if listeners and (len(listeners) > 1 or listeners[0]["attachedRoutes"]):
            yield f"{key} has routes attached"


def _old_conditions(status: Any, generation: int, what: str) -> Iterator[str]:
    """Find conditions, wherever they stand, that are not of an object's newest generation."""
    if isinstance(status, Mapping):
        if "type" in status and "reason" in status and status.get("observedGeneration") != generation:
            yield f"{what}: {status} is not of the generation {generation}"
        for inner in status.values():
            yield from _old_conditions(inner, generation, what)
    elif isinstance(status, list):
        for inner in status:
            yield from _old_conditions(inner, generation, what)


def _wrong_listeners(expected: Mapping[str, Any], status: Mapping[str, Any], key: object) -> Iterator[str]:
    found = {one["name"]: one for one in status.get("listeners", ())}
    names = [one["name"] for one in expected["listeners"]]
    if expected.get("listeners_exact") and sorted(found) != sorted(names):
        yield f"{key} has the listeners {sorted(found)}"
    for wanted in expected["listeners"]:
        name = wanted["name"]
        listener = found.get(name)
        if listener is None:
            yield f"{key} has no listener {name}"
            continue
        kinds = [one["kind"] for one in listener["supportedKinds"]]
        supported = wanted.get("supported_kinds")
        if supported == [] and kinds:
            yield f"{key} listener {name} supports {kinds}"
        if supported and not {_kind(one) for one in supported} <= set(kinds):
            yield f"{key} listener {name} supports {kinds} only"
        attached = wanted.get("attached_routes")
        if attached is not None and listener["attachedRoutes"] != attached:
            yield f"{key} listener {name} has {listener['attachedRoutes']} routes, not {attached}"
        yield from _wrong_conditions(wanted.get("conditions", ()), listener, f"{key} listener {name}")


def _kind(entry: Any) -> str:
    return str(entry["kind"] if isinstance(entry, Mapping) else entry)


def _wrong_parent(
    expected: Mapping[str, Any], name: str, entries: Any, key: tuple[str, str, str]
) -> Iterator[str]:
    wanted, reference = expected[name], f"{name}Ref"
    matching = [
        one for one in entries
        if one[reference]["name"] == wanted["name"]
        and one[reference].get("namespace") in (None, wanted.get("namespace"))
    ]  # fmt: skip
    if not matching:
        yield f"{key} has no {name} {wanted['name']}"
        return
    for condition in expected.get("conditions", ()):
        faults = ["; ".join(_wrong_conditions([condition], one, f"{key} {name} {wanted['name']}"))
                  for one in matching]  # fmt: skip
        if all(faults):
            yield faults[0]
    if any(one["type"] == "Accepted" and one["status"] == "True" for one in expected.get("conditions", ())):
        for one in matching:
            ref = one[reference]
            if one["controllerName"] != CONTROLLER or (ref.get("group"), ref.get("kind")) != (GROUP, "Gateway"):
                yield f"{key} has an incomplete {name}: {one}"
            if ref.get("namespace") is None and key[1] != wanted.get("namespace"):
                yield f"{key} does not say the namespace of its {name}"


def _wrong_conditions(wanted: Any, status: Mapping[str, Any], what: str) -> Iterator[str]:
    found = {one["type"]: one for one in status.get("conditions", ())}
    for one in wanted:
        condition = found.get(one["type"])
        if condition is None:
            yield f"{what} has no condition {one['type']}"
        elif any(one.get(part) not in (None, condition[part]) for part in ("status", "reason")):
            yield (
                f"{what}: {one['type']} is {condition['status']}/{condition['reason']} ({condition['message']}), "
                f"not {one.get('status')}/{one.get('reason')}"
            )


# --- responses --------------------------------------------------------------------------------


def wrong_response(expected: Mapping[str, Any], answer: Answer, cluster: Cluster, added: str = "") -> str:
    """Judge a response by ``expect`` with the outcome ``response``.

    :param added: what was put behind the request's path besides what the case says.
    """
    return "; ".join(_wrong_response(expected, answer, cluster, added))


def _wrong_response(expected: Mapping[str, Any], answer: Answer, cluster: Cluster, added: str) -> Iterator[str]:
    statuses = {expected["status"]} if isinstance(expected["status"], int) else set(expected["status"])
    if statuses & {408, 504}:
        statuses |= {408, 504}
    if answer.status not in statuses:
        yield f"the status is {answer.status}, not {sorted(statuses)}: {answer.body[:200]!r}"
        return
    if answer.status in (200, 204):
        by = expected.get("answered_by")
        if by == "gateway" and answer.echoed is not None:
            yield "a backend has answered, not the gateway"
        if by == "backend":
            if answer.echoed is None:
                yield f"no backend has answered: {answer.body[:200]!r}"
                return
            path = answer.echoed["path"]
            plain = path.removesuffix(added) if added else path
            yield from _wrong_echo(expected, {**answer.echoed, "path": plain}, cluster)
        yield from _wrong_headers(expected.get("response") or {}, answer)
    if answer.status in (300, 301, 302, 303, 304, 305, 307, 308) and expected.get("redirect"):
        yield from _wrong_redirect(expected["redirect"], answer)


def wrong_echo(expected: Mapping[str, Any], echoed: Mapping[str, Any], cluster: Cluster | None) -> str:
    """Judge what a backend says of the request that came to it."""
    return "; ".join(_wrong_echo(expected, echoed, cluster))


def _wrong_echo(expected: Mapping[str, Any], echoed: Mapping[str, Any], cluster: Cluster | None) -> Iterator[str]:
    backend = expected.get("backend")
    # The suite itself looks at the beginning of the name only.
    if backend is not None and backend_of(echoed["pod"]) != backend.rstrip("-"):
        yield f"{echoed['pod']} has answered, not {backend}"
    namespace = expected.get("namespace")
    if namespace is not None and echoed["namespace"] != namespace:
        yield f"a backend in {echoed['namespace']} has answered, not one in {namespace}"
    wanted = expected.get("backend_request") or {}
    for part in ("method", "path", "host", "proto"):
        if wanted.get(part) is not None and echoed[part] != wanted[part]:
            yield f"the backend got the {part} {echoed[part]!r}, not {wanted[part]!r}"
    headers = {name.lower(): ",".join(values) for name, values in echoed.get("headers", {}).items()}
    for name, value in (wanted.get("headers") or {}).items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        if headers.get(name.lower()) != text:
            yield f"the backend got {name}: {headers.get(name.lower())!r}, not {text!r}"
    for name in wanted.get("absent_headers") or ():
        if name.lower() in headers:
            yield f"the backend got {name}: {headers[name.lower()]!r}"
    tls = echoed.get("tls") or {}
    if wanted.get("sni") is not None and tls.get("serverName") != wanted["sni"]:
        yield f"the backend was asked for {tls.get('serverName')!r}, not {wanted['sni']!r}"
    certificate = wanted.get("client_certificate")
    if certificate is not None and cluster is not None:
        pem = cluster.text_of(certificate, certificate.get("key", "tls.crt"))
        if [one.split() for one in tls.get("peerCertificates", ())][:1] != [pem.split()]:
            yield "the backend did not see the gateway's client certificate"


def _wrong_headers(expected: Mapping[str, Any], answer: Answer) -> Iterator[str]:
    def plain(text: str | None) -> str | None:
        return text.replace(" ", "") if text is not None and expected.get("ignore_whitespace") else text

    for name, value in (expected.get("headers") or {}).items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        if plain(answer.headers.get(name.lower())) != plain(text):
            yield f"the response has {name}: {answer.headers.get(name.lower())!r}, not {text!r}"
    for name, values in (expected.get("headers_one_of") or {}).items():
        if plain(answer.headers.get(name.lower())) not in [plain(str(one)) for one in values]:
            yield f"the response has {name}: {answer.headers.get(name.lower())!r}, none of {values}"
    for name in expected.get("absent_headers") or ():
        if name.lower() in answer.headers:
            yield f"the response has {name}: {answer.headers[name.lower()]!r}"


def _wrong_redirect(expected: Mapping[str, Any], answer: Answer) -> Iterator[str]:
    where = answer.headers.get("location")
    if where is None:
        yield "the response has no Location"
        return
    found = urlsplit(urljoin("http://gateway", where))
    if expected.get("scheme") is not None and found.scheme != expected["scheme"]:
        yield f"Location is {where}; its scheme is not {expected['scheme']}"
    if expected.get("host") is not None and found.hostname != expected["host"]:
        yield f"Location is {where}; its host is not {expected['host']}"
    ports = expected.get("port_any_of")
    if ports is not None and str(found.port or "") not in [str(port or "") for port in ports]:
        yield f"Location is {where}; its port is none of {ports}"
    if expected.get("path") is not None and found.path != expected["path"]:
        yield f"Location is {where}; its path is not {expected['path']}"
