"""``allow_list``: a registry of devices or users in a file, with what is known of each."""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from time import sleep
from typing import Final, Literal

from attrs import Factory, frozen

from edgegw.api import Accept, FilePath, IEnvironment, Peer, Reason, Reject, Verdict, option, policy
from edgegw.policies.details import listed, shown
from edgegw.policies.listed_identities import KEYS, IdentityKey
from edgegw.policies.packed_table import PackedTable
from edgegw.policies.rfc4514 import MAX_NAME
from edgegw.policies.table_rows import Row, RowFaults, csv_rows, yaml_rows

__all__ = ["AllowList", "Config", "read_registry"]

_ACCEPT: Final = Accept()
_MOST_ATTRIBUTES: Final = 16
_MOST_CHARACTERS: Final = 256
#: Rows that are read before other threads get their turn: about a millisecond's work.
_STEP: Final = 256
_MOST_DATES: Final = 10_000
_DAY: Final = 86_400

_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")


def _check_attributes(names: Sequence[str]) -> None:
    if len(names) > _MOST_ATTRIBUTES:
        raise ValueError(f"has {len(names)} columns; {_MOST_ATTRIBUTES} are allowed")
    for name in names:
        if not _ATTRIBUTE.fullmatch(name):
            raise ValueError(f"{name!r} cannot be an attribute's name; let the column's begin with a letter, and have "
                             "letters, digits, _, . and - in it only")
    if len(set(names)) < len(names):
        raise ValueError("names a column twice")


@frozen(kw_only=True)
class Config:
    """Options of ``allow_list``."""

    file: FilePath = option("The list, followed as it changes.")
    by: Literal[
        "sha256", "spiffe_id", "uri", "dns", "email", "common_name", "subject", "serial", "issuer_serial"
    ] = option(
        "The fact by which identities are listed.  The column that has it is called the same, the two of issuer_serial "
        "issuer and serial."
    )
    column: str | None = option("Another name for that column; not for issuer_serial.", default=None)
    format: Literal["csv", "yaml"] | None = option(
        "What the file is; by default YAML if its name ends in .yaml or .yml, and CSV otherwise.", default=None
    )
    attributes: tuple[str, ...] = option(
        "Columns whose values become attributes of the client, of the same names; 16 at most.",
        default=(),
        check=_check_attributes,
    )
    where: Mapping[str, str] = option(
        "Only rows with these values in these columns count, such as status: active.", default=Factory(dict)
    )
    expires: str | None = option(
        "The column with a day or moment (ISO 8601) after which a row does not count; rows without one always do.",
        default=None,
    )

    def __attrs_post_init__(self) -> None:
        if self.column is not None and len(KEYS[self.by].columns) > 1:
            raise ValueError("has a column, and issuer_serial has two; call them issuer and serial in the file")

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that have the fact."""
        return KEYS[self.by].columns if self.column is None else (self.column,)


@policy("allow_list", Config)
class AllowList:
    """Let in the clients that are on a list in a file, and tell what the list says of them.

    The file is followed: what is added or removed counts within about a second, and a file that cannot be used leaves
    the last list in use, with an error in the log and the metrics.  Replace it by renaming a new one over it; one
    that is written in place may be read half-way, and its second half a second later.

    CSV has a first line that names the columns, in any order; other columns are passed over::

        sha256,team,owner,status,expires
        9F:86:D0:...:0A:08,payments,ann@example.com,active,2027-03-31

    YAML is a list of mappings with the same names, or of the facts alone: ``- spiffe_id: spiffe://example.org/pay``.
    Values need no quotes: a serial number stays what is written.  A line that cannot be used, or a fact that is there
    twice, makes the whole file unusable; the message names the first few lines.

    By name: ``sha256`` is the hash of the client's own certificate; hashes and serial numbers may have colons and
    either case.  ``dns``, ``uri`` and ``email`` let a client in if one of these alternative names is on the list, the
    first of them in the certificate's order, of which 100 are looked at; ``*.`` in a list is that name and no pattern.
    ``common_name`` is compared as it stands.  ``subject`` and ``issuer`` are written as RFC 4514 does, the most
    specific part first, and compared as the policy ``subject`` compares them; a comma in CSV wants quotes around the
    cell.  ``serial`` alone names a certificate only where one CA is trusted.

    Under ``not`` it is a list of those to be kept out, best by ``serial`` or a name: the same certificate can be given
    another hash by whoever has it, as its signature, if it is one of ECDSA, has a second form.  A certificate whose
    names cannot be read, or are more than are looked at, is refused under ``not``, too.

    A certificate whose chain is not good, as ``AllowInsecureFallback`` lets in, is found by ``sha256`` only: everything
    else in it anybody can write.

    A moment without a time zone is UTC's; a day lasts to its end.  Attributes are 256 characters at most, without
    control characters; an empty cell gives none.

    A million lines of CSV with hashes take 8 seconds of one core, spent beside the traffic, and 50 MB; with two
    attributes 10 seconds and 100 MB.  While a file is read again both lists and the file's bytes are in memory.  A
    look-up takes some microseconds.  YAML takes three times as long, and so do lists by ``subject`` or
    ``issuer_serial``.  A file may have 256 MiB.

    Example::

        policies:
          - allow_list:
              file: devices.csv
              by: sha256
              attributes: [team, owner]
              where: {status: active}
              expires: expires
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._key = KEYS[config.by]
        self._attributes = config.attributes
        self._expires = config.expires is not None
        entries = env.gauge("entries", "Rows of an allow list that count, as it was last read.")

        def read(data: bytes) -> PackedTable:
            table = read_registry(data, config)
            entries(len(table))
            return table

        self._followed = env.follow(config.file, read)

    def check(self, peer: Peer) -> Verdict:
        """Look the client up."""
        certificate = peer.certificate
        if certificate is None:
            return Reject(Reason.NO_CERTIFICATE)
        key = self._key
        if key.claimed and not peer.verified:
            return Reject(Reason.NOT_LISTED, f"the {key.words} is a claim: the certificate's chain is not good")
        table: PackedTable = self._followed.value
        found = key.found(certificate)
        for one in found:
            text = table.get(key.digest(one)) if len(one) <= MAX_NAME else None
            if text is not None:
                return self._listed(text, one, peer.now) if text else _ACCEPT
        overlooked = key.overlooked(certificate, found)
        if not found:
            missing = f"the certificate has no {key.words}"
        else:
            missing = f"no {key.words} on the list of {len(table)} is {listed(found)}"
        if overlooked:
            # It may be on the list all the same, which counts where the list is one of those to be kept out.
            return Reject(Reason.CERTIFICATE_INVALID, f"{missing}, and {overlooked}")
        return Reject(Reason.NOT_LISTED, missing)

    def _listed(self, text: bytes, found: str, now: datetime) -> Verdict:
        values = text.decode("utf-8").split("\0")
        if self._expires:
            expires = values.pop(0)
            if expires and now.timestamp() >= int(expires):
                ago = timedelta(seconds=int(now.timestamp()) - int(expires))
                return Reject(Reason.NOT_LISTED, f"the entry of {shown(found)} has expired: {ago} ago")
        return Accept({name: value for name, value in zip(self._attributes, values, strict=True) if value})


# --- the file ---------------------------------------------------------------------------------


def read_registry(data: bytes, config: Config) -> PackedTable:
    """Read a list: a table of the values that go with each fact, by its digest.

    :raises ValueError: it cannot be used; the text names the first few lines that are wrong.
    """
    faults = RowFaults()
    key = KEYS[config.by]
    table = PackedTable()
    add, read = table.add, _RowReader(config)
    for at, (line, values) in enumerate(_rows(data, config, faults)):
        if not at % _STEP:
            # The reactor's thread, if it waits for its turn, gets it now and not after five milliseconds.
            sleep(0)
        try:
            text = read(values)
            if text is not None and not add(_digest(key, values), text):
                faults.add(line, f"{shown(' '.join(values[:len(key.columns)]))} is there twice")
        except ValueError as error:
            faults.add(line, error)
    faults.check()
    return table.finish()


def _digest(key: IdentityKey, values: Sequence[str]) -> bytes:
    facts = values[:len(key.columns)]
    if not all(facts):
        raise ValueError(f"has no {key.words}")
    return key.listed(facts)


def _rows(data: bytes, config: Config, faults: RowFaults) -> Iterator[Row]:
    expires = () if config.expires is None else (config.expires,)
    columns = (*config.key_columns, *expires, *config.attributes, *config.where)
    # A column may be wanted for several reasons.
    names = tuple(dict.fromkeys(columns))
    form = config.format or ("yaml" if config.file.lower().endswith((".yaml", ".yml")) else "csv")
    rows = (yaml_rows if form == "yaml" else csv_rows)(data, names, faults)
    if names == columns:
        return rows
    places = [names.index(column) for column in columns]
    return ((line, [values[place] for place in places]) for line, values in rows)


class _RowReader:
    """Makes the text that is kept of a row: its end and its attributes, with NULs between."""

    def __init__(self, config: Config) -> None:
        self._first = len(config.key_columns)
        self._expires = config.expires is not None
        self._last = self._first + self._expires + len(config.attributes)
        self._where = tuple(config.where.values())
        self._plain = not config.where and self._last == self._first
        self._ends: dict[str, str] = {}

    def __call__(self, values: Sequence[str]) -> bytes | None:
        """Give the text; ``None`` for a row that does not count.

        :raises ValueError: a value cannot be used.
        """
        if self._plain:
            return b""
        if self._where and tuple(values[self._last:]) != self._where:
            return None
        kept = list(values[self._first:self._last])
        if self._expires:
            kept[0] = self._end(kept[0])
        for value in kept:
            if len(value) > _MOST_CHARACTERS:
                raise ValueError(f"{shown(value, 20)!r} has {len(value)} characters, {_MOST_CHARACTERS} are allowed")
            if not value.isprintable():
                raise ValueError(f"{shown(value)!r} has control characters in it")
        return "\0".join(kept).encode("utf-8") if any(kept) else b""

    def _end(self, text: str) -> str:
        end = self._ends.get(text)
        if end is None:
            end = _end_of(text) if text else ""
            if len(self._ends) < _MOST_DATES:
                self._ends[text] = end
        return end


def _end_of(text: str) -> str:
    """Give the second from which on a row does not count, since 1970, of a day or a moment."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{shown(text)!r} is no day or moment such as 2027-03-31 or 2027-03-31T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return str(int(moment.timestamp()) + (_DAY if _is_day(text) else 0))


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
