"""Runs cases one after the other against one gateway."""
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from math import sqrt
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import ProxyHandler, build_opener

import yaml

from tests.conformance.client import Answer, Refused, ask, is_rejected, tcp_echo, websocket_echo
from tests.conformance.cluster import Cluster, Key, key_of, read_manifests
from tests.conformance.expectations import Items, backend_of, wrong_echo, wrong_response, wrong_status
from tests.conformance.fixtures import Manifest, fixture_objects

__all__ = ["Failed", "Runner", "read_case"]

#: Seconds that something may take to become so.
_PATIENCE = 15.0
_PAUSE = 0.05
_TIMES = 3
_BASE = "manifests/base/manifests.yaml"


def read_case(path: Path) -> dict[str, Any]:
    """Read one case."""
    case = yaml.safe_load(path.read_text("utf-8"))
    assert case["schema"] == "edgegw.conformance-case/v1", path
    return dict(case)


class Failed(Exception):
    """A case did not go as it must."""


class Runner:
    """A gateway, its backends and what is applied to them.

    :param root: has ``cases`` and ``manifests``.
    :param directory: an empty one.
    """

    def __init__(self, root: Path, directory: Path, stack: ExitStack) -> None:
        self._root = root
        self._stack = stack
        self._log = directory / "gateway.log"
        manifests = directory / "manifests"
        manifests.mkdir()
        self._fixtures = yaml.safe_load((root / "cases" / "_fixtures.yaml").read_text("utf-8"))
        self._generated = fixture_objects(self._fixtures)
        self._pods = self._made_pods()
        addresses: dict[tuple[str, str], list[str]] = {}
        for pod in self._pods:
            addresses.setdefault((pod["namespace"], pod["deployment"]), []).append(pod["address"])
        self.cluster = Cluster(manifests, addresses)
        self._admin = _free_port()
        settings = {"admin": {"address": "127.0.0.1", "port": self._admin}, "drain_timeout": "1s"}
        (manifests / "settings.json").write_text(
            json.dumps({"apiVersion": "edgegw.io/v1alpha1", "kind": "Settings", "metadata": {"name": "settings"},
                        "spec": settings}), "utf-8"
        )  # fmt: skip
        self.cluster.apply([*read_manifests(root / _BASE), *self._generated])
        self._mirrored: list[str] = []
        self._start_backends(directory)
        self._start_gateway(manifests)

    # --- processes ----------------------------------------------------------

    def _made_pods(self) -> list[dict[str, Any]]:
        by_key = {key_of(one): one for one in self._generated}
        pods = []
        for number, backend in enumerate(self._fixtures["backends"], 1):
            for replica in range(1, backend["replicas"] + 1):
                if backend["mode"] not in ("http", "tcp_echo"):
                    continue
                pod = {
                    "name": f"{backend['name']}-{number:05x}-{replica:05x}", "namespace": backend["namespace"],
                    "deployment": backend["name"], "address": f"127.2.{number}.{replica}", "mode": backend["mode"],
                    "ports": backend["ports"],
                }  # fmt: skip
                if "tls" in backend:
                    secret = by_key["Secret", backend["namespace"], backend["tls"]]
                    pod["certificate"], pod["private_key"] = (_data(secret, key) for key in ("tls.crt", "tls.key"))
                if "client_ca" in backend:
                    authority = by_key["ConfigMap", backend["namespace"], backend["client_ca"]]
                    pod["client_ca"] = authority["data"]["ca.crt"]
                pods.append(pod)
        return pods

    def _start_backends(self, directory: Path) -> None:
        file = directory / "pods.json"
        file.write_text(json.dumps(self._pods), "utf-8")
        process = self._started([sys.executable, "-m", "tests.conformance.echo", str(file)], subprocess.PIPE)
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise Failed("the backends did not start")

        def note() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                self._mirrored.append(line.decode())

        Thread(target=note, daemon=True).start()

    def _start_gateway(self, manifests: Path) -> None:
        log = self._stack.enter_context(self._log.open("wb"))
        self._gateway = self._started(
            [sys.executable, "-m", "edgegw", "run", "--config", str(manifests), "--address-pool", "127.1.0.0/16"], log
        )
        self._until("the gateway starts", lambda: "" if self._items() is not None else "it does not answer")

    def _started(self, command: Sequence[str], output: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdout=output, stderr=None if output is subprocess.PIPE else output)

        def end() -> None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        self._stack.callback(end)
        return process

    def _items(self) -> Items | None:
        if self._gateway.poll() is not None:
            raise Failed(f"the gateway has ended:\n{self._log.read_text('utf-8')[-3000:]}")
        try:
            url = f"http://127.0.0.1:{self._admin}/gateway-api/status"
            with build_opener(ProxyHandler({})).open(url, timeout=10) as answer:
                found = json.load(answer)
        except OSError:
            return None
        return {key_of(item): item for item in found["items"]}

    # --- cases --------------------------------------------------------------

    def run(self, case: Mapping[str, Any]) -> None:
        """Run one case, and put everything back as it was.

        :raises Failed: it did not go as it must.
        """
        before = dict(self.cluster.objects)
        own: list[Manifest] = []
        for name in case["manifests"]:
            if name != _BASE:
                own += read_manifests(self._root / name)
        try:
            self.cluster.apply(own)
            self._reload()
            for step in case["steps"]:
                self._step(step)
        finally:
            self._restore(before)

    def _restore(self, before: Mapping[Key, Manifest]) -> None:
        self.cluster.delete([key for key in self.cluster.objects if key not in before])
        self.cluster.apply(
            [one for key, one in before.items() if self.cluster.objects.get(key) is not one]
        )

    def _reload(self) -> None:
        os.kill(self._gateway.pid, signal.SIGHUP)

    def _step(self, step: Mapping[str, Any]) -> None:
        for mutation in step.get("mutate", ()):
            self.cluster.mutate(mutation)
        if "mutate" in step:
            self._reload()
        for expected in step.get("status", ()):
            self._until(step["name"], lambda expected=expected: self._status_fault(expected))
        for request in step.get("requests", ()):
            once = request["expect"]["outcome"] in ("connection_rejected", "tcp_echo", "websocket_echo")
            times = 1 if once else _TIMES
            self._until(
                f"{step['name']}: {request['name']}", lambda request=request: self._request_fault(request), times
            )
        distributions = step.get("distribution", ())
        for one in [distributions] if isinstance(distributions, Mapping) else distributions:
            self._distribution(step["name"], one)

    def _until(self, what: str, fault: Callable[[], str], times: int = 1) -> None:
        """Try until nothing is wrong so many times in a row."""
        deadline = time.monotonic() + _PATIENCE
        good = 0
        while good < times:
            found = fault()
            good = 0 if found else good + 1
            if found:
                if time.monotonic() > deadline:
                    raise Failed(f"{what}: {found}")
                time.sleep(_PAUSE)

    def _status_fault(self, expected: Mapping[str, Any]) -> str:
        items = self._items()
        return "the gateway does not answer" if items is None else wrong_status(expected, items, self.cluster)

    def _address(self, request: Mapping[str, Any]) -> str:
        items = self._items() or {}
        item = items.get(("Gateway", request["gateway"]["namespace"], request["gateway"]["name"]))
        for one in item["status"].get("addresses", ()) if item is not None else ():
            if one.get("type"):
                return str(one["value"])
        raise Failed(f"{request['gateway']} has no address")

    def _request_fault(self, request: Mapping[str, Any]) -> str:
        expected, address = request["expect"], self._address(request)
        outcome = expected["outcome"]
        if outcome == "connection_rejected":
            return is_rejected(address, request)
        if outcome == "websocket_echo":
            return websocket_echo(address, request, expected.get("messages") or ["hello", "x" * 4096])
        try:
            if outcome == "tcp_echo":
                return self._tcp_fault(request, tcp_echo(address, request, self.cluster))
            answer = ask(address, request, self.cluster)
        except Refused as refused:
            return "" if outcome == "tls_failure" else str(refused)
        if (request.get("tls") or {}).get("client_certificate_must_be_requested") and not answer.certificate_requested:
            return "no client certificate was asked for"
        if outcome == "tls_failure":
            return f"there was a response: {answer.status}"
        if outcome == "non_200":
            return f"the status is {answer.status}" if answer.status in (200, 408, 504) else ""
        return wrong_response(expected, answer, self.cluster)

    def _tcp_fault(self, request: Mapping[str, Any], told: Mapping[str, Any]) -> str:
        expected = request["expect"]
        if told["isTLS"] != expected["backend_is_tls"]:
            return f"the backend sees TLS: {told['isTLS']}"
        sni = expected.get("backend_sni")
        if sni is not None and told.get("tls", {}).get("serverName") != sni:
            return f"the backend was asked for {told.get('tls', {}).get('serverName')!r}"
        if told["namespace"] != expected["namespace"] or not told["pod"].startswith(expected["backend"]):
            return f"{told['namespace']}/{told['pod']} has answered"
        return ""

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
        seen = len(self._mirrored)

        def sent(_: int) -> Answer | str:
            try:
                answer = ask(address, request, self.cluster)
            except Refused as refused:
                return str(refused)
            return wrong_response(request["expect"], answer, self.cluster) or answer

        with ThreadPoolExecutor(one["concurrency"]) as pool:
            answers = list(pool.map(sent, range(total)))
        wrong = [answer for answer in answers if isinstance(answer, str)]
        if wrong:
            yield f"{len(wrong)} of {total}: {wrong[0]}"
            return
        echoed = [answer.echoed or {} for answer in answers if isinstance(answer, Answer)]
        if one["kind"] == "weight":
            yield from self._wrong_weights(one, Counter(backend_of(pod["pod"]) for pod in echoed), total)
        elif one["kind"] == "mirror_percentage":
            yield from self._wrong_mirrors(one, seen, total)
        else:
            for pod in echoed:
                fault = wrong_echo({"backend": pod["headers"].get(one.get("header", "Backend"), [None])[0]}, pod,
                                   self.cluster)  # fmt: skip
                if fault:
                    yield fault
                    return

    @staticmethod
    def _wrong_weights(one: Mapping[str, Any], counts: Counter[str], total: int) -> Iterator[str]:
        for backend, weight in one["weights"].items():
            share = counts.pop(backend, 0) / total
            if abs(share - weight) > one["tolerance_absolute"] or (weight == 0 and share) or (weight and not share):
                yield f"{backend} has got {share:.3f} of the requests, not {weight}"
        for backend, count in counts.items():
            yield f"{backend} has got {count} requests"

    def _wrong_mirrors(self, one: Mapping[str, Any], seen: int, total: int) -> Iterator[str]:
        time.sleep(0.5)  # copies are sent beside the requests, and nobody says when the last one has come
        path = one["base_request"]["request"]["path"]
        for mirror in one["mirrors"]:
            name, percent = mirror["backend"], mirror["percent"]
            count = sum(line.startswith(f"{name}-") and f" {path} " in line for line in self._mirrored[seen:])
            expected, spread = total * percent / 100, sqrt(total * percent / 100 * (1 - percent / 100))
            if abs(count - expected) > 3 * spread:
                yield f"{name} has got {count} copies, not {expected}"


def _data(secret: Manifest, key: str) -> str:
    import base64

    return base64.b64decode(secret["data"][key]).decode("ascii")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
