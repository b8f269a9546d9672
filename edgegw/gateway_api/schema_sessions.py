"""Session persistence of routes (GEP-1619)."""
from __future__ import annotations

from typing import Any, Final

from edgegw.gateway_api.schema import Faults, Prop, Struct, given
from edgegw.gateway_api.schema_terms import DURATION
from edgegw.gateway_api.schema_values import Text, Words

__all__ = ["SESSION_PERSISTENCE"]


def _lifetime_of_permanent(value: Any, node: Any, report: Faults) -> None:
    if value.get("cookieConfig", {}).get("lifetimeType") == "Permanent" and not given(node, "absoluteTimeout"):
        report.fault(
            node, "has a cookie of lifetimeType Permanent and no absoluteTimeout", "give absoluteTimeout: 24h, or so"
        )


def _cookie_of_type(value: Any, node: Any, report: Faults) -> None:
    if value.get("type") == "Header" and given(node, "cookieConfig"):
        report.fault(node.key("cookieConfig"), "does not go with type Header", "leave cookieConfig out")


SESSION_PERSISTENCE: Final = Struct(
    {
        "sessionName": Prop(Text("text", None, 0, 128)),
        "absoluteTimeout": Prop(DURATION),
        "idleTimeout": Prop(DURATION),
        "type": Prop(Words(("Cookie", "Header")), "Cookie"),
        "cookieConfig": Prop(Struct({"lifetimeType": Prop(Words(("Permanent", "Session")), "Session")})),
    },
    (_lifetime_of_permanent, _cookie_of_type),
)
