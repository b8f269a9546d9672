"""Runs cases one after the other against one gateway."""
from __future__ import annotations

import base64
import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from tests.conformance.client import Answer, Refused, ask, is_rejected, tcp_echo, websocket_echo
from tests.conformance.cluster import PLACEHOLDERS, Cluster, Key, key_of, read_manifests
from tests.conformance.expectations import Items, backend_of, wrong_echo, wrong_response, wrong_status
from tests.conformance.fixtures import Manifest, fixture_objects
from tests.conformance.processes import Backends, Failed, Gateway, Networks, wait_until

__all__ = ["Runner", "read_case"]

#: Seconds that something may take to become so.
_PATIENCE = 5.0
_PAUSE = 0.05
_TIMES = 3
_BASE = "manifests/base/manifests.yaml"
_CLASS = "edgegw"
#: RFC 5737: no machine has it.
_UNUSABLE = "192.0.2.1"
#: What a WebSocket sends if a case does not say it.
_FRAMES: list[str | bytes] = ["Websocket Support!", bytes(range(1, 8))]


def read_case(path: Path) -> dict[str, Any]:
    """Read one case."""
    case = yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)
    assert case["schema"] == "edgegw.conformance-case/v1", path
    return dict(case)


class Runner:
    """A gateway, its backends and what is applied to them.

    :param root: has ``cases`` and ``manifests``.
    :param directory: an empty one.
    :raises OSError: the ports that cases name cannot be listened on.
    :raises Failed: the gateway or its backends do not start.
    """

    def __init__(self, root: Path, directory: Path, stack: ExitStack) -> None:
        self._root = root
        self._networks = Networks(stack)
        self._placeholders = {
            "PLACEHOLDER_USABLE_ADDRS": self._networks.usable, "PLACEHOLDER_UNUSABLE_ADDRS": _UNUSABLE
        }  # fmt: skip
        self._addresses: dict[tuple[str, str], list[str]] = {}
        manifests = directory / "manifests"
        manifests.mkdir()
        self.cluster = Cluster(manifests, self._addresses)
        admin = _free_port()
        self.cluster.apply([_settings(admin), _gateway_class()])
        # It starts while keys are generated.
        self._gateway = Gateway(manifests, directory / "gateway.log", self._networks.pool, admin, stack)
        fixtures = yaml.load((root / "cases" / "_fixtures.yaml").read_text("utf-8"), yaml.CSafeLoader)
        self._generated = {key_of(one): one for one in fixture_objects(fixtures)}
        self._backends = Backends(directory, stack)
        backends_wait = self._start_backends(fixtures["backends"])
        self.cluster.apply([*self._read(_BASE), *self._generated.values()])
        self._gateway.wait()
        backends_wait()
        #: Of Gateways, by namespace and name.
        self._known_addresses: dict[tuple[str, str], str] = {}
        self._reload()
        (ours,) = (one for key, one in self._items().items() if key == ("GatewayClass", "", _CLASS))
        #: Names of features that the gateway claims.
        self.features = {one["name"] for one in ours["status"]["supportedFeatures"]}

    def _read(self, name: str) -> list[Manifest]:
        return read_manifests(self._root / name, self._placeholders)

    def _items(self) -> Items:
        return {key_of(item): item for item in self._gateway.items()}

    def _start_backends(self, backends: Iterable[Mapping[str, Any]]) -> Callable[[], None]:
        """Start those that do not run yet."""
        pods = []
        for backend in backends:
            place = backend["namespace"], backend["name"]
            if place in self._addresses or backend.get("mode", "http") not in ("http", "tcp_echo"):
                continue
            number = len(self._addresses) + 1
            self._addresses[place] = []
            for replica in range(1, backend.get("replicas", 1) + 1):
                pod = self._pod(backend, number, replica)
                self._addresses[place].append(pod["address"])
                pods.append(pod)
        return self._backends.start(pods) if pods else lambda: None

    def _pod(self, backend: Mapping[str, Any], number: int, replica: int) -> dict[str, Any]:
        pod = {
            "name": f"{backend['name']}-{number:05x}-{replica:05x}", "namespace": backend["namespace"],
            "deployment": backend["name"], "address": self._networks.pod(number, replica),
            "mode": backend.get("mode", "http"), "ports": backend.get("ports") or {"http": 3000, "h2c": 3001},
        }  # fmt: skip
        if "tls" in backend:
            secret = self._generated["Secret", backend["namespace"], backend["tls"]]
            pod["certificate"], pod["private_key"] = (_data(secret, key) for key in ("tls.crt", "tls.key"))
        if "client_ca" in backend:
            authority = self._generated["ConfigMap", backend["namespace"], backend["client_ca"]]
            pod["client_ca"] = authority["data"]["ca.crt"]
        return pod

    # --- cases --------------------------------------------------------------

    def why_skipped(self, case: Mapping[str, Any]) -> str:
        """Say why there is nothing to try in a case, as the suite would see it; empty if there is."""
        missing = [one["name"] for one in case.get("features", ()) if one["name"] not in self.features]
        if missing:
            return f"{', '.join(missing)} is not claimed"
        beyond = [_name(one) for one in case.get("skip_if_features_supported") or ()]
        claimed = [name for name in beyond if name in self.features]
        return f"it is for those without {', '.join(claimed)}" if claimed else ""

    def run(self, case: Mapping[str, Any]) -> None:
        """Run one case, and put everything back as it was.

        :raises Failed: it did not go as it must.
        """
        self._start_backends(case.get("extra_backends") or ())()
        before = dict(self.cluster.objects)
        own = [one for name in case["manifests"] if name != _BASE for one in self._read(name)]
        try:
            self.cluster.apply(own)
            self._reload()
            for step in case["steps"]:
                self._step(step)
        finally:
            self._restore(before)
            self._gateway.revive()

    def _restore(self, before: Mapping[Key, Manifest]) -> None:
        self.cluster.delete([key for key in self.cluster.objects if key not in before])
        self.cluster.apply([one for key, one in before.items() if self.cluster.objects.get(key) is not one])

    def _reload(self) -> None:
        self._known_addresses.clear()
        self._gateway.reload()

    def _step(self, step: Mapping[str, Any]) -> None:
        for mutation in step.get("mutate") or ():
            self.cluster.mutate(mutation)
        if step.get("mutate"):
            self._reload()
        if step.get("status"):
            items = self._items()
            for expected in step["status"]:
                if wrong_status(self._filled(expected), items, self.cluster):
                    self._until(step["name"], partial(self._status_fault, expected))
        for request in step.get("requests") or ():
            times = 1 if request["expect"]["outcome"] in ("connection_rejected", "tcp_echo") else _TIMES
            self._until(f"{step['name']}: {request['name']}", partial(self._request_fault, request), times)
        distributions = step.get("distribution") or ()
        for one in [distributions] if isinstance(distributions, Mapping) else distributions:
            self._distribution(step["name"], one)

    def _status_fault(self, expected: Any) -> str:
        return wrong_status(self._filled(expected), self._items(), self.cluster)

    def _filled(self, expected: Any) -> Any:
        """Put addresses where a case leaves them open, as in manifests."""
        text = json.dumps(expected)
        for placeholder, value in {**PLACEHOLDERS, **self._placeholders}.items():
            text = text.replace(placeholder, value)
        return json.loads(text)

    def _until(self, what: str, fault: Callable[[], str], times: int = 1) -> None:
        """Try until nothing is wrong so many times in a row."""
        good = 0

        def next_fault() -> str:
            nonlocal good
            while good < times:
                found = fault()
                good = 0 if found else good + 1
                if found:
                    self._known_addresses.clear()
                    return found
            return ""

        wait_until(what, next_fault, _PATIENCE, _PAUSE)

    # --- requests -----------------------------------------------------------

    def _address(self, request: Mapping[str, Any]) -> str:
        place = request["gateway"]["namespace"], request["gateway"]["name"]
        if place not in self._known_addresses:
            item = self._items().get(("Gateway", *place))
            addresses = [] if item is None else item["status"].get("addresses", [])
            found = [str(one["value"]) for one in addresses if one.get("type")]
            if not found:
                raise Failed(f"Gateway {'/'.join(place)} has no address")
            self._known_addresses[place] = found[0]
        return self._known_addresses[place]

    def _request_fault(self, request: Mapping[str, Any]) -> str:
        expected, address = request["expect"], self._address(request)
        outcome = expected["outcome"]
        if outcome == "connection_rejected":
            return is_rejected(address, request)
        what = request.get("request") or {}
        added = _added_query(what)
        if outcome == "websocket_echo":
            frames = [_frame(one) for one in _first(expected, what, names=("frames", "messages"))] or _FRAMES
            return websocket_echo(address, request, frames, self.cluster, what.get("path", "/ws") + added)
        seen = len(self._backends.echoed)
        must_ask = (request.get("tls") or {}).get("client_certificate_must_be_requested")
        try:
            if request["transport"] in ("tls", "tls-tcp-echo"):
                told = tcp_echo(address, request, self.cluster)
                return "the server has echoed" if outcome == "tls_failure" else _tcp_fault(expected, told)
            answer = ask(address, request, self.cluster, what["path"] + added)
        except Refused as refused:
            if outcome == "tls_failure":
                return "no client certificate was asked for" if must_ask and not refused.certificate_requested else ""
            return str(refused)
        if must_ask and not answer.certificate_requested:
            return "no client certificate was asked for"
        if outcome == "tls_failure":
            return f"there was a response: {answer.status}"
        if outcome == "non_200":
            return f"the status is {answer.status}" if answer.status in (200, 408, 504) else ""
        if outcome != "response":
            raise Failed(f"the outcome {outcome} is not known")
        fault = wrong_response(expected, answer, self.cluster, added)
        return fault or self._mirror_fault(expected, what["path"] + added, seen)

    def _mirror_fault(self, expected: Mapping[str, Any], target: str, seen: int) -> str:
        """Wait for the copies of a request; ``seen`` is how many lines backends had written before it."""
        mirrors = expected.get("mirrored_to") or ()
        deadline = time.monotonic() + _PATIENCE
        while missing := [one for one in mirrors if one.get("percent") is None and not self._copies(one, target, seen)]:
            if time.monotonic() > deadline:
                return f"{missing} got no copy"
            time.sleep(_PAUSE)
        return ""

    def _copies(self, mirror: Mapping[str, Any], target: str, seen: int) -> int:
        backend = str(mirror.get("backend") or mirror["name"]).rstrip("-")
        found = 0
        for line in self._backends.echoed[seen:]:
            pod, _, path = line.rstrip("\n").partition(" ")
            namespace, _, name = pod.partition("/")
            of_it = backend_of(name) == backend and mirror.get("namespace") in (None, namespace)
            found += of_it and path == target
        return found

    # --- distributions ------------------------------------------------------

    def _distribution(self, what: str, one: Mapping[str, Any]) -> None:
        for attempt in range(one.get("max_attempts", 1)):
            fault = "; ".join(self._distribution_faults(one))
            if not fault:
                return
            if attempt + 1 == one.get("max_attempts", 1):
                raise Failed(f"{what}: {fault}")

    def _distribution_faults(self, one: Mapping[str, Any]) -> Iterator[str]:
        request, total = one["base_request"], one["total_requests"]
        address = self._address(request)
        seen = len(self._backends.echoed)

        def sent(_: int) -> Answer | str:
            added = _added_query(request["request"])
            try:
                answer = ask(address, request, self.cluster, request["request"]["path"] + added)
            except Refused as refused:
                return str(refused)
            return wrong_response(request["expect"], answer, self.cluster, added) or answer

        with ThreadPoolExecutor(one.get("concurrency", 1)) as pool:
            answers = list(pool.map(sent, range(total)))
        wrong = [answer for answer in answers if isinstance(answer, str)]
        if wrong:
            yield f"{len(wrong)} of {total}: {wrong[0]}"
            return
        echoed = [answer.echoed or {} for answer in answers if isinstance(answer, Answer)]
        if one["kind"] == "weight":
            yield from _wrong_weights(one, Counter(backend_of(pod["pod"]) for pod in echoed), total)
        elif one["kind"] == "mirror_percentage":
            yield from self._wrong_mirrors(one, seen, total)
        elif one["kind"] == "header_matches_backend":
            for pod in echoed:
                named = pod["headers"].get(one.get("header", "Backend"), [])
                fault = wrong_echo({"backend": named[0]}, pod, self.cluster) if len(named) == 1 else f"it got {named}"
                if fault:
                    yield fault
                    return
        else:
            yield f"the distribution {one['kind']} is not known"

    def _wrong_mirrors(self, one: Mapping[str, Any], seen: int, total: int) -> Iterator[str]:
        time.sleep(0.5)  # copies are sent beside the requests, and nobody says when the last one has come
        request = one["base_request"]
        for mirror in _mirrors(one):
            count, percent = self._copies(mirror, request["request"]["path"], seen), mirror["percent"]
            expected, spread = total * percent / 100, sqrt(total * percent / 100 * (1 - percent / 100))
            if abs(count - expected) > 3 * spread:
                yield f"{mirror} has got {count} copies, not {expected}"


def _mirrors(one: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the backends that get copies, with ``percent``: listed, or by name as those of ``weights`` are."""
    found = next(
        place[name] for place in (one, one["base_request"]["expect"]) for name in ("mirrors", "mirrored_to", "mirror")
        if place.get(name)
    )  # fmt: skip
    if isinstance(found, Mapping) and not {"name", "backend"} & found.keys():
        found = [{"backend": name, "percent": percent} for name, percent in found.items()]
    for mirror in [found] if isinstance(found, Mapping) else found:
        yield {"percent": one.get("percent"), **mirror}


def _wrong_weights(one: Mapping[str, Any], counts: Counter[str], total: int) -> Iterator[str]:
    for backend, weight in one["weights"].items():
        share = counts.pop(backend, 0) / total
        if abs(share - weight) > one["tolerance_absolute"] or (weight == 0 and share) or (weight and not share):
            yield f"{backend} has got {share:.3f} of the requests, not {weight}"
    for backend, count in counts.items():
        yield f"{backend} has got {count} requests"


def _tcp_fault(expected: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    if expected.get("backend_is_tls") not in (None, told["isTLS"]):
        return f"the backend sees TLS: {told['isTLS']}"
    sni = expected.get("backend_sni")
    if sni is not None and told.get("tls", {}).get("serverName") != sni:
        return f"the backend was asked for {told.get('tls', {}).get('serverName')!r}"
    return wrong_echo({"backend": expected.get("backend"), "namespace": expected.get("namespace")}, told, None)


def _added_query(request: Mapping[str, Any]) -> str:
    """Give what makes a request one of its own, for backends that count tries and for copies."""
    name = request.get("add_request_id_query_param")
    if not name:
        return ""
    return f"{'&' if '?' in request.get('path', '') else '?'}{name if isinstance(name, str) else 'uuid'}={uuid4()}"


def _first(*places: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    return next((place[name] for place in places for name in names if place.get(name)), [])


def _frame(frame: Any) -> str | bytes:
    """Read one message of a WebSocket: a text, a list of bytes, or one of both with its type."""
    if isinstance(frame, Mapping):
        content = next(value for name, value in frame.items() if name not in ("type", "opcode"))
        if isinstance(content, str) and "binary" in (frame.get("type"), frame.get("opcode")):
            return bytes.fromhex(content)
        return _frame(content)
    return frame if isinstance(frame, (str, bytes)) else bytes(frame)


def _name(feature: Any) -> str:
    return str(feature["name"] if isinstance(feature, Mapping) else feature)


def _settings(admin: int) -> Manifest:
    spec = {"admin": {"address": "127.0.0.1", "port": admin}, "drain_timeout": "1s"}
    return {"apiVersion": "edgegw.io/v1alpha1", "kind": "Settings", "metadata": {"name": "settings"}, "spec": spec}


def _gateway_class() -> Manifest:
    spec = {"controllerName": PLACEHOLDERS["{GATEWAY_CONTROLLER_NAME}"]}
    metadata = {"name": _CLASS}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": metadata, "spec": spec}


def _data(secret: Manifest, key: str) -> str:
    return base64.b64decode(secret["data"][key]).decode("ascii")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
