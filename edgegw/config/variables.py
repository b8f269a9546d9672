"""``${VAR}`` and ``${VAR:-default}`` in a configuration's values."""
from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["VariableError", "expand"]

_REFERENCE = re.compile(
    r"""
    (?P<escape>\$\$\{)
    | \$\{ (?: (?P<name>[A-Za-z_][A-Za-z0-9_]*) (?: :- (?P<default>[^}]*) )? \} )?
    """,
    re.VERBOSE,
)


class VariableError(ValueError):
    """A reference that stands for nothing.

    :ivar offset: where in the text it begins, in characters.
    :ivar remedy: what would be right.
    """

    def __init__(self, offset: int, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.offset = offset
        self.remedy = remedy


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace references by the variables' values.

    As in a shell, the default of ``${VAR:-default}`` stands in for a variable that is unset or empty.
    ``$${`` gives ``${``; values are not expanded again; a ``$`` before anything else is a ``$``.

    :raises VariableError: a variable without default is not set, or ``${`` begins no reference.
    """

    def value_of(match: re.Match[str]) -> str:
        if match["escape"]:
            return "${"
        name, default = match["name"], match["default"]
        if name is None:
            raise VariableError(
                match.start(), "${ begins no variable", "write ${NAME} or ${NAME:-default}, or $${ for a literal ${"
            )
        value = environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise VariableError(
                match.start(), f"the variable {name} is not set", f"set it, or give a default: ${{{name}:-default}}"
            )
        return value

    return _REFERENCE.sub(value_of, text)
