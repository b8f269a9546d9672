"""What is remembered of manifests, and how statuses are shown."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from edgegw.config.nodes import Mapping, Scalar, ScalarType, Sequence
from edgegw.gateway_api.conditions import Conditions, ObjectStatus
from edgegw.gateway_api.native_nodes import node_of
from edgegw.gateway_api.objects import Object, Objects
from edgegw.gateway_api.seen_before import SeenBefore
from edgegw.gateway_api.status_items import StatusItems, status_table

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def gateway(name: str = "mtls", generation: int = 1, **spec: Any) -> Object:
    return Object(
        "gateway.networking.k8s.io/v1", "Gateway", "infra", name, {"spec": spec}, generation=generation
    )


class SeenBeforeTests(SynchronousTestCase):
    """Generations and addresses."""

    def generations(self, seen: SeenBefore, *objects: Object) -> list[int]:
        return [one.generation for one in seen.with_generations(Objects(objects))]

    def test_a_specification_that_changes_counts_up(self) -> None:
        seen = SeenBefore()
        self.assertEqual(self.generations(seen, gateway(a=1), gateway("other")), [1, 1])
        self.assertEqual(self.generations(seen, gateway(a=1), gateway("other", b=2)), [1, 2])
        self.assertEqual(self.generations(seen, gateway(a=2), gateway("other", b=2)), [2, 2])
        self.assertEqual(self.generations(seen, gateway(a=1)), [3])

    def test_a_generation_that_is_written_stands(self) -> None:
        seen = SeenBefore()
        self.assertEqual(self.generations(seen, gateway(generation=7, a=1)), [7])
        self.assertEqual(self.generations(seen, gateway(generation=9, a=2)), [9])

    def test_addresses_stay_where_they_are(self) -> None:
        seen, pool = SeenBefore(), ip_network("127.0.9.0/30")
        self.assertEqual(
            seen.addresses(pool, [("a", "x"), ("a", "y"), ("a", "z")]),
            {("a", "x"): "127.0.9.1", ("a", "y"): "127.0.9.2"},
        )
        self.assertEqual(
            seen.addresses(pool, [("a", "z"), ("a", "y")]), {("a", "y"): "127.0.9.2", ("a", "z"): "127.0.9.1"}
        )


class StatusItemsTests(SynchronousTestCase):
    """Statuses as they are shown."""

    def status(self, accepted: bool, message: str = "") -> ObjectStatus:
        conditions = Conditions(1)
        if accepted:
            conditions.true("Accepted", "Accepted")
        else:
            conditions.false("Accepted", "Invalid", message)
        listener = {"name": "https", "attachedRoutes": 2, "conditions": conditions.as_json()}
        return ObjectStatus(gateway(), {"conditions": conditions.as_json(), "listeners": [listener]})

    def test_the_time_of_a_condition_is_that_of_its_last_change(self) -> None:
        seen = StatusItems()
        for accepted, minutes in ((True, 0), (True, 1), (False, 2), (False, 3)):
            seen.see([self.status(accepted, str(minutes))], NOW + timedelta(minutes=minutes))
        (item,) = seen.items
        for conditions in (item["status"]["conditions"], item["status"]["listeners"][0]["conditions"]):
            self.assertEqual(
                conditions,
                [
                    {
                        "type": "Accepted", "status": "False", "reason": "Invalid", "message": "3",
                        "observedGeneration": 1, "lastTransitionTime": "2026-01-02T03:06:05Z",
                    }
                ],
            )  # fmt: skip

    def test_a_table(self) -> None:
        seen = StatusItems()
        seen.see([self.status(False, "no certificate")], NOW)
        lines = status_table(seen.items).splitlines()
        self.assertEqual(lines[0].split(), ["OBJECT", "OF", "CONDITION", "STATUS", "REASON", "MESSAGE"])
        self.assertEqual(lines[2].split("  ")[0], "Gateway infra/mtls")
        self.assertIn("listener https (2 routes)", lines[2])
        self.assertTrue(lines[2].endswith("no certificate"))


class NodeTests(SynchronousTestCase):
    """Native documents that were made."""

    def test_every_kind_of_value(self) -> None:
        node = node_of({"a": [1, True, None, "text", 0.5], "b": {}})
        assert isinstance(node, Mapping)
        items = node.values["a"]
        assert isinstance(items, Sequence)
        self.assertEqual(
            [(one.text, one.type, one.path) for one in items.items if isinstance(one, Scalar)],
            [
                ("1", ScalarType.INTEGER, "a[0]"),
                ("true", ScalarType.BOOLEAN, "a[1]"),
                ("", ScalarType.NULL, "a[2]"),
                ("text", ScalarType.TEXT, "a[3]"),
                ("0.5", ScalarType.NUMBER, "a[4]"),
            ],
        )
        self.assertRaises(TypeError, node_of, {"a": object()})
