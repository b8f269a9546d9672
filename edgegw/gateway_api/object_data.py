"""What is in Secrets and ConfigMaps."""
from __future__ import annotations

from base64 import b64decode

from edgegw.gateway_api.objects import CORE, Object

__all__ = ["data_of", "is_core"]


def is_core(group: str) -> bool:
    """Whether a reference's group is the core's, which people also write as ``core``."""
    return group in (CORE, "core")


def data_of(holder: Object, key: str) -> bytes | None:
    """Give what stands under a key of a Secret or ConfigMap; ``None`` without it.

    ``stringData`` of Secrets goes before ``data``, as an API server would merge it in.

    :raises ValueError: it is not base64 although it should be.
    """
    secret = holder.kind == "Secret"
    text = (holder.content.get("stringData" if secret else "data") or {}).get(key)
    if isinstance(text, str):
        return text.encode("utf-8")
    encoded = (holder.content.get("data" if secret else "binaryData") or {}).get(key)
    if not isinstance(encoded, str):
        return None
    try:
        return b64decode("".join(encoded.split()), validate=True)
    except ValueError as error:
        raise ValueError(f"the key {key} of {holder} is not base64") from error
