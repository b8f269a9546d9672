"""The examples of RFC 7541, appendix C: each block, its fields, and the size of the table after it."""

from __future__ import annotations

from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.http2.hpack_decoder import Decoder, _integer

from .http2_frames import Pair, integer

REQUEST: Final[list[Pair]] = [
    (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com"),
]
REQUESTS: Final[list[list[Pair]]] = [
    REQUEST,
    [*REQUEST, (b"cache-control", b"no-cache")],
    [
        (b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ],
]
RESPONSE: Final[list[Pair]] = [
    (b"cache-control", b"private"), (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
    (b"location", b"https://www.example.com"),
]
RESPONSES: Final[list[list[Pair]]] = [
    [(b":status", b"302"), *RESPONSE],
    [(b":status", b"307"), *RESPONSE],
    [
        (b":status", b"200"), (b"cache-control", b"private"), (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT"),
        (b"location", b"https://www.example.com"), (b"content-encoding", b"gzip"),
        (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
]

#: Section, blocks of one connection, their fields, and the table's sizes.
EXAMPLES: Final[list[tuple[str, int, list[str], list[list[Pair]], list[int]]]] = [
    ("C.2.1", 4096, ["400a637573746f6d2d6b65790d637573746f6d2d686561646572"], [[(b"custom-key", b"custom-header")]],
     [55]),
    ("C.2.2", 4096, ["040c2f73616d706c652f70617468"], [[(b":path", b"/sample/path")]], [0]),
    ("C.2.3", 4096, ["100870617373776f726406736563726574"], [[(b"password", b"secret")]], [0]),
    ("C.2.4", 4096, ["82"], [[(b":method", b"GET")]], [0]),
    ("C.3", 4096, [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ], REQUESTS, [57, 110, 164]),
    ("C.4", 4096, [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ], REQUESTS, [57, 110, 164]),
    ("C.5", 256, [
        (
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e176874747073"
            "3a2f2f7777772e6578616d706c652e636f6d"
        ),
        "4803333037c1c0bf",
        (
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48"
            "514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31"
        ),
    ], RESPONSES, [222, 222, 215]),
    ("C.6", 256, [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        (
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af"
            "27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
        ),
    ], RESPONSES, [222, 222, 215]),
]


class AppendixCTests(SynchronousTestCase):
    """What the RFC says that blocks mean."""

    def test_integers(self) -> None:
        """C.1."""
        for data, prefix, value in ((b"\x0a", 0x1F, 10), (b"\x1f\x9a\x0a", 0x1F, 1337), (b"\x2a", 0xFF, 42)):
            self.assertEqual(_integer(data, 0, prefix), (value, len(data)))

    def test_blocks(self) -> None:
        """C.2 to C.6, with eviction in the last two."""
        for section, table, blocks, expected, sizes in EXAMPLES:
            one = Decoder(lambda name, value: 0, 65_536)
            one.allow(table)
            before = b"" if table == 4096 else integer(table, 0x1F, 0x20)
            for text, fields, size in zip(blocks, expected, sizes, strict=True):
                found = [(name, value) for (name, value, _), _, _ in one.decode(before + bytes.fromhex(text))]
                self.assertEqual((section, found, one._size), (section, fields, size))
                before = b""
