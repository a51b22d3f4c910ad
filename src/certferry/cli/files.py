"""Files and URLs named on the command line."""

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

from certferry.cli.addresses import check_host
from certferry.errors import Refusal, UsageError
from certferry.fleet import http, tftp

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
        Path(to).write_bytes(data)
    except OSError as error:
        raise FileUnwritableError(f"cannot write {to}: {error.strerror}") from error


def read_place(place: str) -> bytes:
    """Read a file, or fetch a ``tftp://`` or ``http://`` URL as a phone would."""
    if "://" not in place:
        return read_file(Path(place))
    return asyncio.run(_fetch(place))


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
