"""What a plugin's decorator demands of the function or class under it."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from edgegw.kinds.policy import check_arguments, kind_name
from edgegw.verdict import Explanation, is_code

__all__ = ["check_declaration", "describe_target", "explained"]


def check_declaration(decorator: str, name: object, config: type[Any] | None) -> None:
    """Make sure that a decorator was given a name, and an options class if anything.

    :param decorator: the word that authors write.
    :raises TypeError: the name is no text, as when a decorator is used without its call, or ``config`` no attrs class.
    :raises ValueError: a configuration could not name it so.
    """
    if not isinstance(name, str):
        raise TypeError(f'the decorator takes the plugin\'s name first: @{decorator}("name")')
    kind_name(name)
    if config is not None and not hasattr(config, "__attrs_attrs__"):
        raise TypeError(f"the options of {name} must be an attrs class, made with @attrs.frozen")


def explained(codes: Mapping[str, str | Explanation] | None) -> dict[str, Explanation]:
    """Give the explanations of a plugin's own reason codes.

    :raises ValueError: a code that cannot be one.
    """
    found: dict[str, Explanation] = {}
    for code, text in (codes or {}).items():
        if not is_code(code):
            raise ValueError(f"{code!r} cannot be a reason code: lower-case letters, digits and _")
        found[code] = text if isinstance(text, Explanation) else Explanation(text)
    return found


def describe_target(
    name: str, target: Callable[..., Any], config: type[Any] | None, method: str, arguments: list[str]
) -> str:
    """Check a function, or a class and its method, and give the docstring.

    :param method: what the gateway calls of a class.
    :param arguments: what the function or the method is called with, beside the options.
    :raises TypeError: it does not take its arguments, has no such method, or no docstring.
    """
    options = [] if config is None else ["config"]
    if isinstance(target, type):
        check_arguments(target, [*options, "env"])
        called = getattr(target, method, None)
        if not callable(called):
            raise TypeError(f"the class of {name} has no method {method}(self, {', '.join(arguments)})")
        check_arguments(called, ["self", *arguments])
    else:
        check_arguments(target, [*options, *arguments])
    description = inspect.cleandoc(target.__doc__ or "")
    if not description:
        raise TypeError(f"{name} has no docstring: its first line tells operators what it is for")
    return description
