"""``static_files``: an upstream that is a directory."""
from __future__ import annotations

from collections.abc import Mapping
from html import escape
from mimetypes import MimeTypes
from os import fsdecode, fsencode, scandir
from typing import Final
from urllib.parse import quote

from attrs import Factory, frozen

from edgegw.api import BackendRequest, BackendResponse, FilePath, IEnvironment, backend, option
from edgegw.backend import header_fields
from edgegw.backends.conditional import Unsatisfiable, Validators, byte_range, precondition
from edgegw.backends.file_paths import Directory, NotThere, OpenFile, location_of, open_below, segments_of

__all__ = ["Config"]

#: Bytes of a file that are in memory for one client at a time.
PIECE: Final = 262_144
#: Files up to this size are read where they are opened.
SMALL: Final = 65_536
#: Names that a listing shows.
MOST_LISTED: Final = 10_000
_NOT_FOUND: Final = BackendResponse(404, {"content-type": "text/plain; charset=utf-8"}, b"There is no such file.\n")
_NOT_ALLOWED: Final = BackendResponse(
    405, {"allow": "GET, HEAD", "content-type": "text/plain; charset=utf-8"}, b"Files can be read only.\n"
)
#: Python's own list, and not the machine's: what a file is sent as is the same everywhere.
_TYPES: Final = MimeTypes()
for _ending, _type in {
    ".avif": "image/avif", ".js": "text/javascript", ".map": "application/json", ".md": "text/markdown",
    ".mjs": "text/javascript", ".webp": "image/webp", ".woff": "font/woff", ".woff2": "font/woff2",
    ".yaml": "application/yaml",
}.items():  # fmt: skip
    _TYPES.add_type(_type, _ending)
_COMPRESSED: Final = {
    "br": "application/x-brotli", "bzip2": "application/x-bzip2", "compress": "application/x-compress",
    "gzip": "application/gzip", "xz": "application/x-xz",
}  # fmt: skip


def _check_prefix(prefix: str) -> None:
    if not prefix.startswith("/"):
        raise ValueError(f"{prefix[:100]!r} is no path; begin with /")


def _check_name(names: tuple[str, ...]) -> None:
    for name in names:
        if "/" in name or name in ("", ".", ".."):
            raise ValueError(f"{name[:100]!r} is no name of a file; write index.html")


def _check_types(types: Mapping[str, str]) -> None:
    for ending, content_type in types.items():
        if not ending.startswith("."):
            raise ValueError(f"{ending[:100]!r} is no ending of a name; write .{ending[:100]}")
        header_fields({"content-type": content_type})


def _check_cache_control(value: str | None) -> None:
    if value is not None:
        header_fields({"cache-control": value})


@frozen(kw_only=True)
class Config:
    """Options of ``static_files``."""

    directory: FilePath = option("The directory.")
    prefix: str = option(
        "What of the path stands for the directory; requests for anything else get 404.", default="/",
        check=_check_prefix,
    )
    index: tuple[str, ...] = option(
        "Files that are sent for a directory, the first that is there.", default=("index.html",), check=_check_name
    )
    listing: bool = option("Whether a directory without such a file is listed, instead of 404.", default=False)
    follow_symlinks: bool = option("Whether symbolic links may lead out of the directory.", default=False)
    hidden_files: bool = option("Whether names that begin with a dot are sent, and listed.", default=False)
    content_types: Mapping[str, str] = option(
        "Types by the ending of a name, before those that are known.", default=Factory(dict), check=_check_types
    )
    cache_control: str | None = option(
        "The Cache-Control header of files.", default=None, check=_check_cache_control
    )


@backend("static_files", Config)
class StaticFiles:
    """Send the files of a directory.

    GET and HEAD, with an entity tag and ``Last-Modified``, conditional requests, and ranges of one part.  A file is
    read on other threads and no faster than the client takes it; what is in memory of it is a quarter of a megabyte.
    The content type goes by the ending of the name; what has none that is known is ``application/octet-stream``, and
    browsers are told not to guess.

    What is sent lies in the directory: ``..``, empty names and encoded slashes lead nowhere, and a symbolic link that
    leads out of it is as good as not there, unless ``follow_symlinks`` says otherwise.  So are files whose names
    begin with a dot, what is no regular file, and what the gateway may not read.  The directory itself may be a link,
    and is looked up at each request: a new version of a site can be put in its place by changing that.

    The path is the request's, percent-decoded, without ``prefix``.  A directory's has to end with a slash; without it
    the client is redirected there.  Anybody who can write into the directory decides what is sent.

    Example::

        upstreams:
          - name: site
            backend:
              static_files: {directory: /srv/site, cache_control: "max-age=300"}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._config = config
        self._env = env
        self._prefix = config.prefix.rstrip("/")
        self._constant: dict[str, str] = {"x-content-type-options": "nosniff"}
        if config.cache_control is not None:
            self._constant["cache-control"] = config.cache_control
        try:
            scandir(config.directory).close()
        except OSError as error:
            raise ValueError(f"{config.directory} cannot be read: {error.strerror}; name a directory") from error

    async def answer(self, request: BackendRequest) -> BackendResponse:
        """Send a file."""
        if request.method not in ("GET", "HEAD"):
            return _NOT_ALLOWED
        path = request.path
        if path and path == self._prefix:
            return BackendResponse(301, {"location": f"{path}/"})
        if not path.startswith(f"{self._prefix}/"):
            return _NOT_FOUND
        try:
            names = segments_of(path[len(self._prefix) :], self._config.hidden_files)
            response: BackendResponse = await self._env.in_thread(self._open, request, names)
        except NotThere:
            return _NOT_FOUND
        return response

    # --- on another thread ------------------------------------------------------------------

    def _open(self, request: BackendRequest, names: tuple[bytes, ...]) -> BackendResponse:
        """Find the file, and read it if it is small.

        :raises NotThere: there is none.
        """
        config = self._config
        found = open_below(config.directory, names, config.index, config.follow_symlinks)
        if isinstance(found, Directory):
            if names[-1]:
                query = f"?{request.query}" if "?" in request.target else ""
                return BackendResponse(301, {"location": f"{self._prefix}{location_of(names)}/{query}"})
            if not config.listing:
                raise NotThere
            return self._listed(found)
        response = None
        try:
            response = self._response(request, found)
        finally:
            if response is None or not isinstance(response.body, _Piecewise):
                found.file.close()
        return response

    def _response(self, request: BackendRequest, found: OpenFile) -> BackendResponse:
        status = found.status
        size = status.st_size
        current = Validators(f'"{status.st_mtime_ns:x}-{size:x}-{status.st_ino:x}"', int(status.st_mtime))
        headers = {**self._constant, "etag": current.etag, "last-modified": current.last_modified}
        refused = precondition(request, current)
        if refused:
            return BackendResponse(refused, headers)
        headers["accept-ranges"] = "bytes"
        try:
            wanted = byte_range(request, current, size)
        except Unsatisfiable:
            return BackendResponse(416, {**headers, "content-range": f"bytes */{size}"})
        headers["content-type"] = self._type_of(found.name)
        code, first, length = 200, 0, size
        if wanted is not None:
            code, (first, length) = 206, wanted
            headers["content-range"] = f"bytes {first}-{first + length - 1}/{size}"
        if request.method == "HEAD":
            return BackendResponse(code, headers, b"", length)
        found.file.seek(first)
        if length > SMALL:
            return BackendResponse(code, headers, _Piecewise(found, length, self._env), length)
        body = found.file.read(length) or b""
        if len(body) != length:
            raise OSError(f"{found.name} has become shorter while it was read")
        return BackendResponse(code, headers, body)

    def _type_of(self, name: str) -> str:
        lower = name.lower()
        for ending, content_type in self._config.content_types.items():
            if lower.endswith(ending.lower()):
                return content_type
        guessed, encoding = _TYPES.guess_type(f"/{name}")
        if encoding is not None:
            # The file is what is compressed, and not the response.
            return _COMPRESSED.get(encoding, "application/octet-stream")
        if guessed is None:
            return "application/octet-stream"
        return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed

    def _listed(self, directory: Directory) -> BackendResponse:
        names = []
        try:
            with scandir(fsencode(directory.path)) as entries:
                for entry in entries:
                    if entry.name.startswith(b".") and not self._config.hidden_files:
                        continue
                    names.append(entry.name + (b"/" if entry.is_dir(follow_symlinks=True) else b""))
                    if len(names) >= MOST_LISTED:
                        break
        except OSError as error:
            raise NotThere from error
        items = "".join(
            f'<li><a href="./{quote(name, safe="/")}">{escape(fsdecode(name))}</a></li>\n' for name in sorted(names)
        )
        page = f"<!DOCTYPE html>\n<meta charset=utf-8>\n<title>Directory</title>\n<ul>\n{items}</ul>\n"
        headers = {**self._constant, "content-type": "text/html; charset=utf-8"}
        return BackendResponse(200, headers, page.encode("utf-8", "replace"))


class _Piecewise:
    """A file, or a part of one, as it is taken."""

    def __init__(self, found: OpenFile, length: int, env: IEnvironment) -> None:
        self._file = found.file
        self._left = length
        self._env = env

    def __aiter__(self) -> _Piecewise:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        piece: bytes = await self._env.in_thread(self._file.read, min(PIECE, self._left))
        if not piece:
            # The gateway notices that the length which was announced is not reached.
            raise StopAsyncIteration
        self._left -= len(piece)
        return piece

    async def aclose(self) -> None:
        """Close the file."""
        self._file.close()
