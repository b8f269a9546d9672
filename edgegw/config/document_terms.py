"""What the parts of the native document's description have in common."""
from __future__ import annotations

from typing import Any, Final

from edgegw.config.addresses import HOSTNAME_PATTERN, parse_hostname
from edgegw.config.scalars import Integer, Parsed, Text
from edgegw.config.shapes import Field, Shape

__all__ = ["COUNT", "FILE", "HOSTNAME", "NAME", "PORT", "UNITS", "setting"]

COUNT: Final = Integer(1, 1_000_000)
PORT: Final = Integer(0, 65_535)
#: What a rate is for, in seconds.
UNITS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
NAME: Final = Text(
    "a name of letters, digits, hyphens, dots, underscores, slashes and colons",
    r"[A-Za-z0-9]([A-Za-z0-9._/:\-]{0,1021}[A-Za-z0-9])?",
    repeated=True,
)
FILE: Final = Text("the path of a file", r"[^\u0000-\u001f\u007f]+")
HOSTNAME: Final = Parsed(
    'a host name such as example.com or "*.example.com"',
    parse_hostname,
    {"pattern": f"^{HOSTNAME_PATTERN}$"},
)


def setting(model: Any, key: str, shape: Shape, description: str, attribute: str = "") -> Field:
    """Describe a key whose value goes into an attribute of the model's with no change."""
    attribute = attribute or key
    return Field(key, shape, description, getattr(model, attribute), attribute)
