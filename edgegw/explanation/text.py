"""The text of an explanation, made of its document.

Whatever a terminal would obey is escaped: facts of certificates, what policies say, names of files.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap
from typing import Any, Final

from edgegw.observe.handshake_entry import visible
from edgegw.verdict import Reason

__all__ = ["explanation_text"]

_WIDTH: Final = 110
_NAME_KINDS: Final = (
    ("URI", "uris"), ("DNS", "dns_names"), ("email", "emails"), ("IP", "ip_addresses"), ("bad", "malformed_names"),
)  # fmt: skip
#: Characters of one line of what policies say: a plugin's detail may be long.
_MOST_DETAIL: Final = 2_000


def explanation_text(document: Mapping[str, Any]) -> str:
    """Give an explanation on several lines, ending with a newline.

    :param document: of :mod:`edgegw.explanation.findings`, with the request as ``request`` if there is one.
    """
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield from _setting(document)
    yield ""
    yield from _certificate(document)
    if document["chain"]:
        yield ""
        yield from _chain(document)
    if document["policies"]:
        yield ""
        yield from _policies(document["policies"])
    yield ""
    yield from _verdict(document, "")
    if document.get("request"):
        yield ""
        yield from _request(document["request"])


def _named(title: str, text: str) -> str:
    return f"{title:<13}{text}".rstrip()


def _text(value: object) -> str:
    return "-" if value is None or value == "" else visible(str(value))


def _paragraph(text: str, indent: str = "  ") -> list[str]:
    return wrap(visible(text), _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


# --- who is asked -----------------------------------------------------------------------------


def _setting(document: Mapping[str, Any]) -> Iterator[str]:
    yield _named("listener", _text(document["listener"]))
    yield _named("  clients", _text(document["client_validation"]))
    name = document["server_name"]
    asked = _text(name) if name else "none is asked for (no SNI)"
    if document["router"]:
        yield _named("router", _text(document["router"]))
    shown = document["shown"]
    if shown is None and document.get("reason") == Reason.UNRECOGNIZED_NAME and not document["unmatched"]:
        why = "" if document["by_name"] else ": strict_sni refuses it"
        asked += f", which no certificate of the listener is for{why}"
    yield _named("name", asked)
    for one in shown or ():
        names = ", ".join(map(_text, one["names"])) or "no names"
        yield _named("  leads to", f"{_text(one['name'])} ({_text(one['key_type'])}) for {names}")
    yield _named("time", f"{_text(document['time'])}{' (now)' if document['present'] else ''}")
    version = f", {_text(document['tls_version'])}" if document["tls_version"] else ""
    yield _named("client", f"{_text(document['address'])}{version}")


def _certificate(document: Mapping[str, Any]) -> Iterator[str]:
    facts = document["certificate"]
    if facts is None:
        yield _named("certificate", "none")
        return
    yield _named("certificate", "" if document["sent"] else "not sent")
    for name in ("subject", "issuer", "serial", "sha256"):
        yield _named(f"  {name}", _text(facts[name]))
    yield _named("  valid", f"{_text(facts['not_before'])} to {_text(facts['not_after'])}")
    title = "  names"
    for kind, member in _NAME_KINDS:
        for name in facts[member]:
            # A malformed name says itself of what kind it is.
            yield _named(title, f"{kind} {_text(name)}")
            title = ""
    if facts["names_left_out"]:
        yield _named(title, f"and {facts['names_left_out']} more")
    if facts["parse_error"]:
        yield _named("  problem", _text(facts["parse_error"]))


def _chain(document: Mapping[str, Any]) -> Iterator[str]:
    yield "chain, as it was built"
    yield from _chain_lines(document["chain"])
    for subject in document["not_in_chain"]:
        yield f"   -  {_text(subject)}"
        yield "      sent by the client, and no part of the chain"
    errors = document["errors"]
    if not errors:
        yield _named("  OpenSSL", "ok")
    title = "  OpenSSL"
    for error in errors:
        where = "the client's certificate" if error["depth"] == 0 else f"certificate {error['depth']} of the chain"
        yield _named(title, f"{_text(error['text'])} (error {error['code']}): {where}")
        title = ""
    if document["other_chain"]:
        yield "chain, as it was found"
        yield from _chain_lines(document["other_chain"])
        yield _named("  OpenSSL", "ok")


def _chain_lines(chain: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for depth, one in enumerate(chain):
        yield f"  {depth:>2}  {_text(one['subject'])}"
        yield f"      {_text(one['not_before'])} to {_text(one['not_after'])}; {_text(one['source'])}"


# --- what was decided -------------------------------------------------------------------------


def _policies(policies: Iterable[Mapping[str, Any]], indent: str = "") -> Iterator[str]:
    yield f"{indent}policies"
    listed = list(policies)
    width = max(len(_text(one["policy"])) for one in listed)
    for one in listed:
        yield f"{indent}  {_text(one['policy']).ljust(width)}  {_ruling(one)}"


def _ruling(policy: Mapping[str, Any]) -> str:
    if policy["verdict"] == "not asked":
        return f"not asked: {_text(policy['why'])}"
    took = f"({policy['seconds'] * 1000:.3f} ms)"
    if policy["verdict"] == "accept":
        return f"accepts {took}{_attributes(policy['attributes'], ': ')}"
    detail = f": {_text(policy['detail'])}" if policy["detail"] else ""
    return f"refuses with {_text(policy['code'])} {took}{detail}"[:_MOST_DETAIL]


def _attributes(attributes: Mapping[str, str], before: str) -> str:
    text = ", ".join(f"{_text(name)}={_text(value)}" for name, value in attributes.items())
    return f"{before}{text}"[:_MOST_DETAIL] if text else ""


def _verdict(document: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Say what came of it, for the connection and for a request alike."""
    if document["result"] == "passed through":
        yield f"{indent}PASSED THROUGH to the upstream {_text(document['upstream'])}: no certificate is judged here"
    elif document["result"] == "accepted":
        counts = {"verified": "as verified", "unverified": "as unverified", "none": "as anonymous"}
        so_far = " as far as was asked, " if document["not_asked"] else " "
        yield f"{indent}ACCEPTED{so_far}{counts.get(document.get('status', ''), '')}".rstrip()
        text = _attributes(document.get("attributes", {}), "")
        if text:
            yield f"{indent}  attributes: {text}"
    else:
        yield f"{indent}REFUSED{' as far as was asked' if document['not_asked'] else ''}: {_text(document['reason'])}"
        explanation = document["explanation"]
        for title, text in (
            ("", explanation["sentence"]),
            ("Detail: ", document["detail"]),
            ("Usual cause: ", explanation["cause"]),
            ("What to do: ", explanation["remedy"]),
        ):
            if text:
                yield from _paragraph(title + str(text)[:_MOST_DETAIL], f"{indent}  ")
        for remedy in document["remedies"]:
            yield from _paragraph(remedy, f"{indent}    ")
        yield from _paragraph(f"The client sees: {document['client_sees']}.", f"{indent}  ")
    for note in document.get("notes", ()):
        yield from _paragraph(note, f"{indent}  ")


def _request(request: Mapping[str, Any]) -> Iterator[str]:
    yield _named("request", f"{_text(request['method'])} {_text(request['path'])} for {_text(request['host'])}")
    rule = request.get("rule")
    if rule is not None:
        label = f"{rule['route']}.rules[{rule.get('name', rule['number'])}]"
        yield _named("  rule", f"{_text(label)}: {_printable(rule['summary'])}")
        needed = {"verified": "a verified certificate", "any": "any certificate"}.get(rule["client"], "no certificate")
        yield _named("  needs", needed)
        if request["policies"]:
            yield from _policies(request["policies"], "  ")
        yield from _verdict(request, "  ")
    elif "http_status" not in request:
        yield f"  {_text(request['result']).upper()}: {_text(request['why'])}"
    else:
        yield f"  {request['result'].upper()} with {request['http_status']}: {_text(request['why'])}"


def _printable(text: str) -> str:
    """Escape less than :func:`_text`: what the configuration says may be beyond ASCII."""
    return "".join(c if c.isprintable() else visible(c) for c in text)
