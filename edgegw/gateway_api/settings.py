"""What holds for the whole process, beside Gateways: an object of the kind ``Settings`` (``edgegw.io/v1alpha1``).

Its ``spec`` has settings of the native language by their own names and in their own form.
"""
from __future__ import annotations

from typing import Any, Final

from edgegw.gateway_api.objects import EDGEGW, Object, Objects
from edgegw.gateway_api.schema import REQUIRED, Prop, Struct
from edgegw.gateway_api.schema_core import SUBDOMAIN_NAME, kind_fields
from edgegw.gateway_api.schema_values import AnyValue

__all__ = ["SETTINGS", "SETTINGS_KEYS", "SETTINGS_KIND", "settings_of"]

SETTINGS: Final = "Settings"
#: What may stand in ``spec``: the defaults of all listeners, and what is the process's own.
SETTINGS_KEYS: Final = (
    "admin", "logging", "drain_timeout", "handshake_record", "plugin_path", "limits", "http", "http2", "forwarding",
)  # fmt: skip
#: Whether the values are right is for the native language to say.
SETTINGS_KIND: Final = kind_fields(
    SUBDOMAIN_NAME, spec=Prop(Struct({key: Prop(AnyValue()) for key in SETTINGS_KEYS}), REQUIRED)
)


def settings_of(objects: Objects) -> tuple[Object | None, dict[str, Any], list[tuple[Object, str]]]:
    """Find the settings: the object, what it says, and warnings about others, of which the oldest counts."""
    found = objects.of_kind(EDGEGW, SETTINGS)
    if not found:
        return None, {}, []
    first, *others = found
    warnings = [(one, f"is not used: {first} counts, since there can be one only") for one in others]
    return first, dict(first.spec), warnings
