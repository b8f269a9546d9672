"""The Gateway API's conformance cases, where they are; ``make conformance`` runs them alone, and others like them."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.client import Answer
from tests.conformance.cluster import Cluster
from tests.conformance.expectations import Items, wrong_response, wrong_status
from tests.conformance.known_fields import unknown_fields
from tests.conformance.processes import Networks

REPOSITORY = Path(__file__).resolve().parent.parent
#: Says where they are otherwise.
VARIABLE = "EDGEGW_CONFORMANCE"


class ConformanceTests(SynchronousTestCase):
    """Clients before a gateway that runs on the suite's manifests, with the suite's backends behind it."""

    def test_all_cases(self) -> None:
        root = Path(os.environ.get(VARIABLE) or REPOSITORY.parent / "shared" / "conformance")
        if not (root / "cases").is_dir():
            raise SkipTest(f"there are no cases at {root}; {VARIABLE} may name a directory that has them")
        try:
            with ExitStack() as stack:
                Networks(stack)
        except OSError as error:
            raise SkipTest(f"port 80 of addresses such as 127.16.0.1 cannot be had: {error}") from error
        sources = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", "tests.conformance", "--cases", root],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": sources},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)


ROUTE = {"kind": "HTTPRoute", "namespace": "infra", "name": "route"}
PARENT = {"kind": "Gateway", "namespace": "infra", "name": "edge"}


class JudgementTests(SynchronousTestCase):
    """Whoever judges must find fault: what is seen is not what a case wants, each time in one thing."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.cluster = Cluster(directory, {})

    def status_faults(self, expected: dict[str, Any], **changes: Any) -> str:
        """Judge a route's status that is as it should be but for ``changes``."""
        reference = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "edge"}
        accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 2}
        parent = {
            "parentRef": {**reference, **changes.pop("reference", {})},
            "controllerName": "edgegw.io/gateway-controller",
            "conditions": [{**accepted, **changes.pop("condition", {})}],
            **changes,
        }
        item = {**ROUTE, "metadata": {"generation": 2}, "status": {"parents": [parent]}}
        items: Items = {("HTTPRoute", "infra", "route"): item}
        return wrong_status({"object": ROUTE, **expected}, items, self.cluster)

    def test_statuses(self) -> None:
        accepted = {"parent": PARENT, "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}]}
        self.assertEqual(self.status_faults(accepted), "")
        self.assertIn("has no parent edge", self.status_faults(accepted, reference={"name": "other"}))
        self.assertIn("incomplete parent", self.status_faults(accepted, controllerName="another"))
        self.assertIn("incomplete parent", self.status_faults(accepted, reference={"group": None}))
        self.assertIn("is False/Accepted", self.status_faults(accepted, condition={"status": "False"}))
        self.assertIn("is True/Other", self.status_faults(accepted, condition={"reason": "Other"}))
        self.assertIn("not of the generation 2", self.status_faults(accepted, condition={"observedGeneration": 1}))
        programmed = {"parent": PARENT, "conditions": [{"type": "Programmed"}]}
        self.assertIn("no condition Programmed", self.status_faults(programmed))
        self.assertIn("is accepted", self.status_faults({"no_accepted_parents": True}))

    def response_faults(self, expected: dict[str, Any], **changes: Any) -> str:
        """Judge a backend's answer that is as it should be but for ``changes``."""
        echoed = {
            "pod": "backend-v1-00001-00001", "namespace": "infra", "method": "GET", "path": "/a?b", "host": "h",
            "headers": {"X-Set": ["1", "2"]}, **changes,
        }  # fmt: skip
        answer = Answer(200, {"x-answer": "a, b"}, json.dumps(echoed).encode())
        return wrong_response({"status": [200], "answered_by": "backend", **expected}, answer, self.cluster)

    def test_responses(self) -> None:
        request = {"method": "GET", "path": "/a?b", "host": "h", "headers": {"x-set": "1,2"}, "absent_headers": ["Y"]}
        wanted = {"backend": "backend-v1", "namespace": "infra", "backend_request": request}
        self.assertEqual(self.response_faults(wanted), "")
        answered = {"headers": {"X-Answer": "a,b"}}
        self.assertEqual(self.response_faults({"response": {**answered, "ignore_whitespace": True}}), "")
        self.assertIn("X-Answer", self.response_faults({"response": answered}))
        self.assertIn("x-answer", self.response_faults({"response": {"absent_headers": ["x-answer"]}}))
        self.assertIn("none of", self.response_faults({"response": {"headers_one_of": {"x-answer": ["a", "b"]}}}))
        self.assertIn("a backend has answered", self.response_faults({"answered_by": "gateway"}))
        self.assertIn("the status is 200", self.response_faults({"status": [404]}))
        for name, value in {
            "pod": "backend-v1-2-00001-00001", "namespace": "web", "method": "PUT", "path": "/a", "host": "h:80",
            "headers": {"X-Set": ["1"]},
        }.items():  # fmt: skip
            self.assertNotEqual(self.response_faults(wanted, **{name: value}), "", name)
        self.assertIn("Y", self.response_faults(wanted, headers={"X-Set": ["1", "2"], "Y": [""]}))

    def test_unknown_fields(self) -> None:
        """What the runner would pass over is named."""
        step = {"name": "x", "requests": [{"expect": {"outcome": "response", "colour": "red"}}], "wait": 1}
        found = list(unknown_fields({"test": "x", "steps": [step]}))
        self.assertEqual(found, ["steps[0].requests[0].expect.colour", "steps[0].wait"])

    def test_changes(self) -> None:
        """The operations of RFC 6902 that a cluster would do."""
        body = {"spec": {"listeners": [{"name": "a"}, {"name": "b"}]}, "metadata": {"labels": {"x/y": "1"}}}
        edge = {"kind": "Gateway", "namespace": "infra", "name": "edge"}
        self.cluster.mutate({"action": "create", "object": edge, "body": body})
        operations = [
            {"op": "test", "path": "/metadata/labels/x~1y", "value": "1"},
            {"op": "remove", "path": "/spec/listeners/0"},
            {"op": "add", "path": "/spec/listeners/-", "value": {"name": "d"}},
            {"op": "add", "path": "/spec/listeners/1", "value": {"name": "c"}},
            {"op": "replace", "path": "/spec/listeners/0/name", "value": "z"},
            {"op": "copy", "from": "/spec/listeners/0", "path": "/spec/first"},
            {"op": "move", "from": "/metadata/labels/x~1y", "path": "/metadata/labels/z"},
        ]
        self.cluster.mutate({"action": "patch", "object": edge, "json_patch": operations})
        changed = self.cluster.objects["Gateway", "infra", "edge"]
        self.assertEqual([one["name"] for one in changed["spec"]["listeners"]], ["z", "c", "d"])
        self.assertEqual(changed["spec"]["first"], {"name": "z"})
        self.assertEqual(changed["metadata"], {"namespace": "infra", "name": "edge", "labels": {"z": "1"}})
        self.cluster.mutate({"action": "delete", "object": edge})
        self.assertEqual(self.cluster.objects, {})
