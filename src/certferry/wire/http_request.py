r"""The little HTTP that carries phone files: GET and HEAD requests, replies from memory (phone-trust 5.3).

A phone's request is 64 bytes, without a blank after ``Host:`` and without any other header; the cluster's reply has
three headers, spelled so::

    GET /CTLSEP0000000000AA.tlv HTTP/1.1\r\n      HTTP/1.1 200 OK\r\n
    Host:192.0.2.1:6970\r\n                       Content-length: 4947\r\n
    \r\n                                          Cache-Control: no-store\r\n
                                                  Content-type: */*\r\n
                                                  \r\n

Both directions are read: requests by the server (``RequestParser``), reply heads by the simulated phone.
"""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, Self
from urllib.parse import quote, unquote_to_bytes

from certferry.errors import MalformedError

LARGEST_HEAD = 8 * 1024
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_END = b"\r\n\r\n"
_SAFE = "/-._~!$&'()*+,;=:@"
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_WIDEST_LENGTH = 19
_VISIBLE = re.compile(rb"[!-~]*")
_PLAIN_GET = re.compile(rb"GET (/[!-$&->@-~]*) HTTP/1\.1\r\nHost:[ -~]*\r\n(Connection: ?close\r\n)?\r\n")

Method = Literal["GET", "HEAD"]
Version = Literal["HTTP/1.0", "HTTP/1.1"]


class HttpMalformedError(MalformedError):
    """The bytes are not an HTTP request or reply that can be understood. ``status`` is the answer it deserves."""

    code = "wire.http"
    remedy = "Something that does not speak HTTP asked here; find it by its address."
    status: ClassVar[int] = 400


class HttpMethodError(HttpMalformedError):
    """The request is neither GET nor HEAD."""

    code = "wire.http-method"
    remedy = "Files are only read here: ask with GET or HEAD."
    status = 405


class HttpTargetTooLongError(HttpMalformedError):
    """The request line does not end within 8 KiB."""

    code = "wire.http-target"
    remedy = "Ask for a shorter path; file names have at most 255 characters."
    status = 414


class HttpHeadTooLargeError(HttpMalformedError):
    """The headers do not end within 8 KiB."""

    code = "wire.http-head"
    remedy = "Send fewer or shorter headers; a phone sends Host alone."
    status = 431


@dataclass(frozen=True, slots=True)
class Request:
    """One request: the path decoded and without query, the host as it stands after ``Host:``."""

    method: Method
    path: str
    host: str = ""
    version: Version = "HTTP/1.1"
    close: bool = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after the reply: HTTP/1.1 unless told to close."""
        return self.version == "HTTP/1.1" and not self.close

    @classmethod
    def parse(cls, head: bytes) -> Self:
        """Read a head with its final blank line; raise ``HttpMalformedError`` or one of its kinds."""
        line, *headers = _lines(head, "request")
        method, path, version = _request_line(line)
        found = _headers(headers, len(line) + 2)
        if found.get("content-length", "0") != "0" or "transfer-encoding" in found:
            raise HttpMalformedError(f"a body follows the request at offset {len(head)}")
        return cls(method, path, found.get("host", ""), version, close=_closes(found))

    def encode(self) -> bytes:
        """Write the head as a phone does, byte for byte; raise ``HttpMalformedError`` when it can't be said."""
        if not _is_plain(self.host) or self.host != self.host.strip():
            raise HttpMalformedError(f"{self.host[:40]!r} can't stand after Host: at offset 0 of it")
        host = f"Host:{self.host}\r\n" if self.host else ""
        close = "Connection:close\r\n" if self.close else ""
        target = quote(self.path, safe=_SAFE, errors="surrogateescape")
        return f"{self.method} {target} {self.version}\r\n{host}{close}\r\n".encode("latin-1")  # as headers are read


def plain_get(data: bytes) -> tuple[str, bool] | None:
    """Read a request as phones write it, in one look; return its path and whether the connection is to end with it.

    None for anything else, and for a path with an escape or a query: ``RequestParser`` reads all there is.
    """
    match = _PLAIN_GET.fullmatch(data)
    return (match[1].decode("ascii"), match[2] is not None) if match else None


class RequestParser:
    """Requests out of the bytes of one connection, in whatever pieces they come."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._buffer += data

    @property
    def waiting(self) -> int:
        """How many bytes are held that no request was made of yet."""
        return len(self._buffer)

    def next_request(self) -> Request | None:
        """Return the next request, None until it is whole; raise ``HttpMalformedError`` when it can't become one."""
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]  # RFC 9112 2.2: blank lines before a request are passed over
        end = self._buffer.find(_END, 0, LARGEST_HEAD)
        if end < 0:
            self._refuse_too_large()
            return None
        head = bytes(self._buffer[: end + len(_END)])
        del self._buffer[: len(head)]
        return Request.parse(head)

    def _refuse_too_large(self) -> None:
        if len(self._buffer) < LARGEST_HEAD:
            return
        if self._buffer.find(b"\r\n", 0, LARGEST_HEAD) < 0:
            raise HttpTargetTooLongError(f"the request line has no end at offset {LARGEST_HEAD}")
        raise HttpHeadTooLargeError(f"the headers have no end at offset {LARGEST_HEAD}")


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """Status and body length of a reply; ``length`` is None when the body ends with the connection."""

    status: int
    length: int | None
    close: bool = False

    @classmethod
    def parse(cls, head: bytes) -> Self:
        """Read a head with its final blank line; raise ``HttpMalformedError`` when it is none."""
        line, *headers = _lines(head, "reply")
        status = _status(line)
        found = _headers(headers, len(line) + 2)
        if "transfer-encoding" in found:
            raise HttpMalformedError(f"a transfer encoding stands before offset {len(head)}")
        length = found.get("content-length")
        return cls(status, None if length is None else _length(length), close=_closes(found))

    def encode(self) -> bytes:
        """Write the head as the cluster spells it."""
        reason = REASONS.get(self.status, "Unknown")
        length = "" if self.length is None else f"Content-length: {self.length}\r\n"
        allow = "Allow: GET, HEAD\r\n" if self.status == HttpMethodError.status else ""
        close = "Connection: close\r\n" if self.close else ""
        return (
            f"HTTP/1.1 {self.status} {reason}\r\n{length}Cache-Control: no-store\r\nContent-type: */*\r\n"
            f"{allow}{close}\r\n"
        ).encode("ascii")


def response(status: int, body: bytes = b"", *, close: bool = False) -> bytes:
    """Write a whole reply with its body."""
    return ReplyHead(status, len(body), close).encode() + body


def _lines(head: bytes, kind: str) -> list[bytes]:
    if len(head) > LARGEST_HEAD:
        raise HttpHeadTooLargeError(f"a {kind} head runs past offset {LARGEST_HEAD}")
    end = head.find(_END)
    if end < 0 or end + len(_END) != len(head):
        raise HttpMalformedError(f"the {kind} head has no blank line as its end at offset {len(head)}")
    return head[:end].split(b"\r\n")


def _request_line(line: bytes) -> tuple[Method, str, Version]:
    parts = line.split(b" ")
    if len(parts) != 3 or not _is_token(parts[0]):  # noqa: PLR2004 -- method, target, version
        raise HttpMalformedError("the line at offset 0 is not method, target and version")
    method, target, version = parts
    if version not in {b"HTTP/1.0", b"HTTP/1.1"}:
        at = len(line) - len(version)
        raise HttpMalformedError(f"version {version[:16]!r} at offset {at} is neither HTTP/1.0 nor HTTP/1.1")
    if method not in {b"GET", b"HEAD"}:
        raise HttpMethodError(f"method {method[:16]!r} at offset 0 is neither GET nor HEAD")
    return (
        "GET" if method == b"GET" else "HEAD",
        _path(target, len(method) + 1),
        "HTTP/1.0" if version == b"HTTP/1.0" else "HTTP/1.1",
    )


def _path(target: bytes, at: int) -> str:
    if not _VISIBLE.fullmatch(target):
        raise HttpMalformedError(f"the target at offset {at} holds a byte that is not visible ASCII")
    if target[:7].lower() == b"http://":
        slash = target.find(b"/", 7)
        target = target[slash:] if slash > 0 else b"/"
    if not target.startswith(b"/"):
        raise HttpMalformedError(f"the target at offset {at} does not begin with a slash")
    # A name that is not UTF-8 is in no store; it still has to be looked up and answered with 404.
    return unquote_to_bytes(target.partition(b"?")[0]).decode("utf-8", "surrogateescape")


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if version not in {b"HTTP/1.0", b"HTTP/1.1"} or not code.isdigit() or len(code) != 3 or rest[3:4] not in b" ":  # noqa: PLR2004 -- a status has three digits
        raise HttpMalformedError("the line at offset 0 is not version and status")
    return int(code)


def _headers(lines: list[bytes], at: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _is_token(name):
            raise HttpMalformedError(f"the line at offset {at} is not a header")
        key, text = name.decode("ascii").lower(), value.decode("latin-1").strip(" \t")
        if not _is_plain(text):
            raise HttpMalformedError(f"header {key[:40]} at offset {at} holds a control character")
        if key in {"host", "content-length"} and found.get(key, text) != text:
            raise HttpMalformedError(f"header {key} at offset {at} contradicts an earlier one")
        found[key] = text
        at += len(line) + 2
    return found


def _length(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _WIDEST_LENGTH):
        raise HttpMalformedError(f"content-length {text[:20]!r} after offset 0 is no number")
    return int(text)


def _closes(found: dict[str, str]) -> bool:
    return "close" in [part.strip() for part in found.get("connection", "").lower().split(",")]


def _is_token(name: bytes) -> bool:
    return bool(name) and _TOKEN.issuperset(name)


def _is_plain(text: str) -> bool:
    return all(" " <= character <= "~" or character == "\t" or "\xa0" <= character <= "\xff" for character in text)
