"""The handshake record: what it tells, that a flood washes nothing away, and that it stays small."""
from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.certificate import Certificate
from edgegw.identity import CertificateStatus
from edgegw.observe.certificate_summary import MAX_KEPT, CertificateSummaries, certificate_facts, shorten
from edgegw.observe.handshake_entry import MAX_BYTES, MAX_DETAIL, MAX_RULINGS
from edgegw.observe.handshakes import BadPosition, HandshakeRecord
from edgegw.proxied import ProxiedTLS, ProxyFacts
from edgegw.verdict import Accept, Reason, Reject, Ruling
from tests.client_certificates import general_names, handmade, tlv
from tests.gateway import Authority

VERIFIED, UNVERIFIED, NONE = CertificateStatus.VERIFIED, CertificateStatus.UNVERIFIED, CertificateStatus.NONE
DNS = 0x82


def common_name(text: bytes) -> bytes:
    """Encode a subject that is one common name."""
    return tlv(0x31, tlv(0x30, tlv(0x06, bytes.fromhex("550403")), tlv(0x0C, text)))


CLIENT = handmade(common_name(b"client"), [general_names((DNS, b"client.example"))])


@frozen
class Handshake:
    """What the data path tells of one."""

    listener: str = "web"
    peer: str = "192.0.2.7"
    port: int = 50_000
    server_name: str | None = "a.example"
    version: str | None = "TLSv1.3"
    cipher: str | None = "TLS_AES_128_GCM_SHA256"
    group: str | None = "X25519"
    resumed: bool = False
    status: CertificateStatus = VERIFIED
    certificate: Certificate | None = CLIENT
    reason: str = ""
    detail: str = ""
    rulings: tuple[Ruling, ...] = ()
    seconds: float = 0.002
    fingerprints: tuple[str, str] | None = None
    proxied: ProxyFacts | None = None

    def add(self, record: HandshakeRecord, handshake_id: str = "") -> str:
        """Put it into a record."""
        return record.add(
            self.listener, self.peer, self.port, self.server_name, self.version, self.cipher, self.group,
            self.resumed, self.status, self.certificate, self.reason, self.detail, self.rulings, self.seconds,
            handshake_id, self.fingerprints, self.proxied,
        )  # fmt: skip


#: One of each sort; the last one is what floods are made of.
ACCEPTED = Handshake()
REFUSED = Handshake(reason=Reason.SUBJECT_ALT_NAME, detail="has client.example")
STRANGER = Handshake(status=UNVERIFIED, reason=Reason.UNKNOWN_CA)
NOBODY = Handshake(
    server_name=None, version=None, cipher=None, group=None, status=NONE, certificate=None, reason=Reason.NOT_TLS
)


class Clock:
    """The time, as a test has it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def ids(entries: list[dict[str, Any]]) -> list[str]:
    """The ids of entries."""
    return [entry["id"] for entry in entries]


class RecordCase(SynchronousTestCase):
    """A record and its clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.record = HandshakeRecord(80, self.clock)

    def all(self, **chosen: Any) -> list[dict[str, Any]]:
        """Every entry that there is."""
        return self.record.entries(max(1, self.record.capacity), **chosen)[0]


class EntryTests(RecordCase):
    """What is told of a handshake."""

    def test_proxied(self) -> None:
        """What a proxy has said, bounded and harmless."""
        tls = ProxiedTLS("TLSv1.2", "X\n", True, False, 20, "b\xfc")
        said = ProxyFacts("10.0.0.5", 4711, 2, False, ("203.0.113.1", 443), "a\x1b" * 500, "h2", "\xff", tls)
        record = HandshakeRecord()
        evolve(ACCEPTED, proxied=said).add(record)
        evolve(ACCEPTED, proxied=ProxyFacts("unix:", 0, 1, True)).add(record)
        (first, second), _ = record.entries(2)
        found = first["proxied"]
        assert isinstance(found, dict)
        authority = found.pop("authority")
        self.assertTrue(authority.startswith("a\\x1ba\\x1b") and authority.endswith("... (1000 characters)"))
        self.assertEqual(
            found,
            {
                "peer": "10.0.0.5", "port": 4711, "version": 2, "local": False,
                "destination": {"address": "203.0.113.1", "port": 443}, "alpn": "h2", "unique_id": "\\xff",
                "tls": {
                    "version": "TLSv1.2", "cipher": "X\\n", "certificate": True, "session_certificate": False,
                    "verify": 20, "common_name": "b\\xfc",
                },
            },
        )
        self.assertEqual(
            second["proxied"],
            {
                "peer": "unix:", "port": 0, "version": 1, "local": True, "destination": None, "authority": "",
                "alpn": "", "unique_id": "", "tls": None,
            },
        )

    def test_refused(self) -> None:
        """Everything about a refused client: where, who, what was negotiated, and what each policy said."""
        rulings = (
            Ruling("[0].spiffe", Accept({"team": "red"}), 0.000_012),
            Ruling("[1].any[0].badge", Reject("no_badge", "none"), 0.5, True),
        )
        handshake = Handshake(
            certificate=Certificate(Authority("root").issue("client", dns=["client.example"]).der),
            reason="no_badge", detail="none", rulings=rulings, resumed=True,
            fingerprints=("5a1edc7f170af1014fc65c994878e63c", "t13d3111h2_e8f1e7e78f70_1f22a2ca17c4"),
        )  # fmt: skip
        given_id = handshake.add(self.record)
        (entry,) = self.all()
        certificate = entry.pop("certificate")
        self.assertEqual(
            entry,
            {
                "id": given_id,
                "time": "2027-01-15T08:00:00.000Z",
                "count": 1,
                "last": "2027-01-15T08:00:00.000Z",
                "listener": "web",
                "peer": "192.0.2.7",
                "port": 50_000,
                "proxied": None,
                "server_name": "a.example",
                "version": "TLSv1.3",
                "cipher": "TLS_AES_128_GCM_SHA256",
                "group": "X25519",
                "resumed": True,
                "ja3": "5a1edc7f170af1014fc65c994878e63c",
                "ja4": "t13d3111h2_e8f1e7e78f70_1f22a2ca17c4",
                "status": "verified",
                "result": "refused",
                "reason": "no_badge",
                "detail": "none",
                "policies": [
                    {"policy": "[0].spiffe", "verdict": "accept", "code": "", "detail": "team=red",
                     "seconds": 0.000_012, "cached": False},
                    {"policy": "[1].any[0].badge", "verdict": "reject", "code": "no_badge", "detail": "none",
                     "seconds": 0.5, "cached": True},
                ],
                "policies_left_out": 0,
                "seconds": 0.002,
            },
        )  # fmt: skip
        assert handshake.certificate is not None
        issued = handshake.certificate
        self.assertEqual(certificate["dns_names"], ["client.example"])
        for name in ("sha256", "serial", "subject", "issuer"):
            self.assertEqual(certificate[name], getattr(issued, name))
        for name in ("not_before", "not_after"):
            self.assertEqual(certificate[name], getattr(issued, name).isoformat().replace("+00:00", "Z"))

    def test_results(self) -> None:
        """A client came in, was refused, or got no handshake done."""
        for number, (reason, result) in enumerate(
            (("", "accepted"), (Reason.SERIAL, "refused"), ("no_badge", "refused"), (Reason.CLIENT_CLOSED, "failed"),
             (Reason.MAX_CONNECTIONS, "refused"), (Reason.NO_SHARED_CIPHER, "failed"))
        ):  # fmt: skip
            evolve(NOBODY, reason=reason, peer=f"peer {number}").add(self.record)
            entry = self.all()[-1]
            self.assertEqual((entry["reason"], entry["result"]), (str(reason), result))

    def test_json(self) -> None:
        """Every entry is JSON."""
        for handshake in (ACCEPTED, REFUSED, STRANGER, NOBODY):
            handshake.add(self.record)
        self.assertEqual(json.loads(json.dumps(self.all())), self.all())

    def test_nothing_that_a_terminal_obeys(self) -> None:
        """Whatever names and details hold, they are printable ASCII, and their text can still be read."""
        evil = "\x1b[2J\u202eevil\n\ud800é"
        certificate = handmade(common_name(evil.encode("utf-8", "surrogatepass")), [general_names((DNS, b"\x1b[2J"))])
        Handshake(
            peer=evil, server_name=evil, certificate=certificate, reason="code", detail=evil,
            rulings=(Ruling("p", Reject("code", evil)), Ruling("q", Accept({evil: evil}))),
        ).add(self.record)  # fmt: skip
        (entry,) = self.all()

        def texts(value: object) -> Iterator[str]:
            if isinstance(value, dict):
                for member in value.values():
                    yield from texts(member)
            elif isinstance(value, list):
                for member in value:
                    yield from texts(member)
            elif isinstance(value, str):
                yield value

        for text in texts(entry):
            self.assertTrue(all(" " <= character <= "~" for character in text), text)
        self.assertEqual(entry["detail"], r"\x1b[2J\u202eevil\n\ud800\xe9")
        self.assertEqual(entry["certificate"]["malformed_names"], [r"DNS:\1B[2J"])

    def test_many_policies(self) -> None:
        """Of a long list the first policies and the one that decided are told, and how many are not."""
        rulings = tuple(Ruling(f"any[{number}].serial", Reject(Reason.SERIAL, "x" * 500)) for number in range(50))
        evolve(REFUSED, rulings=rulings).add(self.record)
        (entry,) = self.all()
        names = [policy["policy"] for policy in entry["policies"]]
        wanted = [f"any[{number}].serial" for number in (*range(MAX_RULINGS - 1), 49)]
        self.assertEqual((names, entry["policies_left_out"]), (wanted, 50 - MAX_RULINGS))

    def test_long_detail(self) -> None:
        """A long detail is cut, which can be seen."""
        evolve(REFUSED, detail="x" * 1000).add(self.record)
        self.assertTrue(self.all()[0]["detail"].endswith("x... (1000 characters)"))


class IdTests(RecordCase):
    """What a handshake is called."""

    def test_unique(self) -> None:
        """No two handshakes have one id, in one process or in two."""
        given = [ACCEPTED.add(self.record) for _ in range(70)] + [self.record.next_id() for _ in range(700)]
        given += [ACCEPTED.add(HandshakeRecord()) for _ in range(10)]
        self.assertEqual(len(set(given)), len(given))
        self.assertLessEqual(max(map(len, given)), 16)

    def test_find(self) -> None:
        """An id leads to its handshake for as long as it is there."""
        given = [evolve(ACCEPTED, port=number).add(self.record) for number in range(300)]
        for number in range(300):
            entry = self.record.find(given[number])
            self.assertEqual(None if entry is None else (entry["id"], entry["port"]),
                             None if number < 220 else (given[number], number))
        for other in ("", "x", self.record.next_id(), ACCEPTED.add(HandshakeRecord())):
            self.assertIsNone(self.record.find(other))

    def test_known_before_the_end(self) -> None:
        """An id that was asked for early is the entry's, and a follower misses neither it nor those between."""
        early = self.record.next_id()
        between = ACCEPTED.add(self.record)
        seen, after = self.record.entries(10)
        self.assertEqual(ids(seen), [between])
        self.assertEqual(REFUSED.add(self.record, early), early)
        self.assertEqual(ids(self.record.entries(10, after)[0]), [early])
        found = self.record.find(early)
        assert found is not None
        self.assertEqual(found["reason"], "subject_alt_name")


class ChoiceTests(RecordCase):
    """Which ones are told."""

    def test_last_ones(self) -> None:
        """Without a beginning it is the last ones, the oldest of them first."""
        given = [ACCEPTED.add(self.record) for _ in range(10)]
        self.assertEqual(ids(self.record.entries(3)[0]), given[-3:])

    def test_since(self) -> None:
        """After an id come the next ones, oldest first, and a page goes on where the last one ended."""
        given = [ACCEPTED.add(self.record) for _ in range(10)]
        entries, after = self.record.entries(3, given[3])
        self.assertEqual(ids(entries), given[4:7])
        entries, after = self.record.entries(100, after)
        self.assertEqual(ids(entries), given[7:])
        self.assertEqual(self.record.entries(100, after), ([], after))
        self.assertEqual(ids(self.record.entries(100, "0")[0]), given)

    def test_since_an_earlier_process(self) -> None:
        """A follower of a gateway that was started again gets everything since its start."""
        _, after = HandshakeRecord().entries(10)
        given = ACCEPTED.add(self.record)
        self.assertEqual(ids(self.record.entries(10, after)[0]), [given])

    def test_no_position(self) -> None:
        """What is no id is said to be none."""
        for text in ("", "1", "abc", "abcdef01-", "abcdef01-xyz", "ABCDEF01-001", "abcdef01-" + "1" * 99):
            with self.assertRaises(BadPosition):
                self.record.entries(1, text)

    def test_filters(self) -> None:
        """By result, listener, reason and address, alone and together."""
        handshakes = {
            "accepted": ACCEPTED,
            "elsewhere": evolve(ACCEPTED, listener="other"),
            "refused": REFUSED,
            "plugin": evolve(REFUSED, reason="no_badge", peer="192.0.2.8"),
            "failed": NOBODY,
        }
        by_id = {handshake.add(self.record): name for name, handshake in handshakes.items()}
        for chosen, expected in (
            ({}, ["accepted", "elsewhere", "refused", "plugin", "failed"]),
            ({"refused": True}, ["refused", "plugin", "failed"]),
            ({"listener": "other"}, ["elsewhere"]),
            ({"reason": "no_badge"}, ["plugin"]),
            ({"reason": "subject_alt_name"}, ["refused"]),
            ({"peer": "192.0.2.8"}, ["plugin"]),
            ({"listener": "other", "refused": True}, []),
        ):
            found = [by_id[given] for given in ids(self.all(**chosen))]
            self.assertEqual(found, expected, str(chosen))

    def test_filtered_pages_go_on(self) -> None:
        """A page without any that fit still leads past those that were looked at."""
        for _ in range(5):
            ACCEPTED.add(self.record)
        entries, after = self.record.entries(10, "0", refused=True)
        self.assertEqual(entries, [])
        given = REFUSED.add(self.record)
        self.assertEqual(ids(self.record.entries(10, after)[0]), [given])

    @given(
        st.lists(st.sampled_from([ACCEPTED, REFUSED, STRANGER, NOBODY, None]), max_size=60),
        st.integers(1, 7),
        st.booleans(),
    )
    def test_pages_are_complete(self, steps: list[Handshake | None], size: int, refused: bool) -> None:
        """However they come and whenever somebody asks, pages of any size have each entry once and in order."""
        record = HandshakeRecord(1000, Clock())
        told: list[str] = []
        after = "0"

        def read() -> None:
            nonlocal after
            while True:
                entries, after = record.entries(size, after, refused=refused)
                told.extend(ids(entries))
                if len(entries) < size:
                    return

        for number, step in enumerate(steps):
            if step is None:
                read()
            else:
                evolve(step, peer=f"peer {number}").add(record)
        read()
        self.assertEqual(told, ids(record.entries(1000, refused=refused)[0]))


class FloodTests(RecordCase):
    """Nothing that comes in masses washes away what is looked for."""

    def flood(self, handshake: Handshake, times: int = 1000) -> None:
        """Let the same happen from as many addresses."""
        for number in range(times):
            evolve(handshake, peer=f"flood {number}").add(self.record)

    def test_last_of_all(self) -> None:
        """Where there is one sort only it has all the room, and the last ones are there."""
        for handshake in (ACCEPTED, REFUSED, STRANGER, NOBODY):
            self.record = HandshakeRecord(80, self.clock)
            self.flood(handshake)
            self.assertEqual([entry["peer"] for entry in self.all()], [f"flood {n}" for n in range(920, 1000)])

    def test_shares(self) -> None:
        """No flood of one sort takes another's share, and sorts that were pushed back get theirs again."""
        kept = {ACCEPTED: 40, REFUSED: 20, STRANGER: 10, NOBODY: 10}
        for flooding in kept:
            self.record = HandshakeRecord(80, self.clock)
            self.flood(flooding)
            others = {one: number for one, number in kept.items() if one is not flooding}
            wanted = [
                evolve(one, peer=f"wanted {number}").add(self.record)
                for one, most in others.items()
                for number in range(most)
            ]
            self.flood(flooding)
            found = ids(self.all())
            self.assertEqual([given for given in found if given in wanted], wanted)
            self.assertEqual(len(found), 80)

    @settings(max_examples=30)
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), max_size=20), st.integers(1, 40))
    def test_any_order(self, steps: list[tuple[int, int]], capacity: int) -> None:
        """Whatever comes in whichever order, each sort has its last ones up to its share, and no more than fit."""
        sorts = (ACCEPTED, REFUSED, STRANGER, NOBODY)
        shares = (capacity // 2, capacity // 4, capacity // 8, capacity // 8) if capacity >= 8 else (0, 0, 0, 0)
        record = HandshakeRecord(capacity, Clock())
        given: list[list[str]] = [[], [], [], []]
        for sort, times in steps:
            for _ in range(times):
                peer = f"peer {sum(map(len, given))}"
                given[sort].append(evolve(sorts[sort], peer=peer).add(record))
        found = ids(record.entries(capacity)[0])
        self.assertEqual(len(found), min(capacity, sum(map(len, given))))
        self.assertEqual(len(found), len(record))
        if capacity < 8:
            self.assertEqual(found, sorted(one for sort in given for one in sort)[-capacity:])
        for sort, share in enumerate(shares):
            self.assertEqual(set(given[sort][-share:] if share else ()) - set(found), set())

    def test_repeats(self) -> None:
        """The same refusal of one address within a second is one entry with a count and the last one's time."""
        given = {evolve(NOBODY, port=number).add(self.record) for number in range(5)}
        self.clock.now += 0.75
        given.add(NOBODY.add(self.record))
        (entry,) = self.all()
        self.assertEqual(given, {entry["id"]})
        self.assertEqual((entry["count"], entry["port"]), (6, 0))
        self.assertEqual((entry["time"], entry["last"]), ("2027-01-15T08:00:00.000Z", "2027-01-15T08:00:00.750Z"))
        self.clock.now += 0.25
        NOBODY.add(self.record)
        self.assertEqual([entry["count"] for entry in self.all()], [6, 1])

    def test_clock_set_back(self) -> None:
        """A clock that is set back makes no entry count for ever."""
        NOBODY.add(self.record)
        self.clock.now -= 3600
        NOBODY.add(self.record)
        self.assertEqual([entry["count"] for entry in self.all()], [1, 1])

    def test_no_repeats(self) -> None:
        """Another address, listener or reason, a certificate, an acceptance, an early id: each is an entry."""
        for one in (NOBODY, evolve(NOBODY, peer="192.0.2.8"), evolve(NOBODY, listener="other"),
                    evolve(NOBODY, reason=Reason.BAD_CLIENT_HELLO)):
            one.add(self.record)
        for one in (REFUSED, STRANGER, ACCEPTED, evolve(ACCEPTED, certificate=None, status=NONE)):
            for _ in range(2):
                one.add(self.record)
        NOBODY.add(self.record, self.record.next_id())
        self.assertEqual([entry["count"] for entry in self.all()], [1] * 13)

    def test_repeats_of_what_is_gone(self) -> None:
        """What repeats an entry that is not there any more is a new one."""
        first = NOBODY.add(self.record)
        self.flood(NOBODY, 80)
        again = NOBODY.add(self.record)
        self.assertNotEqual(first, again)
        found = self.record.find(again)
        assert found is not None
        self.assertEqual(found["count"], 1)

    def test_resize(self) -> None:
        """A record of another size keeps what fits, each sort's last ones up to its share."""
        kept: dict[str, list[str]] = {}
        for name, one in {"accepted": ACCEPTED, "refused": REFUSED, "stranger": STRANGER, "nobody": NOBODY}.items():
            kept[name] = [evolve(one, peer=f"{name} {number}").add(self.record) for number in range(20)]
        self.record.resize(40)
        found = ids(self.record.entries(100)[0])
        self.assertEqual((len(found), len(self.record), self.record.capacity), (40, 40, 40))
        for name, share in (("accepted", 20), ("refused", 10), ("stranger", 5), ("nobody", 5)):
            self.assertEqual([given for given in kept[name] if given in found], kept[name][-share:])
        self.record.resize(1000)
        self.flood(STRANGER)
        self.assertEqual(len(self.record), 1000)
        self.assertTrue(set(kept["refused"][-10:]) <= set(ids(self.record.entries(1000)[0])))

    def test_none(self) -> None:
        """A record of none gives ids and keeps nothing; a negative one there cannot be."""
        ACCEPTED.add(self.record)
        self.record.resize(0)
        given = {one.add(self.record) for one in (ACCEPTED, REFUSED, STRANGER, NOBODY, NOBODY)}
        self.assertEqual((len(given), len(self.record), self.all(), self.record.find(min(given))), (5, 0, [], None))
        with self.assertRaises(ValueError):
            self.record.resize(-1)
        with self.assertRaises(ValueError):
            HandshakeRecord(-1)


class CertificateTests(SynchronousTestCase):
    """What is kept of certificates."""

    def large(self, names: int = 200, common: bytes = b"client") -> Certificate:
        """One that is too large to be kept."""
        return handmade(common_name(common), [general_names(*[(DNS, b"n%d.example" % n) for n in range(names)])])

    def test_large(self) -> None:
        """Of many names as many are kept as there is room for, and the others are counted."""
        certificate = self.large()
        summary = CertificateSummaries().summary(certificate, VERIFIED)
        facts: dict[str, Any] = certificate_facts(summary)
        names = facts["dns_names"]
        self.assertEqual(names, [f"n{n}.example" for n in range(len(names))])
        self.assertGreater(len(names), 30)
        self.assertEqual(len(names) + facts["names_left_out"], 200)
        self.assertEqual((facts["subject"], facts["sha256"]), ("CN=client", certificate.sha256))

    def test_small_and_large_tell_the_same(self) -> None:
        """A certificate that is kept as it is and a summary of it have the same facts."""
        kept = certificate_facts(CLIENT.der)
        self.assertEqual(kept, certificate_facts(CertificateSummaries().summary(CLIENT, VERIFIED)))
        self.assertEqual((kept["subject"], kept["dns_names"]), ("CN=client", ["client.example"]))
        self.assertIsNone(kept["parse_error"])

    def test_once(self) -> None:
        """A client that comes back has its summary already."""
        summaries = CertificateSummaries()
        first = summaries.summary(self.large(), VERIFIED)
        self.assertIs(summaries.summary(self.large(), VERIFIED), first)
        for number in range(3000):
            summaries.summary(handmade(common_name(b"%d" % number)), VERIFIED)
        self.assertLessEqual(len(summaries._made), 1024)

    def test_strangers(self) -> None:
        """Of strangers' large certificates few are read in a second, none of the largest, and all are named."""
        now = 0.0
        summaries = CertificateSummaries(lambda: now)
        stranger = [self.large(common=b"stranger %d" % number) for number in range(30)]
        facts = [certificate_facts(summaries.summary(one, UNVERIFIED)) for one in stranger]
        self.assertEqual([fact["subject"] != "" for fact in facts], [True] * 10 + [False] * 20)
        self.assertEqual([fact["sha256"] for fact in facts], [one.sha256 for one in stranger])
        self.assertEqual(facts[-1]["parse_error"], f"not read: {len(stranger[-1].der)} bytes, and unverified")
        self.assertNotEqual(certificate_facts(summaries.summary(stranger[-1], VERIFIED))["subject"], "")
        now = 5.0
        self.assertNotEqual(certificate_facts(summaries.summary(stranger[-2], UNVERIFIED))["subject"], "")
        self.assertEqual(certificate_facts(summaries.summary(self.large(5000), UNVERIFIED))["subject"], "")

    def test_unreadable(self) -> None:
        """One that cannot be read has its hash and what is wrong with it."""
        facts = certificate_facts(b"\x30\x03\x02\x01")
        self.assertEqual(facts["subject"], "")
        self.assertIn("cut short", str(facts["parse_error"]))

    @given(
        st.binary(max_size=3000),
        st.lists(st.tuples(st.sampled_from([0x81, DNS, 0x86, 0x87]), st.binary(max_size=600)), max_size=40),
        st.binary(min_size=1, max_size=40),
    )
    @settings(max_examples=50)
    def test_bounded(self, common: bytes, names: list[tuple[int, bytes]], serial: bytes) -> None:
        """Whatever it holds, a summary is short ASCII that can be read back."""
        certificate = handmade(common_name(common), [general_names(*names)], serial)
        summary = CertificateSummaries().summary(certificate, VERIFIED)
        self.assertLessEqual(len(summary), MAX_KEPT)
        self.assertTrue(summary.isascii())
        facts: dict[str, Any] = certificate_facts(summary)
        kinds = ("uris", "dns_names", "emails", "ip_addresses", "malformed_names")
        told = sum(len(facts[kind]) for kind in kinds) + facts["names_left_out"]
        self.assertEqual(told, sum(len(getattr(certificate, kind)) for kind in kinds))

    @given(st.text(), st.integers(1, 50))
    def test_shorten(self, text: str, limit: int) -> None:
        """Any text becomes ASCII of a bounded length; a short one that is ASCII stays."""
        short = shorten(text, limit)
        self.assertLessEqual(len(short), limit)
        self.assertTrue(short.isascii())
        if text.isascii() and len(text) <= limit:
            self.assertEqual(short, text)


class MemoryTests(SynchronousTestCase):
    """The record stays as small as it says."""

    @contextmanager
    def measured(self) -> Iterator[list[int]]:
        """Give, afterwards, the bytes that are in use and were not before."""
        found: list[int] = []
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            yield found
            gc.collect()
            found.append(tracemalloc.get_traced_memory()[0] - before)
        finally:
            tracemalloc.stop()

    def test_hostile(self) -> None:
        """Thousands of clients that do their worst, with policies that talk too much, stay below what is promised."""
        # Each record of them is a text of its own, since each is cut.
        said = [(f"any[{number}].talkative", Reject(Reason.SERIAL, "\N{PILE OF POO}" * 1000)) for number in range(20)]
        worst = handmade(common_name(b"000000"), [general_names(*[(DNS, b"x" * 100)] * 10, (DNS, b"y" * 100))]).der
        self.assertLessEqual(len(worst), MAX_KEPT)
        self.assertGreater(len(worst), MAX_KEPT - 30)
        with self.measured() as found:
            record = HandshakeRecord()
            for number in range(2_000):
                text = f"{number:06d}\N{PILE OF POO}" * 50
                certificate = Certificate(worst.replace(b"000000", b"%06d" % number))
                record.add(
                    "web", f"2001:db8:1111:2222:3333:4444:5555:{number:04x}%{text}", 60_000, f"{number:06d}" * 100,
                    f"TLSv1.{number}", f"cipher {number}", f"group {number}", False, UNVERIFIED, certificate,
                    Reason.UNKNOWN_CA, text,
                    [Ruling(*one, number / 7 + at, True) for at, one in enumerate(said)],
                    number / 3, fingerprints=(f"{number:032x}", f"t13d1516h2_{number:012x}_{number:012x}"),
                    proxied=ProxyFacts(
                        f"2001:db8:1111:2222:3333:4444:5556:{number:04x}", 50_000 - number, 2, False,
                        (f"2001:db8:1111:2222:3333:4444:5557:{number:04x}", 60_000 - number), text, text, text,
                        ProxiedTLS(text, text, True, True, 1000 + number, text),
                    ),
                )  # fmt: skip
            self.assertEqual(len(record), 2_000)
            del certificate, text
        self.assertLess(found[0], 2_000 * MAX_BYTES)

    def test_huge_certificates(self) -> None:
        """Certificates of 100 KB do not stay, verified or not."""
        huge = handmade(common_name(b"000000"), [general_names(*[(DNS, b"x" * 250)] * 400)]).der
        self.assertGreater(len(huge), 100_000)
        with self.measured() as found:
            record = HandshakeRecord()
            for number in range(100):
                certificate = Certificate(huge.replace(b"000000", b"%06d" % number))
                status = VERIFIED if number % 2 else UNVERIFIED
                evolve(REFUSED, status=status, certificate=certificate).add(record)
            del certificate
        self.assertLess(found[0], 100 * MAX_BYTES)

    def test_repeats(self) -> None:
        """A flood that is counted in entries takes no more with every repeat."""
        with self.measured() as found:
            record = HandshakeRecord(1000, clock := Clock())
            for _ in range(20):
                for number in range(1000):
                    evolve(NOBODY, peer=f"198.51.100.{number}").add(record)
                clock.now += 0.1
        self.assertLess(found[0], 1000 * 1000)

    def test_ordinary(self) -> None:
        """10,000 ordinary handshakes, each with a certificate of its own and two policies, take far less."""
        ordinary = Authority("root").issue("device-000000", dns=["device-000000.example"]).der
        with self.measured() as found:
            record = HandshakeRecord()
            for number in range(10_000):
                certificate = Certificate(ordinary.replace(b"000000", b"%06d" % number))
                record.add(
                    "web", f"192.0.{number >> 8}.{number & 255}", 40_000 + number, "api.example", "TLSv1.3",
                    "TLS_AES_128_GCM_SHA256", "X25519", False, VERIFIED, certificate, "", "",
                    (Ruling("[0].spiffe", Accept(), 0.00001 * number), Ruling("[1].serial", Accept(), 0.001 * number)),
                    0.001 * number,
                )  # fmt: skip
            del certificate
        self.assertLess(found[0], 12 << 20)

    def test_detail_of_the_worst(self) -> None:
        """What is cut is cut where it says."""
        record = HandshakeRecord()
        evolve(REFUSED, detail="\N{PILE OF POO}" * 10_000).add(record)
        detail = record.entries(1)[0][0]["detail"]
        assert isinstance(detail, str)
        self.assertEqual(len(detail), MAX_DETAIL)
        self.assertTrue(detail.endswith("... (10000 characters)"))
