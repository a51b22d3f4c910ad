"""Hosts and ports as they are typed."""

from certferry.errors import UsageError

_LAST_PORT = 65535


class AddressInvalidError(UsageError):
    """Not HOST or HOST:PORT."""

    code = "cli.address-invalid"
    remedy = "Write HOST or HOST:PORT, such as 192.0.2.10 or 192.0.2.10:2445; an IPv6 address in brackets."


def parse_address(text: str, default_port: int) -> tuple[str, int]:
    """Read ``HOST``, ``HOST:PORT`` or ``[IPv6]:PORT``; raises ``AddressInvalidError``."""
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        good = bool(bracket) and colon in ("", ":")
    else:
        host, colon, port = text.partition(":")
        good = True
    if not good or (colon and not _is_port(port)):
        raise AddressInvalidError(f"{text!r} is not an address")
    return check_host(host), int(port) if port else default_port


def check_host(host: str) -> str:
    """Return ``host`` if the name service can be asked about it; raises ``AddressInvalidError``."""
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise AddressInvalidError(f"{host!r} is not a host's name or address") from error
    if not host or not host.isprintable():
        raise AddressInvalidError(f"{host!r} is not a host's name or address")
    return host


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) <= _LAST_PORT
