"""What is done with a connection of OpenSSL's behind pyOpenSSL's back, and why it has to be.

pyOpenSSL's ``recv`` allocates and copies twice, its verify callback can set no X.509 error,
and it has no word for groups, signature algorithms or resumption.  The bindings it stands on
(:mod:`edgegw.tls.bindings`) have.
"""
from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from OpenSSL import SSL, crypto
from twisted.logger import Logger

from edgegw.tls import store_context
from edgegw.tls.bindings import ffi, lib, require

__all__ = [
    "NO_AUTO_CHAIN",
    "READ_BUFFER_SIZE",
    "RECORD_SIZE",
    "WANT_WRITE",
    "WRITE_MODES",
    "WANT",
    "Closed",
    "Asked",
    "accept",
    "ask_about_certificates",
    "begin_client",
    "do_handshake",
    "negotiated",
    "openssl_version",
    "peer_digest",
    "read",
    "set_groups",
    "set_signature_algorithms",
    "use_store",
    "verify_result",
    "was_resumed",
    "write",
]

_log = Logger("edgegw.tls")

require(
    "ERR_clear_error",
    "ERR_peek_error",
    "ERR_reason_error_string",
    "SSL_CIPHER_get_name",
    "SSL_CTX_set1_curves_list",
    "SSL_CTX_set1_sigalgs_list",
    "SSL_CTX_set_cert_store",
    "SSL_CTX_set_verify",
    "SSL_clear_mode",
    "SSL_do_handshake",
    "SSL_get_current_cipher",
    "SSL_get_error",
    "SSL_get_peer_certificate",
    "SSL_get_verify_result",
    "SSL_pending",
    "SSL_read",
    "SSL_session_reused",
    "SSL_write",
    "X509_STORE_up_ref",
    "X509_free",
)

#: The most plaintext in one TLS record (RFC 8446 §5.1).
RECORD_SIZE: Final = 16_384
#: One read gathers up to this much from the records that have arrived.
READ_BUFFER_SIZE: Final = 8 * RECORD_SIZE

#: Send the chain that was configured and nothing that the store of client CAs could add (ssl.h).
NO_AUTO_CHAIN: Final = 0x8
#: A write may be taken in parts and repeated from another buffer that begins with the same bytes.
WRITE_MODES: Final = lib.SSL_MODE_ENABLE_PARTIAL_WRITE | lib.SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER

# One buffer serves every connection: a read fills it and copies out before it returns.
_buffer = ffi.new("char[]", READ_BUFFER_SIZE)
_ssl_do_handshake = lib.SSL_do_handshake
_ssl_read = lib.SSL_read
_ssl_write = lib.SSL_write
_ssl_pending = lib.SSL_pending
_ssl_get_error = lib.SSL_get_error
_session_reused = lib.SSL_session_reused
_verify_result = lib.SSL_get_verify_result
_current_cipher = lib.SSL_get_current_cipher
# Bindings to OpenSSL 3.0 and 3.1 have none.
_group_name = getattr(lib, "SSL_get0_group_name", None)
_clear_error = lib.ERR_clear_error
_peek_error = lib.ERR_peek_error
_from_buffer = ffi.from_buffer
_view = ffi.buffer
_string = ffi.string
_NULL = ffi.NULL

_WANT_READ = lib.SSL_ERROR_WANT_READ
_WANT_WRITE = lib.SSL_ERROR_WANT_WRITE
_ZERO_RETURN = lib.SSL_ERROR_ZERO_RETURN


class _Want:
    """Nothing to read for now."""


#: What :func:`read` gives when nothing has arrived.
WANT: Final = _Want()
#: What :func:`do_handshake` gives when the socket takes no more for now.
WANT_WRITE: Final = _Want()


class Closed(Exception):
    """The other side will send no more.

    :ivar clean: whether it said so with a close_notify; otherwise what came may have been cut short.
    :ivar data: what came before the end and has not been given yet.
    :ivar reason: OpenSSL's words for an end that was not clean, such as those of an alert; may be empty.
    """

    def __init__(self, clean: bool, data: bytes = b"", reason: str = "") -> None:
        super().__init__(clean)
        self.clean = clean
        self.data = data
        self.reason = reason


def accept(context: SSL.Context, sock: socket.socket) -> SSL.Connection:
    """Make the server's end of a connection on a socket."""
    connection = SSL.Connection(context, sock)
    connection.set_accept_state()
    return _unhurried(connection)


def begin_client(context: SSL.Context, sock: socket.socket, server_name: bytes | None) -> SSL.Connection:
    """Make the client's end of a connection on a socket.

    :param server_name: the SNI to send; ``None`` sends none.
    """
    connection = SSL.Connection(context, sock)
    connection.set_connect_state()
    if server_name is not None:
        connection.set_tlsext_host_name(server_name)
    return _unhurried(connection)


def _unhurried(connection: SSL.Connection) -> SSL.Connection:
    # pyOpenSSL sets it for callers that block.  With it one read would go on over key updates and other
    # records without application data for as long as the peer sends them.
    lib.SSL_clear_mode(connection._ssl, lib.SSL_MODE_AUTO_RETRY)
    return connection


def read(connection: SSL.Connection) -> bytes | _Want:
    """Give what has arrived, up to :data:`READ_BUFFER_SIZE` bytes, or :data:`WANT`.

    OpenSSL is left with no decrypted byte: what it has not given is still in the socket, so that
    a level-triggered reactor says so.

    :raises Closed: when nothing more will come, with the bytes that came before.
    """
    ssl = connection._ssl
    got = _ssl_read(ssl, _buffer, READ_BUFFER_SIZE)
    if got <= 0:
        error = _why(ssl, got)
        if error in (_WANT_READ, _WANT_WRITE):
            return WANT
        _clear_error()
        raise Closed(error == _ZERO_RETURN, reason=_last_words)
    if got < 2048 and not _ssl_pending(ssl):
        # A small message on its own: asking for another record would cost a system call to learn
        # that there is none.
        return _view(_buffer, got)[:]  # type: ignore[no-any-return]  # cffi
    while got <= READ_BUFFER_SIZE - RECORD_SIZE:
        more = _ssl_read(ssl, _buffer + got, READ_BUFFER_SIZE - got)
        if more <= 0:
            error = _why(ssl, more)
            if error in (_WANT_READ, _WANT_WRITE):
                break
            _clear_error()
            raise Closed(error == _ZERO_RETURN, _view(_buffer, got)[:], _last_words)
        got += more
    return _view(_buffer, got)[:]  # type: ignore[no-any-return]  # cffi


#: What OpenSSL said of the last read or write that failed.
_last_words = ""


def _why(ssl: Any, done: int) -> int:
    """Give the ``SSL_ERROR_…`` of a read or write that gave ``done``."""
    global _last_words
    error: int = _ssl_get_error(ssl, done)
    if error in (_WANT_READ, _WANT_WRITE):
        return error
    code = _peek_error()
    words = lib.ERR_reason_error_string(code) if code else _NULL
    _last_words = "" if words == _NULL else _string(words).decode("ascii", "replace")
    # OpenSSL before 4 blames a connection for what anybody has left in the thread's error queue, a policy that has
    # verified something among them.  Asked again without that, it says what is so.
    _clear_error()
    again: int = _ssl_get_error(ssl, done)
    return again if again in (_WANT_READ, _WANT_WRITE) else error


def write(connection: SSL.Connection, data: bytes | memoryview) -> int:
    """Write what the socket takes and give the number of bytes, 0 when it takes none now.

    What was not taken must be written again first, with the same bytes (OpenSSL may hold a record
    made of them).

    :raises Closed: when the connection is broken.
    """
    ssl = connection._ssl
    size = len(data)
    start = _from_buffer(data)
    done: int = _ssl_write(ssl, start, size)
    if done == size:
        return size
    sent = 0
    while True:
        if done <= 0:
            error = _why(ssl, done)
            if error in (_WANT_READ, _WANT_WRITE):
                return sent
            _clear_error()
            raise Closed(False, reason=_last_words)
        sent += done
        if sent == size:
            return sent
        done = _ssl_write(ssl, start + sent, size - sent)


#: Asked during a handshake for every certificate of the client's chain, the anchor first, and once for every error:
#: whether OpenSSL found no fault, and the verification's context.  Gives whether the handshake is to go on.
Asked = Callable[[bool, Any], bool]
_asked: Asked | None = None


def do_handshake(connection: SSL.Connection, asked: Asked | None = None) -> _Want | None:
    """Take a step of the handshake: ``None`` when it is done, :data:`WANT` or :data:`WANT_WRITE` to go on later.

    What pyOpenSSL's method of that name does, without an exception for each time that it has to wait.

    :param asked: asked about the client's chain where the context is one of :func:`ask_about_certificates`, about
        each of its faults and, when all of it was checked, about the client's own certificate; without it such a
        handshake fails.
    :raises SSL.Error: it failed; or whatever a callback raised.
    """
    global _asked
    ssl = connection._ssl
    # OpenSSL asks from inside this call, on this thread: no other connection can be meant.  Who is asked may do
    # another handshake meanwhile.
    before, _asked = _asked, asked
    try:
        done = _ssl_do_handshake(ssl)
    finally:
        _asked = before
    if done == 1:
        return None
    error = _ssl_get_error(ssl, done)
    if error == _WANT_READ:
        return WANT
    if error == _WANT_WRITE:
        return WANT_WRITE
    connection._raise_ssl_error(ssl, done)
    raise SSL.Error([("", "", f"the handshake returned {done}")])


def was_resumed(connection: SSL.Connection) -> bool:
    """Whether the handshake resumed a session (RFC 8446 §2.2)."""
    return bool(_session_reused(connection._ssl))


# What OpenSSL calls things, read once.  Its cipher suites are constants of the library; the names of groups belong to a
# context and are told apart by their text.
_suites: dict[Any, tuple[str, str]] = {}
_group_names: dict[bytes, str] = {}


def negotiated(connection: SSL.Connection) -> tuple[str | None, str | None, str | None]:
    """Give the version, cipher suite and key exchange group as OpenSSL names them; ``None`` for what is not known.

    A third of the cost of asking pyOpenSSL for them one by one.
    """
    ssl = connection._ssl
    cipher = _current_cipher(ssl)
    suite = _suites.get(cipher)
    if suite is None:
        if cipher == _NULL:
            return None, None, None
        suite = _suites[cipher] = _suite(cipher)
    version, name = suite
    # With a cipher there is a session, without which asking for the group is a segmentation fault.
    pointer = _NULL if _group_name is None else _group_name(ssl)
    if pointer == _NULL:
        return version, name, None
    text = _string(pointer)
    group = _group_names.get(text)
    if group is None:
        group = _group_names[text] = text.decode("ascii", "replace")
    return version, name, group


def _suite(cipher: Any) -> tuple[str, str]:
    name = _string(lib.SSL_CIPHER_get_name(cipher)).decode("ascii", "replace")
    # Suites of TLS 1.3 are of no other version (RFC 8446 §B.4), and 1.2 is the oldest that contexts here speak.
    return "TLSv1.3" if name.startswith("TLS_") else "TLSv1.2", name


def peer_digest(connection: SSL.Connection) -> bytes | None:
    """Give the SHA-256 of the client's certificate, 32 bytes; ``None`` where it sent none.

    A tenth of the cost of taking the certificate out: a client that comes back is known by it.
    """
    certificate = lib.SSL_get_peer_certificate(connection._ssl)
    if certificate == _NULL:
        return None
    digest = store_context.digest_of(certificate)
    lib.X509_free(certificate)
    return digest


def verify_result(connection: SSL.Connection) -> int:
    """Give the ``X509_V_…`` result for the client's chain; 0 also where it sent none.

    A resumed session gives the result of the handshake that made it.
    """
    return int(_verify_result(connection._ssl))


# --- the verification of a client's chain ---------------------------------------------------


@ffi.callback("int (*)(int, X509_STORE_CTX *)")  # type: ignore[untyped-decorator]  # cffi
def _ask(ok: int, store: Any) -> int:
    try:
        if ok == 1 and store_context.depth(store):
            # There is nothing to say of one above the client's own: that one comes last, and is asked about then.
            return 1
        if _asked is not None and _asked(ok == 1, store):
            # What the verification, or a policy, has put into the thread's error queue stays there when nothing fails,
            # and would be blamed on whatever connection is next (OpenSSL before 4 decides by it in SSL_get_error).
            _clear_error()
            return 1
    except BaseException:
        _log.failure("judging a client's certificate")
        store_context.set_error(store, V_ERR_UNSPECIFIED)
    if store_context.error(store) == 0:
        store_context.set_error(store, V_ERR_UNSPECIFIED)
    return 0


def ask_about_certificates(context: SSL.Context, required: bool) -> None:
    """Ask clients for a certificate, and :func:`do_handshake`'s ``asked`` about what they send.

    Unlike a callback of pyOpenSSL's, which erases or replaces the error, this leaves it where
    :func:`verify_result`, the session and the alert are taken from.

    :param required: whether a client that sends none is refused.
    """
    mode = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if required else 0)
    lib.SSL_CTX_set_verify(context._context, mode, _ask)


#: ``X509_V_ERR_UNSPECIFIED``: the alert is ``internal_error``.
V_ERR_UNSPECIFIED: Final = 1


def use_store(context: SSL.Context, store: crypto.X509Store) -> None:
    """Let a context trust what is in a store, which other contexts may share.

    The platform's CA certificates are a megabyte or so, which not every context needs for itself.
    """
    # The context takes the reference over.
    lib.X509_STORE_up_ref(store._store)
    lib.SSL_CTX_set_cert_store(context._context, store._store)


def set_groups(context: SSL.Context, groups: tuple[str, ...]) -> None:
    """Set the key exchange groups, the preferred one first.

    :raises ValueError: OpenSSL has none of that name.
    """
    if lib.SSL_CTX_set1_curves_list(context._context, ":".join(groups).encode()) != 1:
        _clear_error()
        raise ValueError(f"OpenSSL does not know one of the groups {', '.join(groups)}")


def set_signature_algorithms(context: SSL.Context, names: tuple[str, ...]) -> None:
    """Set the signature algorithms that are offered to and accepted from clients.

    :raises ValueError: OpenSSL has none of that name.
    """
    if lib.SSL_CTX_set1_sigalgs_list(context._context, ":".join(names).encode()) != 1:
        _clear_error()
        raise ValueError(f"OpenSSL does not know one of the signature algorithms {', '.join(names)}")


def openssl_version() -> str:
    """Give the version text of the OpenSSL that is in use."""
    return SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode("ascii", "replace")
