"""Attacks on HTTP/2, each on a connection of its own, and how the gateway ended them.

``python -m tests.http2_attacks PORT TLS_PORT`` is the attacker's process: it reads names of attacks from its input,
those of one line at the same time, and says of each line what became of them, as JSON.

``python -m tests.http2_attacks --report [NAME...]`` runs a gateway, a well-behaved client and the attacks one after
the other, and prints what each came to; see :mod:`tests.attacked_gateway`.
"""
from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from time import monotonic, sleep
from typing import Final

from attrs import asdict, frozen

from edgegw.wire.http2 import ErrorCode
from edgegw.wire.http2.frames import SETTING, frame, rst_stream, window_update
from tests.http2_attacker import Line
from tests.http2_frames import Pair, block, headers, integer, setting, string

__all__ = ["ATTACKS", "Attack", "Outcome"]

#: Seconds after which an attack is taken to have been survived: no flood takes a tenth of it.
PATIENCE: Final = 8.0

CALM: Final = "ENHANCE_YOUR_CALM"
PING: Final = frame(6, 0, 0, bytes(8))
ALL: Final = 128  # streams at a time, as the gateway allows
_STREAMS: Final = range(1, 2 * ALL, 2)
_MOST_WINDOW: Final = 2**31 - 1 - 65_535

Attacking = Callable[[Line], None]


@frozen
class Attack:
    """An attack, and what has to become of it.

    :ivar error: of the GOAWAY that ends its connection, or of all of its streams (``stream CANCEL``); ``cut`` for a
        connection that ends without a word, which nobody would read; ``bounded`` for what is served until it ends
        by itself.
    :ivar reason: what the gateway counts the connection by, one of several with ``|``; empty if it does not end it.
    :ivar holds: whether it waits for a time-out rather than work.
    """

    name: str
    run: Attacking
    error: str
    reason: str = ""
    tls: bool = False
    reads: bool = True
    holds: bool = False


ATTACKS: dict[str, Attack] = {}


def attack(
    error: str, reason: str = "", *, tls: bool = False, reads: bool = True, holds: bool = False
) -> Callable[[Attacking], Attacking]:
    """Note a function as an attack of its name."""

    def note(run: Attacking) -> Attacking:
        name = run.__name__
        ATTACKS[name] = Attack(name, run, error, reason, tls, reads, holds)
        return run

    return note


def fields(path: str, method: str = "GET", *more: Pair) -> list[Pair]:
    """Give the fields of a request."""
    return [
        (b":method", method.encode()), (b":scheme", b"http"), (b":authority", b"localhost"), (b":path", path.encode()),
        *more,
    ]


def ask(stream: int, path: str = "/") -> bytes:
    """Give a whole request."""
    return headers(stream, fields(path))


def post(stream: int, path: str = "/hang", *more: Pair) -> bytes:
    """Give a request whose body is to come."""
    return headers(stream, fields(path, "POST", *more), 4)


def pieces(stream: int, data: bytes, flags: int = 5) -> bytes:
    """Give a field block in as many frames as it takes."""
    parts = [data[at : at + 16_384] for at in range(0, len(data), 16_384)]
    out = [frame(1, flags if len(parts) == 1 else flags & ~4, stream, parts[0])]
    out += [frame(9, 4 if part is parts[-1] else 0, stream, part) for part in parts[1:]]
    return b"".join(out)


def odd() -> Iterator[int]:
    """Give the numbers of a client's streams."""
    return itertools.count(1, 2)


# --- streams that are no sooner opened than given up --------------------------------------------


@attack(CALM, "reset_flood", tls=True)
def rapid_reset(line: Line) -> None:
    """CVE-2023-44487."""
    line.flood(ask(stream) + rst_stream(stream, 8) for stream in odd())


@attack(CALM, "reset_flood")
def rapid_reset_slow_upstream(line: Line) -> None:
    """The same in waves, so that requests get as far as an upstream that takes its time."""
    for first in itertools.count(1, 100):
        wave = range(first, first + 100, 2)
        if not line.flood([ask(stream, "/slow") for stream in wave]) or line.wait(0.02):
            return
        if not line.flood([rst_stream(stream, 8) for stream in wave]):
            return


@attack(CALM, "reset_flood")
def reset_on_data(line: Line) -> None:
    """Responses that are given up when they have begun."""
    for stream in odd():
        if not line.send(ask(stream, "/big")) or line.until(lambda stream=stream: stream in line.begun):
            return
        if not line.send(rst_stream(stream, 8)):
            return


def made_you_reset(name: str, primitive: Callable[[int], bytes]) -> None:
    """Note one of the primitives of CVE-2025-8671: what makes the server itself reset a stream."""

    def run(line: Line) -> None:
        line.flood(ask(stream, "/slow") + primitive(stream) for stream in odd())

    run.__name__ = f"made_you_reset_{name}"
    attack(CALM, "provoked_reset_flood")(run)


made_you_reset("window_0", lambda stream: window_update(stream, 0))
made_you_reset("window_overflow", lambda stream: window_update(stream, 2**31 - 1))
made_you_reset("priority_length", lambda stream: frame(2, 0, stream, bytes(4)))
made_you_reset("priority_itself", lambda stream: frame(2, 0, stream, stream.to_bytes(4, "big") + b"\0"))
made_you_reset("headers_after_end", lambda stream: ask(stream))
made_you_reset("data_after_end", lambda stream: frame(0, 0, stream, b"x"))


@attack(CALM, "provoked_reset_flood")
def malformed_requests(line: Line) -> None:
    """The simplest way to have streams reset."""
    line.flood(headers(stream, [*fields("/"), (b"connection", b"close")]) for stream in odd())


@attack(CALM, "provoked_reset_flood")
def wrong_length(line: Line) -> None:
    """Requests that reach the upstream, and then turn out to be malformed."""
    line.flood(post(stream, "/slow", (b"content-length", b"1")) + frame(0, 1, stream, b"xy") for stream in odd())


@attack(CALM, "too_many_streams")
def stream_overflow(line: Line) -> None:
    """More streams than may be open."""
    line.flood(post(stream) for stream in odd())


# --- field blocks ---------------------------------------------------------------------------------


@attack(CALM, "continuation_flood", tls=True)
def continuation_small(line: Line) -> None:
    """CVE-2024-27919 and its kin: a block that never ends."""
    line.flood(itertools.chain([frame(1, 1, 1, block(fields("/")))], itertools.repeat(frame(9, 0, 1, b"\0\1x\1y"))))


@attack(CALM, "continuation_flood")
def continuation_empty(line: Line) -> None:
    """The same without a byte in it."""
    line.flood(itertools.chain([frame(1, 1, 1, b"")], itertools.repeat(frame(9, 0, 1, b""))))


@attack(CALM, "header_list")
def continuation_big(line: Line) -> None:
    """The same with as much as frames hold."""
    line.flood(itertools.chain([frame(1, 1, 1, b"")], itertools.repeat(frame(9, 0, 1, bytes(16_384)))))


@attack("COMPRESSION_ERROR", "compression")
def continuation_huffman_bad(line: Line) -> None:
    """A block that is broken at its end."""
    bad = b"\0\x01x" + integer(16_000, 0x7F, 0x80) + b"\x1f" * 15_996 + b"\xff" * 4
    line.flood([frame(1, 1, 1, block(fields("/"))), frame(9, 4, 1, bad)])


@attack(CALM, "header_bomb")
def hpack_bomb(line: Line) -> None:
    """One big entry of the table, thousands of times."""
    line.send(headers(1, fields("/"))[:0] + frame(1, 5, 1, block(fields("/")) + b"\x40\1x" + string(b"y" * 3900)))
    line.flood(frame(1, 5, stream, block(fields("/")) + b"\xbe" * 16_000) for stream in itertools.count(3, 2))


@attack(CALM, "header_list")
def many_cookies(line: Line) -> None:
    """Crumbs of cookies, one byte each on the wire."""
    line.flood(frame(1, 5, stream, block(fields("/")) + b"\xa0" * 1600) for stream in odd())


@attack(CALM, "header_list")
def header_64x16k(line: Line) -> None:
    """A megabyte of fields in one request."""
    big = b"".join(b"\0" + string(b"x-%d" % number) + string(b"y" * 16_384) for number in range(64))
    line.flood([pieces(1, block(fields("/")) + big)])


@attack(CALM, "header_list")
def headers_over_limit(line: Line) -> None:
    """Requests that are answered with 431, without end."""
    more = [(b"x-%d" % number, b"y" * 600) for number in range(101)]
    line.flood(pieces(stream, block([*fields("/"), *more])) for stream in odd())


@attack(CALM, "header_bomb")
def hpack_literals(line: Line) -> None:
    """Thousands of fields of four bytes, each of which is looked at."""
    line.flood(pieces(stream, block(fields("/")) + b"\x40\1x\0" * 8000) for stream in odd())


@attack("COMPRESSION_ERROR", "compression")
def hpack_table_updates(line: Line) -> None:
    """Changes of the table's size, thousands in a block."""
    line.flood(pieces(stream, b"\x20\x3f\xe1\x1f" * 8000 + block(fields("/"))) for stream in odd())


@attack("COMPRESSION_ERROR", "compression")
def hpack_table_over(line: Line) -> None:
    """A table larger than is allowed."""
    line.flood(frame(1, 5, stream, integer(2**28, 0x1F, 0x20) + block(fields("/"))) for stream in odd())


@attack("bounded")
def hpack_table_churn(line: Line) -> None:
    """Requests each of which throws the table away and fills it again."""
    filling = b"".join(b"\x40" + string(b"x-%d" % number) + string(b"y" * 20) for number in range(60))
    for stream in range(1, 200, 2):
        if not line.send(frame(1, 5, stream, b"\x20\x3f\xe1\x1f" + block(fields("/")) + filling)):
            return
        if line.until(lambda stream=stream: stream in line.over):
            return


@attack("stream CANCEL REFUSED_STREAM", holds=True)
def hpack_bomb_hold(line: Line) -> None:
    """CVE-2026-49975: on every stream as many fields as are allowed, from few bytes, and no window for the answer."""
    line.send(setting(4, 0))
    filler = b"\x40\1x" + string(b"y" * 3900)
    line.send(frame(1, 5, 1, block(fields("/big?1")) + filler))
    for stream in _STREAMS[1:]:
        line.send(frame(1, 5, stream, block(fields(f"/big?{stream}")) + b"\xbe" * 15))
    line.until(lambda: len(line.over) == ALL)


# --- frames of no use -----------------------------------------------------------------------------


@attack(CALM, "settings_flood")
def settings_flood(line: Line) -> None:
    """CVE-2019-9515."""
    line.flood(itertools.repeat(setting(3, 100)))


@attack(CALM, "settings_flood", reads=False)
def settings_unread(line: Line) -> None:
    """The same without reading what is answered."""
    line.flood(itertools.repeat(setting(3, 100)), 3000)
    line.reads = True


@attack(CALM, "settings_flood")
def settings_big(line: Line) -> None:
    """Thousands of settings in a frame."""
    line.flood(itertools.repeat(frame(4, 0, 0, SETTING.pack(1, 100) * 1000 + SETTING.pack(1, 4000) * 1000)))


@attack(CALM, "window_update_flood")
def settings_dribble(line: Line) -> None:
    """The windows of all streams at once, byte by byte."""
    line.send(setting(4, 0) + b"".join(ask(stream, "/big") for stream in _STREAMS))
    line.until(lambda: len(line.begun) == ALL)
    for window in itertools.count(1):
        if not line.send(setting(4, window)) or line.wait(0.005):
            return


@attack(CALM, "settings_flood")
def settings_to_and_fro(line: Line) -> None:
    """The same by more, and taken back at once, again and again: each time all streams are looked at."""
    line.send(setting(4, 0) + window_update(0, _MOST_WINDOW) + b"".join(ask(stream, "/big") for stream in _STREAMS))
    line.until(lambda: len(line.begun) == ALL)
    for window in itertools.count(64, 64):
        if not line.send((setting(4, window) + setting(4, window - 64)) * 50 + setting(4, window)) or line.wait(0.02):
            return


@attack(CALM, "ping_flood")
def ping_flood(line: Line) -> None:
    """CVE-2019-9512."""
    line.flood(itertools.repeat(PING))


@attack(CALM, "answers_not_read|ping_flood", tls=True, reads=False)
def ping_unread(line: Line) -> None:
    """The same where answers pile up behind responses that are not read either."""
    line.send(setting(4, _MOST_WINDOW) + window_update(0, _MOST_WINDOW))
    line.send(b"".join(ask(stream, "/big") for stream in _STREAMS[:64]))
    sleep(0.5)
    while line.flood([PING] * 200) and line.frames < 4000:
        sleep(0.01)
    line.reads = True


@attack(CALM, "priority_flood")
def priority_flood(line: Line) -> None:
    """CVE-2019-9513: a tree of streams that never were."""
    line.flood(frame(2, 0, stream + 2, stream.to_bytes(4, "big") + b"\7") for stream in odd())


@attack(CALM, "empty_data_flood")
def empty_data(line: Line) -> None:
    """CVE-2019-9518."""
    line.flood(itertools.chain([post(1)], itertools.repeat(frame(0, 0, 1, b""))))


@attack(CALM, "empty_data_flood")
def padded_data(line: Line) -> None:
    """The same with a byte of padding's length."""
    line.flood(itertools.chain([post(1)], itertools.repeat(frame(0, 8, 1, b"\0"))))


@attack(CALM, "unknown_frame_flood")
def unknown_frames(line: Line) -> None:
    """Frames that nobody knows."""
    line.flood(itertools.repeat(frame(99, 0xFF, 7, bytes(10))))


@attack(CALM, "window_update_flood")
def window_updates(line: Line) -> None:
    """Windows that are opened byte by byte, though nothing waits for them."""
    line.flood(itertools.repeat(window_update(0, 1)))


@attack(CALM, "window_update_flood")
def window_dribble_flood(line: Line) -> None:
    """CVE-2019-9511: the same with a response that waits for it."""
    line.send(setting(4, 0) + ask(1, "/big"))
    line.until(lambda: 1 in line.begun)
    line.flood(itertools.repeat(window_update(1, 1)))


@attack(CALM, "closed_stream_flood")
def closed_streams(line: Line) -> None:
    """Frames on a stream that has ended."""
    line.send(ask(1))
    line.until(lambda: 1 in line.over)
    line.flood(itertools.repeat(window_update(1, 1)))


@attack(CALM, "goaway_flood")
def goaway_flood(line: Line) -> None:
    """Goodbyes, while a request goes on."""
    line.flood(itertools.chain([post(1)], itertools.repeat(frame(7, 0, 0, bytes(8)))))


# --- windows ------------------------------------------------------------------------------------------


@attack("FLOW_CONTROL_ERROR", "flow_control")
def window_overflow(line: Line) -> None:
    """The connection's window past 2^31-1."""
    line.flood([window_update(0, 2**31 - 1)] * 2)


@attack("stream FLOW_CONTROL_ERROR")
def data_past_window(line: Line) -> None:
    """More of a body than was asked for."""
    line.send(post(1) + frame(0, 0, 1, bytes(16_000)) * 5)
    line.until(lambda: 1 in line.over)


@attack("stream CANCEL", holds=True)
def zero_window(line: Line) -> None:
    """Responses that may not be sent, on every stream."""
    line.send(setting(4, 0) + b"".join(ask(stream, "/big") for stream in _STREAMS))
    line.until(lambda: len(line.over) == ALL)


@attack("stream CANCEL", holds=True)
def window_dribble(line: Line) -> None:
    """A response that is taken byte by byte, as slowly as keeps it alive."""
    line.send(setting(4, 0) + ask(1, "/big"))
    while line.send(window_update(1, 1)) and not line.wait(0.1) and 1 not in line.over:
        pass


@attack("cut", "write_timeout", tls=True, reads=False, holds=True)
def never_reads(line: Line) -> None:
    """Requests for much on every stream, from a client that reads nothing."""
    line.send(setting(4, _MOST_WINDOW) + window_update(0, _MOST_WINDOW))
    line.send(b"".join(ask(stream, "/big") for stream in _STREAMS))
    line.until_reset()


# --- what is begun and not ended --------------------------------------------------------------------


@attack("PROTOCOL_ERROR", "frame_timeout", holds=True)
def half_a_block(line: Line) -> None:
    """HEADERS, and never the rest of them."""
    line.send(frame(1, 1, 1, block(fields("/"))))
    line.wait(PATIENCE)


@attack("PROTOCOL_ERROR", "frame_timeout", holds=True)
def slow_headers(line: Line) -> None:
    """A request's head byte by byte."""
    for byte in ask(1):
        if not line.send(bytes((byte,))) or line.wait(0.1):
            return


@attack("stream answered", holds=True)
def half_open_streams(line: Line) -> None:
    """Requests whose bodies never come, on every stream."""
    line.send(b"".join(post(stream) for stream in _STREAMS))
    line.until(lambda: len(line.over) == ALL)


@attack("SETTINGS_TIMEOUT", "settings_timeout", holds=True)
def no_acknowledgement(line: Line) -> None:
    """A client that never takes our settings, and is busy otherwise."""
    line.wait(PATIENCE)


@attack("cut", "ping_timeout", holds=True)
def no_pong(line: Line) -> None:
    """A client that is gone without a word, with a request under way."""
    line.answers_pings = False
    line.send(ask(1, "/hang"))
    line.wait(PATIENCE)


@attack("bounded", tls=True)
def connection_churn(line: Line) -> None:
    """Connections that are left when their request is on its way."""
    for _ in range(30):
        other = Line(line.address, line.tls)
        other.send(ask(1, "/slow"))
        other.close()
    line.send(ask(1))
    line.until(lambda: 1 in line.over)


@frozen
class Outcome:
    """What became of an attack.

    :ivar error: as :attr:`Attack.error`; ``survived`` if nobody ended it.
    :ivar told: the reason that GOAWAY gave.
    :ivar frames: that were sent, or pieces of several that belong together.
    """

    name: str
    error: str
    told: str
    frames: int
    seconds: float


def perform(one: Attack, address: tuple[str, int]) -> Outcome:
    """Attack once, and wait for what becomes of it."""
    began = monotonic()
    line = Line(address, one.tls, one.reads, one.run is not no_acknowledgement)
    try:
        one.run(line)
        if one.error.split()[0] not in ("bounded", "stream", "cut"):
            line.wait(PATIENCE)
            line.until_closed()
    finally:
        line.close()
    ending = line.ending
    if ending.code is not None:
        error = ErrorCode(ending.code).name if ending.closed else "not closed"
    elif ending.closed:
        error = "cut"
    elif one.error.startswith("stream") and line.over and (len(line.over) in (1, ALL)):
        codes = {ErrorCode(code).name for code in line.resets.values()} - {"NO_ERROR"}
        error = f"stream {' '.join(sorted(codes)) or 'answered'}"
    else:
        error = "bounded" if one.error == "bounded" else "survived"
    return Outcome(one.name, error, ending.told, line.frames, round(monotonic() - began, 3))


def attack_together(names: Iterable[str], address: tuple[str, int], tls_address: tuple[str, int]) -> list[Outcome]:
    """Run some attacks at the same time."""
    outcomes: list[Outcome] = []

    def one(name: str) -> None:
        chosen = ATTACKS[name]
        try:
            outcomes.append(perform(chosen, tls_address if chosen.tls else address))
        except OSError as error:
            outcomes.append(Outcome(name, f"attacker: {error!r}", "", 0, 0.0))

    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def main() -> None:
    """See the module."""
    if sys.argv[1] == "--report":
        from tests.attacked_gateway import report

        report(sys.argv[2:])
        return
    port, tls_port = (("127.0.0.1", int(port)) for port in sys.argv[1:])
    for text in sys.stdin:
        print(json.dumps([asdict(one) for one in attack_together(text.split(), port, tls_port)]), flush=True)


if __name__ == "__main__":
    main()
