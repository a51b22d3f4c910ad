"""Files and URLs named on the command line."""

import asyncio
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from certferry.cli.addresses import check_host
from certferry.cluster.phones import parse_csv
from certferry.cluster.values import Phone
from certferry.errors import Refusal, UsageError
from certferry.fleet import http, tftp
from certferry.wire.trust_list import TrustList

TFTP_PORT, HTTP_PORT = 69, 6970
LARGEST_FILE = 64 * 1024 * 1024
"""No certificate, list or phone file comes near; firmware stays below."""


class FileUnreadableError(Refusal):
    """A file named on the command line cannot be read."""

    code = "cli.file-unreadable"
    remedy = "See that the file is there and that you may read it."


class FileTooLargeError(Refusal):
    """A file named on the command line is larger than any that is meant."""

    code = "cli.file-too-large"
    remedy = "Name the file itself, not a disk or an archive."


class FileUnwritableError(Refusal):
    """A file named on the command line cannot be written."""

    code = "cli.file-unwritable"
    remedy = "See that the folder is there, that you may write in it, and that the disk has room."


class UrlInvalidError(UsageError):
    """A URL certferry cannot fetch from."""

    code = "cli.url-invalid"
    remedy = "Write tftp://HOST[:PORT]/NAME or http://HOST:6970/NAME."


def read_file(path: Path) -> bytes:
    """Read a file; raises ``FileUnreadableError``, ``FileTooLargeError``."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise FileUnreadableError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > LARGEST_FILE:
        raise FileTooLargeError(f"{path} has more than {LARGEST_FILE} bytes")
    return data


def read_text(path: Path) -> str:
    """Read a UTF-8 text; raises ``FileUnreadableError``."""
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileUnreadableError(f"{path} is not UTF-8 text", remedy="Save it as UTF-8 and run it again.") from error


def write_file(to: str, data: bytes) -> None:
    """Write to a file or, for ``-``, to standard output; raises ``FileUnwritableError``."""
    if to == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        _write_whole(Path(to), data)
    except OSError as error:
        raise FileUnwritableError(f"cannot write {to}: {error.strerror}") from error


def _write_whole(path: Path, data: bytes) -> None:
    """Write all of a file or nothing: what stood there before stands until the new one is whole."""
    path = path.resolve()  # a link stays a link
    stands = path.exists()
    if stands and not (path.is_file() and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        path.write_bytes(data)  # a device or a pipe; or refused as it would be in place
        return
    unfinished = path.with_name(f".certferry-{secrets.token_hex(8)}")
    try:
        unfinished.write_bytes(data)
        if stands:
            unfinished.chmod(path.stat().st_mode & 0o7777)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def naming(place: Path | str) -> Iterator[None]:
    """Name the file or URL in what is refused of its content: codecs see bytes, and know of no file."""
    try:
        yield
    except Refusal as refusal:
        refusal.sentence = f"{place}: {refusal.sentence}"
        refusal.args = (refusal.sentence,)
        raise


def read_place(place: str) -> bytes:
    """Read a file, or fetch a ``tftp://`` or ``http://`` URL as a phone would."""
    if "://" not in place:
        return read_file(Path(place))
    return asyncio.run(_fetch(place))


def read_trust_list(place: str) -> tuple[bytes, TrustList]:
    """Read a CTL or ITL from a file or URL; raises ``MalformedError`` with its name."""
    data = read_place(place)
    with naming(place):
        return data, TrustList.parse(data)


def read_phones(csv: Path) -> list[Phone]:
    """Read the phones of a CSV file; raises ``PhoneInvalidError`` with its name."""
    text = read_text(csv)
    with naming(csv):
        return parse_csv(text)


async def _fetch(url: str) -> bytes:
    try:
        parts = urlsplit(url)
        host, port, name = parts.hostname, parts.port, parts.path.lstrip("/")
    except ValueError as error:
        raise UrlInvalidError(f"{url}: {error}") from error
    if not host or not name:
        raise UrlInvalidError(f"{url} names no host or no file")
    check_host(host)
    if parts.scheme == "tftp":
        return await tftp.fetch((host, port or TFTP_PORT), name)
    if parts.scheme == "http":
        return await http.fetch((host, port or HTTP_PORT), name)
    raise UrlInvalidError(f"{parts.scheme}:// is neither tftp:// nor http://")
