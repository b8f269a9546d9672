"""``allow_list``: registries of identities in files, by every fact, as they change."""
from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.config import ConfigError
from edgegw.policies.allow_list import AllowList, Config, read_registry
from edgegw.policies.listed_identities import KEYS, MOST_NAMES
from edgegw.policies.packed_table import PackedTable
from edgegw.policies.table_rows import RowFaults, csv_rows, yaml_rows
from edgegw.testing import (
    Authority,
    FakeEnvironment,
    anonymous_peer,
    build,
    check_plugin,
    examples_of,
    options,
    peer,
    serve,
)
from edgegw.verdict import Accept, Reason, Reject

CA = Authority("Device CA")
CLIENT = CA.issue(
    "device 7", dns=["device-7.corp.example"], uris=["spiffe://example.org/devices/7"], emails=["Ann@Example.com"]
)
FACTS = peer(CLIENT)
OTHER = peer(CA.issue("other", dns=["other.example"]))


class ListTestCase(SynchronousTestCase):
    """Has a directory for lists."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.env = FakeEnvironment(self.directory)

    def write(self, text: str | bytes, name: str = "list.csv") -> str:
        """Write a list; gives its path."""
        path = self.directory / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    def list(self, text: str | bytes, name: str = "list.csv", **document: Any) -> Any:
        """Build a policy with a list by hash, unless told otherwise."""
        return build(AllowList, {"file": self.write(text, name), "by": "sha256", **document}, self.env)

    def fault(self, text: str | bytes, name: str = "list.csv", **document: Any) -> str:
        """Give what is wrong with a list."""
        return str(self.assertRaises(ValueError, self.list, text, name, **document)).removeprefix(
            f"{self.directory / name}: "
        )

    def accepted(self, policy: Any, client: Any = FACTS) -> dict[str, str]:
        """Give the attributes of a client that comes in."""
        verdict = policy.check(client)
        self.assertIsInstance(verdict, Accept, verdict)
        return dict(verdict.attributes)

    def refused(self, policy: Any, client: Any = FACTS) -> str:
        """Give why a client does not come in."""
        verdict = policy.check(client)
        self.assertIsInstance(verdict, Reject, verdict)
        self.assertEqual(verdict.code, Reason.NOT_LISTED)
        return str(verdict.detail)


class LookUpTests(ListTestCase):
    """Who is on the list comes in."""

    def test_listed(self) -> None:
        """A listed client comes in, and another does not."""
        policy = self.list(f"sha256\n{FACTS.sha256}\n")
        self.assertEqual(self.accepted(policy), {})
        self.assertEqual(self.refused(policy, OTHER), f"no hash on the list of 1 is {OTHER.sha256}")

    def test_empty(self) -> None:
        """A list with nothing but its first line lets nobody in."""
        self.assertIn("list of 0", self.refused(self.list("sha256\n")))

    def test_attributes(self) -> None:
        """Columns that were asked for become attributes; an empty cell gives none, and no other column does."""
        policy = self.list(
            f"owner,sha256,team,secret\n ann@example.com , {FACTS.sha256} ,payments,x\nbob,{OTHER.sha256},,x\n",
            attributes=["team", "owner"],
        )
        self.assertEqual(self.accepted(policy), {"team": "payments", "owner": "ann@example.com"})
        self.assertEqual(self.accepted(policy, OTHER), {"owner": "bob"})

    def test_only_rows_that_count(self) -> None:
        """Rows with other values in the columns of where are not on the list."""
        text = f"sha256,status,team\n{FACTS.sha256},active,a\n{OTHER.sha256},lost,b\n"
        policy = self.list(text, where={"status": "active"}, attributes=["status", "team"])
        self.assertEqual(self.accepted(policy), {"status": "active", "team": "a"})
        self.assertIn("list of 1", self.refused(policy, OTHER))

    def test_a_column_for_several_purposes(self) -> None:
        """The fact itself may be an attribute, too."""
        policy = self.list("dns\ndevice-7.corp.example\n", by="dns", attributes=["dns"])
        self.assertEqual(self.accepted(policy), {"dns": "device-7.corp.example"})

    def test_expiry(self) -> None:
        """A row counts until its moment, or the end of its day in UTC; one without always."""
        for text, last, over in (
            ("2027-03-31", "2027-03-31T23:59:59", "2027-04-01T00:00:00"),
            ("2027-03-31T12:00:00Z", "2027-03-31T11:59:59", "2027-03-31T12:00:00"),
            ("2027-03-31T12:00:00", "2027-03-31T11:59:59", "2027-03-31T12:00:00"),
            ("2027-03-31 14:00:00+02:00", "2027-03-31T11:59:59", "2027-03-31T12:00:00"),
        ):
            policy = self.list(f"sha256,until,team\n{FACTS.sha256},{text},a\n", expires="until", attributes=["team"])
            clients = [peer(CLIENT, now=datetime.fromisoformat(now).replace(tzinfo=UTC)) for now in (last, over)]
            self.assertEqual(self.accepted(policy, clients[0]), {"team": "a"})
            self.assertIn("has expired: 0:00:00 ago", self.refused(policy, clients[1]))
        for never in ("", "9999-12-31"):
            policy = self.list(f"sha256,until\n{FACTS.sha256},{never}\n", expires="until")
            self.accepted(policy, peer(CLIENT, now=datetime(2999, 1, 1, tzinfo=UTC)))

    def test_changes(self) -> None:
        """What is added or removed counts when the file is read again; a bad file leaves the last list in use."""
        policy = self.list(f"sha256\n{FACTS.sha256}\n")
        self.assertEqual(self.env.gauges, {"entries": 1})
        self.write(f"sha256\n{FACTS.sha256}\n{OTHER.sha256}\n")
        self.assertTrue(self.env.reread())
        self.accepted(policy, OTHER)
        self.assertEqual((self.env.gauges, self.env.changes), ({"entries": 2}, 1))
        for bad in ("", "sha256\nx\n", f"sha1\n{FACTS.sha256}\n", b"\xff"):
            self.write(bad)
            self.assertFalse(self.env.reread())
            self.accepted(policy)
        self.write("sha256\n")
        self.assertTrue(self.env.reread())
        self.refused(policy)

    def test_unverified(self) -> None:
        """What anybody can write in a certificate is on no list; a hash is nobody else's."""
        claims = peer(Authority("Device CA").issue("device 7", dns=["device-7.corp.example"]), verified=False)
        for by, fact in (("dns", "device-7.corp.example"), ("common_name", "device 7"), ("subject", "CN=device 7")):
            self.assertIn("is a claim", self.refused(self.list(f"{by}\n{fact}\n", by=by), claims))
        self.accepted(self.list(f"sha256\n{claims.sha256}\n"), claims)

    def test_no_certificate(self) -> None:
        """A client without a certificate is on no list."""
        policy = self.list(f"sha256\n{FACTS.sha256}\n").policy
        self.assertEqual(policy.check(anonymous_peer()), Reject(Reason.NO_CERTIFICATE))


class FactTests(ListTestCase):
    """Every fact that identities may be listed by."""

    def finds(self, by: str, *written: str, client: Any = FACTS) -> None:
        """Make sure that each spelling is found, and that it is the only one on its list."""
        for one in written:
            quoted = one.replace('"', '""')
            policy = self.list(f'{by}\n"{quoted}"\n', by=by)
            self.accepted(policy, client)
            self.refused(policy, OTHER)

    def test_hash(self) -> None:
        """Hashes in either case, with colons or as OpenSSL prints them."""
        colons = FACTS.certificate.sha256_colons
        self.finds("sha256", FACTS.sha256, FACTS.sha256.upper(), colons, colons.lower(), f"SHA256 Fingerprint={colons}")
        for bad in ("x", FACTS.sha256[:-1], FACTS.sha256[:-1] + "g", " ".join([FACTS.sha256[:31], FACTS.sha256[32:]])):
            self.assertIn("line 2: ", self.fault(f"sha256\n{bad}\n"))

    def test_dns(self) -> None:
        """DNS names without regard to case and a last dot; a star is a name and no pattern."""
        self.finds("dns", "device-7.corp.example", "Device-7.CORP.example.")
        capitals = peer(CA.issue(dns=["Device-9.Corp.Example"]))
        self.finds("dns", "device-9.corp.example", client=capitals)
        star = peer(CA.issue(dns=["*.corp.example"]))
        self.finds("dns", "*.Corp.example", client=star)
        self.refused(self.list("dns\n*.corp.example\n", by="dns"))
        for bad in ("a b", "*", "bücher.example", "a..b", "*.*.example"):
            self.assertIn("is no DNS name", self.fault(f"dns\n{bad}\n", by="dns"))

    def test_uri_and_spiffe_id(self) -> None:
        """URIs as they stand; SPIFFE IDs only of certificates that have one and nothing beside it."""
        self.finds("uri", "spiffe://example.org/devices/7")
        self.finds("spiffe_id", "spiffe://example.org/devices/7")
        self.refused(self.list("uri\nspiffe://example.org/Devices/7\n", by="uri"))
        two = peer(CA.issue(uris=["spiffe://example.org/devices/7", "x:y"]))
        self.accepted(self.list("uri\nx:y\n", by="uri"), two)
        self.assertEqual(
            self.refused(self.list("spiffe_id\nspiffe://example.org/devices/7\n", by="spiffe_id"), two),
            "the certificate has no SPIFFE ID",
        )
        for bad in ("spiffe://example.org", "spiffe://Example.org/a", "https://a.example/", "x"):
            self.assertIn("is no workload's SPIFFE ID", self.fault(f"spiffe_id\n{bad}\n", by="spiffe_id"))
        for bad in ("x", "a b:c", "é:x"):
            self.assertIn("is no URI", self.fault(f"uri\n{bad}\n", by="uri"))

    def test_email(self) -> None:
        """Mail addresses with their domain in any case and their first part in its own."""
        self.finds("email", "Ann@Example.com", "Ann@EXAMPLE.COM")
        self.refused(self.list("email\nann@example.com\n", by="email"))
        for bad in ("ann", "@example.com", "ann@", "ann@a b"):
            self.assertIn("is no mail address", self.fault(f"email\n{bad}\n", by="email"))

    def test_common_name(self) -> None:
        """Common names to the letter, whatever characters they have."""
        self.finds("common_name", "device 7")
        odd = peer(CA.issue('Größe, "7"'))
        self.finds("common_name", 'Größe, "7"', client=odd)
        self.refused(self.list("common_name\nDevice 7\n", by="common_name"))
        self.refused(self.list("common_name\ndevice 7\n", by="common_name"), peer(CA.issue(" device 7")))

    def test_subject(self) -> None:
        """Subjects as RFC 4514 writes them, compared as names are."""
        name = x509.Name([
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme, Inc."),
            x509.NameAttribute(NameOID.COMMON_NAME, "device 7"),
        ])
        client = peer(CA.issue(subject=name))
        self.finds(
            "subject", client.subject, r"CN=device 7,O=Acme\, Inc.,C=US", r"cn=Device 7, o=ACME\, Inc., c=us",
            client=client,
        )
        self.refused(self.list('subject\n"C=US,O=Acme\\, Inc.,CN=device 7"\n', by="subject"), client)
        for bad in ("device 7", "/CN=x", '"  "'):
            self.assertTrue(self.fault(f"subject\n{bad}\n", by="subject"))

    def test_serial(self) -> None:
        """Serial numbers in hexadecimal, with colons and zeros or without, or decimal after a word."""
        client = peer(CA.issue(serial=0x4F8A))
        self.finds("serial", "4f8a", "4F:8A", "0x004f8a", "dec:20362", client=client)
        self.assertIn("is no serial number", self.fault("serial\nxyz\n", by="serial"))

    def test_issuer_and_serial(self) -> None:
        """A serial number together with its issuer: the same one of another CA is another certificate."""
        client, same = peer(CA.issue(serial=0x4F8A)), peer(Authority("Other CA").issue(serial=0x4F8A))
        policy = self.list("serial,issuer,team\n4F:8A,cn=device ca,a\n", by="issuer_serial", attributes=["team"])
        self.assertEqual(self.accepted(policy, client), {"team": "a"})
        self.assertIn("CN=Other CA 4f8a", self.refused(policy, same))
        self.assertIn("line 2: has no issuer and serial", self.fault("issuer,serial\nCN=x,\n", by="issuer_serial"))
        for bad in ("x,1", "CN=x,y"):
            self.assertIn("line 2: ", self.fault(f"issuer,serial\n{bad}\n", by="issuer_serial"))

    def test_any_of_several_names(self) -> None:
        """One listed name of several is enough, and the first of them says what the client is."""
        client = peer(CA.issue(dns=["c.example", "b.example", "a.example"]))
        policy = self.list("dns,team\na.example,1\nb.example,2\n", by="dns", attributes=["team"])
        self.assertEqual(self.accepted(policy, client), {"team": "2"})

    def test_thousands_of_names(self) -> None:
        """Only the first hundred names of a certificate are looked up."""
        names = [f"x{number}.example" for number in range(MOST_NAMES + 1)]
        client = peer(CA.issue(dns=names))
        self.accepted(self.list(f"dns\n{names[-2]}\n", by="dns"), client)
        verdict = self.list(f"dns\n{names[-1]}\n", by="dns").check(client)
        # Not listed it is not: under not that would let in who is on the list with a later name.
        self.assertEqual(verdict.code, Reason.CERTIFICATE_INVALID)
        self.assertIn("and 95 more", verdict.detail)

    def test_column(self) -> None:
        """The column may have another name."""
        policy = self.list(f"Fingerprint (SHA-256)\n{FACTS.sha256}\n", column="Fingerprint (SHA-256)")
        self.accepted(policy)

    def test_every_fact_is_an_option(self) -> None:
        """The configuration knows the facts that there are, and no others."""
        for by in KEYS:
            self.assertEqual(options(AllowList, {"file": "x", "by": by}).by, by)
        self.assertRaises(ConfigError, options, AllowList, {"file": "x", "by": "sha1"})


class CSVTests(ListTestCase):
    """CSV files, good and bad."""

    def rows(self, text: str | bytes, *columns: str) -> list[tuple[int, list[str]]]:
        """Read columns."""
        faults = RowFaults()
        data = text.encode() if isinstance(text, str) else text
        rows = [(line, list(values)) for line, values in csv_rows(data, columns, faults)]
        faults.check()
        return rows

    def test_spellings(self) -> None:
        """Line ends of every system, a byte order mark, quotes, empty lines and spaces around cells."""
        for text in ("a,b\n1,2\n", "a,b\r\n1,2\r\n", "a,b\n1,2", "\ufeffa,b\n1,2", '"a","b"\n"1","2"\n',
                     " a , b \n 1 , 2 \n", "a,b\n1,2\n\n  \n"):
            self.assertEqual(self.rows(text, "b", "a"), [(2, ["2", "1"])], text)
        self.assertEqual(self.rows('a,b\n"1,\n""1""",2\n3,4\n', "a"), [(3, ['1,\n"1"']), (4, ["3"])])

    def test_columns(self) -> None:
        """A missing column is named beside those that are there, and so is one that is there twice."""
        self.assertEqual(self.fault("a,b\n1,2\n"), "the column sha256 is not there: the first line names a, b")
        self.assertIn("the column sha256 is there twice", self.fault("sha256,sha256\n"))
        self.assertIn("names sha256;team", self.fault("sha256;team\n"))
        for column in ("team", "until", "status"):
            document = {"attributes": ["team"], "expires": "until", "where": {"status": "x"}}
            header = ",".join({"sha256", "team", "until", "status"} - {column})
            self.assertIn(f"the column {column} is not there", self.fault(header, **document))
        for empty in ("", "\n", " , \n", "\ufeff"):
            self.assertEqual(self.fault(empty), "has no first line that names the columns")

    def test_bad_lines(self) -> None:
        """The first few bad lines are named with what is wrong with each, and the others are counted."""
        lines = [f"{FACTS.sha256},a", "x,a", f"{OTHER.sha256}", f"{FACTS.sha256.upper()},b", ",c", "y,a", "z,a", "z,a"]
        said = self.fault("sha256,team\n" + "\n".join(lines), attributes=["team"])
        self.assertTrue(said.startswith("line 3: 'x' is no SHA-256 fingerprint"))
        for part in ("line 4: has 1 cells, the first line has 2", f"line 5: {FACTS.sha256.upper()} is there twice",
                     "line 6: has no hash", "line 7: 'y'", ", and 2 more lines"):
            self.assertIn(part, said)

    def test_bad_values(self) -> None:
        """Attributes that are too long or have control characters, and moments that are none, are faults."""
        for value, problem in (("x" * 257, "has 257 characters"), ('"a\nb"', "control characters"),
                               ("a\x7fb", "control characters"), ("a\u202eb", "control characters"),
                               ("a\x00b", "control characters")):
            said = self.fault(f"sha256,team\n{FACTS.sha256},{value}\n", attributes=["team"])
            self.assertIn(problem, said)
        self.list(f"sha256,team\n{FACTS.sha256},{'x' * 256}\n", attributes=["team"])
        for value in ("tomorrow", "2027-13-01", "31.3.2027", "1e9"):
            said = self.fault(f"sha256,until\n{FACTS.sha256},{value}\n", expires="until")
            self.assertIn("line 2: ", said)
            self.assertIn("is no day or moment", said)

    def test_no_text(self) -> None:
        """What is not UTF-8 is named by its line; so are quotes that do not end."""
        self.assertEqual(self.fault(b"sha256\n\n\xff\n"), "line 3: is not UTF-8")
        self.assertEqual(self.fault("sha256\n".encode("utf-16")), "line 1: is not UTF-8")
        self.assertIn("line 3: ", self.fault('sha256\n\n"abc\n'))
        self.assertIn("line 2: ", self.fault("sha256\n" + "x" * 200_000))

    @given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=6))
    def test_whatever_csv_writes(self, rows: list[tuple[str, str]]) -> None:
        """What Python's own writer writes is read as it was, without outer spaces."""
        clean = [tuple(cell.encode("utf-8", "replace").decode() for cell in row) for row in rows]
        file = io.StringIO(newline="")
        csv.writer(file).writerows([("a", "b"), *clean])
        read = self.rows(file.getvalue(), "a", "b")
        wanted = [[cell.strip() for cell in row] for row in clean]
        self.assertEqual([values for _, values in read], wanted)

    @given(st.binary(max_size=60))
    def test_whatever_comes(self, data: bytes) -> None:
        """No file makes it fail otherwise than by saying that it cannot be used."""
        for name, by in (("x.csv", "dns"), ("x.yaml", "sha256"), ("x.csv", "issuer_serial")):
            for begin in (b"", b"dns,issuer,serial,team\n", b"- {dns: "):
                try:
                    read_registry(begin + data, Config(file=name, by=by, attributes=("team",), expires="team"))
                except ValueError as error:
                    self.assertTrue(str(error))


class YAMLTests(ListTestCase):
    """YAML files, good and bad."""

    def rows(self, text: str | bytes, *columns: str) -> list[tuple[int, list[str]]]:
        """Read columns."""
        faults = RowFaults()
        data = text.encode() if isinstance(text, str) else text
        rows = [(line, list(values)) for line, values in yaml_rows(data, columns, faults)]
        faults.check()
        return rows

    def test_spellings(self) -> None:
        """Mappings, flow style and text alone; what looks like a number or a truth stays what it is."""
        text = "# ours\n---\n- serial: 4711\n  team: yes\n- {team: ~, serial: 1e10}\n- 0x1F\n"
        text += "- serial: 'null'\n  x: {a: [b]}\n"
        self.assertEqual(
            self.rows(text, "serial", "team"),
            [(3, ["4711", "yes"]), (5, ["1e10", ""]), (6, ["0x1F", ""]), (7, ["null", ""])],
        )
        self.assertEqual(self.rows("[a, {serial: b}]", "serial"), [(1, ["a"]), (1, ["b"])])
        self.assertEqual(self.rows("[]", "serial"), [])

    def test_list(self) -> None:
        """A list in YAML does what one in CSV does."""
        text = f"- sha256: {FACTS.sha256}\n  team: payments\n- {OTHER.certificate.sha256_colons}\n"
        for name, form in (("list.yaml", None), ("list.yml", None), ("list", "yaml")):
            policy = self.list(text, name, attributes=["team"], **({} if form is None else {"format": form}))
            self.assertEqual(self.accepted(policy), {"team": "payments"})
            self.assertEqual(self.accepted(policy, OTHER), {})

    def test_faults(self) -> None:
        """What is no such list is said with its line."""
        for text, said in (
            ("", "line 1: is no list"),
            ("sha256: x\n", "line 1: is no list"),
            ("text", "line 1: is no list"),
            ("- x\n- [a]\n", "line 2: is neither a mapping nor text"),
            ("- sha256: [a]\n", "line 1: sha256 is no text"),
            ("- team: x\n", "line 1: has no hash"),
            ("-\n", "line 1: has no hash"),
            (f"- {FACTS.sha256}\n- {FACTS.sha256}\n", "line 2: "),
            ("- sha256: a\n  sha256: b\n", "line 2: sha256 is there twice"),
            ("- &a x\n- *a\n", "line 1: anchors and aliases are not taken"),
            ("- *a\n", "line 1: anchors and aliases are not taken"),
            ("- x\n---\n- y\n", "line 2: a second document begins"),
            ("- {a: b\n", "line "),
            ("- a\n\tb", "line "),
            ("- '\n", "line "),
            (b"- \xff\n", "line "),
            ("- x\x07\n", "line "),
        ):
            self.assertIn(said, self.fault(text, "list.yaml"), text)

    def test_bombs(self) -> None:
        """Neither deep nesting nor aliases of aliases cost more than their bytes."""
        self.assertTrue(self.fault("- " + "[" * 100_000, "list.yaml"))
        self.assertTrue(self.fault("- x: " + "{a: " * 100_000, "list.yaml"))
        bomb = [f"- x: &{chr(98 + at)} [*{chr(97 + at)}, *{chr(97 + at)}]\n" for at in range(20)]
        self.assertIn("anchors", self.fault("- x: &a [y, y]\n" + "".join(bomb), "list.yaml"))


class TableTests(SynchronousTestCase):
    """The table behind a list."""

    @given(st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=5).map(lambda text: text.replace(b"\n", b"")))))
    def test_like_a_dictionary(self, entries: list[tuple[int, bytes]]) -> None:
        """It answers as a dictionary would, whose first entry for a key stays."""
        table, known = PackedTable(), dict[bytes, bytes]()
        for number, text in entries:
            key = sha256(b"%d" % number).digest()
            self.assertEqual(table.add(key, text), key not in known)
            known.setdefault(key, text)
        table.finish()
        self.assertEqual(len(table), len(known))
        for number in range(401):
            key = sha256(b"%d" % number).digest()
            self.assertEqual(table.get(key), known.get(key))

    def test_keys_that_lie_across_others(self) -> None:
        """A key is found only where one begins, even if its bytes are there elsewhere."""
        table = PackedTable()
        table.add(bytes(32), b"zeros")
        # The last 28 bytes of the key and the position of its text, 1, are these 32 bytes.
        across = bytes(31) + b"\x01"
        self.assertIsNone(table.get(across))
        self.assertTrue(table.add(across, b"one"))
        self.assertFalse(table.add(across, b"two"))
        self.assertEqual((table.get(bytes(32)), table.get(across)), (b"zeros", b"one"))

    def test_many_texts(self) -> None:
        """Texts beyond those that are shared are kept, too."""
        table = PackedTable()
        for number in range(70_000):
            table.add(sha256(b"%d" % number).digest(), b"%d" % number)
        self.assertTrue(all(table.get(sha256(b"%d" % n).digest()) == b"%d" % n for n in range(0, 70_000, 999)))


class OptionTests(ListTestCase):
    """What may be written."""

    def test_faults(self) -> None:
        """Attributes that no template could name, and options that do not go together, are faults."""
        for document in (
            {"attributes": ["a b"]}, {"attributes": ["1"]}, {"attributes": ["a", "a"]}, {"attributes": ["x" * 64]},
            {"attributes": [f"x{number}" for number in range(17)]}, {"by": "issuer_serial", "column": "x"},
            {"format": "xml"}, {"file": None},
        ):
            self.assertRaises(ConfigError, options, AllowList, {"file": "x", "by": "sha256", **document})

    def test_missing_file(self) -> None:
        """A list that is not there is a fault when the configuration is read."""
        self.assertRaises(OSError, build, AllowList, {"file": str(self.directory / "none"), "by": "dns"}, self.env)

    def test_contract(self) -> None:
        """It keeps to what plugins promise, whoever comes, and its example is a configuration."""
        for by, key in KEYS.items():
            path = self.write(",".join(key.columns) + "\n", f"{by}.csv")
            check_plugin(AllowList, {"file": path, "by": by})
        self.assertEqual(len(list(examples_of(AllowList))), 1)


class HandshakeTests(TestCase):
    """In real handshakes."""

    async def test_handshakes(self) -> None:
        """Who is listed comes in, with what the list says of it; who is not does not get through the handshake."""
        path = Path(self.mktemp()).absolute()
        path.write_text("dns,team\ndevice-7.corp.example,payments\n")
        policy = (AllowList, {"file": str(path), "by": "dns", "attributes": ["team"]})
        async with serve([policy], trust=[CA]) as edge:
            good = await edge.handshake(CLIENT)
            bad = await edge.handshake(CA.issue("other", dns=["other.example"]))
        self.assertEqual((good.accepted, good.attributes), (True, {"team": "payments"}))
        self.assertEqual((bad.accepted, bad.code), (False, Reason.NOT_LISTED))
